"""The lock of a grid, `jobs/NAME.lock` beside `jobs/NAME.yaml`: which models and data its names stand for.

It holds only what was read, from the hub or from files: `tcx prefetch` writes it, and it is kept with the grid. Where a
grid has one, its hub models and hub data are those commits and no others, on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.cell import canonical_json
from pipeline.errors import GridError, UserError, unknown_name
from pipeline.hub import DATASETS
from pipeline.models.spec import COMMIT
from pipeline.yaml_values import Document, Place, dumped, is_whole, shown

LOCK_FORMAT = 1
HEADER = """\
# What the names of the grid stand for, as `tcx prefetch` found it. Keep it with the grid, and do not edit it:
# `tcx prefetch GRID --update` writes it anew.
"""
KEYS = ("format", "models", "tasks")
SHA256_DIGITS = 64

Entry = TypeVar("Entry")


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedModel:
    """A base model of the grid.

    Attributes:
        identity: digest of its staged folder.
        parameters: number of its weights.
        repo: its repository, None for a model that is not on the hub.
        revision: the revision that the grid asks for, None for the current one.
        commit: what that revision was.
    """

    identity: str
    parameters: int
    repo: str | None = None
    revision: str | None = None
    commit: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedTask:
    """A task of the grid.

    Attributes:
        version: its version.
        items_sha256: digest of the items of its three splits.
        train_items: how many it has to train on, None in a lock that was written before this was counted.
        hub: data repository -> commit, of all that it read.
    """

    version: int
    items_sha256: str
    train_items: int | None = None
    hub: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """The lock of a grid.

    Attributes:
        models: by the label in the grid.
        tasks: by name.
    """

    models: Mapping[str, LockedModel]
    tasks: Mapping[str, LockedTask]

    @property
    def sha256(self) -> str:
        """Digest of the content: comments and layout do not count."""
        return hashlib.sha256(canonical_json(self.to_json()).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary, sorted, without what is not known."""
        models = {label: _known(asdict(model)) for label, model in sorted(self.models.items())}
        tasks = {name: _known(asdict(task)) for name, task in sorted(self.tasks.items())}
        return {"format": LOCK_FORMAT, "models": models, "tasks": tasks}

    def text(self) -> str:
        """The file."""
        return HEADER + dumped(self.to_json())

    def hub_commits(self, task: str, model: str) -> dict[str, str]:
        """All that a cell reads from the hub: repository -> commit, data repositories with `datasets/` before."""
        commits = {f"{DATASETS}{repo}": commit for repo, commit in self.data_commits(task).items()}
        entry = self.models.get(model)
        if entry is not None and entry.repo is not None and entry.commit is not None:
            commits[entry.repo] = entry.commit
        return commits

    def data_commits(self, task: str) -> Mapping[str, str]:
        """Data repository -> commit, of a task."""
        return self.tasks[task].hub if task in self.tasks else {}

    def items_sha256(self, task: str, version: int) -> str | None:
        """Digest of the items of a task, None where the lock was not made with this version of it."""
        entry = self.tasks.get(task)
        return entry.items_sha256 if entry is not None and entry.version == version else None


def lock_path(grid_path: Path) -> Path:
    """Where the lock of a grid is, or would be."""
    return grid_path.with_suffix(".lock")


def read_lock(path: Path) -> Lock | None:
    """Reads a lock, None where there is none.

    Raises:
        GridError: every mistake of the file, in one message.
        UserError: the file cannot be read at all.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the lock {path}: {error}") from error
    document = Document(str(path), text)
    lock = _Reader(document).lock()
    if document.mistakes:
        *others, last = document.mistakes
        remedy = "  `tcx prefetch GRID` writes this file: restore it from your version control, or delete it."
        raise GridError(str(path), [*others, f"{last}\n{remedy}"])
    return lock


class _Reader:
    """Makes the lock of one document; notes in the document what is wrong with it."""

    def __init__(self, document: Document) -> None:
        self.wrong = document.wrong
        self.content = document.content

    def lock(self) -> Lock:
        nothing = Lock(models={}, tasks={})
        if not isinstance(self.content, dict):
            self.wrong((), f"a lock is a mapping with the keys {', '.join(KEYS)}; {shown(self.content)} given")
            return nothing
        found = self.content.get("format")
        if found != LOCK_FORMAT:
            self.wrong(("format",), f"'format' must be {LOCK_FORMAT}, which this version reads; {shown(found)} given")
            return nothing
        self._only((), self.content, "key", KEYS)
        return Lock(models=self._entries("models", self._model), tasks=self._entries("tasks", self._task))

    def _entries(self, key: str, read: Callable[[Place, dict[str, Any]], Entry]) -> dict[str, Entry]:
        items = self._mapping((key,), (self.content or {}).get(key, {}))
        mappings = {name: self._mapping((key, name), item) for name, item in items.items()}
        return {name: read((key, name), content) for name, content in mappings.items() if content}

    def _model(self, place: Place, content: dict[str, Any]) -> LockedModel:
        self._only(place, content, f"key of {place[-1]!r}", tuple(LockedModel.__dataclass_fields__))
        repo, revision, commit = (content.get(name) for name in ("repo", "revision", "commit"))
        if (repo is None) != (commit is None):
            self.wrong(place, f"{place[-1]!r} needs both of 'repo' and 'commit', or neither")
        for name, value in (("repo", repo), ("revision", revision)):
            if value is not None and not isinstance(value, str):
                self.wrong((*place, name), f"{name!r} of {place[-1]!r} must be text; {shown(value)} given")
        return LockedModel(
            identity=self._digits(place, content, "identity", SHA256_DIGITS),
            parameters=self._whole(place, content, "parameters"),
            repo=repo,
            revision=revision,
            commit=None if commit is None else self._commit((*place, "commit"), commit),
        )

    def _task(self, place: Place, content: dict[str, Any]) -> LockedTask:
        self._only(place, content, f"key of {place[-1]!r}", tuple(LockedTask.__dataclass_fields__))
        hub = self._mapping((*place, "hub"), content.get("hub", {}))
        return LockedTask(
            version=self._whole(place, content, "version"),
            items_sha256=self._digits(place, content, "items_sha256", SHA256_DIGITS),
            train_items=self._whole(place, content, "train_items") if "train_items" in content else None,
            hub={repo: self._commit((*place, "hub", repo), commit) for repo, commit in hub.items()},
        )

    def _only(self, place: Place, content: Mapping[str, Any], kind: str, known: tuple[str, ...]) -> None:
        for key in content:
            if key not in known:
                self.wrong((*place, key), unknown_name(kind, key, known))

    def _mapping(self, place: Place, value: Any) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self.wrong(place, f"{place[-1]!r} must be a mapping; {shown(value)} given")
        return {}

    def _whole(self, place: Place, content: Mapping[str, Any], key: str) -> int:
        value: Any = content.get(key)
        if is_whole(value) and value >= 0:
            return int(value)
        self.wrong((*place, key), f"{key!r} of {place[-1]!r} must be a whole number; {shown(value)} given")
        return 0

    def _digits(self, place: Place, content: Mapping[str, Any], key: str, count: int) -> str:
        value = content.get(key)
        if isinstance(value, str) and len(value) == count and not value.strip("0123456789abcdef"):
            return value
        self.wrong((*place, key), f"{key!r} of {place[-1]!r} must be {count} hexadecimal digits; {shown(value)} given")
        return ""

    def _commit(self, place: Place, value: Any) -> str:
        if isinstance(value, str) and COMMIT.fullmatch(value):
            return value
        self.wrong(place, f"a commit must be 40 hexadecimal digits, not a branch or tag; {shown(value)} given")
        return ""


def _known(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in sorted(content.items()) if value not in (None, {})}
