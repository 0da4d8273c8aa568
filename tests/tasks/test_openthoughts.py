"""Task `openthoughts`: mathematics with a number as its answer, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.protocols import SPLITS, Example
from pipeline.tasks.openthoughts import MAX_CHARACTERS, OpenThoughts


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "problem": f"Find\n\nthe half of {number}.",
        "deepseek_reasoning": "unused " * 100,
        "deepseek_solution": f"We halve {number}.\n\n**Answer** $\\boxed{{\\dfrac{{{number}}}{{2}}}}$",
        "ground_truth_solution": f"It is $\\boxed{{{number / 2}}}$.",
        "domain": "math",
        "source": "numina",
    } | changes


def write(local_hub: Any, rows: list[dict[str, Any]]) -> OpenThoughts:
    half = len(rows) // 2
    local_hub.parquet("open-thoughts/OpenThoughts-114k/metadata/train-00000-of-00002.parquet", rows[:half])
    local_hub.parquet("open-thoughts/OpenThoughts-114k/metadata/train-00001-of-00002.parquet", rows[half:])
    return OpenThoughts()


def test_splits(local_hub: Any, check_task: Any) -> None:
    task = write(local_hub, [row(number) for number in range(1, 51)])
    assert task.version != 1
    check_task(task, {"train": 32, "validation": 8, "test": 10})


def test_problems_are_in_one_split_only(local_hub: Any, check_task: Any) -> None:
    repeated = [row(n, deepseek_solution=f"Way {way}: \\boxed{{{n / 2}}}") for n in range(1, 51) for way in range(3)]
    check_task(write(local_hub, repeated), {"train": 96, "validation": 24, "test": 30})


@pytest.mark.parametrize(
    "changes",
    [
        {"domain": "code", "deepseek_solution": None, "ground_truth_solution": None},
        {"ground_truth_solution": r"\boxed{\sqrt{2}}"},
        {"ground_truth_solution": r"\boxed{A}"},
        {"ground_truth_solution": "It is 5."},
        {"ground_truth_solution": None},
        {"ground_truth_solution": r"\boxed{7}"},  # not what the solution comes to
        {"deepseek_solution": "It is 2.5, I think"},
        {"deepseek_solution": "x" * MAX_CHARACTERS + r"\boxed{2.5}"},
    ],
)
def test_what_is_left_out(local_hub: Any, changes: dict[str, Any]) -> None:
    kept = [row(number) for number in range(10, 60)]
    task = write(local_hub, [*kept, row(5, problem="left out", **changes)])
    problems = [item.input["problem"] for name in SPLITS for item in task.split(name)]
    assert len(problems) == 50 and "left out" not in problems


@pytest.mark.parametrize(
    ("output", "correct"),
    [
        (r"So \boxed{2.5}", 1),
        (r"So \boxed{\frac{5}{2}}.", 1),
        ("The answer is 5/2.", 1),
        (r"\boxed{2}", 0),
        ("Problem: 5", 0),
        ("It is 7\nProblem: the half of 5? 2.5", 0),
        ("", 0),
    ],
)
def test_score(output: str, correct: int) -> None:
    example = Example(input={"problem": ""}, target=r"We halve 5: $\boxed{\dfrac{5}{2}}$")
    assert OpenThoughts().score(output, example) == {"accuracy": [correct, 1]}
