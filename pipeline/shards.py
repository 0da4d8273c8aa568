"""Shards as files: how one is written, what makes a file one, and what is wrong with one that is none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import schema
from pipeline.errors import InvalidShardError
from pipeline.files import read_patiently
from pipeline.migrations import check_columns, check_version, migrate, stored_columns
from pipeline.seals import check_seal, seal

_PARQUET_MAGIC = b"PAR1"
_FIRST_SEALED = 2
"""The schema version from which on a footer has a digest."""
_COMPRESSION = {"payload_text": "zstd"} | {
    f"{split}.{column}": "zstd"
    for split in ("validation", "test")
    for column in ("item_scores.list.element", "statistics.list.element.list.element", "predictions.list.element")
}


def write_shard(file: BinaryIO, table: pa.Table) -> None:
    """Write the shard of one cell.

    Args:
        file: where to, from its start.
        table: one row of `schema.SHARD`.
    """
    metadata = {"cell_id": table["cell_id"][0].as_py(), "schema_version": str(schema.SCHEMA_VERSION)}
    # One row needs neither dictionaries nor statistics; without them the footer is half as long. Scalars stay
    # uncompressed: a decompressor for each of them doubles the time of reading a shard. Checksums, since a flipped bit
    # in an uncompressed text would go unseen.
    pq.write_table(
        table.replace_schema_metadata(metadata),
        file,
        compression=_COMPRESSION,
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    seal(file)


def read_shard(path: Path, cell_id: str) -> dict[str, Any]:
    """The one row of a shard.

    Args:
        path: the file.
        cell_id: the cell that it must be of.

    Raises:
        InvalidShardError: truncated, damaged, no Parquet file, of another cell or of another schema.
        FileNotFoundError: no file.
    """
    row: dict[str, Any] = read_shard_columns(path, cell_id, schema.SHARD.names).to_pylist()[0]
    schema.check_row(row)
    return row


def read_shard_columns(path: Path, cell_id: str, columns: Sequence[str]) -> pa.Table:
    """Some columns of a shard, without reading the others. Identity and schema are checked, the row's rules are not.

    Args:
        path: the file.
        cell_id: the cell that it must be of.
        columns: names of columns, `test.performance` for a field of a nested one; must include `cell_id`.

    Raises:
        InvalidShardError: truncated, damaged, no Parquet file, of another cell or of another schema.
        FileNotFoundError: no file.
    """

    def read() -> pa.Table:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            version = _check_footer(file, cell_id)
            if version >= _FIRST_SEALED:
                check_seal(path)
            stored = stored_columns(file.schema_arrow, list(columns))
            table = migrate(file.read(columns=stored, use_threads=False), version)
            if table["cell_id"].to_pylist() != [cell_id]:
                raise InvalidShardError("its row is of another cell than its metadata say")
            return table

    with damage_named(path):
        table = read_patiently(read)
        # What is not done by the quick look must not be whole by this one: nobody would then make the cell again.
        if not has_footer_of(path, cell_id):
            raise InvalidShardError("its footer is damaged")
        return table


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Errors of a Parquet file that is damaged, or none at all, as `InvalidShardError` with the path.

    Those of the file system stay what they are: they say nothing of the file.
    """
    try:
        yield
    except InvalidShardError as error:
        raise type(error)(f"{path}: {error}") from error
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        # An error of the file system carries a number; Arrow reports damaged content as OSError without one.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        first_line = (str(error).splitlines() or [""])[0]
        raise InvalidShardError(f"{path}: damaged or no Parquet file ({first_line})") from error


def _check_footer(file: pq.ParquetFile, cell_id: str) -> int:
    """The schema version of a shard of this cell."""
    metadata = file.schema_arrow.metadata or {}
    version = check_version(metadata)
    found = metadata.get(b"cell_id", b"none").decode(errors="replace")
    if found != cell_id:
        raise InvalidShardError(f"shard of cell {found[:12]}, not of {cell_id[:12]}")
    check_columns(file.schema_arrow, version)
    if file.metadata.num_rows != 1:
        raise InvalidShardError(f"{file.metadata.num_rows} rows, a shard has 1")
    return version


def has_footer_of(path: Path, cell_id: str) -> bool:
    """Whether both ends of the file are those of a Parquet file whose footer names the cell.

    A file that stays unreadable counts as absent, and its cell is made again: no error of a disk ends a job here.

    Raises:
        PermissionError: the file is there and not for this user, whose jobs would make all of it again.
    """

    def look() -> bool:
        with path.open("rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            if size < 12 or handle.read(4) != _PARQUET_MAGIC:
                return False
            handle.seek(size - 8)
            tail = handle.read(8)
            footer_bytes = int.from_bytes(tail[:4], "little")
            if tail[4:] != _PARQUET_MAGIC or footer_bytes > size - 12:
                return False
            handle.seek(size - 8 - footer_bytes)
            return cell_id.encode() in handle.read(footer_bytes)

    try:
        return read_patiently(look)
    except PermissionError:
        raise
    except OSError:
        return False
