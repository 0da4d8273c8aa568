"""Shards of one or many study folders, one row a cell, and how complete they are."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import schema
from pipeline.errors import InvalidShardError
from pipeline.files import READ_THREADS
from pipeline.shards import read_shard_columns
from pipeline.store import Study

Row = dict[str, Any]

_SPLIT_COLUMNS = ("performance", "num_items", "other_metrics")
_COLUMNS = [name for name in schema.SHARD.names if name not in ("validation", "test", "payload_text")] + [
    f"{split}.{column}" for split in ("validation", "test") for column in _SPLIT_COLUMNS
]
_FILES_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Duplicate:
    """One cell with a shard in several folders.

    Attributes:
        cell_id: the cell.
        kept: path of the shard that counts: lowest attempt, then smallest program digest.
        dropped: path of the other one.
        is_same_program: whether both made the same program file.
    """

    cell_id: str
    kept: str
    dropped: str
    is_same_program: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A planned cell with failed attempts and no shard.

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

    `num_planned == num_ok + num_infeasible + len(failed) + len(missing) + num_unresolved`. Imported rows belong to no
    plan: they are counted apart, and always count.

    Attributes:
        num_planned: cells of the plan; without a plan, the cells that have a shard.
        num_ok: cells with a program and scores.
        num_infeasible: cells without a program, which is final.
        num_imported: rows that others published.
        failed: cells with failed attempts and no shard.
        missing: labels of cells that were never finished and never failed.
        num_unresolved: planned cells without an id, since their base model is not staged.
        quarantined: (file, reason) of files that stood in a shard's place and were no valid shard.
        outside: ids of cells with a shard that are not in the plan: kept on disk, left out of the tables.
        duplicates: cells with a shard in several folders.
    """

    num_planned: int
    num_ok: int
    num_infeasible: int
    num_imported: int = 0
    failed: tuple[Failure, ...] = ()
    missing: tuple[str, ...] = ()
    num_unresolved: int = 0
    quarantined: tuple[tuple[str, str], ...] = ()
    outside: tuple[str, ...] = ()
    duplicates: tuple[Duplicate, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every planned cell is done."""
        return self.num_planned == self.num_ok + self.num_infeasible


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """Rows of cells, ordered by cell id, without what makes shards large.

    Attributes:
        rows: the columns of a shard but `payload_text`; the split columns hold `performance`, `num_items` and
            `other_metrics` only; `path` is the file of the shard.
        completeness: what became of the plan.
    """

    rows: list[Row]
    completeness: Completeness


@dataclass
class _Collected:
    """What reading the files of all folders found."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    quarantined: list[tuple[str, str]] = field(default_factory=list)


def merge_shards(studies: Sequence[Study]) -> Merged:
    """Read the shards of study folders. Bad files go to quarantine and never stop the reading.

    Args:
        studies: folders of one study, as from several clusters, or of several studies. The plan is the union of their
            plans; where no folder has one, every shard counts.
    """
    collected = _Collected()
    for study in studies:
        _collect(study, collected)
    plan = _plan_rows(studies)
    planned = {row["cell_id"]: row for row in plan if row["cell_id"] is not None}
    imported = {cell_id for cell_id, rows in collected.rows.items() if rows[0]["status"] == schema.IMPORTED}
    counted = set(planned) if plan else collected.rows.keys() - imported

    rows: list[Row] = []
    duplicates: list[Duplicate] = []
    for cell_id in sorted((counted | imported) & collected.rows.keys()):
        kept, *dropped = sorted(collected.rows[cell_id], key=_precedence)
        rows.append(kept)
        duplicates += [
            Duplicate(
                cell_id=cell_id,
                kept=str(kept["path"]),
                dropped=str(row["path"]),
                is_same_program=row["program_sha256"] == kept["program_sha256"],
            )
            for row in dropped
        ]
    undone = {cell_id: row for cell_id, row in planned.items() if cell_id not in collected.rows}
    failed = _failures(studies, undone)
    has_failed = {failure.cell_id for failure in failed}
    num_unresolved = sum(row["cell_id"] is None for row in plan)
    return Merged(
        rows=rows,
        completeness=Completeness(
            num_planned=len(counted) + num_unresolved,
            num_ok=sum(row["status"] == "ok" for row in rows),
            num_infeasible=sum(row["status"] == "infeasible" for row in rows),
            num_imported=len(imported),
            failed=failed,
            missing=tuple(sorted(cell_label(row) for cell_id, row in undone.items() if cell_id not in has_failed)),
            num_unresolved=num_unresolved,
            quarantined=tuple(sorted(collected.quarantined)),
            outside=tuple(sorted(collected.rows.keys() - counted - imported)),
            duplicates=tuple(duplicates),
        ),
    )


def read_statistics(row: Row) -> NDArray[np.float64]:
    """Sufficient statistics of the test items of a merged row.

    Returns:
        Shape [n_items, n_statistics].

    Raises:
        InvalidShardError: the file is no longer the shard that was merged.
    """
    column = read_shard_columns(row["path"], row["cell_id"], ["cell_id", "test.statistics"])["test"]
    items = column.combine_chunks().field("statistics").flatten()
    statistics: NDArray[np.float64] = items.flatten().to_numpy().reshape(len(items), -1 if len(items) else 0)
    return statistics


def cell_label(row: Row) -> str:
    """One line for people: task, model, family, parameters, budget, seed."""
    parameters = {"budget_bytes": row["budget_bytes"], "seed": row["seed"], **json.loads(row["parameters"] or "{}")}
    given = ", ".join(f"{name}={value}" for name, value in sorted(parameters.items()) if value is not None)
    return f"{row['task']} / {row['model']} / {row['family']}" + (f" ({given})" if given else "")


def _collect(study: Study, collected: _Collected) -> None:
    paths = sorted(study.shard_files())
    parts = [paths[start : start + _FILES_AT_ONCE] for start in range(0, len(paths), _FILES_AT_ONCE)]
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for rows, bad in pool.map(_read_part, parts):
            for row in rows:
                collected.rows[row["cell_id"]].append(row)
            for path, reason in bad:
                collected.quarantined.append((str(path), reason))
                try:
                    study.quarantine_shard(path, reason)
                except OSError as error:  # a folder of someone else's: it still does not count
                    collected.quarantined[-1] = (str(path), f"{reason}; could not be moved ({error.strerror})")


def _read_part(paths: Sequence[Path]) -> tuple[list[Row], list[tuple[Path, str]]]:
    """Rows of the good files, and the bad files with what is wrong with them."""
    tables: list[pa.Table] = []
    good: list[Path] = []
    bad: list[tuple[Path, str]] = []
    for path in paths:
        try:
            tables.append(read_shard_columns(path, path.stem, _COLUMNS))
            good.append(path)
        except InvalidShardError as error:
            bad.append((path, str(error)))
        except FileNotFoundError:
            continue  # moved aside by another process since the folder was listed
    rows: list[Row] = []
    for path, row in zip(good, pa.concat_tables(tables).to_pylist() if tables else [], strict=True):
        try:
            schema.check_row({**row, **{split: _with_stand_ins(row[split]) for split in ("validation", "test")}})
            rows.append({**row, "path": path})
        except InvalidShardError as error:
            bad.append((path, str(error)))
    return rows, bad


def _with_stand_ins(scores: Row | None) -> Row | None:
    """Scores of a split with something of the right length for the columns of items, which were not read."""
    if scores is None:
        return None
    items = None if scores["num_items"] is None else range(scores["num_items"])
    return {**scores, "item_scores": items, "statistics": items, "predictions": items}


def _plan_rows(studies: Iterable[Study]) -> list[Row]:
    """Rows of all plans; a cell of several plans stands once."""
    resolved: dict[str, Row] = {}
    unresolved: list[Row] = []
    for study in studies:
        plan = study.read_plan()
        for row in plan.to_pylist() if plan is not None else ():
            if row["cell_id"] is None:
                unresolved.append(row)
            else:
                resolved.setdefault(row["cell_id"], row)
    return [*resolved.values(), *unresolved]


def _precedence(row: Row) -> tuple[float, str, str]:
    attempt = float("inf") if row["attempt"] is None else row["attempt"]
    return attempt, row["program_sha256"] or "", str(row["path"])


def _failures(studies: Iterable[Study], undone: dict[str, Row]) -> tuple[Failure, ...]:
    attempts: dict[str, list[Row]] = defaultdict(list)
    for study in studies:
        for row in study.read_attempts(undone).to_pylist():
            attempts[row["cell_id"]].append(row)
    failures = []
    for cell_id, rows in sorted(attempts.items()):
        last = rows[-1]  # attempts are read in order
        failures.append(
            Failure(
                cell_id=cell_id,
                label=cell_label(undone[cell_id]),
                num_attempts=len(rows),
                cause=last["cause"] or "unknown",
                message=last["message"] or "",
            )
        )
    return tuple(failures)
