"""Rows of data files: Parquet, JSON lines, JSON, CSV and headless TSV, the texts also compressed (.gz, .zst).

Readers give one row after the other and read no further than they are asked to.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from pipeline.errors import UserError

Row = dict[str, Any]

BATCH_ROWS = 1000
"""Rows of a Parquet file that are decoded at a time."""
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
"""Suffix -> name of the compression in Arrow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One way in which a repository may hold the rows of a split.

    Attributes:
        pattern: which files below its folder, such as `main/train-*.parquet`; in the order of their names.
        columns: our name of a column -> its place in a row of the files: a column, or one inside of it as in
            `translation.fra_Latn`. Columns of a .tsv file, which has no header, are numbered from 0.
        read: gives the rows of one file, where its suffix does not tell how.
    """

    pattern: str
    columns: Mapping[str, str]
    read: Callable[[Path], Iterator[Row]] | None = None


def read_rows(folder: Path, layouts: Sequence[Layout], limit: int | None = None) -> Iterator[Row]:
    """Rows of a split, by the first layout of which there are files.

    Args:
        folder: of the repository.
        layouts: how it may hold them.
        limit: how many rows are read at most; files after that are not opened, nor the rest of the one they are in.

    Raises:
        UserError: there are no files of any layout, a file cannot be read, or a column is missing.
    """
    for layout in layouts:
        paths = sorted(folder.glob(layout.pattern))
        if paths:
            yield from _rows_of(paths, layout, limit)
            return
    expected = "".join(f"\n  - {layout.pattern} with {', '.join(layout.columns.values())}" for layout in layouts)
    raise UserError(f"the folder {folder} has none of the expected files (columns beside them):{expected}")


def has_rows(folder: Path, layouts: Sequence[Layout]) -> bool:
    """Whether a folder has files of any of these layouts."""
    return any(any(folder.glob(layout.pattern)) for layout in layouts)


def file_rows(path: Path, places: Iterable[str] = ()) -> Iterator[Row]:
    """Rows of one file, by its suffix.

    Args:
        path: the file.
        places: the columns that are wanted; by default all. Only Parquet gains by it.

    Raises:
        UserError: the suffix is of no known format.
        ValueError: the content is not of the format; `csv.Error` where that is CSV.
        OSError: the file cannot be read.
    """
    suffix = next((end for end in reversed(path.suffixes) if end not in COMPRESSIONS), "")
    if suffix not in _READERS:
        raise UserError(f"{path} is of no known format; known: {', '.join(_READERS)}, texts also with .gz or .zst")
    return _READERS[suffix](path, places)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Makes one clear error of all that a file can raise that is damaged, or something else than its suffix says."""
    try:
        yield
    except UserError:
        raise
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())[:300]}") from error


def _rows_of(paths: Sequence[Path], layout: Layout, limit: int | None) -> Iterator[Row]:
    left = limit
    for path in paths:
        if left == 0:
            return
        with reading(path):
            for row in layout.read(path) if layout.read else file_rows(path, layout.columns.values()):
                yield {name: _value(row, place, path, layout) for name, place in layout.columns.items()}
                if left is not None:
                    left -= 1
                    if left == 0:
                        return


def _value(row: Row, place: str, path: Path, layout: Layout) -> Any:
    value: Any = row
    for name in place.split("."):
        if not isinstance(value, dict) or name not in value:
            present = [column for column in row if column is not None]  # under None are cells beyond the last column
            raise UserError(
                f"{path} has no column {place!r}; {layout.pattern} is expected to hold "
                f"{', '.join(layout.columns.values())}, it holds {', '.join(present)}"
            )
        value = value[name]
    return value


def _parquet(path: Path, places: Iterable[str]) -> Iterator[Row]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        present = set(file.schema_arrow.names)
        # Columns that nobody asked for can be most of the file. One that is missing is found in the first row.
        columns = sorted({place.split(".")[0] for place in places} & present) or None
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns, use_threads=False):
            yield from batch.to_pylist()


def _json_lines(path: Path, places: Iterable[str]) -> Iterator[Row]:
    with _text(path) as text:
        for number, line in enumerate(text, start=1):
            if line.strip():
                yield _json_object(line, f"line {number} of {path.name}")


def _json(path: Path, places: Iterable[str]) -> Iterator[Row]:
    with _text(path) as text:
        content = json.load(text)
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError("a list of JSON objects is expected")
    yield from content


def _csv(path: Path, places: Iterable[str]) -> Iterator[Row]:
    with _text(path) as text:
        yield from csv.DictReader(text)


def _tsv(path: Path, places: Iterable[str]) -> Iterator[Row]:
    with _text(path) as text:
        for line in text:
            yield {str(number): cell for number, cell in enumerate(line.rstrip("\n").split("\t"))}


def _json_object(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where} is no JSON object")
    return row


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    import pyarrow as pa

    compression = COMPRESSIONS.get(path.suffix)
    # Lines end at a line feed alone: the separators that Unicode has besides occur within texts.
    with pa.input_stream(str(path), compression=compression) as stream:
        # Editors and spreadsheets of Windows put a mark (BOM) before a text.
        yield io.TextIOWrapper(stream, encoding="utf-8-sig", newline="\n")


_READERS: Mapping[str, Callable[[Path, Iterable[str]], Iterator[Row]]] = {
    ".parquet": _parquet,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
}
