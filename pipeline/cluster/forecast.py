"""`tcx plan --cluster`: what submitting a plan to a site would come to. Submits nothing and freezes nothing."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from pipeline.cell import Cell
from pipeline.cluster.arrays import job_script
from pipeline.cluster.batches import STARTUP_SECONDS, Batch, waves_of
from pipeline.cluster.costs import Cost, expected_cost, worst_cost
from pipeline.cluster.facts import Limits, ask_slurm, limits_of, own_limits
from pipeline.cluster.ledger import Submission
from pipeline.cluster.nodes import nodes_to_avoid
from pipeline.cluster.profile import Profile, load_profile
from pipeline.cluster.queue import look
from pipeline.cluster.selection import Selection, select
from pipeline.cluster.shapes import Shape, array_shape, pack_for
from pipeline.cluster.slurm import SlurmError, test_only
from pipeline.cluster.submit import plan_after_look
from pipeline.errors import UserError
from pipeline.plan import Plan, PlanRow
from pipeline.prefetch.gaps import find_gaps
from pipeline.store import Study


class Array(NamedTuple):
    """One call of sbatch.

    Attributes:
        batches: its array tasks, each of them a job.
        shape: resources of each job.
        accepted: whether Slurm would take it, None where Slurm was not asked.
        said: what Slurm said, empty where it was not asked.
    """

    batches: Sequence[Batch]
    shape: Shape
    accepted: bool | None = None
    said: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """A plan, and what it comes to on one site.

    Attributes:
        plan: the plan.
        profile: the site.
        selection: which of its cells would be submitted.
        waves: arrays that fit into the queue together; all but the first wait until there is room.
        expected: cost as expected.
        worst: cost when every job runs to its time limit.
        warnings: what will not fit, and what is not known here; one line each.
        missing: what `tcx prefetch` has to do before `tcx submit` takes the grid; one line each.
    """

    plan: Plan
    profile: Profile
    selection: Selection
    waves: tuple[tuple[Array, ...], ...]
    expected: Cost
    worst: Cost
    warnings: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def arrays(self) -> list[Array]:
        """Arrays of all waves."""
        return [array for wave in self.waves for array in wave]

    @property
    def ok(self) -> bool:
        """Whether Slurm refused nothing that it was asked."""
        return all(array.accepted is not False for array in self.arrays)

    def render(self, console: Console) -> None:
        """Print for people."""
        self.plan.render(console)
        console.print(self._title(), markup=False, highlight=False, soft_wrap=True)
        console.print(self._table())
        for line in (*self._cost_lines(), *self._slurm_lines(), *(f"warning: {line}" for line in self.warnings)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if self.missing:
            line = f"`tcx prefetch {self.plan.grid.path}` comes before submitting: {'; '.join(self.missing)}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts: that of the plan, with one more entry."""
        cluster = {
            "profile": self.profile.name,
            "cells": self.selection.num_wanted,
            "unresolved": self.plan.num_unresolved,
            "queued": self.selection.queued,
            "held": self.selection.held,
            "jobs": sum(len(array.batches) for array in self.arrays),
            "sbatch_calls": len(self.arrays),
            "waves": len(self.waves),
            "arrays": [
                {
                    "jobs": len(array.batches),
                    "cells": sum(batch.num_cells for batch in array.batches),
                    "walltime_minutes": array.shape.walltime_minutes,
                    "nodes": array.shape.nodes,
                    "accepted": array.accepted,
                    "slurm": array.said,
                }
                for array in self.arrays
            ],
            "unit": None if self.profile.billing is None else self.profile.billing.unit,
            "expected": self.expected.to_json(),
            "worst": self.worst.to_json(),
            "warnings": list(self.warnings),
            "missing": list(self.missing),
        }
        return {**self.plan.to_json(), "cluster": cluster}

    def _title(self) -> str:
        chosen = self.selection
        also = [f"{self.plan.num_unresolved:,} unresolved"] if self.plan.num_unresolved else []
        also += [f"{chosen.queued:,} in the queue"] if chosen.queued else []
        also += [f"{count:,} held after {cause}" for cause, count in chosen.held.items()]
        return f"on {self.profile.name}: {chosen.num_wanted:,} cells to submit" + "".join(f", {one}" for one in also)

    def _table(self) -> Table:
        """Arrays of one walltime in a line."""
        table = Table()
        columns = ("walltime", "arrays", "jobs", "cells")
        for heading in columns:
            table.add_column(heading, justify="right")
        counts: dict[int, Counter[str]] = {}
        for array in self.arrays:
            cells = sum(batch.num_cells for batch in array.batches)
            counts.setdefault(array.shape.walltime_minutes, Counter()).update(
                {"arrays": 1, "jobs": len(array.batches), "cells": cells}
            )
        for minutes, row in sorted(counts.items()):
            table.add_row(f"{minutes:,} min", *(f"{row[name]:,}" for name in columns[1:]))
        return table

    def _cost_lines(self) -> list[str]:
        num_waves = len(self.waves)
        later = "" if num_waves < 2 else ": say `tcx submit` again when there is room"
        calls = f"{len(self.arrays):,} calls of sbatch in {num_waves} wave{'s' if num_waves != 1 else ''}{later}"
        hours = f"GPU-hours: {self.expected.gpu_hours:,.4g} expected, {self.worst.gpu_hours:,.4g} at the worst"
        if self.profile.billing is None or self.expected.units is None or self.worst.units is None:
            return [calls, f"{hours}; the profile says of no billing"]
        cost = f"cost: {self.expected.units:,.4g} {self.profile.billing.unit} expected"
        return [calls, hours, f"{cost}, {self.worst.units:,.4g} at the worst (every job runs to its time limit)"]

    def _slurm_lines(self) -> list[str]:
        said = Counter((array.accepted, array.said) for array in self.arrays if array.accepted is not None)
        verdicts = {True: "Slurm would take", False: "Slurm REFUSES"}
        return [
            f"{verdicts[bool(accepted)]} {count:,} of {len(self.arrays):,} arrays: {text}"
            for (accepted, text), count in said.items()
        ]


def forecast(grid_path: Path, cluster: str, *, settings: dict[str, str], results: str | None, check: bool) -> Forecast:
    """Plans a grid and says what submitting it would come to.

    Args:
        grid_path: the grid file.
        cluster: name or path of a cluster profile.
        settings: values that win over those of the profile.
        results: folder of the studies, None for the default.
        check: give the scripts to `sbatch --test-only`.

    Raises:
        GridError: every mistake of the grid or of the profile.
        UserError: the scripts are to be checked, and there is no Slurm here or the profile lacks a required key.
    """
    profile = load_profile(cluster, settings)
    if check:
        profile.check_complete()
    plan, (queued, num_queued, unseen) = plan_after_look(grid_path, results, _ask_queue)
    study = plan.study
    limits, unknown = _ask_limits(profile)
    profile = dataclasses.replace(profile, max_walltime_minutes=limits.max_walltime_minutes)
    selection = select(plan, queued=queued, attempts=study.read_attempts())
    batches = pack_for(profile, selection.wanted)
    waves = [
        [Array(array, array_shape(profile, array)) for array in wave]
        for wave in waves_of(batches, num_queued, limits.max_submit_jobs, limits.max_array_size)
    ]
    if check:
        waves = _checked(study, profile, waves)
    shaped = [(array.batches, array.shape) for wave in waves for array in wave]
    return Forecast(
        plan=plan,
        profile=profile,
        selection=selection,
        waves=tuple(tuple(wave) for wave in waves),
        expected=expected_cost(profile, shaped),
        worst=worst_cost(profile, shaped),
        warnings=(*_not_counted(plan), *unknown, *unseen, *_too_long(selection, profile)),
        missing=tuple(find_gaps(plan.grid, offline=profile.offline)),
    )


def _not_counted(plan: Plan) -> list[str]:
    """What jobs and costs leave out."""
    if not plan.num_unresolved:
        return []
    return [
        f"jobs and costs are without {plan.num_unresolved:,} cells whose base models are not staged here: "
        f"`tcx prefetch {plan.grid.path}` stages them"
    ]


def _ask_limits(profile: Profile) -> tuple[Limits, list[str]]:
    """Limits, and what of them is not known here."""
    try:
        return limits_of(profile, ask_slurm()), []
    except UserError as error:
        return own_limits(profile), [f"only the limits of the profile are known here: {error}"]


def _ask_queue(study: Study) -> tuple[frozenset[str], int, list[str]]:
    """Ids of the cells in the queue, all jobs of this user in it, and why neither is known."""
    try:
        queue = look(study)
    except (UserError, SlurmError) as error:
        lost = [f"cells in the queue count as to do: {error}"] if study.submissions.is_dir() else []
        return frozenset(), 0, lost
    return frozenset(queue.cells), queue.num_tasks_of_user, []


def _checked(study: Study, profile: Profile, waves: list[list[Array]]) -> list[list[Array]]:
    """The arrays with what Slurm says of each; arrays that differ in nothing but their cells are asked for once."""
    avoided = nodes_to_avoid(study.read_attempts(), profile.exclude_nodes_hours)
    said: dict[tuple[Shape, int], tuple[bool, str]] = {}

    def answer(array: Array) -> tuple[bool, str]:
        kind = (array.shape, len(array.batches))
        if kind not in said:
            submission = Submission(
                study=study,
                token="check",
                submitted_utc=datetime.now(UTC),
                user="",
                cluster=None,
                num_batches=len(array.batches),
                job_id=None,
                is_void=False,
            )
            said[kind] = test_only(job_script(profile, submission, array.batches, study.code, avoided))
        return said[kind]

    return [[Array(array.batches, array.shape, *answer(array)) for array in wave] for wave in waves]


def _too_long(selection: Selection, profile: Profile) -> list[str]:
    """One line a family with cells that no job of this site is sure to end: an execution is restarted, not resumed."""
    longest = profile.max_walltime_minutes
    if longest is None:
        return []
    found: dict[str, PlanRow] = {}
    for group in selection.wanted:
        for row in group.rows:
            worst = found.get(row.cell.family)
            if _seconds_of(row) > 60 * longest and (worst is None or _seconds_of(row) > _seconds_of(worst)):
                found[row.cell.family] = row
    return [
        f"family {family}: encoding (about {row.cost_seconds / 60:,.3g} min) and executing (up to "
        f"{_limit(row.cell) / 60:,.3g} min by time_limit_seconds) need {_seconds_of(row) / 60:,.4g} min with the start "
        f"of the job, and {profile.name} ends jobs after {longest:,} min: lower time_limit_seconds"
        for family, row in found.items()
    ]


def _seconds_of(row: PlanRow) -> float:
    return STARTUP_SECONDS + row.cost_seconds + _limit(row.cell)


def _limit(cell: Cell) -> int:
    return cell.evaluation.time_limit_seconds
