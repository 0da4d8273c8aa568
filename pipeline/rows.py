"""Rows of cells, wherever they are: in a shard of their own or in a compacted file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.compacted import iter_compacted, read_compacted_rows
from pipeline.errors import InvalidShardError, UserError
from pipeline.precedence import by_precedence
from pipeline.shards import read_shard_columns
from pipeline.store import Study

POINT_KEY = ("cell_id", "program_sha256", "attempt")
"""Columns that tell which of several rows of a cell a point was made from."""


def row_path(study: Study, cell_id: str) -> Path | None:
    """File that holds the row of a cell, of several rows the one that counts; None where there is none.

    Raises:
        TaskComplexityError: a compacted file is damaged.
    """
    while len(paths := _paths(study, cell_id)) > 1:
        if (counting := _counting(paths, study, cell_id)) is not None:
            return counting
    return paths[0] if paths else None


def read_row(study: Study, cell_id: str, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """The row of a cell, of several the one that counts.

    Args:
        study: the study.
        cell_id: the cell.
        columns: names of columns, `test.performance` for a field of a nested one; None for all.

    Raises:
        InvalidShardError: its file is damaged or of another schema.
        FileNotFoundError: no file holds the cell.
        TaskComplexityError: a compacted file is damaged.
    """
    while (path := row_path(study, cell_id)) is not None:
        with contextlib.suppress(FileNotFoundError):  # compacted, or merged into a larger file, since the look
            return _read_from(path, study, cell_id, schema.SHARD.names if columns is None else columns)
    raise FileNotFoundError(f"{study.folder} holds no row of cell {cell_id}")


def row_of_point(study: Study, point: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row of a folder that a point was made from, None where that is in another folder.

    Args:
        study: the folder.
        point: `POINT_KEY` of the point.
    """
    try:
        row = read_row(study, point["cell_id"])
    except (FileNotFoundError, InvalidShardError):
        return None
    return row if all(row[name] == point[name] for name in POINT_KEY) else None


def iter_rows(study: Study, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of all cells, each once, of several the one that counts; those of shards first.

    Args:
        study: the study.
        columns: names of columns besides `cell_id`; those of single items are too large to be read so.

    Raises:
        InvalidShardError: a file is damaged or of another schema.
        TaskComplexityError: a compacted file is damaged.
    """
    seen: set[str] = set()
    paths = sorted(study.shard_files())
    several = _in_several(study, {path.stem for path in paths})
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # compacted since the folder was listed, so that it comes below
            is_alone = path.stem not in several
            yield _read_from(path, study, path.stem, columns) if is_alone else read_row(study, path.stem, columns)
            seen.add(path.stem)
    files: set[Path] = set()
    while unread := study.compacted_cells().keys() - files:
        for path in sorted(unread):
            files.add(path)
            with contextlib.suppress(FileNotFoundError):  # merged into a larger file, which is there at the next look
                for row in _rows_in(path, columns):
                    if row["cell_id"] not in seen:
                        seen.add(row["cell_id"])
                        yield read_row(study, row["cell_id"], columns) if row["cell_id"] in several else row


def study_of_program(path: Path) -> Study:
    """The study that a program file lies in, where a row names it.

    Raises:
        UserError: there is no such file, or it is not in the folder of a study, or no row of the study names it.
        TaskComplexityError: a file of the study is damaged.
    """
    if not path.is_file():
        raise UserError(f"there is no program file {path}")
    if path.suffix != ".pyz":
        raise UserError(f"{path} is no program file: the names of those end in .pyz")
    folders = path.resolve().parents
    study = Study(folders[2]) if len(folders) > 2 else None
    if study is None or study.program_path(path.stem) != path.resolve():
        raise UserError(f"{path} is not in the folder programs/ of a study, whose rows tell what it is to give")
    if not any(row["program_sha256"] == path.stem for row in iter_rows(study, ["program_sha256"])):
        raise UserError(f"no row of {study.folder} names the program {path.name}")
    return study


def _paths(study: Study, cell_id: str) -> list[Path]:
    """Files that hold a row of a cell; the shard comes first."""
    compacted = [path for path, cells in study.compacted_cells().items() if cell_id in cells]
    return [path for path in (study.shard_path(cell_id),) if path.exists()] + compacted


def _in_several(study: Study, shards: Set[str]) -> set[str]:
    """Cells with more than one row in a folder."""
    seen, several = set(shards), set[str]()
    for cells in study.compacted_cells().values():
        several |= seen & cells
        seen |= cells
    return several


def _counting(paths: Sequence[Path], study: Study, cell_id: str) -> Path | None:
    """Of several files with a row of a cell the one whose row counts; None where all of them are gone.

    Damaged ones do not count beside others; where nothing else is left, whoever reads the row is told.
    """
    tables, damaged = [], []
    for path in paths:
        try:
            table = _table_from(path, study, cell_id, schema.SHARD.names)
            table = table.select(schema.SHARD.names).cast(schema.SHARD)
        except FileNotFoundError:
            continue
        except InvalidShardError:
            damaged.append(path)
            continue
        if table.num_rows and not schema.broken_rows(table):
            tables.append(table.append_column("path", pa.array([str(path)])))
        else:
            damaged.append(path)
    if not tables:
        return next(iter(damaged), None)
    rows = pa.concat_tables(tables)
    first = by_precedence(rows, np.arange(rows.num_rows) == 0)[0]
    return Path(rows["path"][int(first)].as_py())


def _rows_in(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for table in iter_compacted(path, _with_id(columns)):
        yield from table.to_pylist()


def _read_from(path: Path, study: Study, cell_id: str, columns: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = _table_from(path, study, cell_id, columns).to_pylist()[0]
    if len(row) == len(schema.SHARD.names):
        schema.check_row(row)
    return row


def _table_from(path: Path, study: Study, cell_id: str, columns: Sequence[str]) -> pa.Table:
    wanted = _with_id(columns)
    if path == study.shard_path(cell_id):
        return read_shard_columns(path, cell_id, wanted)
    return read_compacted_rows(path, [cell_id], wanted)


def _with_id(columns: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(["cell_id", *columns]))
