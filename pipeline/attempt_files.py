"""The files of attempts that gave no shard: one an event, with a row for each cell that it met."""

from __future__ import annotations

import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import schema
from pipeline.files import READ_THREADS, entries, read_patiently, write_atomically

_ORDER = [(name, "ascending") for name in ("cell_id", "attempt", "finished_utc")]


class _Known:
    """What this process has read of one folder. The files never change, so each is read once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # `tcx run` records from several threads
        self._forget()

    def _forget(self) -> None:
        self._paths: set[str] = set()
        self._table = schema.ATTEMPT.empty_table()

    def read(self, folder: Path) -> pa.Table:
        """All attempts in the folder, in order."""
        with self._lock:
            there = set(_files(folder))
            if not self._paths <= there:
                self._forget()  # somebody has deleted some
            new = sorted(there - self._paths)
            with ThreadPoolExecutor(READ_THREADS) as pool:
                found = {
                    path: table for path, table in zip(new, pool.map(_table, new), strict=True) if table is not None
                }
            if found:
                self._table = pa.concat_tables([self._table, *found.values()]).combine_chunks().sort_by(_ORDER)
                self._paths |= found.keys()
            return self._table


_known: defaultdict[Path, _Known] = defaultdict(_Known)


def write_attempts(folder: Path, rows: Sequence[Mapping[str, Any]], event: str | None = None) -> None:
    """Keeps the attempts of one event as one file.

    Args:
        folder: of the attempts of a study.
        rows: every column of `schema.ATTEMPT`. Two hosts may count the same number for one cell: both rows are kept.
        event: name of an event that several processes may tell of: the first one counts. None for one of this alone.
    """
    name = event or uuid.uuid4().hex
    table = schema.table_of(rows, schema.ATTEMPT)
    write_atomically(
        folder / name[:2] / f"{name}.parquet",
        lambda handle: pq.write_table(table, handle, write_statistics=False),
        replace=False,
    )


def read_attempts(folder: Path, cell_ids: Iterable[str] | None = None) -> pa.Table:
    """Attempts as `schema.ATTEMPT`, ordered by cell, attempt and time. Damaged files are left out.

    Args:
        folder: of the attempts of a study.
        cell_ids: of these cells only, None for all.
    """
    table = _known[folder].read(folder)
    if cell_ids is None:
        return table
    return table.filter(pc.is_in(table["cell_id"], value_set=pa.array(list(cell_ids), pa.string())))


def _files(folder: Path) -> Iterable[str]:
    for part in entries(folder):
        if part.is_dir():
            for entry in entries(Path(part.path)):
                if entry.name.endswith(".parquet") and not entry.name.startswith("."):
                    yield entry.path


def _table(path: str) -> pa.Table | None:
    """The rows of a file, None for a damaged one: an attempt is a note, and losing one loses no result."""
    try:
        content = read_patiently(Path(path).read_bytes)
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            return file.read(use_threads=False).select(schema.ATTEMPT.names).cast(schema.ATTEMPT)
    except (pa.ArrowException, OSError, ValueError, KeyError):
        return None
