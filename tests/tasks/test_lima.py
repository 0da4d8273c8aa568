"""Task `lima`: the first turn of held-out conversations."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.metrics import METRICS
from pipeline.tasks.lima import Lima


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "conversations": [f"How do I do thing {n}?", f"First:\n\n  x = {n}\n\nThen rest.<|im_end|>", "And now?"],
            "source": "stackexchange",
        }
        for n in range(count)
    ]


def test_splits(local_hub: Any, check_task: Any) -> None:
    local_hub.json_lines("GAIR/lima/train.jsonl", rows(50))
    task = Lima()
    assert task.version != 1
    check_task(task, {"train": 32, "validation": 8, "test": 10})
    assert all("\n\n  x = " in item.target for item in task.split("train"))  # the answer keeps its form


def test_published_counts(local_hub: Any) -> None:
    local_hub.json_lines("GAIR/lima/train.jsonl", rows(1030))
    task = Lima()
    assert task.version == 1
    assert [len(task.split(name)) for name in ("train", "validation", "test")] == [730, 100, 200]


def test_a_prompt_is_in_one_split_only(local_hub: Any, check_task: Any) -> None:
    """Every prompt is there three times."""
    local_hub.json_lines("GAIR/lima/train.jsonl", 3 * rows(50))
    check_task(Lima(), {"train": 96, "validation": 24, "test": 30})


def test_score(local_hub: Any) -> None:
    local_hub.json_lines("GAIR/lima/train.jsonl", rows(50))
    task = Lima()
    item = task.split("test")[0]
    right, near, wrong = (
        float(METRICS["chrf++"].per_item([task.score(output, item)["chrf++"]])[0])
        for output in (f"{item.target}\n<|im_end|>\n<|im_start|>user\nmore", item.target[:-8], "No.")
    )
    assert right == pytest.approx(100) and 100 > near > 60 and wrong < 20


def test_a_prompt_without_an_answer(local_hub: Any) -> None:
    """The published test file has such rows."""
    local_hub.json_lines("GAIR/lima/train.jsonl", [{"conversations": ["How?"], "source": "x"}])
    with pytest.raises(UserError, match="a row has no answer"):
        Lima().split("train")
