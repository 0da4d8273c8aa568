"""Where a base model stands: which models are states of one training run, and in what order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.models.catalogue import STAGES, checkpoint_of
from pipeline.models.label import split_label

RANDOM, PRE_TRAINING, MID_TRAINING, POST_TRAINING = STAGES
TRAINED = "trained"
"""Stage of a model that the catalogue does not know and whose weights are not random."""

STAGE_ORDER = (RANDOM, PRE_TRAINING, MID_TRAINING, TRAINED, POST_TRAINING)

# What the reducer puts behind a label where two base models share it.
_IDENTITY = re.compile(r" \([0-9a-f]{8}\)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What a figure needs to know of a base model.

    Attributes:
        model: its label.
        family: models of one family are drawn together.
        stage: one of `STAGE_ORDER`.
        order: place in the training of the family.
        parameters: number of weights, None where the catalogue does not know.
    """

    model: str
    family: str
    stage: str
    order: int
    parameters: int | None

    @property
    def short_name(self) -> str:
        """The label without the name of the family, where it starts with that."""
        return self.model.removeprefix(self.family).lstrip("-@") or self.model


def standing_of(model: str) -> Standing:
    """Standing of a base model by its label; of an unknown one only whether its weights are random is known."""
    label = _IDENTITY.sub("", model)
    checkpoint = checkpoint_of(label)
    if checkpoint is not None:
        return Standing(
            model=model,
            family=checkpoint.family,
            stage=checkpoint.stage,
            order=checkpoint.order,
            parameters=checkpoint.parameters,
        )
    parts = split_label(label)
    is_random = parts.random_seed is not None
    return Standing(
        model=model,
        family=parts.name,
        stage=RANDOM if is_random else TRAINED,
        order=0 if is_random else 1,
        parameters=None,
    )


def families_of(models: Iterable[str]) -> dict[str, list[Standing]]:
    """Model family -> its models in the order of training; families in the order of their names."""
    standings = sorted((standing_of(model) for model in set(models)), key=lambda it: (it.family, it.order, it.model))
    families: dict[str, list[Standing]] = {}
    for standing in standings:
        families.setdefault(standing.family, []).append(standing)
    return families
