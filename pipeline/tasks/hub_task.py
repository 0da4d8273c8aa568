"""What tasks share whose rows come from the hub, or from a local copy of its repositories."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline import hub
from pipeline.cell import canonical_json
from pipeline.errors import UserError
from pipeline.linked_files import LinkedFile
from pipeline.protocols import SPLITS, Example, Split
from pipeline.tasks.rows import Layout, Row, read_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Rows of one split of a data repository.

    Attributes:
        repo: `ORG/NAME`.
        layouts: how the repository may hold the rows; the first one of which there are files counts.
        num_rows: how many rows were published, or are read of them.
        limit: how many rows are read at most, None for all.
        revision: branch or tag that is read where no lock gives the commit, None for the main one.
        linked: files that the loading script of the repository reads elsewhere; its layouts find them by name.
    """

    repo: str
    layouts: tuple[Layout, ...]
    num_rows: int
    limit: int | None = None
    revision: str | None = None
    linked: tuple[LinkedFile, ...] = ()


Rows = Mapping[str, Sequence[Row]]
"""Name of a source -> its rows."""


class HubTask(ABC):
    """Reads the sources of a task, once, and keeps the splits that the task makes of them.

    The plain version of a task stands for the published rows. A local copy with other numbers of rows is other data:
    its version is made from the rows, so that no cell is taken for one of the published data. Rows of the hub whose
    number is not the published one are refused, for the version was given before they were read.

    Attributes:
        name: name of the task in a grid.
        plain_version: changes when a score of the same program on the published rows could.
        sources: where its rows come from, by names of the task's own.
    """

    name: str
    plain_version: int
    sources: ClassVar[Mapping[str, Source]]

    def __init__(self) -> None:
        self._splits: dict[str, Mapping[Split, tuple[Example, ...]]] = {}
        self._versions: dict[str, int] = {}

    @property
    def version(self) -> int:
        """The plain one, else a digest (32 bits) of the rows of the local copy.

        Raises:
            UserError: the local copy cannot be read.
        """
        local = {name: source for name, source in self.sources.items() if hub.local_folder(source.repo)}
        if not local:
            return self.plain_version
        key = self._key()
        if key not in self._versions:
            rows = {name: self._read(source) for name, source in local.items()}
            is_published = all(len(rows[name]) == source.num_rows for name, source in local.items())
            self._versions[key] = self.plain_version if is_published else _digest(self.plain_version, rows)
        return self._versions[key]

    @property
    def hub_repos(self) -> tuple[str, ...]:
        """The data repositories."""
        return tuple(dict.fromkeys(source.repo for source in self.sources.values()))

    def split(self, name: Split) -> Sequence[Example]:
        """All items of a split.

        Raises:
            UserError: the rows are not there, or not those that the version stands for.
        """
        key = self._key()
        if key not in self._splits:
            rows = {name: self.rows(name) for name in self.sources}
            try:
                splits = {split: tuple(items) for split, items in self.make_splits(rows).items()}
            except (TypeError, AttributeError) as error:
                raise UserError(
                    f"{self.name}: a row of {' or '.join(self.hub_repos)} has no value, or one of another kind, where "
                    f"the task reads one ({error}); fetch the file again, or mend the local copy"
                ) from error
            for split in SPLITS:
                if not splits[split]:
                    raise UserError(f"{self.name}: the {split} split has no items; the data hold too few for it")
            self._splits[key] = splits
        return self._splits[key][name]

    @abstractmethod
    def make_splits(self, rows: Rows) -> Mapping[Split, Sequence[Example]]:
        """The three splits, from the rows of all sources; in an order that does not depend on that of the rows."""

    def rows(self, name: str) -> Sequence[Row]:
        """Rows of a source.

        Raises:
            UserError: they are not there, or the hub has other rows now than the published ones.
        """
        source = self.sources[name]
        rows = self._read(source)
        if len(rows) != source.num_rows and hub.local_folder(source.repo) is None:
            raise UserError(
                f"{self.name}: version {self.plain_version} stands for {source.num_rows} {name} rows of {source.repo}, "
                f"and {len(rows)} were read. The repository has changed, or its layout has: lock a commit that holds "
                f"the published rows, or put a copy into the folder that {hub.LOCAL_VARIABLE} names, where other rows "
                "make a version of their own"
            )
        return rows

    def _read(self, source: Source) -> list[Row]:
        patterns = () if source.linked else tuple(layout.pattern for layout in source.layouts)
        try:
            folder = hub.data_folder(source.repo, patterns, source.revision, source.linked)
            return list(read_rows(folder, source.layouts, source.limit))
        except UserError as error:
            files = " or ".join(f"{source.repo}/{layout.pattern}" for layout in source.layouts)
            raise UserError(
                f"{self.name}: {error}\n"
                f"A local copy serves as well: {files}, in the folder that {hub.LOCAL_VARIABLE} names."
            ) from error

    def _key(self) -> str:
        """What the rows depend on: local copies, else the commits that must be read."""
        return canonical_json({repo: _origin(repo) for repo in self.hub_repos})


def _origin(repo: str) -> str | None:
    folder = hub.local_folder(repo)
    return hub.pinned(repo) if folder is None else str(folder)


def _digest(plain_version: int, rows: Rows) -> int:
    """Of the plain version and all rows in an order of their own, so that the order in the files does not count."""
    content = {name: sorted(_hashes(found)) for name, found in rows.items()}
    return int(hashlib.sha256(canonical_json([plain_version, content]).encode()).hexdigest()[:8], 16)


def _hashes(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        yield hashlib.sha256(canonical_json(row).encode()).hexdigest()
