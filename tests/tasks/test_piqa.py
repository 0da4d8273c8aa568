"""Task `piqa`: the test is the published validation split, the validation split whole goals of train."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.tasks.piqa import VALIDATION_SIZE, Piqa


def rows(split: str, goals: int, each: int = 1) -> list[dict[str, Any]]:
    return [
        {"goal": f"To {split} {goal},", "sol1": f"do  {goal} {n}.", "sol2": f"leave {goal}\n{n}.", "label": goal % 2}
        for goal in range(goals)
        for n in range(each)
    ]


def write(local_hub: Any, train: list[dict[str, Any]]) -> Piqa:
    local_hub.parquet("ybisk/piqa/plain_text/train/0000.parquet", train)
    local_hub.parquet("ybisk/piqa/plain_text/validation/0000.parquet", rows("test", 12))
    return Piqa()


def test_splits(local_hub: Any, check_task: Any) -> None:
    task = write(local_hub, rows("train", 50, each=2))
    assert task.version != 1
    check_task(task, {"train": 80, "validation": 20, "test": 12})
    goals = {name: {item.input["goal"] for item in task.split(name)} for name in ("train", "validation")}
    assert not goals["train"] & goals["validation"]
    assert len(goals["validation"]) == 10
    item = next(item for item in task.split("train") if item.target == "B")
    assert set(item.input) == {"goal", "a", "b"} and "\n" not in item.input["b"]


def test_published_counts(local_hub: Any) -> None:
    local_hub.parquet("ybisk/piqa/plain_text/train/0000.parquet", rows("train", 16_113))
    local_hub.parquet("ybisk/piqa/plain_text/validation/0000.parquet", rows("test", 1838))
    task = Piqa()
    assert task.version == 3
    assert [len(task.split(name)) for name in ("train", "validation", "test")] == [15_113, VALIDATION_SIZE, 1838]


def test_goals_of_the_test_are_left_out(local_hub: Any, check_task: Any) -> None:
    train = [*rows("train", 50), {"goal": "to TEST 3", "sol1": "x", "sol2": "y", "label": 0}]
    check_task(write(local_hub, train), {"train": 40, "validation": 10, "test": 12})


def test_score(local_hub: Any) -> None:
    task = write(local_hub, rows("train", 50))
    item = next(item for item in task.split("test") if item.target == "A")
    for output, correct in ((" A", 1), ("The answer is A.", 1), (item.input["a"], 1), ("B", 0), ("C", 0)):
        assert task.score(output, item) == {"accuracy": [correct, 1]}


def test_rows_without_labels(local_hub: Any) -> None:
    with pytest.raises(UserError, match="a row has the label -1"):
        write(local_hub, [{**row, "label": -1} for row in rows("train", 5)]).split("train")
