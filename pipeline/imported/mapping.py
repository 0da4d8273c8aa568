"""What the published names of arXiv 2602.15829 are called here: tasks, families and parameters, as tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.cell import Scalar
from pipeline.errors import UserError, unknown_name
from pipeline.imported.published import PublishedRow

Hyperparameters = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedTask:
    """A task by the name of its train data.

    Attributes:
        task: name here.
        metric: what was published; key in `metrics.METRICS`.
        scale: published scores times this are in 0..100.
    """

    task: str
    metric: str
    scale: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedFamily:
    """A family by its published name.

    Attributes:
        family: name here.
        script_bits: size of the script that the paper's figures add to the published bits; 0 where they add none.
        stated: parameters that the paper states for all rows of the family.
        given: parameters that each row gives.
    """

    family: str
    script_bits: int
    stated: Mapping[str, Scalar]
    given: Mapping[str, Callable[[Hyperparameters], Scalar]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mapped:
    """A published row in our terms. Parameters that nobody stated are absent.

    Attributes:
        row: the published row.
        task: name of the task.
        metric: its metric.
        performance: test score, in 0..100.
        family: name of the family.
        parameters: those of the family that are known.
        script_bits: size of the script.
    """

    row: PublishedRow
    task: str
    metric: str
    performance: float
    family: str
    parameters: Mapping[str, Scalar]
    script_bits: int


def _number(name: str) -> Callable[[Hyperparameters], int | float]:
    def read(hyperparameters: Hyperparameters) -> int | float:
        value = hyperparameters.get(name)
        is_no_number = isinstance(value, float) and not math.isfinite(value)  # JSON by Python has NaN and Infinity
        if is_no_number or not isinstance(value, int | float):
            raise UserError(f"{name!r} must be a number, or true or false; {value!r} given")
        return value

    return read


def _examples(hyperparameters: Hyperparameters) -> int | float | str:
    """No limit, or none recorded, means all."""
    return "all" if hyperparameters.get("max_examples") is None else _number("max_examples")(hyperparameters)


def _epochs(hyperparameters: Hyperparameters) -> int | float:
    """The counter is raised after the score is taken, so 0 is the score after one pass.

    The data say so: bits are counted in the first pass only, and the three rows of each run have the same bits.
    """
    return _number("current_epoch")(hyperparameters) + 1


_ADAPTER = {"rank": _number("r"), "alpha": _number("lora_alpha")}
_TRAINED_ON_ALL: dict[str, Scalar] = {"bits": 16, "examples": "all", "batch": 8, "precision": "bf16"}

TASKS = {
    "meta-math/MetaMathQA": PublishedTask(task="gsm8k-metamath", metric="accuracy", scale=100.0),
    "allenai/nllb": PublishedTask(task="flores-en-fr", metric="bleu", scale=1.0),
    "ifeval": PublishedTask(task="ifeval", metric="instructions-loose", scale=100.0),
}
"""Published name of the train data, what stands behind a colon left out (a path of its authors) -> task."""

FAMILIES = {
    "baseline": PublishedFamily(family="baseline", script_bits=2952, stated={}, given={}),
    "urial": PublishedFamily(family="urial", script_bits=3704, stated={}, given={}),
    "icl": PublishedFamily(family="icl", script_bits=3704, stated={}, given={"shots": _number("total_samples")}),
    "online_coding": PublishedFamily(
        family="subset",
        script_bits=5704,
        stated={"weights": "adapter"},
        given={"examples": _examples, "epochs": _epochs, "lr": _number("lr"), **_ADAPTER},
    ),
    "lora": PublishedFamily(
        family="lora",
        script_bits=2832,
        stated={**_TRAINED_ON_ALL, "epochs": 1},
        given={"lr": _number("lr"), **_ADAPTER},
    ),
    "full_ft": PublishedFamily(family="full", script_bits=0, stated=_TRAINED_ON_ALL, given={"lr": _number("lr")}),
    "lm_head": PublishedFamily(
        family="lm-head", script_bits=0, stated={**_TRAINED_ON_ALL, "epochs": 4}, given={"lr": _number("lr")}
    ),
    "blora": PublishedFamily(
        family="blora",
        script_bits=8376,
        stated={"examples": "all", "batch": 8, "precision": "bf16"},
        given={
            "rank": _number("r"),
            "prune_rank": _number("prune_rank"),
            "gate_lr": _number("gates_lr"),
            "scale_lr": _number("scales_lr"),
            "quantisation_penalty": _number("quant_loss_lambda"),
            "rank_penalty": _number("rank_loss_lambda"),
            "weight_decay": _number("weight_decay"),
        },
    ),
    # One pass over 2048 examples, before any factor is learned: subset training, and nothing else.
    "phase-one": PublishedFamily(
        family="subset",
        script_bits=0,
        stated={"examples": 2048, "epochs": 1, "weights": "adapter"},
        given={"lr": _number("lr"), **_ADAPTER},
    ),
    "phase-two": PublishedFamily(
        family="reweight",
        script_bits=0,
        stated={"first_lr": 1e-4},  # that of phase one, whose updates these are
        given={"updates": _number("grads_in_memory"), "lr": _number("lr"), **_ADAPTER},
    ),
}
"""Published name -> family."""


def mapped(row: PublishedRow, place: str) -> Mapped:
    """A published row in our terms.

    Args:
        row: the row.
        place: file and line, for messages.

    Raises:
        UserError: unknown data or family, a parameter that is missing, or a score outside of its scale.
    """
    dataset = row.dataset.partition(":")[0]
    if dataset not in TASKS:
        raise UserError(f"{place}: {unknown_name('data set', dataset, TASKS)}")
    if row.experiment not in FAMILIES:
        raise UserError(f"{place}: {unknown_name('experiment', row.experiment, FAMILIES)}")
    task, family = TASKS[dataset], FAMILIES[row.experiment]
    performance = task.scale * row.performance
    if performance > 100:
        raise UserError(
            f"{place}: performance {row.performance} of {dataset} is above {100 / task.scale:g}, the largest there is"
        )
    try:
        given = {name: read(row.hyperparameters) for name, read in family.given.items()}
    except UserError as error:
        raise UserError(f"{place}: strategy_hparams of {row.experiment}: {error}") from error
    return Mapped(
        row=row,
        task=task.task,
        metric=task.metric,
        performance=performance,
        family=family.family,
        parameters=dict(sorted({**family.stated, **given}.items())),
        script_bits=family.script_bits,
    )
