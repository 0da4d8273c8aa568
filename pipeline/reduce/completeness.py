"""What became of the plan: which cells are done, and which have no place in the tables and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline import schema
from pipeline.reduce.cell_ids import ID_BYTES, CellIds, located, packed
from pipeline.store import Study, iter_cells

Row = dict[str, Any]
Quarantined = dict[tuple[str, str], str]
"""(file, cell of a row of it, or nothing for all of it) -> what is wrong with it."""

NUM_LISTED = 1000
"""Lists of single cells in a `Completeness` are cut here; the table `completeness` has all of them."""

_LABEL_COLUMNS = ("task", "model", "family", "parameters", "budget_bytes", "seed")
COMPLETENESS = pa.schema(
    [
        ("what", pa.string()),  # quarantined, outside, duplicate, failed, missing
        ("cell_id", pa.string()),
        *(schema.PLAN.field(name) for name in _LABEL_COLUMNS),
        ("path", pa.string()),  # of the file that does not count, or not in full
        ("kept_path", pa.string()),  # of a duplicate: the file that counts
        ("is_same_program", pa.bool_()),  # of a duplicate
        ("num_attempts", pa.int64()),  # of a cell that failed, as the next two
        ("cause", pa.string()),
        ("message", pa.string()),  # of a file: what is wrong with it
    ]
)
"""One row for each cell or file that is not in the tables, or twice in the folders."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicate:
    """One cell in several files.

    Attributes:
        cell_id: the cell.
        kept: path of the file whose row counts: lowest attempt, then smallest program digest.
        dropped: path of the other one.
        is_same_program: whether both made the same program file.
    """

    cell_id: str
    kept: str
    dropped: str
    is_same_program: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A planned cell with failed attempts and no row.

    Attributes:
        cell_id: the cell.
        label: task, model, family, budget and seed, for people.
        num_attempts: how often it was tried.
        cause: of the last attempt.
        message: of the last attempt.
    """

    cell_id: str
    label: str
    num_attempts: int
    cause: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Completeness:
    """What became of the plan.

    `num_planned == num_ok + num_infeasible + num_failed + num_missing + num_unresolved`. Imported rows belong to no
    plan: they are counted apart, and always count. Lists hold the first `NUM_LISTED` entries.

    Attributes:
        num_planned: cells of the plan; without a plan, the cells that have a row.
        num_ok: cells with a program and scores.
        num_infeasible: cells without a program, which is final.
        num_imported: rows that others published.
        num_failed: cells with failed attempts and no row.
        num_missing: cells that were never finished and never failed.
        num_unresolved: planned cells without an id, since their base model is not staged.
        num_quarantined: files, and rows of compacted files, that do not count.
        num_outside: cells with a row that are not in the plan: kept on disk, left out of the tables.
        num_duplicates: rows that do not count since their cell has another one.
        failed_by_cause: cause of the last attempt -> how many of all failed cells, most first.
        failed: cells with failed attempts and no row.
        missing: labels of cells that were never finished and never failed.
        quarantined: (file, reason) of what does not count.
        outside: ids of cells that are not in the plan.
        duplicates: cells in several files.
    """

    num_planned: int
    num_ok: int
    num_infeasible: int
    num_imported: int = 0
    num_failed: int = 0
    num_missing: int = 0
    num_unresolved: int = 0
    num_quarantined: int = 0
    num_outside: int = 0
    num_duplicates: int = 0
    failed_by_cause: Mapping[str, int] = field(default_factory=dict)
    failed: tuple[Failure, ...] = ()
    missing: tuple[str, ...] = ()
    quarantined: tuple[tuple[str, str], ...] = ()
    outside: tuple[str, ...] = ()
    duplicates: tuple[Duplicate, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every planned cell is done."""
        return self.num_planned == self.num_ok + self.num_infeasible


def cell_label(row: Mapping[str, Any]) -> str:
    """One line for people: task, model, family, parameters, budget, seed."""
    parameters = {"budget_bytes": row["budget_bytes"], "seed": row["seed"], **json.loads(row["parameters"] or "{}")}
    given = ", ".join(f"{name}={value}" for name, value in sorted(parameters.items()) if value is not None)
    return f"{row['task']} / {row['model']} / {row['family']}" + (f" ({given})" if given else "")


class Account:
    """Counts and lists cells while their rows pass by, and tells in the end what became of the plan.

    Args:
        studies: the folders. The plan is the union of their plans; where no folder has one, every row counts.
        file: gets the table `COMPLETENESS`, in Parquet.
        quarantined: what was found bad before, and is listed too; gets what is found from here on.

    Raises:
        UserError: a plan cannot be read.
    """

    def __init__(self, studies: Sequence[Study], file: BinaryIO, quarantined: Quarantined) -> None:
        self._studies = studies
        self._writer = pq.ParquetWriter(file, COMPLETENESS, compression="zstd", write_statistics=False)
        self._has_plan = any(study.plan_path.exists() for study in studies)
        self._planned, self._num_unresolved = _planned_cells(studies)
        self._is_done = np.zeros(len(self._planned), np.bool_)
        self._num_counted = self._num_ok = self._num_infeasible = self._num_imported = 0
        self._num_missing = self._num_outside = self._num_duplicates = 0
        self._quarantined = quarantined
        self._outside: list[str] = []
        self._duplicates: list[Duplicate] = []
        self._failed_by_cause: Counter[str] = Counter()
        self._failed: list[Failure] = []
        self._missing: list[str] = []

    def counted(self, rows: pa.Table, ids: CellIds) -> pa.Table:
        """Those of the rows that have a place in the tables: imported, or of a planned cell.

        Args:
            rows: of different cells, sorted by cell id.
            ids: of the rows.
        """
        is_imported = _mask(pc.equal(rows["status"], schema.IMPORTED))
        counts = np.ones(len(ids), np.bool_)
        if self._has_plan:
            places, is_planned = located(ids, self._planned)
            self._is_done[places[is_planned]] = True
            counts = is_planned | is_imported
        if not counts.all():
            self._list_outside(rows.filter(pa.array(~counts)))
            rows, is_imported = rows.filter(pa.array(counts)), is_imported[counts]
        self._num_imported += int(is_imported.sum())
        self._num_counted += int((~is_imported).sum())
        self._num_ok += pc.sum(pc.equal(rows["status"], "ok")).as_py() or 0
        self._num_infeasible += pc.sum(pc.equal(rows["status"], "infeasible")).as_py() or 0
        return rows

    def quarantine(self, path: str, reason: str, cell_id: str | None = None) -> None:
        """List a file, or the row of a cell in it, that does not count."""
        self._quarantined[path, cell_id or ""] = reason

    def drop_duplicates(self, kept: pa.Table, dropped: pa.Table) -> None:
        """List rows that do not count since their cell has another one.

        Args:
            kept: `cell_id`, `path` and `program_sha256` of the rows that count.
            dropped: the same of as many rows, each of the cell of the row in its place in `kept`.
        """
        columns = {
            "cell_id": dropped["cell_id"],
            "path": dropped["path"].cast(pa.string()),
            "kept_path": kept["path"].cast(pa.string()),
            # What others published has no digest.
            "is_same_program": pc.equal(*(pc.fill_null(rows["program_sha256"], "") for rows in (kept, dropped))),
        }
        self._num_duplicates += dropped.num_rows
        self._list_table("duplicate", columns, dropped.num_rows)
        rest = NUM_LISTED - len(self._duplicates)
        for row in pa.table(columns).slice(0, rest).to_pylist() if rest > 0 else ():
            self._duplicates.append(
                Duplicate(
                    cell_id=row["cell_id"],
                    kept=row["kept_path"],
                    dropped=row["path"],
                    is_same_program=row["is_same_program"],
                )
            )

    def __enter__(self) -> Account:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def completeness(self) -> Completeness:
        """What became of the plan, once all rows have passed by. To be asked once: it lists what is not done."""
        self._list_undone()
        bad = sorted(self._quarantined.items())
        self._list("quarantined", ({"path": path, "cell_id": it or None, "message": why} for (path, it), why in bad))
        num_cells = len(self._planned) if self._has_plan else self._num_counted
        return Completeness(
            num_planned=num_cells + self._num_unresolved,
            num_ok=self._num_ok,
            num_infeasible=self._num_infeasible,
            num_imported=self._num_imported,
            num_failed=self._failed_by_cause.total(),
            num_missing=self._num_missing,
            num_unresolved=self._num_unresolved,
            num_quarantined=len(self._quarantined),
            num_outside=self._num_outside,
            num_duplicates=self._num_duplicates,
            failed_by_cause=dict(self._failed_by_cause.most_common()),
            failed=tuple(self._failed),
            missing=tuple(self._missing),
            quarantined=tuple((path, reason) for (path, _), reason in bad[:NUM_LISTED]),
            outside=tuple(self._outside),
            duplicates=tuple(self._duplicates),
        )

    def _list_outside(self, rows: pa.Table) -> None:
        columns = {name: rows[name] for name in ("cell_id", "path", *_LABEL_COLUMNS)}
        self._num_outside += rows.num_rows
        self._list_table("outside", columns, rows.num_rows)
        rest = max(0, NUM_LISTED - len(self._outside))
        self._outside += rows["cell_id"].slice(0, rest).to_pylist()

    def _list_undone(self) -> None:
        """List planned cells without a row: failed where there is an attempt, else missing."""
        attempts = self._last_attempts()
        is_listed = self._is_done.copy()
        for cells in _plan_parts(self._studies, ["cell_id", *_LABEL_COLUMNS]):
            ids = packed(cells["cell_id"])
            order = np.argsort(ids, kind="stable")
            places, _ = located(ids[order], self._planned)
            _, first = np.unique(places, return_index=True)
            new = first[~is_listed[places[first]]]
            is_listed[places[new]] = True
            undone = cells.take(pa.array(np.sort(order[new])))
            names = undone["cell_id"].to_pylist()
            has_failed = np.fromiter((name in attempts for name in names), np.bool_, len(names))
            self._list_failed(undone.filter(pa.array(has_failed)).to_pylist(), attempts)
            self._list_missing(undone.filter(pa.array(~has_failed)))

    def _list_failed(self, cells: Sequence[Row], attempts: Mapping[str, Row]) -> None:
        self._failed_by_cause.update(attempts[cell["cell_id"]]["cause"] for cell in cells)
        self._list("failed", [cell | attempts[cell["cell_id"]] for cell in cells])
        for cell in cells[: max(0, NUM_LISTED - len(self._failed))]:
            self._failed.append(Failure(cell_id=cell["cell_id"], label=cell_label(cell), **attempts[cell["cell_id"]]))

    def _list_missing(self, cells: pa.Table) -> None:
        self._num_missing += cells.num_rows
        self._list_table("missing", {name: cells[name] for name in cells.column_names}, cells.num_rows)
        rest = max(0, NUM_LISTED - len(self._missing))
        self._missing += map(cell_label, cells.slice(0, rest).to_pylist())

    def _last_attempts(self) -> dict[str, Row]:
        """Number of attempts, and the cause and message of the last, of planned cells without a row."""
        found: dict[str, Row] = {}
        for study in self._studies if len(self._planned) else ():
            table = study.read_attempts()
            for row in table.filter(self._is_undone(table["cell_id"])).to_pylist():  # in the order of attempts
                earlier = found.get(row["cell_id"], {"num_attempts": 0})
                found[row["cell_id"]] = {
                    "num_attempts": earlier["num_attempts"] + 1,
                    "cause": row["cause"] or "unknown",
                    "message": row["message"] or "",
                }
        return found

    def _is_undone(self, cell_ids: pa.ChunkedArray) -> pa.Array:
        is_id = _mask(pc.equal(pc.binary_length(cell_ids), 2 * ID_BYTES))
        ids = packed(cell_ids.filter(pa.array(is_id)))
        order = np.argsort(ids, kind="stable")
        places, is_planned = located(ids[order], self._planned)
        undone = np.zeros(len(is_id), np.bool_)
        undone[np.flatnonzero(is_id)[order]] = is_planned & ~self._is_done[places] if len(self._planned) else False
        return pa.array(undone)

    def _list(self, what: str, rows: Iterable[Row]) -> None:
        listed = [{name: row.get(name) for name in COMPLETENESS.names} | {"what": what} for row in rows]
        if listed:
            self._writer.write_table(pa.Table.from_pylist(listed, schema=COMPLETENESS))

    def _list_table(self, what: str, columns: Mapping[str, pa.ChunkedArray], num_rows: int) -> None:
        if num_rows:
            given = {**columns, "what": pa.repeat(pa.scalar(what), num_rows)}
            arrays = [
                given[field.name].cast(field.type) if field.name in given else pa.nulls(num_rows, field.type)
                for field in COMPLETENESS
            ]
            self._writer.write_table(pa.table(arrays, schema=COMPLETENESS))


def _planned_cells(studies: Sequence[Study]) -> tuple[CellIds, int]:
    """Ids of the cells of all plans, sorted and each once, and how many planned cells have none."""
    parts = [np.empty(0, f"S{ID_BYTES}")]
    num_unresolved = 0
    for study in studies:
        if study.plan_path.exists():
            for cells in iter_cells(study.plan_path, ["cell_id"]):
                num_unresolved += cells["cell_id"].null_count
                parts.append(packed(cells["cell_id"].drop_null()))
    ids = np.concatenate(parts)
    parts.clear()
    ids.sort()
    is_first = np.ones(len(ids), np.bool_)
    np.not_equal(ids[1:], ids[:-1], out=is_first[1:])
    return ids if is_first.all() else ids[is_first], num_unresolved


def _plan_parts(studies: Sequence[Study], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Rows of all plans that have an id, a part at a time."""
    for study in studies:
        if study.plan_path.exists():
            for cells in iter_cells(study.plan_path, columns):
                yield cells.filter(cells["cell_id"].is_valid())


def _mask(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = pc.fill_null(values, False).to_numpy()
    return mask
