"""Every task and every family: one of each on every test run, the whole product by `make matrix`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.catalog import FAMILIES, TASKS

TASK_OF_ALL_FAMILIES = "chain-sum"
GRID = """
study: matrix
tasks: [{tasks}]
models: [{model}]
programs:
{programs}
evaluation: {{validation_items: {items}, test_items: {items}, time_limit_seconds: 7200}}
"""
SMALL = {
    "trivial": "reply: [copy, constant]",
    "baseline": "",
    "urial": "",
    "icl": "shots: 1",
    "sampled": "shots: 1, answers: [vote, mbr], samples: 3",
    "prompt-search": "shots: 1, candidates: 2",
    "subset": "examples: 2, epochs: 2",
    "plain-subset": "examples: 2, epochs: 2",
    "taught": "examples: 2, epochs: 2, shown: 1",
    "lora": "examples: 2, epochs: 1, bits: [4, 16]",
    "blora": "examples: 2, epochs: 1, rank: 2, prune_rank: true",
    "tuner": "examples: 2, epochs: 1, bits: 4, shots: 1, numbers: 100",
    "gains": "examples: 2, epochs: 1, kept: 30, numbers: 100",
    "scales": "examples: 2, epochs: 1, kept: 30, numbers: 200",
    "lm-head": "examples: 2, epochs: 1, bits: 4",
    "full": "examples: 2, epochs: 1, bits: 4",
    "reweight": "updates: 1, examples: 2, epochs: 1, bits: 4",
}
"""One small cell or two of each family."""


def grid(tasks: list[str], model: object, families: list[str], items: int) -> str:
    entries = [f"  - {{family: {name}" + (f", {SMALL[name]}}}" if SMALL[name] else "}") for name in families]
    return GRID.format(tasks=", ".join(tasks), model=model, programs="\n".join(entries), items=items)


def check(rows: list[dict[str, Any]]) -> None:
    """What holds for every program: scores, and real bits near the ideal wherever a payload was coded under a model."""
    for row in rows:
        if row["status"] == "infeasible":
            assert "context" in row["status_reason"]  # a demonstration that does not fit into the tiny model's
            continue
        assert row["test"]["performance"] is not None
        if row["coded_bits"] is not None:
            assert row["nll_bits"] < row["coded_bits"] <= 1.01 * row["nll_bits"] + 64


def test_no_family_is_forgotten() -> None:
    assert SMALL.keys() == FAMILIES.keys()


def test_every_task_with_one_family(run: Any, tiny_model: Path) -> None:
    rows = run(grid(sorted(TASKS), tiny_model, ["baseline"], items=1), verify=False)
    check(rows)
    assert {row["task"] for row in rows if row["status"] == "ok"} == set(TASKS)


@pytest.mark.matrix
def test_every_task_with_every_family(run: Any, tiny_model: Path) -> None:
    rows = run(grid(sorted(TASKS), tiny_model, list(FAMILIES), items=2), verify=True)
    check(rows)
    assert {(row["task"], row["family"]) for row in rows} == {(task, family) for task in TASKS for family in FAMILIES}


@pytest.mark.matrix
def test_every_family_on_the_packaged_model(run: Any) -> None:
    rows = run(grid([TASK_OF_ALL_FAMILIES], "smollm2-135m", list(FAMILIES), items=16), verify=True)
    check(rows)
    assert {row["family"] for row in rows if row["status"] == "ok"} == set(FAMILIES)
