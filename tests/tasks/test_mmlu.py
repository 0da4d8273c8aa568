"""Task `mmlu`: the splits of the publication without shared questions, and the chosen option."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.tasks.mmlu import Mmlu


def rows(split: str, count: int) -> list[dict[str, Any]]:
    return [
        {
            "question": f"A passage of {split}.\n\nWhat is {n} + 1?",
            "subject": "",
            "choices": [f" {n + offset} " for offset in (0, 1, 2, 3)],
            "answer": 1,
        }
        for n in range(count)
    ]


def write(local_hub: Any, train: list[dict[str, Any]]) -> Mmlu:
    for name, part in (("auxiliary_train", train), ("validation", rows("validation", 5)), ("test", rows("test", 8))):
        local_hub.parquet(f"cais/mmlu/all/{name}-00000-of-00001.parquet", part)
    return Mmlu()


def test_splits(local_hub: Any, check_task: Any) -> None:
    task = write(local_hub, rows("train", 20))
    assert task.version != 1
    check_task(task, {"train": 20, "validation": 5, "test": 8})
    item = next(item for item in task.split("train") if item.input["a"] == "7")
    assert item.input == {"question": "A passage of train.\nWhat is 7 + 1?", "a": "7", "b": "8", "c": "9", "d": "10"}
    assert item.target == "B"
    assert task.template.format(**item.input).endswith("What is 7 + 1?\nA. 7\nB. 8\nC. 9\nD. 10\nAnswer:")


def test_shared_questions_are_left_out(local_hub: Any, check_task: Any) -> None:
    check_task(write(local_hub, [*rows("train", 20), *rows("test", 3)]), {"train": 20, "validation": 5, "test": 8})


def test_score(local_hub: Any) -> None:
    task = write(local_hub, rows("train", 20))
    item = task.split("test")[0]
    for output, correct in (("B", 1), (" B. 8", 1), (item.input["b"], 1), ("A", 0), (item.input["c"], 0), ("", 0)):
        assert task.score(output, item) == {"accuracy": [correct, 1]}


def test_a_row_without_four_choices(local_hub: Any) -> None:
    train = [{**row, "choices": ["yes", "no"]} for row in rows("train", 2)]
    with pytest.raises(UserError, match="a row has 2 choices and the answer 1"):
        write(local_hub, train).split("train")
