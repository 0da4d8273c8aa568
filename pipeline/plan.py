"""The plan: every cell of a grid, what is done of it, and what the rest will cost. Submits and computes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from rich.console import Console

from pipeline import catalog, schema
from pipeline.cell import Cell, Evaluation, canonical_json, format_bytes
from pipeline.earlier import num_made
from pipeline.errors import GridError
from pipeline.estimates import Scale, expected_seconds, guessed_bytes, guessed_program_seconds, scales_of
from pipeline.files import write_atomically
from pipeline.grid import Grid, cells, read_grid
from pipeline.groups import group_ids
from pipeline.models import known_identity
from pipeline.resources import Resources, resources_of
from pipeline.search import current_grid
from pipeline.states import DONE, UNRESOLVED, State, Tally, cell_states
from pipeline.store import Study, results_folder

GUESSED_SHARD_BYTES = 128 * 1024
"""Size of a shard; its predictions are most of it."""


class PlanRow(NamedTuple):
    """One cell of a plan.

    Attributes:
        cell: the cell.
        cell_id: its id, None while the base model is not staged.
        group_id: cells of one group share the work of their encoder; None as above.
        cost_seconds: expected time.
        state: done, failed, to do or unresolved.
        resources: what its adaptation may use.
    """

    cell: Cell
    cell_id: str | None
    group_id: str | None
    cost_seconds: float
    state: State
    resources: Resources


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All cells of a grid and their states.

    Attributes:
        grid: the grid.
        study: where results go.
        rows: one a cell, in the order of the grid.
        tally: cells by task, model, family and state.
        num_outside: shards of the study that this plan does not have; they are kept.
        num_made: cells that are not done and have a row under another evaluation.
        scales: what times grow with, of each task and base model.
    """

    grid: Grid
    study: Study
    rows: tuple[PlanRow, ...]
    tally: Tally
    num_outside: int
    num_made: int
    scales: Mapping[tuple[str, str], Scale]

    @property
    def unresolved_models(self) -> tuple[str, ...]:
        """Base models that are not staged on this machine."""
        return tuple(dict.fromkeys(row.cell.model for row in self.rows if row.cell_id is None))

    @property
    def expected_hours(self) -> float:
        """Expected time of everything that is not done, one cell after the other."""
        return sum(row.cost_seconds for row in self.rows if row.state.name != DONE) / 3600

    @property
    def num_unresolved(self) -> int:
        """Cells whose base models are not staged on this machine."""
        return self.tally.states[UNRESOLVED]

    @property
    def num_files(self) -> int:
        """Files of the study when all is done: a shard and a program a cell, and the plan."""
        return 2 * len(self.rows) + 1

    @property
    def disk_bytes(self) -> int:
        """Rough size of these files, every program as long as its budget allows."""
        return round(
            sum(GUESSED_SHARD_BYTES + guessed_bytes(row.cell, self._scale(row).num_parameters) for row in self.rows)
        )

    @property
    def num_overlong(self) -> int:
        """Cells that are not done and whose programs are expected to run into their time limit."""
        views = {name: catalog.family(name).view for name in {row.cell.family for row in self.rows}}
        return sum(
            guessed_program_seconds(row.cell, views[row.cell.family], self._scale(row))
            > row.cell.evaluation.time_limit_seconds
            for row in self.rows
            if row.state.name != DONE
        )

    def _scale(self, row: PlanRow) -> Scale:
        return self.scales[row.cell.task, row.cell.model]

    def groups(self) -> list[list[Cell]]:
        """Cells that can be run and are not done, those together whose encoders share work."""
        groups: dict[str, list[Cell]] = {}
        for row in self.rows:
            if row.group_id is not None and row.state.name != DONE:
                groups.setdefault(row.group_id, []).append(row.cell)
        return list(groups.values())

    def render(self, console: Console) -> None:
        """Print for people."""
        console.print(self.tally.table(f"plan of study {self.grid.study}"))
        for line in self.tally.cause_lines():
            console.print(line, markup=False)
        if self.unresolved_models:
            console.print(_unresolved_line(self.unresolved_models), markup=False, highlight=False, soft_wrap=True)
        if self.num_outside:
            console.print(f"{self.num_outside:,} shards of this study are outside of the plan; they are kept.")
        if self.num_made:
            console.print(
                f"{self.num_made:,} cells have been made under another `evaluation`: programs are executed again, "
                "not made anew, where this machine can decode them; the hours below leave that out of account.",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        if self.grid.rung is not None:
            console.print(
                f"This is rung {self.grid.rung} of a search; when its cells are done, the next one follows: "
                "say the command again.",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        if self.num_overlong:
            console.print(
                f"{self.num_overlong:,} programs are expected to run longer than time_limit_seconds, by one thread: "
                "raise it (`evaluation`), or leave them out (`exclude`).",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        jobs = f"{len(self.groups()):,} encoder jobs after sharing"
        jobs += " (without unresolved cells), with them" if self.unresolved_models else ","
        console.print(
            f"{jobs} about {self.expected_hours:.3g} h of work, one job after the other; in the end {self.num_files:,} "
            f"files, about {format_bytes(self.disk_bytes)}. Plan: {self.study.plan_path}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts; the single cells are in the plan file."""
        return {
            "study": self.grid.study,
            "rung": self.grid.rung,
            "study_folder": str(self.study.folder),
            "plan": str(self.study.plan_path),
            "cells": len(self.rows),
            "states": {name.replace(" ", "_"): count for name, count in self.tally.states.items()},
            "failed_by_cause": self.tally.causes,
            "axes": axis_counts([row.cell for row in self.rows]),
            "unresolved_models": list(self.unresolved_models),
            "outside_plan": self.num_outside,
            "made_under_another_evaluation": self.num_made,
            "encoder_jobs": len(self.groups()),
            "expected_hours": self.expected_hours,
            "files": self.num_files,
            "disk_bytes": self.disk_bytes,
            "programs_over_time_limit": self.num_overlong,
            "table": self.tally.to_json(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class GridCheck:
    """A grid without mistakes.

    Attributes:
        grid: the grid.
        num_cells: its cells.
        axes: number of cells for every value of each axis.
        unresolved_models: base models that are not staged on this machine.
    """

    grid: Grid
    num_cells: int
    axes: dict[str, dict[str, int]]
    unresolved_models: tuple[str, ...]

    def render(self, console: Console) -> None:
        """Print for people."""
        lines = [f"{self.grid.path}: no mistakes; study {self.grid.study}, {self.num_cells:,} cells"]
        for axis, counts in self.axes.items():
            lines.append(f"  by {axis}: " + ", ".join(f"{value} {count:,}" for value, count in counts.items()))
        if self.unresolved_models:
            lines.append(_unresolved_line(self.unresolved_models))
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {
            "grid": str(self.grid.path),
            "study": self.grid.study,
            "cells": self.num_cells,
            "axes": self.axes,
            "unresolved_models": list(self.unresolved_models),
        }


def check_grid(grid_path: Path) -> GridCheck:
    """Reads a grid and counts its cells; writes nothing.

    Raises:
        GridError: every mistake of the grid.
    """
    grid = read_grid(grid_path)
    identities = identities_of(grid)
    planned = cells(grid.with_candidates, identities)
    return GridCheck(
        grid=grid,
        num_cells=len(planned),
        axes=axis_counts(planned),
        unresolved_models=tuple(model for model, identity in identities.items() if identity is None),
    )


def make_plan(grid_path: Path, results: str | None) -> Plan:
    """Expands a grid, looks up what is done, and writes `plan.parquet`.

    Args:
        grid_path: the grid file.
        results: folder of the studies, None for the default.

    Raises:
        GridError: every mistake of the grid.
    """
    grid = grid_to_make(grid_path, results)
    study = Study(results_folder(results) / grid.study)
    planned = cells(grid, identities_of(grid))
    cell_ids = [cell.cell_id for cell in planned]
    states = cell_states(study, cell_ids)
    scales = scales_of(grid)
    groups = group_ids(planned)
    costs = expected_seconds(study, planned, groups, states, [scales[cell.task, cell.model] for cell in planned])
    kinds = {(cell.task, cell.model, cell.family) for cell in planned}
    resources = {kind: resources_of(grid.resources, *kind) for kind in kinds}
    rows = tuple(
        PlanRow(
            cell,
            cell_id,
            group,
            cost,
            state,
            resources[cell.task, cell.model, cell.family],
        )
        for cell, cell_id, group, cost, state in zip(planned, cell_ids, groups, costs, states, strict=True)
    )
    _write(rows, grid, study)
    _freeze_lock(grid, study)
    return Plan(
        grid=grid,
        study=study,
        rows=rows,
        tally=Tally(((cell.task, cell.model, cell.family) for cell in planned), states),
        num_made=num_made(study, (row.cell for row in rows if row.state.name != DONE)),
        num_outside=len(study.listed_cells().difference(cell_id for cell_id in cell_ids if cell_id is not None)),
        scales=scales,
    )


def grid_to_make(grid_path: Path, results: str | None) -> Grid:
    """The grid of a file, or the rung that its search is at; the arguments are those of `make_plan`.

    Raises:
        GridError: every mistake of the grid.
    """
    grid = read_grid(grid_path)
    return current_grid(grid, results, identities_of(grid))


def identities_of(grid: Grid) -> dict[str, str | None]:
    """Digest of the staged folder of each base model of the grid: that of the lock, else that of the folder here.

    None for a model that neither has.

    Raises:
        GridError: a folder here is not the one of the lock; or two names of the grid are one and the same base model,
            so that their cells would be the same.
    """
    specs = {model: grid.spec(model) for model in grid.models}
    identities = {model: known_identity(spec) for model, spec in specs.items()}
    first_named: dict[str, str] = {}
    mistakes = []
    for model, locked in (grid.lock.models if grid.lock is not None else {}).items():
        found = identities.get(model, locked.identity)
        if found not in (None, locked.identity):
            mistakes.append(
                f"models: {model!r} is staged here as {str(found)[:12]} and the lock says {locked.identity[:12]}: "
                "its files have changed since; `tcx prefetch GRID --update` writes the lock anew"
            )
        elif model in identities:
            identities[model] = locked.identity
    mistakes += [
        f"models: {first!r} and {model!r} are the same base model; list one of them"
        for model, identity in identities.items()
        if (first := first_named.setdefault(identity or specs[model].key, model)) != model
    ]
    if mistakes:
        raise GridError(str(grid.path), mistakes)
    return identities


def axis_counts(planned: Sequence[Cell]) -> dict[str, dict[str, int]]:
    """Number of cells for every value of each axis of a grid."""
    return {
        "task": dict(Counter(cell.task for cell in planned)),
        "model": dict(Counter(cell.model for cell in planned)),
        "family": dict(Counter(cell.family for cell in planned)),
        "budget": {
            "none" if budget is None else format_bytes(budget): count
            for budget, count in Counter(cell.budget_bytes for cell in planned).items()
        },
        "seed": {
            "none" if seed is None else str(seed): count
            for seed, count in Counter(cell.seed for cell in planned).items()
        },
    }


def _unresolved_line(models: Sequence[str]) -> str:
    return (
        f"unresolved until `tcx prefetch`, `tcx run` or `tcx submit` has staged these base models: {', '.join(models)}"
    )


def _write(rows: Sequence[PlanRow], grid: Grid, study: Study) -> None:
    """Writes the plan by columns: a dictionary a row takes several times as long."""
    sources = {task.name: task.source for task in grid.tasks}
    lock, kinds = grid.lock, {(row.cell.task, row.cell.model) for row in rows}
    commits = {kind: canonical_json(lock.hub_commits(*kind)) for kind in kinds} if lock is not None else {}
    items = {task.name: lock.items_sha256(task.name, task.version) for task in grid.tasks} if lock is not None else {}
    views = {name: catalog.family(name).view for name in {row.cell.family for row in rows}}
    resources = {one: canonical_json(asdict(one)) for one in {row.resources for row in rows}}
    own: dict[str, list[Any]] = {
        "cell_id": [row.cell_id for row in rows],
        "task_source": [sources[row.cell.task] for row in rows],
        "group_id": [row.group_id for row in rows],
        "cost_seconds": [row.cost_seconds for row in rows],
        "resources": [resources[row.resources] for row in rows],
        "hub_commits": [commits.get((row.cell.task, row.cell.model)) for row in rows],
        "items_sha256": [items.get(row.cell.task) for row in rows],
        "lock_sha256": [None if lock is None else lock.sha256] * len(rows),
        "view": [views[row.cell.family] for row in rows],
        "parameters": [canonical_json(dict(row.cell.parameters)) for row in rows],
    }
    evaluation = {field.name for field in fields(Evaluation)}

    def column(name: str) -> list[Any]:
        if name in own:
            return own[name]
        if name in evaluation:
            return [getattr(row.cell.evaluation, name) for row in rows]
        return [getattr(row.cell, name) for row in rows]

    study.write_plan(pa.table({name: column(name) for name in schema.PLAN.names}, schema=schema.PLAN))


def _freeze_lock(grid: Grid, study: Study) -> None:
    """Keeps the lock beside the plan that was made with it."""
    if grid.lock is None:
        study.lock_path.unlink(missing_ok=True)
    else:
        write_atomically(study.lock_path, grid.lock.text().encode(), replace=True)
