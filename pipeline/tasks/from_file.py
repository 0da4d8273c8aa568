"""A task of the user's own: a YAML file and data files, no Python."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from pipeline.cell import canonical_json
from pipeline.errors import GridError, UserError, unknown_name
from pipeline.files import can_be_written
from pipeline.protocols import SPLITS, Example, Split, Task
from pipeline.tasks.answers import final_answer
from pipeline.tasks.rows import file_rows
from pipeline.tasks.scorers import (
    accuracy_statistics,
    bleu_statistics,
    chrf_statistics,
    contains_text,
    same_text,
)
from pipeline.tasks.splits import fair_order
from pipeline.yaml_values import Document, is_whole, shown

FORMAT = 4
"""Raise it when the score of the same file could change: it is part of the version of every such task."""

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
"""It names files, too."""
MOST_NEW_TOKENS = 1_000_000
"""More than the contexts of base models hold."""
REQUIRED = (*("name", "template", "target", *SPLITS), "metrics", "max_new_tokens", "instruction", "licence")
OPTIONAL = ("scorer", "stop", "copy_field")


def _same_number(answer: str, target: str) -> bool:
    value = final_answer(answer)
    return value is not None and value == final_answer(target)


SCORERS: Mapping[str, Callable[[str, str], bool]] = {
    "exact": same_text,
    "number": _same_number,
    "contains": contains_text,
}
"""Ways to tell whether an answer is right, for the metric `accuracy`."""

TEXT_METRICS: Mapping[str, Callable[[str, str], list[float]]] = {"bleu": bleu_statistics, "chrf++": chrf_statistics}
"""Metrics that compare an answer with the target as texts."""
METRIC_NAMES = ("accuracy", *TEXT_METRICS)


@dataclass(frozen=True, kw_only=True)
class FileTask:
    """A task read from a YAML file; see `read_task`. Attributes as in `pipeline.protocols.Task`."""

    name: str
    version: int
    metrics: tuple[str, ...]
    template: str
    stop: str
    max_new_tokens: int
    copy_field: str
    instruction: str
    licence: str
    scorer: str | None
    examples: Mapping[Split, tuple[Example, ...]]

    def split(self, name: Split) -> Sequence[Example]:
        """All items of a split."""
        return self.examples[name]

    def score(self, output: str, example: Example) -> Mapping[str, Sequence[float]]:
        """Statistics of the text before the first stop text, without blanks around it."""
        answer = output.strip().partition(self.stop)[0].strip()
        statistics: dict[str, Sequence[float]] = {}
        for metric in self.metrics:
            if metric == "accuracy" and self.scorer is not None:
                statistics[metric] = accuracy_statistics(SCORERS[self.scorer](answer, example.target))
            else:
                statistics[metric] = TEXT_METRICS[metric](answer, example.target)
        return statistics


def read_task(path: str | Path, taken: Collection[str] = ()) -> Task:
    """The task that a YAML file describes.

    The version of the task is a digest (32 bits) of everything in the file but its name and licence, and of all items:
    whoever edits an item or the template gets new cells, whoever renames a data file or adds a comment does not.

    Args:
        path: YAML file; the data files that it names (JSON lines or Parquet) are relative to its folder.
        taken: names that belong to other tasks.

    Raises:
        UserError: every mistake of the file and its data, in one message.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the task file {path} cannot be read: {error}") from error
    document = Document(str(path), text)
    if not isinstance(document.content, dict):
        raise UserError(f"the task file {path} holds no keys; it needs {', '.join(REQUIRED)}")
    return _Reader(path.parent, document, taken).task()


class _Reader:
    """Reads one file and goes on after a mistake, to find the others."""

    def __init__(self, folder: Path, document: Document, taken: Collection[str]) -> None:
        self.folder = folder
        self.taken = taken
        self.document = document
        self.content: Mapping[str, Any] = document.content or {}

    def wrong(self, key: str, mistake: str) -> None:
        self.document.wrong((key,), f"{key}: {mistake}")

    def task(self) -> Task:
        known = (*REQUIRED, *OPTIONAL)
        for key in self.content.keys() - set(known):
            self.document.wrong((key,), unknown_name("key", key, known))
        missing = [key for key in REQUIRED if key not in self.content]
        if missing:
            self.document.wrong((), f"missing: {', '.join(missing)}")

        name = self._name()
        template = self._text("template")
        stop = self._text("stop", default="\n")
        target = self._text("target")
        fields = self._template_fields(template, target, stop)
        metrics = self._metrics()
        scorer = self._scorer(metrics)
        max_new_tokens = self._max_new_tokens()
        copy_field = self._text("copy_field", default=fields[0] if fields else "")
        if fields and copy_field and copy_field not in fields:
            self.wrong("copy_field", unknown_name("field", copy_field, fields))
        instruction = self._text("instruction").rstrip() + "\n"
        licence = self._text("licence")
        examples = {split: self._examples(split, fields, target) for split in SPLITS}
        self._check_items(examples, stop, scorer)
        if self.document.mistakes:
            raise GridError(self.document.path, self.document.mistakes)

        settings: dict[str, Any] = {
            "metrics": metrics,
            "template": template,
            "stop": stop,
            "max_new_tokens": max_new_tokens,
            "copy_field": copy_field,
            "instruction": instruction,
            "scorer": scorer,
        }
        items = {split: [[dict(item.input), item.target] for item in examples[split]] for split in SPLITS}
        digest = hashlib.sha256(canonical_json([FORMAT, settings, items]).encode()).hexdigest()
        task = FileTask(
            name=name,
            version=int(digest[:8], 16),
            licence=licence,
            examples=MappingProxyType({split: tuple(items) for split, items in examples.items()}),
            **settings,
        )
        return cast(Task, task)

    def _text(self, key: str, default: str = "") -> str:
        """A text that must not be empty; the default also stands in for a mistake."""
        value = self.content.get(key, default)
        if key in self.content and (not isinstance(value, str) or not value):
            self.wrong(key, f"text is wanted; {shown(value)} given")
            return default
        return str(value)

    def _name(self) -> str:
        name = self._text("name")
        if name and not NAME.fullmatch(name):
            self.wrong("name", f"{name!r} may hold only small letters, digits, - and _, at most 100")
        if name in self.taken:
            self.wrong("name", f"{name!r} is the name of a packaged task")
        return name

    def _template_fields(self, template: str, target: str, stop: str) -> list[str]:
        if not template:
            return []
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            self.wrong("template", str(error))
            return []
        fields = list(dict.fromkeys(name for _, name, _, _ in parts if name is not None))
        odd = [name for name in fields if not name.isidentifier()]
        if odd or any(spec or conversion for _, _, spec, conversion in parts):
            self.wrong("template", "fields are plain names of columns in braces, such as {question}")
            return []
        if not fields:
            self.wrong("template", "it holds no field such as {question}")
        elif not parts[0][0].strip(" "):
            self.wrong("template", "it must start with literal text, such as 'Question: '")
        elif parts[0][1] is None:
            self.wrong("template", "before its first field it may hold no doubled braces")
        elif stop in parts[0][0]:
            self.wrong("template", f"before its first field it may not hold the stop text {stop!r}")
        if target in fields:
            self.wrong("template", f"it gives away the target column {target!r}")
        return fields

    def _metrics(self) -> tuple[str, ...]:
        value = self.content.get("metrics", [])
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or ("metrics" in self.content and not names):
            self.wrong("metrics", f"a name or a list of names is wanted; {shown(value)} given")
            return ()
        names = list(dict.fromkeys(str(name) for name in names))
        for name in names:
            if name not in METRIC_NAMES:
                self.wrong("metrics", unknown_name("metric", name, METRIC_NAMES))
        return tuple(name for name in names if name in METRIC_NAMES)

    def _scorer(self, metrics: Sequence[str]) -> str | None:
        scorer = str(self.content["scorer"]) if "scorer" in self.content else None
        if scorer is not None and scorer not in SCORERS:
            self.wrong("scorer", unknown_name("scorer", scorer, SCORERS))
        elif scorer is None and "accuracy" in metrics:
            self.wrong("scorer", f"the metric accuracy needs one of {', '.join(SCORERS)}")
        elif scorer is not None and metrics and "accuracy" not in metrics:
            self.wrong("scorer", "only the metric accuracy has one")
        return scorer

    def _max_new_tokens(self) -> int:
        value = self.content.get("max_new_tokens", 1)
        if not is_whole(value) or not 1 <= value <= MOST_NEW_TOKENS:
            self.wrong(
                "max_new_tokens", f"a whole number from 1 to {MOST_NEW_TOKENS:,} is wanted; {shown(value)} given"
            )
            return 1
        return int(value)

    def _examples(self, split: Split, fields: Sequence[str], target: str) -> list[Example]:
        name = self._text(split)
        if not name or not fields or not target:
            return []
        try:
            rows = _rows(self.folder / name)
        except (OSError, ValueError) as error:
            self.wrong(split, str(error))
            return []
        if not rows:
            self.wrong(split, f"{name} holds no rows")
        columns = list(dict.fromkeys([*fields, target]))
        for column in columns:
            absent = next((number for number, row in enumerate(rows, start=1) if not _is_value(row.get(column))), None)
            if absent is not None:
                self.wrong(
                    split,
                    f"row {absent} of {name} has no text or whole number in the column {column!r}; "
                    f"its columns: {', '.join(rows[absent - 1])}",
                )
                rows = []
            elif halved := next(
                (number for number, row in enumerate(rows, start=1) if not can_be_written(str(row[column]))), None
            ):
                self.wrong(split, f"row {halved} of {name} has half of a character (a lone surrogate) in {column!r}")
                rows = []
        examples = (
            Example(input={field: str(row[field]) for field in fields}, target=str(row[target])) for row in rows
        )
        return fair_order(examples, _identity, "file")

    def _check_items(self, examples: Mapping[Split, Sequence[Example]], stop: str, scorer: str | None) -> None:
        for example in examples["train"]:
            found = [text for text in (*example.input.values(), example.target) if stop in text]
            if found:
                self.wrong("stop", f"{stop!r} occurs in the train item {found[0][:80]!r}; choose another")
                break
        # What stands before it is compared as a whole; `number` wants a number there, other metrics count parts.
        scored: tuple[Split, ...] = () if scorer in (None, "number") else ("validation", "test")
        for split in scored:
            found = [example.target for example in examples[split] if stop in example.target.strip()]
            if found:
                self.wrong("stop", f"{stop!r} occurs in the {split} target {found[0][:80]!r}, which no answer can give")
        if scorer == "number":
            for split, items in examples.items():
                wordy = [item.target for item in items if final_answer(item.target) is None]
                if wordy:
                    self.wrong(split, f"the scorer number finds no number in the target {wordy[0][:80]!r}")
        seen: dict[str, Split] = {}
        for split in ("test", "validation", "train"):
            inputs = {canonical_json(dict(example.input)) for example in examples[split]}
            shared = [text for text in inputs if text in seen]
            if shared:
                others = " and ".join(sorted({seen[text] for text in shared}))
                self.wrong(split, f"{len(shared)} inputs also occur in {others}, such as {min(shared)[:80]}")
            seen |= dict.fromkeys(inputs, split)


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix not in (".jsonl", ".ndjson", ".parquet"):
        raise ValueError(f"{path.name} is neither .jsonl (JSON lines) nor .parquet")
    return list(file_rows(path))


def _is_value(value: object) -> bool:
    return (isinstance(value, str) and bool(value.strip())) or (isinstance(value, int) and not isinstance(value, bool))


def _identity(example: Example) -> str:
    return canonical_json([dict(example.input), example.target])
