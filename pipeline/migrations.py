"""Rows of older schema versions as rows of this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import pyarrow as pa

from pipeline import schema
from pipeline.errors import InvalidShardError, NewerShardError


def _with_rescored_from(table: pa.Table) -> pa.Table:
    """Version 2 tells rows whose kept predictions were scored anew; before it there were none."""
    return table.append_column(schema.SHARD.field("rescored_from"), pa.nulls(table.num_rows, pa.string()))


MIGRATIONS: Mapping[int, Callable[[pa.Table], pa.Table]] = {1: _with_rescored_from}
"""Version -> what makes its rows those of the next version. Each works on any choice of columns."""


def check_version(metadata: Mapping[bytes, bytes] | None) -> int:
    """The schema version that the metadata of a file say.

    Raises:
        NewerShardError: a later version of this package wrote it.
        InvalidShardError: no version, or one that never was.
    """
    found = (metadata or {}).get(b"schema_version", b"none").decode(errors="replace")
    versions = {str(version): version for version in (*MIGRATIONS, schema.SCHEMA_VERSION)}
    if found in versions:
        return versions[found]
    if found.isdecimal() and int(found) > schema.SCHEMA_VERSION:
        raise NewerShardError(
            f"schema version {found} is newer than {schema.SCHEMA_VERSION}, the newest that this version of "
            "task-complexity knows; update task-complexity"
        )
    raise InvalidShardError(f"schema version {found}, this is version {schema.SCHEMA_VERSION}")


def check_columns(columns: pa.Schema, version: int) -> None:
    """Whether these are the columns of a shard of that version.

    Raises:
        InvalidShardError: they are not.
    """
    if version != schema.SCHEMA_VERSION:
        columns = migrate(columns.empty_table(), version).schema
    if not columns.equals(schema.SHARD, check_metadata=False):
        raise InvalidShardError("its columns are not those of its schema version")


def stored_columns(columns: pa.Schema, wanted: list[str]) -> list[str]:
    """Of the wanted columns those that a file has; the others are made by `migrate`.

    Args:
        columns: of the file.
        wanted: names of columns, `test.performance` for a field of a nested one.
    """
    present = set(columns.names)
    return [name for name in wanted if name.partition(".")[0] in present]


def migrate(table: pa.Table, version: int) -> pa.Table:
    """Rows of a version as rows of `schema.SCHEMA_VERSION`, with the columns that later versions added.

    Args:
        table: all columns of that version, or a choice of them.
        version: what `check_version` returned.
    """
    if version == schema.SCHEMA_VERSION:
        return table
    for step in range(version, schema.SCHEMA_VERSION):
        table = MIGRATIONS[step](table)
    if "schema_version" in table.column_names:
        place = table.column_names.index("schema_version")
        versions = pa.repeat(pa.scalar(schema.SCHEMA_VERSION, pa.int64()), table.num_rows)
        table = table.set_column(place, schema.SHARD.field("schema_version"), versions)
    return cast(pa.Table, table)
