"""PIQA: which of two ways reaches an everyday goal (hub `ybisk/piqa`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pipeline.errors import UserError
from pipeline.protocols import Example, Split, Task
from pipeline.tasks.choices import chosen_letter
from pipeline.tasks.hub_task import HubTask, Rows, Source
from pipeline.tasks.rows import Layout, Row
from pipeline.tasks.scorers import accuracy_statistics
from pipeline.tasks.splits import carve, example_text, fair_order, normalised, one_line, without_shared

LETTERS = "AB"
VALIDATION_SIZE = 1000


def _source(split: str, num_rows: int) -> Source:
    columns = {"goal": "goal", "sol1": "sol1", "sol2": "sol2", "label": "label"}
    return Source(
        repo="ybisk/piqa",
        layouts=(Layout(pattern=f"plain_text/{split}/*.parquet", columns=columns),),
        num_rows=num_rows,
        # The main branch holds a loading script, the hub's own conversion the data.
        revision="refs/convert/parquet",
    )


class Piqa(HubTask):
    """Task `piqa`: the letter of the better of two ways.

    The published test rows have no labels, so that the published validation rows are the test here.
    """

    name = "piqa"
    plain_version = 3
    metrics: tuple[str, ...] = ("accuracy",)
    template = "Goal: {goal}\nA. {a}\nB. {b}\nAnswer:"
    stop = "\n"
    max_new_tokens = 16
    copy_field = "goal"
    instruction = "Choose the option that reaches the goal and answer with its letter.\n"
    licence = "see the data card of ybisk/piqa"
    sources: ClassVar[Mapping[str, Source]] = {"train": _source("train", 16_113), "test": _source("validation", 1838)}

    def make_splits(self, rows: Rows) -> Mapping[Split, Sequence[Example]]:
        """1,838 test items; whole goals of 1,000 train items as validation; no goal is in two splits."""
        test = [_example(row) for row in rows["test"]]
        rest = without_shared([_example(row) for row in rows["train"]], _goal, test)
        validation, train = carve(rest, _goal, self.name, VALIDATION_SIZE)
        return {"train": train, "validation": validation, "test": fair_order(test, example_text, self.name)}

    def score(self, output: str, example: Example) -> Mapping[str, Sequence[float]]:
        """One if the chosen option is the target."""
        options = {letter: example.input[letter.lower()] for letter in LETTERS}
        return {"accuracy": accuracy_statistics(chosen_letter(output, options) == example.target)}


def _example(row: Row) -> Example:
    if row["label"] not in (0, 1):
        raise UserError(f"piqa: a row has the label {row['label']!r}; 0 and 1 are expected")
    fields = {"goal": one_line(row["goal"]), "a": one_line(row["sol1"]), "b": one_line(row["sol2"])}
    return Example(input=fields, target=LETTERS[row["label"]])


def _goal(example: Example) -> str:
    return normalised(example.input["goal"])


TASK: Task = Piqa()
