"""A whole grid on this machine: fetch, stage, plan, execute with the same worker as everywhere, reduce, draw."""

from __future__ import annotations

import dataclasses
import functools
import queue
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.cluster.slurm import job_is_gone
from pipeline.errors import ENDS_BATCH, UserError
from pipeline.grid import Grid, cells, read_grid
from pipeline.leases import lease, this_owner
from pipeline.machine import num_cores, require_packages
from pipeline.plan import Plan, PlanRow, identities_of, make_plan
from pipeline.pool import Worker
from pipeline.prefetch.children import stage_model
from pipeline.prefetch.command import prefetch
from pipeline.prefetch.gaps import find_gaps
from pipeline.search import current_grid, outcomes
from pipeline.states import DONE
from pipeline.status import is_meant
from pipeline.store import Study
from pipeline.supervise import run_group
from pipeline.team import Member, Team, local_team

TELL_SECONDS = 60.0
"""Time between two lines of a worker about its stage, where no bar is drawn: in a log, or beside a debugger."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary:
    """What a run did.

    Attributes:
        study_folder: where everything is.
        done: cells of the plan that have a shard now.
        failed: cells that were asked for and have none, and searches that ended without a program for failures alone.
    """

    study_folder: Path
    done: int
    failed: int


def _inline(log: Path) -> Member:
    # Loads torch, which the process that plans does not need.
    from pipeline.inline import Inline

    return Inline()


EXECUTORS: Mapping[str, Callable[[Path], Member]] = {"local": Worker, "inline": _inline}
"""Where groups are worked on: processes of this machine, or this very process. `tcx submit` has jobs of Slurm do it,
by the same `supervise.run_group` and the same worker."""


def run_grid(
    grid_path: Path,
    *,
    results: str | None,
    jobs: int | None,
    console: Console,
    executor: str = "local",
    pattern: str | None = None,
) -> RunSummary:
    """Runs every cell of a grid that is not done, then reduces and draws.

    Args:
        grid_path: the grid file.
        results: folder of the studies, None for the default.
        jobs: groups at the same time, None for one a core. Each works on one thread.
        console: where progress and results are shown.
        executor: one of `EXECUTORS`; `inline` works through one group after the other.
        pattern: only groups with a cell whose label matches, or whose id starts so; None for all.

    Raises:
        GridError: every mistake of the grid.
        UserError: packages for running cells are not installed, a base model cannot be staged, hub data cannot be
            had, or no cell matches.
    """
    grid = read_grid(grid_path)
    require_packages("running cells")
    if pattern is not None:
        _check_pattern(grid, results, pattern)
    if find_gaps(grid, offline=False):
        prefetch(grid_path, update=False, console=console).render(console)
    stage_models(grid_path, console)
    plan, last = make_plan(grid_path, results), None
    while last is None or plan.study.folder != last.study.folder:  # one rung of a search after the other
        plan.render(console)
        if last is None and pattern is not None and not _asked(plan, pattern):
            raise _no_cell(pattern)
        groups = _longest_first(plan, pattern)
        if groups:
            is_inline = executor == "inline"
            num_workers = 1 if is_inline else min(jobs or num_cores(), len(groups))
            # A bar that is drawn anew all the time would write over the prompt of a debugger.
            with _progress(console, is_shown=not is_inline) as progress:
                _work(plan, groups, num_workers, executor, progress)
        plan, last = make_plan(grid_path, results), plan
    summary = _finish(plan, pattern, console)
    found = outcomes(grid, results, identities_of(grid))
    for outcome in found:
        console.print(f"search    {outcome}", highlight=False, markup=False, soft_wrap=True)
    num_vain = sum(outcome.winner is None and outcome.num_failed > 0 for outcome in found)
    return dataclasses.replace(summary, failed=summary.failed + num_vain)


def stage_models(grid_path: Path, console: Console) -> None:
    """Makes the staged folder of each base model of a grid, in processes of their own: planning never loads torch."""
    grid = read_grid(grid_path)
    for label in grid.models:
        stage_model(grid.spec(label), grid.path.parent, console)


def _longest_first(plan: Plan, pattern: str | None) -> list[str]:
    """Groups with open cells; the longest first, so that no long one runs alone at the end."""
    seconds: Counter[str] = Counter()
    for row in _asked(plan, pattern):
        if row.group_id is not None and row.state.name != DONE:
            seconds[row.group_id] += int(row.cost_seconds)
    return [group for group, _ in seconds.most_common()]


def _check_pattern(grid: Grid, results: str | None, pattern: str) -> None:
    """Refuses a pattern that no label matches before anything is fetched; ids may not be known until then."""
    identities = identities_of(grid)
    labels_match = any(is_meant(cell, pattern) for cell in cells(current_grid(grid, results, identities), identities))
    if not labels_match and not re.fullmatch("[0-9a-f]+", pattern):
        raise _no_cell(pattern)


def _no_cell(pattern: str) -> UserError:
    return UserError(
        f"no cell of this grid has a label like {pattern!r} or an id that starts so; `tcx status STUDY --cells '*'` "
        "lists them once `tcx plan GRID` has written the plan"
    )


def _asked(plan: Plan, pattern: str | None) -> list[PlanRow]:
    return [row for row in plan.rows if pattern is None or is_meant(row.cell, pattern)]


def _progress(console: Console, *, is_shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not is_shown,
    )


def _work(plan: Plan, groups: list[str], num_workers: int, executor: str, progress: Progress) -> None:
    """Feeds groups to worker processes and shows their events."""
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    for group in groups:
        todo.put(group)
    teams = {
        row.group_id: local_team(plan.study.logs / f"team-{row.group_id}.log", row.resources.processes)
        for row in plan.rows
        if row.group_id is not None and row.resources.needs_team
    }
    num_open = sum(row.state.name != DONE for row in plan.rows)
    total = progress.add_task("cells", total=num_open)
    members = [EXECUTORS[executor](plan.study.logs / f"worker-{number}.log") for number in range(num_workers)]
    first, *others = [
        functools.partial(_serve, member, teams, plan.study, todo, Screen(progress, total)) for member in members
    ]
    if executor == "inline":
        first()  # a debugger wants the main thread
        return
    threads = [threading.Thread(target=serve, daemon=True) for serve in (first, *others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(timeout=1)


def _serve(
    worker: Member, teams: Mapping[str, Team], study: Study, todo: queue.SimpleQueue[str], screen: Screen
) -> None:
    """Hands one group after another to a worker and shows its events, until none is left."""
    owner, is_well = this_owner(), True
    while is_well:
        try:
            group = todo.get_nowait()
        except queue.Empty:
            break
        with lease(study, group, owner, job_is_gone) as is_ours:
            if not is_ours:
                screen.print(f"group {group} is being worked on by another process; left alone")
                continue
            member = teams.get(group, worker)
            for event in run_group(member, study, study.plan_path, group):
                screen.show(event)
                is_well &= event.get("cause") not in ENDS_BATCH
    worker.close()
    screen.close()


class Screen:
    """Shows the events of one worker: its stage in a bar or, where none is drawn, now and then in a line of the log."""

    def __init__(self, progress: Progress, total: TaskID) -> None:
        """Begin a line of a display, in which `total` counts the cells of all workers."""
        self._progress, self._total = progress, total
        self._line = progress.add_task("starting", total=None)
        self._has_bar = progress.console.is_terminal and not progress.disable
        self._told = time.monotonic()

    def show(self, event: Mapping[str, Any]) -> None:
        """Shows one event."""
        kind = event["event"]
        if kind == "stage":
            self._show_stage(f"{event['cell']}: {event['stage']}")
        elif kind == "failed":
            self._progress.advance(self._total)
            last = event["message"].strip().splitlines()[-1]
            self.print(f"failed ({event['cause']}): {event['cell']}: {last}", style="red")
        elif kind in ("died", "again"):
            self.print(f"{event.get('cause', 'again')}: {event['message']}", style="red")
        elif kind == "done":
            self._progress.advance(self._total)
            if event["status"] == "ok":
                scores = f"validation {event['validation']:6.2f}  test {event['test']:6.2f}"
                text = f"{event['bytes']:>9,} bytes  {scores}  {event['cell']}"
                self.print(text, highlight=False, no_wrap=True, overflow="ellipsis")

    def print(self, text: str, **looks: Any) -> None:
        """Prints a line that stays."""
        self._progress.console.print(text, markup=False, **looks)

    def close(self) -> None:
        """Takes the line away."""
        self._progress.update(self._line, visible=False)

    def _show_stage(self, text: str) -> None:
        self._progress.update(self._line, description=text[:100])
        if not self._has_bar and time.monotonic() - self._told >= TELL_SECONDS:
            self._told = time.monotonic()
            self.print(f"{time.strftime('%H:%M:%S')}  {text}", highlight=False, soft_wrap=True)


def _finish(plan: Plan, pattern: str | None, console: Console) -> RunSummary:
    """Reduces, draws, and says where everything is and what to run next."""
    from pipeline.reduce import reduce_studies
    from pipeline.reduce.terminal import print_reduction
    from pipeline.report.figures import draw_figures
    from pipeline.report.page import write_page

    study = plan.study
    done = sum(row.state.name == DONE for row in plan.rows)
    failed = sum(row.state.name != DONE for row in _asked(plan, pattern))
    if done:
        reduction = reduce_studies([study.folder])
        figures = draw_figures(study)
        page = write_page([study])
        print_reduction(reduction, console)
        console.rule(f"{done} of {len(plan.rows)} cells are done")
        console.print(f"page      {page}", highlight=False)
        console.print(
            f"figures   {study.figures} ({', '.join(path.name for path in figures if path.suffix == '.png')})"
        )
        console.print(f"tables    {study.curves}\nprograms  {study.programs}", highlight=False)
    if failed:
        without = "cell has" if failed == 1 else "cells have"
        console.print(f"[red]{failed} {without} no shard[/]: tcx status {study.argument} says why; run again to retry")
    console.print(
        f"next      tcx verify {study.argument}    every program once more, cold and isolated\n"
        f"          tcx show PROGRAM    what is in a program file, and how to run it",
        highlight=False,
        markup=False,
    )
    return RunSummary(study_folder=study.folder, done=done, failed=failed)
