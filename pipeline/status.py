"""What is done of a study, and of single cells, told to people and to scripts."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from pipeline.cell import Cell
from pipeline.errors import CAUSES, TaskComplexityError, UserError
from pipeline.leases import Unjudged, unjudged, unjudged_lines
from pipeline.rows import row_path
from pipeline.states import DONE, QUEUED, RUNNING, State, Tally, cell_states
from pipeline.store import Study, open_study

SHOWN_ATTEMPTS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What is done of one study.

    Attributes:
        study: name of the study.
        folder: its folder.
        tally: cells of the plan by state.
        num_outside: shards that are not in the plan.
        queue_note: why the queue of the cluster is not in the table, None where it is or nothing was submitted.
        unjudged: leases of which nothing here can tell whether their owners are gone.
        group_cells: cells of each group of the plan.
    """

    study: str
    folder: Path
    tally: Tally
    num_outside: int
    queue_note: str | None
    unjudged: tuple[Unjudged, ...]
    group_cells: Mapping[str | None, int]

    @property
    def is_still(self) -> bool:
        """Whether nothing of the study is in the queue, as far as that is known."""
        return self.queue_note is None and not self.tally.states[QUEUED] + self.tally.states[RUNNING]

    def render(self, console: Console) -> None:
        """Print for people."""
        console.print(self.as_text())

    def as_text(self) -> Group:
        """The table and what is to be said of it."""
        lines = [*self.tally.reason_lines(), *self.tally.cause_lines()]
        if self.queue_note:
            lines.append(self.queue_note)
        lines += unjudged_lines(self.unjudged, self.group_cells)
        if self.tally.causes:
            said = f"tcx status {Study(self.folder).argument}"
            lines.append(f"Why one cell failed: {said} --why CELL; which are there: {said} --cells '*'")
        if self.num_outside:
            lines.append(f"{self.num_outside:,} shards are outside of the plan; they are kept.")
        return Group(self.tally.table(f"study {self.study}"), *map(Text, lines))

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {
            "study": self.study,
            "folder": str(self.folder),
            "cells": sum(self.tally.states.values()),
            "states": {name.replace(" ", "_"): count for name, count in self.tally.states.items()},
            "failed_by_cause": self.tally.causes,
            "queued_by_reason": self.tally.reasons,
            "queue_note": self.queue_note,
            "outside_plan": self.num_outside,
            "unjudged_leases": [lease.to_json() for lease in self.unjudged],
            "table": self.tally.to_json(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class CellStatus:
    """One cell: its state and its last attempts.

    Attributes:
        cell_id: the whole id.
        label: the cell in words, None for a cell outside of the plan.
        state: its state.
        shard: file that holds its row, which is its shard or a compacted file; None where there is none.
        attempts: the last failed attempts, oldest first, as rows of `schema.ATTEMPT`.
    """

    cell_id: str
    label: str | None
    state: State
    shard: Path | None
    attempts: tuple[Mapping[str, Any], ...]

    def render(self, console: Console) -> None:
        """Print for people."""
        lines = [f"cell {self.cell_id}", self.label or "outside of the plan", f"state: {self.state.name}"]
        if self.state.job_id is not None:
            lines.append(f"job: {self.state.job_id}" + (f" ({self.state.reason})" if self.state.reason else ""))
        if self.shard is not None:
            lines.append(f"shard: {self.shard}")
        if not self.attempts:
            lines.append("no attempt of it failed")
        for attempt in self.attempts:
            when = attempt["finished_utc"].strftime("%Y-%m-%d %H:%M:%S UTC")
            lines.append(f"attempt {attempt['attempt']} on {attempt['host']}, {when}: {attempt['cause']}")
            lines.append(f"  that is: {CAUSES.get(attempt['cause'], 'a cause of another version')}")
            lines.extend(f"  | {line}" for line in (attempt["message"] or "").splitlines())
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {
            "cell_id": self.cell_id,
            "label": self.label,
            "state": self.state.name.replace(" ", "_"),
            "cause": self.state.cause,
            "job_id": self.state.job_id,
            "reason": self.state.reason,
            "shard": None if self.shard is None else str(self.shard),
            "attempts": [
                {
                    **attempt,
                    "finished_utc": attempt["finished_utc"].isoformat(),
                    "meaning": CAUSES.get(attempt["cause"]),
                }
                for attempt in self.attempts
            ],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class CellList:
    """Single cells of a plan.

    Attributes:
        rows: id (None while the base model is not staged), label and state of each.
    """

    rows: tuple[tuple[str | None, str, State], ...]

    def render(self, console: Console) -> None:
        """Print for people: a line each, so that `grep` finds its way."""
        for cell_id, label, state in self.rows:
            told = f"{state.name} ({state.cause})" if state.cause else state.name
            console.print(
                f"{(cell_id or '-')[:12]:12}  {told:<12}  {label}", markup=False, highlight=False, soft_wrap=True
            )

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {
            "cells": [
                {"cell_id": cell_id, "label": label, "state": state.name.replace(" ", "_"), "cause": state.cause}
                for cell_id, label, state in self.rows
            ]
        }


def list_cells(name: str, pattern: str, results: str | None) -> CellList:
    """Those cells of the plan of a study whose label matches, or whose id starts so, in the order of the plan.

    Args:
        name: name or folder of the study.
        pattern: as `is_meant` takes it.
        results: folder of the studies, None for the default.

    Raises:
        UserError: there is no such study, it has no plan, or no cell matches.
    """
    study = open_study(name, results)
    rows = [row for row in _plan_of(study).to_pylist() if is_meant(Cell.from_row(row), pattern)]
    if not rows:
        raise UserError(f"no cell of study {study.name} has a label like {pattern!r} or an id that starts so")
    states, _ = _with_queue(study, [row["cell_id"] for row in rows])
    return CellList(
        rows=tuple((row["cell_id"], Cell.from_row(row).label, state) for row, state in zip(rows, states, strict=True))
    )


def study_status(name: str, results: str | None) -> Status:
    """What is done of a study.

    Args:
        name: name or folder of the study.
        results: folder of the studies, None for the default.

    Raises:
        UserError: there is no such study, or it has no plan.
    """
    study = open_study(name, results)
    plan = _plan_of(study)
    cell_ids = plan["cell_id"].to_pylist()
    states, queue_note = _with_queue(study, cell_ids)
    points = zip(*(plan[axis].to_pylist() for axis in ("task", "model", "family")), strict=True)
    return Status(
        study=study.name,
        folder=study.folder,
        tally=Tally(points, states),
        num_outside=len(study.listed_cells().difference(cell_ids)),
        queue_note=queue_note,
        unjudged=unjudged(study),
        group_cells=Counter(plan["group_id"].to_pylist()),
    )


def _plan_of(study: Study) -> pa.Table:
    plan = study.read_plan()
    if plan is None:
        raise UserError(f"{study.folder} has shards but no plan; `tcx reduce` reads it as it is, `tcx plan` makes one")
    return plan


def watch(name: str, results: str | None, seconds: float, console: Console) -> None:
    """Shows what is done of a study, anew every few seconds, until nothing of it is in the queue or Ctrl-C.

    Args:
        name: name or folder of the study.
        results: folder of the studies, None for the default.
        seconds: time between two looks; each asks Slurm once.
        console: where to; one that is no terminal gets the last table only.

    Raises:
        UserError: there is no such study, or it has no plan.
    """
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            status = study_status(name, results)
            live.update(status.as_text(), refresh=True)
            if status.is_still:
                return
            time.sleep(seconds)


def _with_queue(study: Study, cell_ids: Sequence[str | None]) -> tuple[list[State], str | None]:
    """States of the cells, with what the cluster says where something was submitted; and why it says nothing."""
    if not study.submissions.is_dir():
        return cell_states(study, cell_ids), None
    from pipeline.cluster.queue import look

    try:
        # First, so that what a job has lost or done a moment ago is told as that.
        queued = look(study).cells
    except (TaskComplexityError, OSError) as error:
        states = cell_states(study, cell_ids)
        return states, f"the queue of the cluster is not known here, cells in it count as to do: {error}"

    def joined(cell_id: str | None, state: State) -> State:
        place = queued.get(cell_id or "")
        if place is None or state.name == DONE:
            return state
        name = RUNNING if place.is_running else QUEUED
        return State(name, None, place.job_id, place.reason or None)

    states = [joined(*pair) for pair in zip(cell_ids, cell_states(study, cell_ids), strict=True)]
    return states, None


def why(name: str, cell: str, results: str | None) -> CellStatus:
    """State and last attempts of one cell.

    Args:
        name: name or folder of the study.
        cell: the id of the cell, or the start of it that no other cell of the study has.
        results: folder of the studies, None for the default.

    Raises:
        UserError: no such study; no cell or several cells of this id.
    """
    study = open_study(name, results)
    plan = study.read_plan()
    attempts = study.read_attempts()
    planned = [] if plan is None else plan["cell_id"].to_pylist()
    cell_id = unique_id(cell, {*planned, *attempts["cell_id"].to_pylist(), *study.listed_cells()} - {None})
    label = None
    if plan is not None and cell_id in planned:
        label = Cell.from_row(plan.slice(planned.index(cell_id), 1).to_pylist()[0]).label
    (state,), _ = _with_queue(study, [cell_id])
    failed = attempts.filter(pc.equal(attempts["cell_id"], cell_id)).to_pylist()
    return CellStatus(
        cell_id=cell_id,
        label=label,
        state=state,
        shard=row_path(study, cell_id) if state.name == DONE else None,
        attempts=tuple(failed[-SHOWN_ATTEMPTS:]),
    )


def is_meant(cell: Cell, pattern: str) -> bool:
    """Whether the label of a cell matches a pattern such as `*lora*`, or its id starts with it."""
    return fnmatchcase(cell.label, pattern) or (cell.cell_id or "").startswith(pattern)


def unique_id(start: str, known: Iterable[str]) -> str:
    """The one id that starts so.

    Raises:
        UserError: none does, or several do.
    """
    found = sorted(cell_id for cell_id in known if cell_id.startswith(start)) if start else []
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"no cell of this study has an id that starts with {start!r}")
    listed = ", ".join(cell_id[: len(start) + 8] for cell_id in found[:4]) + (", ..." if len(found) > 4 else "")
    raise UserError(f"{len(found)} cells have ids that start with {start!r}: {listed}; give more of it")
