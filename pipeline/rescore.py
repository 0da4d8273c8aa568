"""New scores from kept answers, where the scorer of a task has changed. No program is made or executed."""

from __future__ import annotations

import dataclasses
from collections import ChainMap, Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

import pyarrow as pa
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from pipeline import catalog, hub
from pipeline.cell import Cell, Evaluation
from pipeline.errors import UserError
from pipeline.evaluate import SCORED_SPLITS, items_of, score_split
from pipeline.evaluations import known_evaluations
from pipeline.groups import group_ids
from pipeline.lock import read_lock
from pipeline.machine import INSTALL
from pipeline.metrics import METRICS
from pipeline.protocols import Task
from pipeline.rows import iter_rows, read_row
from pipeline.search import rungs_before
from pipeline.store import Study, open_study
from pipeline.task_notes import keep_note, note_of, read_note

Row = dict[str, Any]

_IDENTITY = [
    *(name for name in Cell.__dataclass_fields__ if name != "evaluation"),
    *Evaluation.__dataclass_fields__,
    *("status", "finished_utc", "validation.num_items", "test.num_items"),
]


class _Pair(NamedTuple):
    """A cell that lacks a shard, and the row of one that differs from it in the version of the task alone.

    Attributes:
        new: the cell that lacks a shard.
        old: identity of the other one, its status and numbers of items.
    """

    new: Cell
    old: Row


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskChange:
    """What became of the cells of one task.

    Attributes:
        task: name of the task.
        old_versions: versions that the kept answers were scored with.
        version: version that they are scored with now.
        num_rescored: cells with new scores.
        num_present: cells that had a shard of this version before.
        num_open: cells without kept answers, which `tcx run` or `tcx submit` makes.
        num_elsewhere: cells with new scores under another evaluation that the plan had before: their programs are
            executed for cells of `num_open`, and not made anew.
        old_performance: mean test score of the cells before, None where none was scored anew.
        new_performance: their mean test score now; of another metric it may be no better or worse.
    """

    task: str
    old_versions: tuple[int, ...]
    version: int
    num_rescored: int
    num_present: int
    num_open: int
    num_elsewhere: int
    old_performance: float | None
    new_performance: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RescoreSummary:
    """What was scored anew.

    Attributes:
        study: the study.
        changes: one a task that is of another version than in the plan, or with kept answers of another version.
        rungs: the same of each rung of its search.
    """

    study: Study
    changes: tuple[TaskChange, ...]
    rungs: tuple[RescoreSummary, ...] = ()

    def render(self, console: Console) -> None:
        """Print for people."""
        changed = [one for one in (*self.rungs, self) if one.changes]
        for one in changed:
            console.print(one._table())
        if not changed:
            console.print(
                "every task is of the version that its cells were scored with; nothing to do", highlight=False
            )
            return
        if any(change.num_elsewhere for one in changed for change in one.changes):
            console.print(
                "Scores under another `evaluation` are new as well: `tcx run GRID` executes those programs on the "
                "items of this one.",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        console.print(f"next: tcx reduce {self.study.argument}", markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table(title=f"study {self.study.name}", title_justify="left")
        table.add_column("task")
        for heading in ("version", "rescored", "there before", "to run", "other evaluation", "mean test score"):
            table.add_column(heading, justify="right")
        for change in self.changes:
            versions = f"{', '.join(map(str, change.old_versions)) or '-'} > {change.version}"
            scores = (
                "-"
                if change.old_performance is None or change.new_performance is None
                else f"{change.old_performance:.2f} > {change.new_performance:.2f}"
            )
            numbers = (change.num_rescored, change.num_present, change.num_open, change.num_elsewhere)
            table.add_row(change.task, versions, *(f"{count:,}" for count in numbers), scores)
        return table

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {
            "study": self.study.name,
            "folder": str(self.study.folder),
            "rescored": sum(change.num_rescored for change in self.changes),
            "tasks": [dataclasses.asdict(change) for change in self.changes],
            "rungs": [rung.to_json() for rung in self.rungs],
        }


def rescore(name: str, *, results: str | None, same_items: bool, console: Console) -> RescoreSummary:
    """Scores the kept answers of a study with the present versions of its tasks, and makes the plan one of these.

    A cell of another version of its task is another cell: it gets a shard of its own, with the same program, and the
    shard with the old scores stays. Saying it again goes on where it was stopped. The rungs of a search go with their
    study: without their scores the next run would search anew.

    Args:
        name: name or folder of the study.
        results: folder of the studies, None for the default.
        same_items: take the word of the caller that items and prompt are the same, where nothing here tells.
        console: where progress is shown.

    Raises:
        UserError: no such study, no plan, a task that cannot be loaded here, or answers that do not fit its items; the
            plan then stays.
    """
    study = open_study(name, results)
    rungs = [rung for rung in reversed(rungs_before(study)) if rung.plan_path.exists()]
    changes, *of_rungs = (_rescored(it, same_items=same_items, console=console) for it in (study, *rungs))
    summaries = (RescoreSummary(study=rung, changes=it) for rung, it in zip(rungs, of_rungs, strict=True))
    return RescoreSummary(study=study, changes=changes, rungs=tuple(summaries))


def _rescored(study: Study, *, same_items: bool, console: Console) -> tuple[TaskChange, ...]:
    plan = study.read_plan()
    if plan is None:
        raise UserError(f"{study.folder} has no plan, which says where its tasks are; make one with `tcx plan GRID`")
    rows = plan.to_pylist()
    try:
        tasks = _tasks(rows)
        cells = [dataclasses.replace(Cell.from_row(row), task_version=tasks[row["task"]].version) for row in rows]
        present = study.valid_cells(cell.cell_id for cell in cells if cell.cell_id is not None)
        wanted = {cell.cell_id: cell for cell in cells if cell.cell_id is not None and cell.cell_id not in present}
        pairs = _pairs(study, rows, wanted)
        found = {pair.new.cell_id for pair in pairs}
        pairs += _pairs_elsewhere(study, rows, [cell for cell_id, cell in wanted.items() if cell_id not in found])
        _check_items(study, tasks, pairs, same_items=same_items)
        with Progress(console=console) as progress:
            scores = [_score(study, tasks[pair.new.task], pair) for pair in progress.track(pairs, description="cells")]
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed, and scoring needs it: {INSTALL}") from error
    num_present = Counter(cell.task for cell in cells if cell.cell_id in present)
    # What becomes of the plan is what `tcx plan` would make of the grid now.
    if any(cell.task_version != row["task_version"] for cell, row in zip(cells, rows, strict=True)):
        study.write_plan(_replanned(study, plan, cells))
    return _changes(rows, cells, pairs, scores, num_present)


def _tasks(rows: Iterable[Row]) -> dict[str, Task]:
    """The tasks of a plan as they are now, which read the commits of the plan and nothing from the network."""
    commits = ChainMap(*map(hub.data_commits, {row["hub_commits"] for row in rows}))
    hub.pin(commits, may_download=False)
    return {task: catalog.planned_task(source) for task, source in {(row["task"], row["task_source"]) for row in rows}}


def _pairs(study: Study, rows: Sequence[Row], wanted: Mapping[str, Cell]) -> list[_Pair]:
    """Those of the wanted cells that another version of their task has kept answers for."""
    if not wanted:
        return []
    versions = {cell.task: cell.task_version for cell in wanted.values()}
    planned = {row["cell_id"] for row in rows}
    found: dict[str, list[_Pair]] = defaultdict(list)
    for row in iter_rows(study, _IDENTITY):
        if (
            row["status"] in ("ok", "infeasible")
            and versions.get(row["task"], row["task_version"]) != row["task_version"]
        ):
            new_id = dataclasses.replace(Cell.from_row(row), task_version=versions[row["task"]]).cell_id
            if new_id is not None and new_id in wanted:
                found[new_id].append(_Pair(wanted[new_id], row))
    # Of several versions the one in the plan, else what was made last.
    return [
        max(pairs, key=lambda pair: (pair.old["cell_id"] in planned, str(pair.old["finished_utc"])))
        for pairs in found.values()
    ]


def _pairs_elsewhere(study: Study, rows: Sequence[Row], cells: Sequence[Cell]) -> list[_Pair]:
    """For cells without kept answers those under other evaluations: `earlier_programs` looks for them there."""
    others = (
        dataclasses.replace(cell, evaluation=evaluation)
        for evaluation in known_evaluations(study.plan_path)
        for cell in cells
        if cell.evaluation != evaluation
    )
    wanted = {cell.cell_id: cell for cell in others if cell.cell_id is not None}
    lacking = wanted.keys() - study.valid_cells(wanted)
    pairs = _pairs(study, rows, {cell_id: wanted[cell_id] for cell_id in lacking})
    return [pair for pair in pairs if pair.old["status"] == "ok"]


def _check_items(study: Study, tasks: Mapping[str, Task], pairs: Sequence[_Pair], *, same_items: bool) -> None:
    """Whether the kept answers are answers to the items of the tasks as they are now, in the same prompt.

    Raises:
        UserError: they are not, or nothing here tells; names every task.
    """
    wrong = []
    for name, version in sorted({(pair.new.task, pair.old["task_version"]) for pair in pairs}):
        now, note = note_of(tasks[name]), read_note(study, name, version)
        if note is not None:
            changed = [key for key in now if note.get(key) != now[key]]
            wrong += [f"{name}: version {version} had other {', '.join(changed)}"] if changed else []
        elif not same_items:
            wrong.append(f"{name}: nothing was kept of what version {version} gave to programs")
    numbers = {
        (pair.new.task, pair.new.evaluation, tuple(pair.old[split]["num_items"] for split in SCORED_SPLITS))
        for pair in pairs
        if pair.old["status"] == "ok"
    }
    for name, evaluation, kept in sorted(numbers, key=str):
        present = tuple(len(items) for items in items_of(tasks[name], evaluation).values())
        if present != kept:
            wrong.append(
                f"{name}: {kept} answers to items of {', '.join(SCORED_SPLITS)} were kept, {present} are asked"
            )
    if wrong:
        lines = "".join(f"\n  - {line}" for line in wrong)
        raise UserError(
            f"study {study.name} cannot be scored anew from its kept answers, and nothing was changed. `tcx run` or "
            "`tcx submit` makes the cells of the new version. Where nothing was kept, and you know that only the "
            f"scorer has changed, say so with --same-items.{lines}"
        )


def _score(study: Study, task: Task, pair: _Pair) -> tuple[float, float] | None:
    """Commits the shard of a cell with new scores; test score before and now, None for one that has no program."""
    old = read_row(study, pair.old["cell_id"])
    new = old | {
        "cell_id": pair.new.cell_id,
        "task_version": task.version,
        "model": pair.new.model,
        "rescored_from": old["cell_id"],
    }
    if old["status"] == "ok":
        items = items_of(task, pair.new.evaluation)
        new |= {split: score_split(task, old[split]["predictions"], items[split]) for split in SCORED_SPLITS}
        new |= {"metric": task.metrics[0], "higher_is_better": METRICS[task.metrics[0]].higher_is_better}
    keep_note(study, task)
    study.commit_shard(new)
    return None if old["status"] != "ok" else (old["test"]["performance"], new["test"]["performance"])


def _replanned(study: Study, plan: pa.Table, cells: Sequence[Cell]) -> pa.Table:
    """The plan with its tasks of the present versions."""
    lock = read_lock(study.lock_path)
    columns = {
        "cell_id": [cell.cell_id for cell in cells],
        "task_version": [cell.task_version for cell in cells],
        "group_id": group_ids(cells),
        "items_sha256": [None if lock is None else lock.items_sha256(cell.task, cell.task_version) for cell in cells],
    }
    for name, values in columns.items():
        field = plan.schema.field(name)
        plan = plan.set_column(plan.column_names.index(name), field, pa.array(values, field.type))
    return plan


def _changes(
    rows: Sequence[Row],
    cells: Sequence[Cell],
    pairs: Sequence[_Pair],
    scores: Sequence[tuple[float, float] | None],
    num_present: Mapping[str, int],
) -> tuple[TaskChange, ...]:
    """One entry for each task whose version is another one than that of the plan or of kept answers."""
    old_versions: dict[str, set[int]] = defaultdict(set)
    for row, cell in zip(rows, cells, strict=True):
        old_versions[cell.task] |= {row["task_version"]} - {cell.task_version}
    planned = {cell.cell_id for cell in cells}
    of_task: dict[str, list[tuple[float, float] | None]] = defaultdict(list)
    num_elsewhere: Counter[str] = Counter()
    for pair, score in zip(pairs, scores, strict=True):
        old_versions[pair.new.task].add(pair.old["task_version"])
        if pair.new.cell_id in planned:
            of_task[pair.new.task].append(score)
        else:
            num_elsewhere[pair.new.task] += 1
    num_cells = Counter(cell.task for cell in cells)
    versions = {cell.task: cell.task_version for cell in cells}
    changes = []
    for task, old in sorted(old_versions.items()):
        scored = [score for score in of_task[task] if score is not None]
        if old:
            changes.append(
                TaskChange(
                    task=task,
                    old_versions=tuple(sorted(old)),
                    version=versions[task],
                    num_rescored=len(of_task[task]),
                    num_present=num_present[task],
                    num_open=num_cells[task] - num_present[task] - len(of_task[task]),
                    num_elsewhere=num_elsewhere[task],
                    old_performance=fmean(before for before, _ in scored) if scored else None,
                    new_performance=fmean(now for _, now in scored) if scored else None,
                )
            )
    return tuple(changes)
