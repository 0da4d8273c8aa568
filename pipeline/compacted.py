"""Many shards in one Parquet file, sorted by cell id: read as a stream, or one cell at a time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import schema
from pipeline.errors import InvalidShardError
from pipeline.files import write_atomically
from pipeline.migrations import check_columns, check_version, migrate, stored_columns
from pipeline.seals import check_seal, seal
from pipeline.shards import damage_named

ROWS_AT_ONCE = 65_536
"""Most rows of a row group, and of a table that is read."""
_BYTES_AT_ONCE = 64 * 2**20
"""About the most bytes of a row group, before compression: predictions are large."""
_KIND = "compacted"
_DIFFERS_IN_EVERY_ROW = {"cell_id", "program_sha256", "payload_text", "nll_bits", "started_utc", "finished_utc"}
_DICTIONARIES = [
    field.name for field in schema.SHARD if field.name not in _DIFFERS_IN_EVERY_ROW | {"validation", "test"}
]
_TEXTS = [name for name in _DICTIONARIES if schema.SHARD.field(name).type == pa.string()]


def write_compacted(path: Path, tables: Iterable[pa.Table]) -> int:
    """Write rows of many cells as one file, which is read back in full before it takes its place.

    Args:
        path: the file; one that is there is replaced.
        tables: of `schema.SHARD`; all rows strictly increase by cell id, over all tables.

    Returns:
        Number of rows.

    Raises:
        InvalidShardError: the rows are not sorted, a cell occurs twice, a row breaks a rule of the schema, or the file
            did not read back whole.
    """
    num_rows = 0

    def write(handle: BinaryIO) -> None:
        nonlocal num_rows
        with pq.ParquetWriter(
            handle,
            schema.SHARD.with_metadata({"kind": _KIND, "schema_version": str(schema.SCHEMA_VERSION)}),
            compression="zstd",
            use_dictionary=_DICTIONARIES,
            write_statistics=["cell_id"],
            write_page_checksum=True,
        ) as writer:
            for rows in _row_groups(tables):
                writer.write_table(rows, row_group_size=ROWS_AT_ONCE)
                num_rows += rows.num_rows
            writer.add_key_value_metadata({"num_rows": str(num_rows)})
        seal(handle)

    def check(temporary: Path) -> None:
        for rows in iter_compacted(temporary, schema.SHARD.names):
            for place, rule in schema.broken_rows(rows):
                raise InvalidShardError(f"{path}: cell {rows['cell_id'][place].as_py()[:12]}: {rule}")

    write_atomically(path, write, replace=True, check=check)
    return num_rows


def iter_compacted(path: Path, columns: Sequence[str], *, as_dictionaries: bool = False) -> Iterator[pa.Table]:
    """Some columns of all rows, in the order of their cell ids and at most `ROWS_AT_ONCE` at a time.

    The rules of the rows are not checked.

    Args:
        path: the file.
        columns: names of columns, `test.performance` for a field of a nested one; must include `cell_id`.
        as_dictionaries: whether texts that repeat stay dictionary-encoded, which is faster and smaller.

    Raises:
        InvalidShardError: damaged, no compacted file of ours, or not sorted; what was given before it is sound.
        FileNotFoundError: no file.
    """
    with _opened(path, _TEXTS if as_dictionaries else []) as (file, version):
        stored = stored_columns(file.schema_arrow, list(columns))
        last = ""
        for group in range(file.num_row_groups):
            rows = migrate(file.read_row_group(group, stored), version).select(_roots(columns))
            if rows.num_rows != file.metadata.row_group(group).num_rows:
                raise InvalidShardError(f"row group {group} has {rows.num_rows} rows, and not those of the footer")
            _check_order(rows["cell_id"].combine_chunks(), last)
            last = rows["cell_id"][-1].as_py()
            yield rows


def compacted_cells(path: Path) -> list[str]:
    """Ids of the cells of a file, in their order; no other column is read.

    Raises:
        InvalidShardError: damaged, or no compacted file of ours.
        FileNotFoundError: no file.
    """
    return [cell_id for rows in iter_compacted(path, ["cell_id"]) for cell_id in rows["cell_id"].to_pylist()]


def read_compacted_rows(path: Path, cell_ids: Iterable[str], columns: Sequence[str]) -> pa.Table:
    """Some columns of some cells, in the order of their ids. Cells that the file does not hold are left out.

    Only the row groups that may hold one of the cells are read.

    Args:
        path: the file.
        cell_ids: the cells.
        columns: names of columns, `test.performance` for a field of a nested one.

    Raises:
        InvalidShardError: damaged, or no compacted file of ours.
        FileNotFoundError: no file.
    """
    wanted = sorted(set(cell_ids))
    ids = pa.array(wanted, pa.string())
    with _opened(path) as (file, version):
        stored = stored_columns(file.schema_arrow, list(columns))
        found = [migrate(file.read_row_groups([], stored), version).select(_roots(columns))]
        for group, (first, last) in enumerate(_ends(file)):
            place = bisect_left(wanted, first)
            if place == len(wanted) or wanted[place] > last:
                continue
            is_wanted = pc.is_in(file.read_row_group(group, ["cell_id"])["cell_id"], value_set=ids)
            if pc.any(is_wanted).as_py():
                rows = file.read_row_group(group, stored).filter(is_wanted)
                found.append(migrate(rows, version).select(_roots(columns)))
        return pa.concat_tables(found)


@contextmanager
def _opened(path: Path, dictionaries: Sequence[str] = ()) -> Iterator[tuple[pq.ParquetFile, int]]:
    """A file whose footer is that of a compacted file, and its schema version."""
    with (
        damage_named(path),
        # Without `pre_buffer`, which keeps the bytes of all row groups that were read.
        pq.ParquetFile(
            path, page_checksum_verification=True, read_dictionary=list(dictionaries), pre_buffer=False
        ) as file,
    ):
        check_seal(path)
        metadata = file.metadata.metadata or {}
        if metadata.get(b"kind") != _KIND.encode():
            raise InvalidShardError("no compacted file")
        version = check_version(metadata)
        check_columns(_without_dictionaries(file.schema_arrow), version)
        if metadata.get(b"num_rows") != str(file.metadata.num_rows).encode():
            raise InvalidShardError(f"its footer says {file.metadata.num_rows} rows, and names another number")
        yield file, version


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of the tables, cut and put together so that each part is bounded in rows and in bytes."""
    waiting: list[pa.Table] = []
    num_rows = num_bytes = 0
    last = ""
    for table in tables:
        if not table.num_rows:
            continue
        _check_order(table["cell_id"].combine_chunks(), last)
        last = table["cell_id"][-1].as_py()
        # In pieces of an eighth of a part, so that parts are nearly full.
        rows_at_once = max(1, min(ROWS_AT_ONCE, table.num_rows * _BYTES_AT_ONCE // max(1, table.nbytes)) // 8)
        for start in range(0, table.num_rows, rows_at_once):
            piece = table.slice(start, rows_at_once)
            if waiting and (num_rows + piece.num_rows > ROWS_AT_ONCE or num_bytes + piece.nbytes > _BYTES_AT_ONCE):
                yield pa.concat_tables(waiting)
                waiting, num_rows, num_bytes = [], 0, 0
            waiting.append(piece)
            num_rows, num_bytes = num_rows + piece.num_rows, num_bytes + piece.nbytes
    if waiting:
        yield pa.concat_tables(waiting)


def _check_order(cell_ids: pa.Array, before: str) -> None:
    """Whether ids strictly increase, beginning after `before`."""
    if len(cell_ids) and not (
        cell_ids.null_count == 0
        and cell_ids[0].as_py() > before
        and pc.all(pc.greater(cell_ids.slice(1), cell_ids.slice(0, len(cell_ids) - 1))).as_py() is not False
    ):
        raise InvalidShardError("its rows are not sorted by cell id, or a cell occurs twice")


def _ends(file: pq.ParquetFile) -> list[tuple[str, str]]:
    """First and last cell id of each row group, from the footer."""
    place = file.metadata.schema.to_arrow_schema().names.index("cell_id")
    statistics = [file.metadata.row_group(group).column(place).statistics for group in range(file.num_row_groups)]
    if not all(it is not None and it.has_min_max for it in statistics):
        raise InvalidShardError("its footer lacks the first and last cells of its row groups")
    return [(it.min, it.max) for it in statistics]


def _roots(columns: Sequence[str]) -> list[str]:
    """The columns that hold the named fields, once each."""
    return list(dict.fromkeys(name.partition(".")[0] for name in columns))


def _without_dictionaries(columns: pa.Schema) -> pa.Schema:
    return pa.schema(
        [field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in columns]
    )
