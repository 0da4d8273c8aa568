"""What published rows are called here."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from pipeline import catalog
from pipeline.errors import UserError
from pipeline.imported.mapping import FAMILIES, TASKS, Mapped, mapped
from pipeline.imported.published import published_rows
from pipeline.metrics import METRICS

from .conftest import Row, published

ADAPTER = {"r": 8, "lora_alpha": 8, "lora_dropout": 0.0}
BLORA = {
    "r": 2,
    "quant_loss_lambda": 1e-3,
    "rank_loss_lambda": 2e-3,
    "gates_lr": 0.01,
    "scales_lr": 0.002,
    "prune_rank": True,
    "quantize": True,
    "weight_decay": 3e-3,
}


def map_one(row: Row) -> Mapped:
    (found,) = published_rows(json.dumps(row), "file")
    return mapped(found, "file, line 1")


@pytest.mark.parametrize(
    ("experiment", "given", "family", "parameters", "script_bits"),
    [
        ("baseline", {}, "baseline", {}, 2952),
        ("urial", {}, "urial", {}, 3704),
        ("icl", {"total_samples": 3, "updated": False}, "icl", {"shots": 3}, 3704),
        (
            "online_coding",
            {"lr": 1e-5, "max_examples": 64, "current_epoch": 0, "optimizer": "adam", **ADAPTER},
            "subset",
            {"examples": 64, "epochs": 1, "lr": 1e-5, "rank": 8, "alpha": 8, "weights": "adapter"},
            5704,
        ),
        (
            "online_coding",
            {"lr": 1e-4, "max_examples": None, "current_epoch": 3, **ADAPTER},
            "subset",
            {"examples": "all", "epochs": 4, "lr": 1e-4, "rank": 8, "alpha": 8, "weights": "adapter"},
            5704,
        ),
        (
            "lora",
            {"lr": 1e-4, **ADAPTER, "r": 1},
            "lora",
            {"bits": 16, "examples": "all", "epochs": 1, "batch": 8, "precision": "bf16"}
            | {"lr": 1e-4, "rank": 1, "alpha": 8},
            2832,
        ),
        (
            "full_ft",
            {"lr": 1e-6, "bits_per_parameter": 16},
            "full",
            {"bits": 16, "examples": "all", "batch": 8, "precision": "bf16", "lr": 1e-6},
            0,
        ),
        (
            "lm_head",
            {"lr": 1e-4},
            "lm-head",
            {"bits": 16, "examples": "all", "epochs": 4, "batch": 8, "precision": "bf16", "lr": 1e-4},
            0,
        ),
        (
            "blora",
            BLORA,
            "blora",
            {"examples": "all", "batch": 8, "precision": "bf16", "rank": 2, "prune_rank": True, "gate_lr": 0.01}
            | {"scale_lr": 0.002, "quantisation_penalty": 1e-3, "rank_penalty": 2e-3, "weight_decay": 3e-3},
            8376,
        ),
        (
            "phase-one",
            {"lr": 1e-4, "diffs_file": "/somewhere", **ADAPTER},
            "subset",
            {"examples": 2048, "epochs": 1, "lr": 1e-4, "rank": 8, "alpha": 8, "weights": "adapter"},
            0,
        ),
        (
            "phase-two",
            {"lr": 1e-5, "diffs_file": "/somewhere", "grads_in_memory": 32, **ADAPTER},
            "reweight",
            {"updates": 32, "lr": 1e-5, "first_lr": 1e-4, "rank": 8, "alpha": 8},
            0,
        ),
    ],
)
def test_families(
    experiment: str, given: dict[str, Any], family: str, parameters: dict[str, Any], script_bits: int
) -> None:
    found = map_one(published(experiment, 800, 0.5, **given))
    assert (found.family, dict(found.parameters), found.script_bits) == (family, parameters, script_bits)
    # The names are those of the family, and the values are ones that it takes.
    catalog.family(family).parameters(**parameters)


@pytest.mark.parametrize(
    ("dataset", "task", "published_performance", "performance"),
    [
        ("meta-math/MetaMathQA", "gsm8k-metamath", 0.25, 25.0),
        ("allenai/nllb", "flores-en-fr", 38.5, 38.5),
        ("ifeval:/home/somebody/examples.jsonl", "ifeval", 0.5, 50.0),
    ],
)
def test_tasks_and_scales(dataset: str, task: str, published_performance: float, performance: float) -> None:
    row = published("baseline", 0, published_performance) | {"dataset_name": dataset}
    found = map_one(row)
    assert (found.task, found.performance) == (task, performance)
    # Beside ours: the published metric is the one that the task is judged by.
    assert catalog.task(task).metrics[0] == found.metric
    assert METRICS[found.metric].higher_is_better


def test_every_family_and_task_is_known_here() -> None:
    assert {family.family for family in FAMILIES.values()} <= set(catalog.family_names())
    assert {task.task for task in TASKS.values()} <= set(catalog.task_names())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiment_name": "online-coding"}, "unknown experiment 'online-coding'; did you mean online_coding?"),
        ({"dataset_name": "allenai/nlb"}, "unknown data set 'allenai/nlb'; did you mean allenai/nllb?"),
        ({"performance": 1.5}, "performance 1.5 of meta-math/MetaMathQA is above 1"),
        ({"dataset_name": "allenai/nllb", "performance": 101.0}, "'performance' must be a number from 0 to 100"),
        ({"experiment_name": "icl"}, "strategy_hparams of icl: 'total_samples' must be a number"),
        (
            {"experiment_name": "online_coding", "strategy_hparams": {"current_epoch": "1"}},
            "'current_epoch' must be a number, or true or false; '1' given",
        ),
        (
            {"experiment_name": "full_ft", "strategy_hparams": {"lr": float("nan")}},
            "'lr' must be a number, or true or false; nan given",
        ),
        (
            {"experiment_name": "full_ft", "strategy_hparams": {"lr": float("inf")}},
            "'lr' must be a number, or true or false; inf given",
        ),
        ({"model_name": "smollm3-\ud800"}, "'model_name' must be text"),
    ],
)
def test_what_has_no_place_here_is_refused(change: Row, message: str) -> None:
    with pytest.raises(UserError) as caught:
        map_one(published("baseline", 0, 0.5) | change)
    assert str(caught.value).startswith("file, line 1: ") and message in str(caught.value)


def test_no_path_of_the_authors_stays() -> None:
    row = published("phase-one", 9, 0.5, lr=1e-4, diffs_file="/scratch/x", **ADAPTER) | {
        "dataset_name": "ifeval:/scratch/y"
    }
    found = map_one(row)
    assert "/scratch" not in str({**dataclasses.asdict(found), "row": None})
