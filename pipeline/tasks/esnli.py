"""e-SNLI: whether a sentence follows from another one, with an explanation first (hub `esnli/esnli`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pipeline.errors import UserError
from pipeline.linked_files import LinkedFile
from pipeline.protocols import Example, Split, Task
from pipeline.tasks.hub_task import HubTask, Rows, Source
from pipeline.tasks.rows import Layout, Row
from pipeline.tasks.scorers import accuracy_statistics, first_line
from pipeline.tasks.splits import example_text, fair_order, normalised, one_line, without_shared

ADDRESS = "https://raw.githubusercontent.com/OanaMariaCamburu/e-SNLI/master/dataset"
LABELS = ("entailment", "neutral", "contradiction")
"""In the order of their numbers."""

_STATED = re.compile(rf"\banswer\s+is\b[\s:*\"'`]*({'|'.join(LABELS)})\b", re.IGNORECASE)
_LABEL = re.compile(rf"\b({'|'.join(LABELS)})\b", re.IGNORECASE)


def _source(split: str, stem: str, parts: Sequence[str], num_rows: int) -> Source:
    table = {"premise": "premise", "hypothesis": "hypothesis", "label": "label", "explanation": "explanation_1"}
    sheet = {
        "premise": "Sentence1",
        "hypothesis": "Sentence2",
        "label": "gold_label",
        "explanation": "Explanation_1",
    }
    return Source(
        repo="esnli/esnli",
        layouts=(
            Layout(pattern=f"{stem}*.csv", columns=sheet),
            Layout(pattern=f"plain_text/{split}/*.parquet", columns=table),
        ),
        num_rows=num_rows,
        linked=tuple(LinkedFile(name=f"{stem}{part}.csv", address=f"{ADDRESS}/{stem}{part}.csv") for part in parts),
    )


class Esnli(HubTask):
    """Task `esnli`: an explanation, then `So the answer is` and entailment, neutral or contradiction."""

    name = "esnli"
    plain_version = 2
    metrics: tuple[str, ...] = ("accuracy",)
    template = "Premise: {premise}\nHypothesis: {hypothesis}\nAnswer:"
    stop = "\n"
    max_new_tokens = 128
    copy_field = "hypothesis"
    instruction = (
        "Explain whether the hypothesis follows from the premise, then say: So the answer is entailment, neutral or "
        "contradiction.\n"
    )
    licence = "see the data card of esnli/esnli"
    sources: ClassVar[Mapping[str, Source]] = {
        "train": _source("train", "esnli_train", ("_1", "_2"), 549_367),
        "validation": _source("validation", "esnli_dev", ("",), 9842),
        "test": _source("test", "esnli_test", ("",), 9824),
    }

    def make_splits(self, rows: Rows) -> Mapping[Split, Sequence[Example]]:
        """The splits of the publication; train rows without an explanation, or with a scored pair, are left out."""
        test = [_example(row) for row in rows["test"]]
        validation = without_shared([_example(row) for row in rows["validation"]], _pair, test)
        explained = [_example(row) for row in rows["train"] if (row["explanation"] or "").strip()]
        train = without_shared(explained, _pair, [*validation, *test])
        return {
            "train": fair_order(train, example_text, self.name),
            "validation": fair_order(validation, example_text, self.name),
            "test": fair_order(test, example_text, self.name),
        }

    def score(self, output: str, example: Example) -> Mapping[str, Sequence[float]]:
        """One if the stated label is the target's."""
        # An explanation may state an answer of its own; the label is the last word.
        return {"accuracy": accuracy_statistics(stated_label(output) == _LABEL.findall(example.target)[-1].lower())}


def stated_label(output: str) -> str | None:
    """The label after the first `answer is`, else the only label that the first line names, else None."""
    stated = _STATED.search(output)
    if stated is not None:
        return stated[1].lower()
    named = {label.lower() for label in _LABEL.findall(first_line(output))}
    return named.pop() if len(named) == 1 else None


def _example(row: Row) -> Example:
    explanation = one_line(row["explanation"] or "")
    if explanation and explanation[-1] not in ".!?":
        explanation += "."
    return Example(
        input={"premise": one_line(row["premise"]), "hypothesis": one_line(row["hypothesis"])},
        target=f"{explanation} So the answer is {_label(row['label'])}.".strip(),
    )


def _label(value: object) -> str:
    """A label by its name or by its number."""
    text = str(value).strip().lower()
    label = LABELS[int(text)] if text in ("0", "1", "2") else text
    if label not in LABELS:
        raise UserError(f"esnli: a row has the label {value!r}; allowed: {', '.join(LABELS)}, or 0, 1, 2")
    return label


def _pair(example: Example) -> str:
    return f"{normalised(example.input['premise'])}\n{normalised(example.input['hypothesis'])}"


TASK: Task = Esnli()
