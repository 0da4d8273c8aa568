"""The table of points on disk: written as it comes, in the same bytes however the rows were split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.reduce.ahead import one_ahead
from pipeline.reduce.groups import grouped
from pipeline.reduce.labels import SETTING_COLUMNS, Setting
from pipeline.reduce.points import POINTS

ROWS_AT_ONCE = 65_536
"""Rows of each row group but the last."""

_TEXTS = pa.dictionary(pa.int32(), pa.string())
_UNLIKE = {"cell_id", "program_sha256", "validation_other_metrics", "test_other_metrics"}
_REPEATING = [field.name for field in POINTS if field.type == pa.string() and field.name not in _UNLIKE]
_IN_MEMORY = pa.schema([field.with_type(_TEXTS) if field.name in _REPEATING else field for field in POINTS])

# Digests and measured numbers neither repeat nor shrink: trying takes longer than writing them.
_MEASURED = {"train_tokens", "generated_tokens", "peak_memory_bytes"}
_AS_THEY_ARE = {"cell_id", "program_sha256", *(field.name for field in POINTS if field.type == pa.float64())} - {
    name for name in POINTS.names if name.endswith("_performance")
}
_COMPRESSION = {name: "none" if name in _AS_THEY_ARE else "snappy" for name in POINTS.names}
_DICTIONARIES = [name for name in POINTS.names if name not in _AS_THEY_ARE | _MEASURED]


def write_points(file: BinaryIO, tables: Iterable[pa.Table]) -> int:
    """Write points, sorted by cell id, in row groups of `ROWS_AT_ONCE`.

    Args:
        file: where to, in Parquet.
        tables: of the columns of `POINTS`, texts dictionary-encoded as `points.points_table` gives them.

    Returns:
        Number of points.
    """
    num_points = 0
    with pq.ParquetWriter(
        file,
        _IN_MEMORY,
        compression=_COMPRESSION,
        use_dictionary=_DICTIONARIES,
        write_statistics=False,
        store_schema=False,  # dictionaries are for speed here: who reads the file gets plain texts
    ) as writer:
        for rows in one_ahead(_cut(tables)):
            writer.write_table(rows, row_group_size=ROWS_AT_ONCE)
            num_points += rows.num_rows
    return num_points


def iter_points(path: Path, columns: Sequence[str] = tuple(POINTS.names)) -> Iterator[pa.Table]:
    """Some columns of a table of points, some rows at a time, with texts that repeat dictionary-encoded."""
    with pq.ParquetFile(path, read_dictionary=_REPEATING, pre_buffer=False) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(columns)):
            yield pa.Table.from_batches([batch])


def distinct_points(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The different values that points have in some columns, sorted as text."""
    found = {values for rows in iter_points(path, columns) for values in grouped(rows, columns)[1]}
    return [dict(zip(columns, values, strict=True)) for values in sorted(found, key=repr)]


def relabelled(tables: Iterable[pa.Table], labels: Mapping[Setting, tuple[str, str]]) -> Iterator[pa.Table]:
    """Points with the labels of their settings for the names of task and model.

    Args:
        tables: what `iter_points` gives.
        labels: what `labels.distinct_labels` gave for all of them.
    """
    for rows in tables:
        codes, settings = grouped(rows, SETTING_COLUMNS)
        for name, texts in zip(("task", "model"), zip(*map(labels.__getitem__, settings), strict=True), strict=True):
            column = pa.array(texts, pa.string()).take(pa.array(codes)).dictionary_encode()
            rows = rows.set_column(rows.schema.get_field_index(name), name, column)
        yield rows


def _cut(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of the tables in parts of `ROWS_AT_ONCE`, the last one shorter."""
    waiting: list[pa.Table] = []
    num_waiting = 0
    for table in tables:
        waiting.append(table)
        num_waiting += table.num_rows
        while num_waiting >= ROWS_AT_ONCE:
            rows = pa.concat_tables(waiting)
            yield _canonical(rows.slice(0, ROWS_AT_ONCE))
            waiting, num_waiting = [rows.slice(ROWS_AT_ONCE)], num_waiting - ROWS_AT_ONCE
    if num_waiting:
        yield _canonical(pa.concat_tables(waiting))


def _canonical(rows: pa.Table) -> pa.Table:
    columns = [_in_order(rows[name]) if name in _REPEATING else rows[name] for name in POINTS.names]
    return pa.table(columns, schema=_IN_MEMORY)


def _in_order(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """Texts whose dictionary holds what occurs, in the order in which it does: it is written as it stands."""
    array = column.unify_dictionaries().combine_chunks()
    codes = array.indices.fill_null(-1).to_numpy()
    num_texts = len(array.dictionary)
    first = np.full(num_texts + 1, len(codes))  # the last place is that of nulls
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    order = np.argsort(first[:num_texts], kind="stable")
    order = order[first[order] < len(codes)]
    new_codes = np.full(num_texts + 1, -1, np.int32)
    new_codes[order] = np.arange(len(order), dtype=np.int32)
    indices = pa.array(new_codes[codes], mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, array.dictionary.take(pa.array(order)))
