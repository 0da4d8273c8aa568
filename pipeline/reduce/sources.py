"""Files of study folders as streams of rows in the order of their cell ids."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.compacted import iter_compacted
from pipeline.compacted_index import compacted_files
from pipeline.errors import InvalidShardError, NewerShardError
from pipeline.files import READ_THREADS
from pipeline.precedence import POINT_COLUMNS, READ_COLUMNS, SPLIT_COLUMNS
from pipeline.reduce.ahead import one_ahead
from pipeline.reduce.cell_ids import CellIds, packed
from pipeline.shards import read_shard_columns
from pipeline.store import Study

_TEXTS = pa.dictionary(pa.int32(), pa.string())
_DICTIONARIES = [
    name
    for name in POINT_COLUMNS
    if schema.SHARD.field(name).type == pa.string() and not name.endswith(("_id", "sha256"))
]
_FILES_AT_ONCE = 64
_PARTS_AT_ONCE = 32

Report = Callable[[str, str, str | None], None]
"""Gets the path of a file, what is wrong with it, and the cell if it is only one of its rows."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some rows of one source.

    Attributes:
        rows: `READ_COLUMNS` and `path`, the file that each row is in; texts that repeat are dictionary-encoded.
        ids: of the rows, strictly increasing.
    """

    rows: pa.Table
    ids: CellIds


class StartAgain(Exception):
    """Rows that were given before must not be used: read all sources anew.

    Attributes:
        path: a compacted file that turned out to be damaged, None where files were moved while they were read.
        reason: what is wrong with it.
        is_newer: whether a later version of this package wrote it.
    """

    def __init__(self, path: Path | None = None, reason: str = "", *, is_newer: bool = False) -> None:
        self.path = path
        self.reason = reason
        self.is_newer = is_newer
        super().__init__(reason)


def study_sources(study: Study, left_out: Container[Path], report: Report) -> list[Iterator[Part]]:
    """The rows of a study folder: one stream of its shards, and one for each compacted file.

    Bad shards are moved to quarantine and reported, as are rows of compacted files that break a rule, which stay where
    they are.

    Args:
        study: the folder.
        left_out: compacted files that are not read.
        report: told of what does not count.

    Raises:
        StartAgain: while the streams are read.
    """
    # Shards are listed first: one that is compacted in between is then in both lists, and not in neither.
    shards = sorted(map(str, study.shard_files()))
    compacted = [path for path in compacted_files(study.compacted) if path not in left_out]
    return [_loose(study, shards, report), *(_compacted(path, report) for path in compacted)]


def set_aside(study: Study, path: Path, reason: str, *, is_newer: bool) -> str:
    """Move a bad file to quarantine, and say what became of it.

    A file of a later version of this package stays: it is sound, and its cells are done.
    """
    if is_newer:
        return f"{reason}; left in its place"
    try:
        study.quarantine_shard(path, reason)
    except OSError as error:  # a folder of someone else's: it still does not count
        return f"{reason}; could not be moved ({error.strerror})"
    return reason


def _loose(study: Study, paths: Sequence[str], report: Report) -> Iterator[Part]:
    parts = [paths[start : start + _FILES_AT_ONCE] for start in range(0, len(paths), _FILES_AT_ONCE)]
    with ThreadPoolExecutor(READ_THREADS) as pool:
        # A window at a time: a pool reads everything that it is given, however slowly it is taken.
        for start in range(0, len(parts), _PARTS_AT_ONCE):
            found = list(pool.map(_read_shards, parts[start : start + _PARTS_AT_ONCE]))
            rows = pa.concat_tables([rows for rows, _ in found]).combine_chunks()
            broken = schema.broken_rows(rows)
            bad = [it for _, of_part in found for it in of_part]
            bad += [(rows["path"][place].as_py(), _named(rows, place, rule), False) for place, rule in broken]
            for path, reason, is_newer in sorted(bad):
                if _is_good(Path(path)):  # a worker has made the cell anew since it was read
                    raise StartAgain
                report(path, set_aside(study, Path(path), reason, is_newer=is_newer), None)
            yield _part(_without(rows, broken))


def _read_shards(paths: Sequence[str]) -> tuple[pa.Table, list[tuple[str, str, bool]]]:
    """Rows of the good files; the bad ones with what is wrong with them, and whether a later version wrote them."""
    tables = [_chosen(schema.SHARD.empty_table())]
    good = []
    bad = []
    for path in paths:
        try:
            # All columns, since damage of one that is not used is damage of the shard; kept are those that are.
            tables.append(_chosen(read_shard_columns(Path(path), Path(path).stem, schema.SHARD.names)))
            good.append(path)
        except InvalidShardError as error:
            bad.append((path, str(error), isinstance(error, NewerShardError)))
        except FileNotFoundError:  # compacted, or moved aside by another process
            raise StartAgain from None
    return pa.concat_tables(tables).append_column("path", pa.array(good, pa.string())), bad


def _is_good(path: Path) -> bool:
    try:
        return not schema.broken_rows(_chosen(read_shard_columns(path, path.stem, schema.SHARD.names)))
    except (InvalidShardError, FileNotFoundError):
        return False


def _compacted(path: Path, report: Report) -> Iterator[Part]:
    try:
        for rows in one_ahead(iter_compacted(path, READ_COLUMNS, as_dictionaries=True)):
            broken = schema.broken_rows(rows)
            for place, rule in broken:
                cell_id = rows["cell_id"][place].as_py()
                report(str(path), f"{path}: cell {cell_id[:12]}: {rule}; left out", cell_id)
            same_path = pa.DictionaryArray.from_arrays(np.zeros(rows.num_rows, np.int32), [str(path)])
            yield _part(_without(rows.append_column("path", same_path), broken))
    except (InvalidShardError, ValueError) as error:
        raise StartAgain(path, str(error), is_newer=isinstance(error, NewerShardError)) from error
    except FileNotFoundError:  # merged into a larger one
        raise StartAgain from None


def _part(rows: pa.Table) -> Part:
    for name in (*_DICTIONARIES, "path"):
        if rows.schema.field(name).type != _TEXTS:
            rows = rows.set_column(rows.schema.get_field_index(name), name, rows[name].dictionary_encode())
    rows = rows.unify_dictionaries().combine_chunks()
    return Part(rows=rows, ids=packed(rows["cell_id"]))


def _chosen(rows: pa.Table) -> pa.Table:
    """`READ_COLUMNS` of rows of shards."""
    splits = {}
    for split in ("validation", "test"):
        scores = rows[split].combine_chunks()
        scores = scores.chunk(0) if isinstance(scores, pa.ChunkedArray) else scores
        fields = [schema.SPLIT_SCORES.field(name) for name in SPLIT_COLUMNS]
        arrays = [scores.field(field.name) for field in fields]
        splits[split] = pa.StructArray.from_arrays(arrays, fields=fields, mask=scores.is_null())
    columns = [name for name in READ_COLUMNS if "." not in name]
    return pa.table({name: rows[name] for name in columns} | splits)


def _without(rows: pa.Table, broken: Sequence[tuple[int, str]]) -> pa.Table:
    if not broken:
        return rows
    keeps = np.ones(rows.num_rows, np.bool_)
    keeps[[place for place, _ in broken]] = False
    return rows.filter(pa.array(keeps))


def _named(rows: pa.Table, place: int, rule: str) -> str:
    return f"cell {rows['cell_id'][place].as_py()[:12]}: {rule}"
