"""OpenThoughts: mathematics whose answers are numbers (hub `open-thoughts/OpenThoughts-114k`, `metadata`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from pipeline.protocols import Example, Split, Task
from pipeline.tasks.answers import exact_value, final_answer
from pipeline.tasks.hub_task import HubTask, Rows, Source
from pipeline.tasks.rows import Layout, Row
from pipeline.tasks.scorers import accuracy_statistics
from pipeline.tasks.splits import carve, normalised, without_empty_lines

TEST_SIZE = 500
VALIDATION_SIZE = 500
MAX_CHARACTERS = 2500
"""Longer solutions are left out, in all splits alike: they would not fit into the tokens of an answer."""

_BOX = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")


class OpenThoughts(HubTask):
    """Task `openthoughts`: a solution that ends in the answer, a number in a LaTeX box."""

    name = "openthoughts"
    plain_version = 3
    metrics: tuple[str, ...] = ("accuracy",)
    template = "Problem: {problem}\nSolution:"
    stop = "\n\n"
    max_new_tokens = 1024
    copy_field = "problem"
    instruction = "Solve the problem step by step, then write the final number as \\boxed{number}.\n"
    licence = "Apache-2.0"
    sources: ClassVar[Mapping[str, Source]] = {
        "train": Source(
            repo="open-thoughts/OpenThoughts-114k",
            layouts=(
                Layout(
                    pattern="metadata/train-*.parquet",
                    columns={
                        "problem": "problem",
                        "solution": "deepseek_solution",
                        "reference": "ground_truth_solution",
                        "domain": "domain",
                    },
                ),
            ),
            num_rows=113_957,
        )
    }

    def make_splits(self, rows: Rows) -> Mapping[Split, Sequence[Example]]:
        """500 test and 500 validation problems, the others to train on; no problem is in two splits."""
        test, rest = carve(_examples(rows["train"]), _problem, "openthoughts-test", TEST_SIZE)
        validation, train = carve(rest, _problem, "openthoughts-validation", VALIDATION_SIZE)
        return {"train": train, "validation": validation, "test": test}

    def score(self, output: str, example: Example) -> Mapping[str, Sequence[float]]:
        """One if the answer of the output has the value of the target's."""
        answer = final_answer(output.partition("\nProblem:")[0])
        return {"accuracy": accuracy_statistics(answer is not None and answer == final_answer(example.target))}


def _examples(rows: Iterable[Row]) -> Iterator[Example]:
    """The problems of mathematics whose two solutions come to one number."""
    for row in rows:
        boxes = _BOX.findall(row["reference"] or "")
        value = exact_value(boxes[-1]) if boxes and row["domain"] == "math" else None
        if value is None or len(row["solution"] or "") > MAX_CHARACTERS:
            continue
        example = Example(
            input={"problem": without_empty_lines(row["problem"])}, target=without_empty_lines(row["solution"] or "")
        )
        if _BOX.search(example.target) and final_answer(example.target) == value:
            yield example


def _problem(example: Example) -> str:
    return normalised(example.input["problem"])


TASK: Task = OpenThoughts()
