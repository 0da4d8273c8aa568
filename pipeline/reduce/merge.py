"""Rows of one or many study folders as one stream: each cell once, in the order of their ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.compacted import read_compacted_rows
from pipeline.errors import InvalidShardError
from pipeline.files import READ_THREADS
from pipeline.precedence import by_precedence
from pipeline.reduce.cell_ids import CellIds
from pipeline.reduce.completeness import Account
from pipeline.reduce.sources import Part, StartAgain, study_sources
from pipeline.shards import read_shard_columns
from pipeline.store import Study

Row = dict[str, Any]

_STATISTICS_COLUMNS = ["cell_id", "test.statistics"]


def merged_rows(studies: Sequence[Study], account: Account, left_out: Container[Path] = ()) -> Iterator[pa.Table]:
    """Read the rows of study folders. Bad files go to quarantine and never stop the reading.

    What is in memory are some rows of each source: of the shards of a folder, and of each compacted file.

    Args:
        studies: folders of one study, as from several clusters, or of several studies.
        account: is told of every row and of what does not count.
        left_out: compacted files that are not read.

    Yields:
        Rows that count, sorted by cell id over all tables: `precedence.READ_COLUMNS` and `path`, the file of the row.

    Raises:
        StartAgain: a compacted file is damaged, or files were moved while they were read.
    """
    sources = [source for study in studies for source in study_sources(study, left_out, account.quarantine)]
    for part in merged_parts(sources, account):
        rows = account.counted(part.rows, part.ids)
        if rows.num_rows:
            yield rows


def read_statistics(rows: Sequence[Row]) -> list[NDArray[np.float64]]:
    """Sufficient statistics of the test items of points.

    Args:
        rows: with `cell_id` and `path`, the file that the row is in.

    Returns:
        One array a row, shape [n_items, n_statistics].

    Raises:
        InvalidShardError: a file no longer holds the row that was merged.
        StartAgain: a file is gone.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[str(row["path"])].append(place)

    def read(path: str) -> list[NDArray[np.float64]]:
        cell_ids = [rows[place]["cell_id"] for place in places[path]]
        try:
            if cell_ids == [Path(path).stem]:
                table = read_shard_columns(Path(path), cell_ids[0], _STATISTICS_COLUMNS)
            else:
                table = read_compacted_rows(Path(path), cell_ids, _STATISTICS_COLUMNS)
        except FileNotFoundError:  # compacted, or merged into a larger file
            raise StartAgain from None
        statistics = pc.struct_field(table["test"].combine_chunks(), "statistics")
        found = dict(zip(table["cell_id"].to_pylist(), map(_matrix, statistics), strict=True))
        if found.keys() != set(cell_ids):
            raise InvalidShardError(f"{path}: no longer holds all cells that it did")
        return [found[cell_id] for cell_id in cell_ids]

    matrices: list[NDArray[np.float64]] = [np.empty((0, 0))] * len(rows)
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for of_file, found in zip(places.values(), pool.map(read, places), strict=True):
            for place, matrix in zip(of_file, found, strict=True):
                matrices[place] = matrix
    return matrices


def _matrix(items: pa.ListScalar) -> NDArray[np.float64]:
    values = items.values
    if values is None or not len(values):
        return np.empty((0, 0))
    matrix: NDArray[np.float64] = values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), -1)
    return matrix


class _Head:
    """The rows of one source that have been read and not been given yet."""

    def __init__(self, parts: Iterator[Part]) -> None:
        self._parts = parts
        self._next()

    def _next(self) -> None:
        self._start = 0
        self._part = next((part for part in self._parts if len(part.ids)), None)

    @property
    def last(self) -> bytes | None:
        """The last id that has been read, None at the end of the source."""
        return None if self._part is None else self._part.ids[-1]

    def until(self, last: bytes) -> Part | None:
        """The rows up to an id that is not beyond `last` of this source, None where there are none."""
        part, start = self._part, self._start
        if part is None:
            return None
        stop = start + int(np.searchsorted(part.ids[start:], last, "right"))
        self._start = stop
        if stop == len(part.ids):
            self._next()
        if start == stop:
            return None
        return Part(rows=part.rows.slice(start, stop - start), ids=part.ids[start:stop])


def merged_parts(sources: Sequence[Iterator[Part]], account: Account) -> Iterator[Part]:
    """The rows of all sources, those of one cell reduced to the one that counts."""
    heads = [_Head(source) for source in sources]
    while ends := [head.last for head in heads if head.last is not None]:
        # All sources have been read up to here: nothing that comes later belongs before it.
        parts = [part for head in heads if (part := head.until(min(ends))) is not None]
        yield parts[0] if len(parts) == 1 else _united(parts, account)


def _united(parts: Sequence[Part], account: Account) -> Part:
    rows = pa.concat_tables([part.rows for part in parts]).unify_dictionaries().combine_chunks()
    ids: CellIds = np.concatenate([part.ids for part in parts])
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    is_first = np.concatenate([[True], ids[1:] != ids[:-1]])
    if not is_first.all():
        order = order[by_precedence(rows.take(pa.array(order)), is_first)]
        cells = np.cumsum(is_first) - 1
        table = rows.select(["cell_id", "path", "program_sha256"])
        kept = order[is_first][cells[~is_first]]
        account.drop_duplicates(table.take(pa.array(kept)), table.take(pa.array(order[~is_first])))
        order, ids = order[is_first], ids[is_first]
    return Part(rows=rows.take(pa.array(order)), ids=ids)
