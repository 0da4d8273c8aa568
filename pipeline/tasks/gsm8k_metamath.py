"""GSM8K, trained on MetaMathQA: questions of GSM8K and MATH, rephrased and solved anew (hub `meta-math/MetaMathQA`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pipeline.errors import UserError
from pipeline.protocols import Example, Split, Task
from pipeline.tasks.gsm8k import REPO, Gsm8k, in_order, question, validation_and_train, worked_example
from pipeline.tasks.hub_task import Rows, Source
from pipeline.tasks.rows import Layout, Row
from pipeline.tasks.splits import example_text, fair_order, normalised, without_empty_lines

METAMATH = Source(
    repo="meta-math/MetaMathQA",
    layouts=(
        Layout(
            pattern="MetaMathQA-395K.json",
            columns={"query": "query", "response": "response", "original_question": "original_question"},
        ),
    ),
    num_rows=395_000,
)


class Gsm8kMetamath(Gsm8k):
    """Task `gsm8k-metamath`: the validation and test items of `gsm8k`, and MetaMathQA to train on.

    MetaMathQA was made from the train questions of GSM8K and MATH. Every row that comes from a validation or test
    question is left out, whatever it made of that question.
    """

    name = "gsm8k-metamath"
    plain_version = 3
    max_new_tokens = 500
    licence = "MIT (MetaMathQA, GSM8K)"
    sources: ClassVar[Mapping[str, Source]] = {"metamath": METAMATH, **Gsm8k.sources}

    def make_splits(self, rows: Rows) -> Mapping[Split, Sequence[Example]]:
        """MetaMathQA without descendants of scored questions; 500 train questions of GSM8K; its 1,319 test items."""
        validation, _ = validation_and_train(rows["train"])
        test = in_order(map(worked_example, rows["test"]))
        scored = {question(example) for example in (*validation, *test)}
        _check_origins(rows["metamath"], validation)
        train = [
            Example(input={"question": without_empty_lines(row["query"])}, target=without_empty_lines(row["response"]))
            for row in rows["metamath"]
            if not {normalised(row["original_question"]), normalised(row["query"])} & scored
        ]
        return {"train": fair_order(train, example_text, self.name), "validation": validation, "test": test}


def _check_origins(rows: Sequence[Row], validation: Sequence[Example]) -> None:
    """All of MetaMathQA was made of all train questions: where they are not found in it, nothing was left out.

    Raises:
        UserError: most validation questions are no `original_question` of the published rows.
    """
    origins = {normalised(row["original_question"]) for row in rows}
    found = sum(question(example) in origins for example in validation)
    if len(rows) == METAMATH.num_rows and 2 * found < len(validation):
        raise UserError(
            f"gsm8k-metamath: only {found} of {len(validation)} validation questions are an original_question of "
            f"{METAMATH.repo}, so that rows which come from them cannot be told and left out; the column, or {REPO}, "
            "is not what it was"
        )


TASK: Task = Gsm8kMetamath()
