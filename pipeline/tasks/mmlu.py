"""MMLU: questions on 57 subjects with four options (hub `cais/mmlu`, configuration `all`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pipeline.errors import UserError
from pipeline.protocols import Example, Split, Task
from pipeline.tasks.choices import chosen_letter
from pipeline.tasks.hub_task import HubTask, Rows, Source
from pipeline.tasks.rows import Layout, Row
from pipeline.tasks.scorers import accuracy_statistics
from pipeline.tasks.splits import example_text, fair_order, normalised, without_empty_lines, without_shared

LETTERS = "ABCD"


def _source(split: str, num_rows: int) -> Source:
    columns = {"question": "question", "choices": "choices", "answer": "answer"}
    return Source(
        repo="cais/mmlu", layouts=(Layout(pattern=f"all/{split}-*.parquet", columns=columns),), num_rows=num_rows
    )


class Mmlu(HubTask):
    """Task `mmlu`: the letter of the right one of four options."""

    name = "mmlu"
    plain_version = 3
    metrics: tuple[str, ...] = ("accuracy",)
    template = "Question: {question}\nA. {a}\nB. {b}\nC. {c}\nD. {d}\nAnswer:"
    stop = "\n\n"
    max_new_tokens = 16
    copy_field = "question"
    instruction = "Choose the right option and answer with its letter.\n"
    licence = "MIT"
    sources: ClassVar[Mapping[str, Source]] = {
        "train": _source("auxiliary_train", 99_842),
        "validation": _source("validation", 1531),
        "test": _source("test", 14_042),
    }

    def make_splits(self, rows: Rows) -> Mapping[Split, Sequence[Example]]:
        """The splits of the publication, the auxiliary one to train on; no question is in two of them."""
        test = [_example(row) for row in rows["test"]]
        validation = without_shared([_example(row) for row in rows["validation"]], _question, test)
        train = without_shared([_example(row) for row in rows["train"]], _question, [*validation, *test])
        return {
            "train": fair_order(train, example_text, self.name),
            "validation": fair_order(validation, example_text, self.name),
            "test": fair_order(test, example_text, self.name),
        }

    def score(self, output: str, example: Example) -> Mapping[str, Sequence[float]]:
        """One if the chosen option is the target."""
        options = {letter: example.input[letter.lower()] for letter in LETTERS}
        return {"accuracy": accuracy_statistics(chosen_letter(output, options) == example.target)}


def _example(row: Row) -> Example:
    choices, answer = row["choices"], row["answer"]
    if len(choices) != len(LETTERS) or answer not in range(len(LETTERS)):
        raise UserError(f"mmlu: a row has {len(choices)} choices and the answer {answer!r}; 4 and 0 to 3 are expected")
    texts = {letter.lower(): without_empty_lines(choice) for letter, choice in zip(LETTERS, choices, strict=True)}
    return Example(input={"question": without_empty_lines(row["question"]), **texts}, target=LETTERS[answer])


def _question(example: Example) -> str:
    """Many a question is only told from others by its options, such as `Which of these is true?`."""
    return normalised(" ".join(example.input.values()))


TASK: Task = Mmlu()
