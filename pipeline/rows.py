"""Rows of cells, wherever they are: in a shard of their own or in a compacted file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline import schema
from pipeline.compacted import iter_compacted, read_compacted_rows
from pipeline.errors import UserError
from pipeline.shards import read_shard_columns
from pipeline.store import Study


def row_path(study: Study, cell_id: str) -> Path | None:
    """File that holds the row of a cell: its shard, else a compacted file; None where there is none.

    Raises:
        TaskComplexityError: a compacted file is damaged.
    """
    path = study.shard_path(cell_id)
    if path.exists():
        return path
    return next((path for path, cells in study.compacted_cells().items() if cell_id in cells), None)


def read_row(study: Study, cell_id: str, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """The row of a cell.

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


def iter_rows(study: Study, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of all cells, each once; those of shards first.

    Args:
        study: the study.
        columns: names of columns besides `cell_id`; those of single items are too large to be read so.

    Raises:
        InvalidShardError: a file is damaged or of another schema.
        TaskComplexityError: a compacted file is damaged.
    """
    seen: set[str] = set()
    for path in sorted(study.shard_files()):
        with contextlib.suppress(FileNotFoundError):  # compacted since the folder was listed, so that it comes below
            yield _read_from(path, study, path.stem, columns)
            seen.add(path.stem)
    files: set[Path] = set()
    while unread := study.compacted_cells().keys() - files:
        for path in sorted(unread):
            files.add(path)
            with contextlib.suppress(FileNotFoundError):  # merged into a larger file, which is there at the next look
                for row in _rows_in(path, columns):
                    if row["cell_id"] not in seen:
                        seen.add(row["cell_id"])
                        yield row


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


def _rows_in(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for table in iter_compacted(path, _with_id(columns)):
        yield from table.to_pylist()


def _read_from(path: Path, study: Study, cell_id: str, columns: Sequence[str]) -> dict[str, Any]:
    wanted = _with_id(columns)
    if path == study.shard_path(cell_id):
        table = read_shard_columns(path, cell_id, wanted)
    else:
        table = read_compacted_rows(path, [cell_id], wanted)
    row: dict[str, Any] = table.to_pylist()[0]
    if len(row) == len(schema.SHARD.names):
        schema.check_row(row)
    return row


def _with_id(columns: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(["cell_id", *columns]))
