"""Adaptation by one process, by two, and under ZeRO: the same weights; and the same bits from a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.adapt.engines import has_fast_bf16
from pipeline.resources import DATA_PARALLEL, strategy_names
from pipeline.team import Place, free_port

from .adapt_once import start

PARAMETERS: dict[str, dict[str, Any]] = {
    # 20 examples in batches of 8: the last one of a pass leaves a process without an example of its own.
    "lora": {"examples": 20, "epochs": 2},
    "full": {"examples": 20, "epochs": 2, "lr": 1e-3},
    "lm-head": {"examples": 20, "epochs": 2},
}
TOLERANCE = 1e-4
"""Length of the difference of two updates over the length of one: other sums, each off by some 1e-7, for six steps."""


def adapt_once(
    model: Path, out: Path, family: str, resources: dict[str, Any], stop_after: int | None = None, **parameters: Any
) -> tuple[np.ndarray[Any, Any], dict[str, Any], str]:
    """Updates of all weights in one row, facts, and what the first process said."""
    out.mkdir(exist_ok=True)
    number = resources.get("processes", 1)
    in_team = number > 1 or "strategy" in resources
    port = free_port()
    arguments = [str(model), family, json.dumps(resources), json.dumps({**PARAMETERS[family], **parameters}), str(out)]
    arguments += [] if stop_after is None else [str(stop_after)]
    processes, logs = [], [out / f"log-{rank}.txt" for rank in range(number)]
    for rank, log in enumerate(logs):
        place = Place(rank=rank, world_size=number, local_rank=rank, address="127.0.0.1", port=port)
        processes.append(start(place.environment() if in_team else {}, log, arguments))
    for process in processes:
        process.join()
    said = [log.read_text() for log in logs]
    failed = any(process.exitcode for process in processes)
    assert failed == (stop_after is not None), "\n".join(said)
    if failed:
        assert all("StoppedError" in text for text in said), "\n".join(said)
        return np.empty(0), {}, said[0]
    updates = np.concatenate([update.ravel() for update in np.load(out / "updates.npz").values()])
    return updates, json.loads((out / "facts.json").read_text()), said[0]


@pytest.fixture(scope="module")
def alone(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, dict[str, Any]]]:
    """What one process learns."""
    folder = tmp_path_factory.mktemp("alone")
    return {family: adapt_once(tiny_model, folder / family, family, {})[:2] for family in PARAMETERS}


@pytest.mark.parametrize("family", PARAMETERS)
@pytest.mark.parametrize("strategy", [name for name in strategy_names() if name != "zero3-offload"])
def test_two_processes_learn_what_one_learns(
    tiny_model: Path, tmp_path: Path, alone: Any, family: str, strategy: str
) -> None:
    expected, facts_alone = alone[family]
    updates, facts, _ = adapt_once(tiny_model, tmp_path, family, {"processes": 2, "strategy": strategy})
    assert np.linalg.norm(expected) > 0.05
    assert np.linalg.norm(updates - expected) < TOLERANCE * np.linalg.norm(expected)
    # ZeRO shares the optimiser's state out, so that each process keeps half.
    share = facts["optimizer_state_bytes"] / facts_alone["optimizer_state_bytes"]
    assert share == pytest.approx(1 if strategy == DATA_PARALLEL else 0.5, abs=0.01)


@pytest.mark.parametrize(
    "resources",
    [
        {"micro_batch": 1},
        {"gradient_checkpointing": True},
        {"processes": 2, "micro_batch": 1},
        {"processes": 2, "strategy": "zero3-offload", "micro_batch": 2},
    ],
    ids=str,
)
def test_what_saves_memory_changes_sums_only(
    tiny_model: Path, tmp_path: Path, alone: Any, resources: dict[str, Any]
) -> None:
    expected, _ = alone["full"]
    updates, facts, _ = adapt_once(tiny_model, tmp_path, "full", resources)
    assert facts["micro_batch"] == resources.get("micro_batch", 8)
    assert np.linalg.norm(updates - expected) < TOLERANCE * np.linalg.norm(expected)


def test_bfloat16_is_near_and_not_equal_where_the_processor_has_it(
    tiny_model: Path, tmp_path: Path, alone: Any
) -> None:
    """The first step of Adam takes the sign of each gradient, so small ones that change theirs weigh."""
    expected, facts_alone = alone["full"]
    assert facts_alone["precision"] == "fp32"
    for name, resources in {"plain": {}, "zero": {"strategy": "zero2"}}.items():
        updates, facts, said = adapt_once(tiny_model, tmp_path / name, "full", resources, precision="bf16")
        distance = np.linalg.norm(updates - expected) / np.linalg.norm(expected)
        if has_fast_bf16():
            assert facts["precision"] == "bf16"
            assert 1e-3 < distance < 0.5
        else:
            assert facts["precision"] == "fp32"
            assert "no fast products in bfloat16" in said
            assert distance < TOLERANCE


@pytest.mark.parametrize(
    ("family", "resources"),
    [
        ("lora", {}),
        ("full", {}),
        ("full", {"processes": 2}),
        ("lora", {"processes": 2, "strategy": "zero2"}),
        ("full", {"processes": 2, "strategy": "zero3"}),
    ],
    ids=str,
)
def test_a_checkpoint_gives_the_same_bits(
    tiny_model: Path, tmp_path: Path, family: str, resources: dict[str, Any]
) -> None:
    often = {**resources, "checkpoint_minutes": 0}
    undisturbed, _, _ = adapt_once(tiny_model, tmp_path / "undisturbed", family, resources)
    adapt_once(tiny_model, tmp_path / "disturbed", family, often, stop_after=4)
    resumed, _, said = adapt_once(tiny_model, tmp_path / "disturbed", family, often)
    assert "went on from checkpoint" in said
    assert np.array_equal(resumed, undisturbed)
