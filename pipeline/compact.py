"""Few large files out of many small ones: the rows of shards move into one file, and nothing is lost on the way.

A file is deleted only when its rows were read back, equal, from another one. A process that is killed in between leaves
rows in two places; everybody who reads takes them as one, and the next run tidies up. What is damaged stays, for
`tcx reduce` to put into quarantine, and so does a shard that contradicts a compacted file.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress

from pipeline import schema
from pipeline.cell import format_bytes
from pipeline.cluster.slurm import job_is_gone
from pipeline.compacted import iter_compacted, read_compacted_rows, write_compacted
from pipeline.errors import InvalidShardError, TaskComplexityError, UserError
from pipeline.files import READ_THREADS, TEMPORARY_SUFFIX, sync_folder
from pipeline.leases import lease, lease_path, this_owner
from pipeline.shards import read_shard_columns
from pipeline.store import Study, open_study

LEASE = "compact"
"""What is leased while a study is compacted, in the place of a group."""
SMALL_ROWS = 10_000
"""Compacted files of no more rows, or of no more than are added now, become part of the next one: there stay few."""
_SHARDS_AT_ONCE = 128
"""In memory, with all answers: of a large test split some megabytes each, of which a column holds 2 GiB at most."""

_Mark = tuple[int, int, int]
"""Inode, size and time of the last change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactSummary:
    """What became of the shards of a study.

    Attributes:
        study: the study.
        file: the compacted file that was written, None where there was nothing to write.
        num_rows: its rows.
        num_shards: shards that were deleted, since their rows are in a compacted file.
        num_merged: older compacted files that are part of the new one.
        bytes_before: size of all these.
        bytes_after: size of the new file.
        bad: (file, reason) of shards that are damaged; they stay for `tcx reduce`.
        conflicts: shards and compacted files that say something else of a cell than another file; they stay.
    """

    study: Study
    file: Path | None
    num_rows: int
    num_shards: int
    num_merged: int
    bytes_before: int
    bytes_after: int
    bad: tuple[tuple[str, str], ...]
    conflicts: tuple[str, ...]

    def render(self, console: Console) -> None:
        """Print for people."""
        lines = []
        if self.file is not None:
            merged = f" and {self.num_merged:,} compacted files" if self.num_merged else ""
            lines.append(
                f"{self.num_shards:,} shards{merged} ({format_bytes(self.bytes_before)}) are now {self.file} "
                f"({self.num_rows:,} rows, {format_bytes(self.bytes_after)})"
            )
        elif self.num_shards:
            lines.append(f"{self.num_shards:,} shards were deleted whose rows a compacted file had")
        else:
            lines.append("nothing to compact")
        if self.bad:
            lines.append(f"{len(self.bad):,} damaged shards stay where they are, for `tcx reduce`:")
            lines += [f"  {reason}" for _, reason in self.bad]
        if self.conflicts:
            lines.append(f"{len(self.conflicts):,} files stay, since they say something else than a compacted file:")
            lines += [f"  {path}" for path in self.conflicts]
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {
            "study": self.study.name,
            "folder": str(self.study.folder),
            "file": None if self.file is None else str(self.file),
            "rows": self.num_rows,
            "shards": self.num_shards,
            "merged_files": self.num_merged,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "bad": [{"file": path, "reason": reason} for path, reason in self.bad],
            "conflicts": list(self.conflicts),
        }


class _Loose(NamedTuple):
    """Shards by cell, in the order of their ids."""

    paths: dict[str, Path]
    bad: dict[str, str]
    """Path -> what is wrong with it; filled while they are read."""

    def tables(self, cell_ids: Iterable[str]) -> Iterator[pa.Table]:
        """Rows of some of them; damaged ones are noted and left out, as are those that are gone."""
        ids = [cell_id for cell_id in cell_ids if str(self.paths[cell_id]) not in self.bad]
        with ThreadPoolExecutor(READ_THREADS) as pool:
            for part in _parts(ids):
                read = (table for table in pool.map(self._read, part) if table is not None)
                # Combined: thousands of columns of one row take many times the room of what they hold.
                rows = pa.concat_tables([schema.SHARD.empty_table(), *read]).combine_chunks()
                broken = dict(schema.broken_rows(rows))
                for place, rule in broken.items():
                    path = self.paths[rows["cell_id"][place].as_py()]
                    self.bad[str(path)] = f"{path}: {rule}"
                yield rows.filter(pa.array([place not in broken for place in range(rows.num_rows)], pa.bool_()))

    def _read(self, cell_id: str) -> pa.Table | None:
        path = self.paths[cell_id]
        try:
            return read_shard_columns(path, cell_id, schema.SHARD.names).replace_schema_metadata(None)
        except FileNotFoundError:
            return None
        except InvalidShardError as error:
            self.bad[str(path)] = str(error)
            return None


def compact(name: str, *, results: str | None, console: Console) -> CompactSummary:
    """Puts the rows of all shards, and of small compacted files, into one compacted file, and deletes these.

    Workers go on meanwhile: what they commit stays a shard until the next time.

    Args:
        name: name or folder of the study.
        results: folder of the studies, None for the default.
        console: where progress is shown.

    Raises:
        UserError: no such study, or it is being compacted by another process.
        TaskComplexityError: a compacted file is damaged, or did not read back as it was written.
    """
    study = open_study(name, results)
    with lease(study, LEASE, this_owner(), job_is_gone) as is_ours:
        if not is_ours:
            raise UserError(
                f"another process is compacting {study.folder}; wait for it, or, if it is gone, delete "
                f"{lease_path(study, LEASE)}"
            )
        with Progress(console=console) as progress:
            return _compact(study, progress)


def _compact(study: Study, progress: Progress) -> CompactSummary:
    bar = progress.add_task("shards", total=None)
    # Shards first: a row that moves between the two looks is then seen twice, and not missed.
    loose = _Loose({path.stem: path for path in sorted(study.shard_files(), key=lambda path: path.stem)}, {})
    marks = {cell_id: _mark(path) for cell_id, path in loose.paths.items()}
    files = study.compacted_cells()
    twice = loose.paths.keys() & set[str]().union(*files.values())
    new = sorted(loose.paths.keys() - twice)
    merged, conflicts = _to_merge(files, len(new))
    file, num_rows = _write(study, loose, new, merged) if new or len(merged) > 1 else (None, 0)
    merged = merged if file is not None else []
    differing = {cell for path, cells in files.items() for cell in _differing(path, loose, sorted(cells & twice))}
    num_shards, sizes = 0, sum(path.stat().st_size for path in merged)
    for cell_id in progress.track(sorted(loose.paths.keys() - differing), task_id=bar):
        path, mark = loose.paths[cell_id], marks[cell_id]
        if mark is not None and _mark(path) == mark and str(path) not in loose.bad:
            path.unlink(missing_ok=True)
            num_shards, sizes = num_shards + 1, sizes + mark[1]
    for path in merged:
        if path != file:  # the same rows once more
            path.unlink(missing_ok=True)
    if merged:
        sync_folder(study.compacted)
    return CompactSummary(
        study=study,
        file=file,
        num_rows=num_rows,
        num_shards=num_shards,
        num_merged=len(merged),
        bytes_before=sizes,
        bytes_after=0 if file is None else file.stat().st_size,
        bad=tuple(sorted(loose.bad.items())),
        conflicts=(*(str(loose.paths[cell_id]) for cell_id in sorted(differing)), *map(str, conflicts)),
    )


def _to_merge(files: Mapping[Path, frozenset[str]], num_new: int) -> tuple[list[Path], list[Path]]:
    """Compacted files that become part of the next one, and those that contradict another one.

    Files with cells in common are what a process left that was killed between placing the new file and deleting the
    old ones; or somebody has copied files together.
    """
    common, conflicts = set[Path](), set[Path]()
    for one, other in itertools.combinations(files, 2):
        if shared := sorted(files[one] & files[other]):
            is_equal = all(_rows(one, part).equals(_rows(other, part)) for part in _parts(shared))
            (common if is_equal else conflicts).update((one, other))
    small = {path for path, cells in files.items() if len(cells) <= max(SMALL_ROWS, num_new)}
    return sorted((small | common) - conflicts), sorted(conflicts)


def _write(study: Study, loose: _Loose, new: Sequence[str], merged: Sequence[Path]) -> tuple[Path | None, int]:
    """Writes the rows of shards and of older files into a new one, compares, and puts it in its place.

    Returns:
        The file and its number of rows; None and 0 where no shard could be read.

    Raises:
        TaskComplexityError: it did not read back as it was written.
    """
    unfinished = study.compacted_path(f".{uuid.uuid4().hex}").with_suffix(TEMPORARY_SUFFIX)
    sources = [loose.tables(new), *(iter_compacted(path, schema.SHARD.names) for path in merged)]
    given: list[tuple[int, bytes]] = []

    def noted(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            given.append((table.num_rows, _digest(table)))
            yield table

    try:
        num_rows = write_compacted(unfinished, noted(_in_order(sources)))
        if list(_digests(unfinished, [number for number, _ in given])) != [digest for _, digest in given]:
            raise TaskComplexityError(
                "the new compacted file did not read back as it was written, and was given up; nothing was deleted. "
                f"Check the disk of {study.folder}, then say `tcx compact` again"
            )
        if num_rows == 0:
            return None, 0
        with unfinished.open("rb") as content:
            # Equal rows give one file, however often they are compacted.
            file = study.compacted_path(hashlib.file_digest(content, "sha256").hexdigest()[:32])
        unfinished.replace(file)
        sync_folder(file.parent)
        return file, num_rows
    finally:
        unfinished.unlink(missing_ok=True)


def _digest(rows: pa.Table) -> bytes:
    """Of what rows say, however they lie in memory."""
    content = pa.BufferOutputStream()
    same = rows.cast(schema.SHARD).combine_chunks()  # names of the elements of lists differ by where they were read
    pq.write_table(same, content, compression="none", use_dictionary=False, write_statistics=False)
    return hashlib.sha256(content.getvalue()).digest()


def _digests(path: Path, numbers: Sequence[int]) -> Iterator[bytes]:
    """Digests of so many rows after the other of a compacted file, until its end."""
    tables = (table.replace_schema_metadata(None) for table in iter_compacted(path, schema.SHARD.names))
    waiting = schema.SHARD.empty_table()
    for number in numbers:
        while waiting.num_rows < number and (table := next(tables, None)) is not None:
            waiting = pa.concat_tables([waiting, table])
        yield _digest(waiting.slice(0, number))
        waiting = waiting.slice(number)
    if waiting.num_rows or next(tables, None) is not None:
        yield _digest(waiting)


def _in_order(sources: Iterable[Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """Rows of sources that are sorted by cell, as one such stream; of equal cells one row."""
    heads = [(table, source) for source in sources if (table := _next(source)) is not None]
    while heads:
        # No source has anything left that belongs before this.
        bound = min(table["cell_id"][-1].as_py() for table, _ in heads)
        given, left = [], []
        for table, source in heads:
            number = pc.sum(pc.less_equal(table["cell_id"], bound)).as_py() or 0
            given.append(table.slice(0, number))
            rest = table.slice(number) if number < table.num_rows else _next(source)
            if rest is not None:
                left.append((rest, source))
        heads = left
        rows = pa.concat_tables(given)
        if len(given) > 1:
            rows = rows.take(pc.sort_indices(rows["cell_id"]))
            ids = rows["cell_id"].to_pylist()
            rows = rows.filter(pa.array([cell != before for cell, before in zip(ids, ["", *ids[:-1]], strict=True)]))
        yield rows


def _next(source: Iterator[pa.Table]) -> pa.Table | None:
    return next((table.replace_schema_metadata(None) for table in source if table.num_rows), None)


def _differing(path: Path, loose: _Loose, cell_ids: Sequence[str]) -> set[str]:
    """Of these cells those whose shard does not say the same as a compacted file."""
    found: set[str] = set()
    for rows in loose.tables(cell_ids):
        ids = rows["cell_id"].to_pylist()
        held = _rows(path, ids)
        if not held.equals(rows):
            by_cell = {cell: held.slice(place, 1) for place, cell in enumerate(held["cell_id"].to_pylist())}
            found.update(
                cell
                for place, cell in enumerate(ids)
                if cell not in by_cell or not by_cell[cell].equals(rows.slice(place, 1))
            )
    return found


def _rows(path: Path, cell_ids: Sequence[str]) -> pa.Table:
    return read_compacted_rows(path, cell_ids, schema.SHARD.names).replace_schema_metadata(None)


def _parts(cell_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(cell_ids), _SHARDS_AT_ONCE):
        yield cell_ids[start : start + _SHARDS_AT_ONCE]


def _mark(path: Path) -> _Mark | None:
    """Changes when a file is replaced; None where there is none."""
    with contextlib.suppress(FileNotFoundError):
        status = os.stat(path)
        return status.st_ino, status.st_size, status.st_mtime_ns
    return None
