"""`tcx submit`: plans, and hands what is neither done nor in the queue to Slurm. Saying it again resumes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from pipeline.cluster.arrays import submit_reduce, submit_wave
from pipeline.cluster.batches import Batch, waves_of
from pipeline.cluster.costs import Cost, check_cost, expected_cost, worst_cost
from pipeline.cluster.facts import limits_of, own_limits
from pipeline.cluster.ledger import Submission, num_claims
from pipeline.cluster.nodes import BAD_NODE_CELLS, nodes_to_avoid
from pipeline.cluster.profile import load_profile
from pipeline.cluster.queue import look
from pipeline.cluster.selection import select
from pipeline.cluster.shapes import array_shape, pack_for
from pipeline.cluster.slurm import SubmitLimitError
from pipeline.errors import CAUSES, TaskComplexityError, UserError
from pipeline.grid import read_grid
from pipeline.leases import Unjudged, unjudged, unjudged_lines
from pipeline.plan import Plan, grid_to_make, make_plan
from pipeline.prefetch.gaps import find_gaps
from pipeline.run import stage_models
from pipeline.store import Study, results_folder

Seen = TypeVar("Seen")


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmitSummary:
    """What was submitted and what was not.

    Attributes:
        study_folder: folder of the study.
        cells: cells of the plan (of this part).
        done: cells that have a shard.
        queued: cells that were in the queue before, or that another `tcx submit` took at the same time.
        submitted: cells that are in the queue now and were not before.
        held: cells that wait for `--retry`, by cause.
        waiting: cells that wait for room in the queue.
        unresolved: cells without a staged base model.
        job_ids: arrays that were submitted.
        num_batches: array tasks that were submitted.
        avoided_nodes: nodes that jobs are kept from.
        why_waiting: what Slurm says of its limit.
        refused: what Slurm says of arrays, and of the job that reduces, where it does not take them.
        reduce_job_id: the job that reduces afterwards.
        unit: what the site bills in, None where the profile says of no billing.
        expected: cost of what was submitted, as expected.
        worst: its cost when every job runs to its time limit.
        unjudged_leases: those of which nothing here can tell whether their owners are gone: jobs leave them alone.
        group_cells: cells of each group of the plan.
    """

    study_folder: Path
    cells: int
    done: int
    queued: int
    submitted: int
    held: dict[str, int]
    waiting: int
    unresolved: int
    job_ids: tuple[str, ...]
    num_batches: int
    avoided_nodes: tuple[str, ...]
    why_waiting: str | None
    refused: tuple[str, ...]
    reduce_job_id: str | None
    unit: str | None
    expected: Cost
    worst: Cost
    unjudged_leases: tuple[Unjudged, ...]
    group_cells: Mapping[str | None, int]

    def render(self, console: Console) -> None:
        """Print for people."""
        lines = [f"{self.cells:,} cells: {self.done:,} done, {self.queued:,} in the queue before"]
        if self.job_ids:
            lines.append(
                f"submitted {self.submitted:,} cells as {self.num_batches:,} array tasks in "
                f"{len(self.job_ids)} arrays: {', '.join(self.job_ids)}"
            )
            lines.append(self._cost_line())
        lines += self.refused
        if self.waiting:
            why = f" ({self.why_waiting})" if self.why_waiting else ""
            lines.append(f"{self.waiting:,} cells wait for room in the queue{why}: say the same command again later")
        for cause, count in self.held.items():
            lines.append(f"{count:,} cells failed by {cause} ({CAUSES[cause]}) and are held: --retry {cause}")
        if self.unresolved:
            lines.append(f"{self.unresolved:,} cells have a base model that is not staged")
        lines += unjudged_lines(self.unjudged_leases, self.group_cells)
        if self.avoided_nodes:
            lines.append(f"avoided nodes, which lost {BAD_NODE_CELLS} cells or more: {', '.join(self.avoided_nodes)}")
        if self.reduce_job_id:
            lines.append(f"job {self.reduce_job_id} reduces when all of them have ended")
        if not self.job_ids and not self.waiting and not self.refused:
            lines.append("nothing to do")
        lines.append(f"next: tcx status {Study(self.study_folder).argument}")
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        content = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "group_cells"}
        content["unjudged_leases"] = [lease.to_json() for lease in self.unjudged_leases]
        costs = {"expected": self.expected.to_json(), "worst": self.worst.to_json()}
        return {**content, "study_folder": str(self.study_folder), "job_ids": list(self.job_ids), **costs}

    def _cost_line(self) -> str:
        if self.unit is None:
            return f"expected: {self.expected.gpu_hours:,.4g} GPU-hours, {self.worst.gpu_hours:,.4g} at the worst"
        return f"expected cost: {self.expected.units:,.4g} {self.unit}, {self.worst.units:,.4g} at the worst"


def submit(
    grid_path: Path,
    cluster: str,
    *,
    settings: dict[str, str],
    results: str | None,
    part: tuple[int, int],
    retry: str | None,
    reduce: bool,
    max_cost: float | None = None,
    console: Console,
) -> SubmitSummary:
    """Submits the cells of a grid that are neither done nor in the queue.

    Args:
        grid_path: the grid file.
        cluster: name or path of a cluster profile.
        settings: values that win over those of the profile.
        results: folder of the studies, None for the default.
        part: part i of n of the grid.
        retry: only cells that failed with this cause, or one of `selection.RETRY_GROUPS`; also those that are held.
            None for all but those that are held.
        reduce: add a job that reduces after all others.
        max_cost: refuse when everything that is to do may cost more, in the unit of the profile; None for any cost.
        console: where progress is shown.

    Raises:
        GridError: every mistake of the grid or of the profile.
        UserError: something must be fetched first, Slurm refuses, the profile lacks what the site requires, or the
            cost may be above `max_cost`.
        SlurmError: Slurm does not answer.
    """
    profile = load_profile(cluster, settings)
    profile.check_complete()
    grid = read_grid(grid_path)
    missing = find_gaps(grid, offline=profile.offline)
    if missing:
        lines = "".join(f"\n  - {gap}" for gap in missing)
        where = (
            f"the nodes of {profile.name} reach no network, so all" if profile.offline else "what comes from the hub"
        )
        raise UserError(f"say `tcx prefetch {grid_path}` first: {where} must be locked and here. Missing:{lines}")
    stage_models(grid_path, console)
    with console.status("asking Slurm"):
        plan, (seen, queue) = plan_after_look(grid_path, results, lambda study: (num_claims(study), look(study)))
    study = plan.study
    attempts = study.read_attempts()
    chosen = select(plan, queued=queue.cells, attempts=attempts, part=part, retry=retry)
    limits = limits_of(profile) if chosen.wanted else own_limits(profile)
    profile = dataclasses.replace(profile, max_walltime_minutes=limits.max_walltime_minutes)
    batches = pack_for(profile, chosen.wanted)
    # The job that reduces wants a place, too.
    waves = waves_of(batches, queue.num_tasks_of_user + reduce, limits.max_submit_jobs, limits.max_array_size)
    if max_cost is not None and batches:
        shaped = [(array, array_shape(profile, array)) for wave in waves for array in wave]
        check_cost(profile, worst_cost(profile, shaped), max_cost)
    avoided = nodes_to_avoid(attempts, profile.exclude_nodes_hours)
    why_waiting = f"{limits.max_submit_jobs} jobs are allowed" if len(waves) > 1 or [] in waves else None
    submitted: list[tuple[Submission, Sequence[Batch]]] = []
    taken: set[str] = set()
    refused: list[str] = []
    reduce_job_id = None
    live = [task.job_id for task in queue.tasks]
    try:
        wave = waves[0] if waves else []
        for submission, array in submit_wave(study, profile, wave, avoided, seen=seen, taken=taken, refused=refused):
            submitted.append((submission, array))
            console.print(f"submitted array {submission.job_id} of {len(array)} tasks", highlight=False)
    except SubmitLimitError as limit:
        why_waiting = str(limit).splitlines()[-1]
    if refused and not submitted:
        raise UserError(refused[0])
    if why_waiting and not submitted and not queue.num_tasks_of_user:
        refused.append("not even one job is taken, and none of yours is in the queue: waiting alone may not help")
    after = list(dict.fromkeys([*live, *(one.job_id or "" for one, _ in submitted)]))
    if reduce and after:
        try:
            reduce_job_id = submit_reduce(study, profile, after)
        except TaskComplexityError as error:
            refused.append(f"no job reduces afterwards: {error}")
    num_taken = sum(row.cell_id in taken for group in chosen.wanted for row in group.rows)
    num_submitted = sum(batch.num_cells for _, array in submitted for batch in array)
    shaped = [(array, array_shape(profile, array)) for _, array in submitted]
    return SubmitSummary(
        study_folder=study.folder,
        cells=chosen.cells,
        done=chosen.done,
        queued=chosen.queued + num_taken,
        submitted=num_submitted,
        held=chosen.held,
        waiting=chosen.num_wanted - num_taken - num_submitted,
        unresolved=sum(row.group_id is None for row in plan.rows),
        job_ids=tuple(str(submission.job_id) for submission, _ in submitted),
        num_batches=sum(len(array) for _, array in submitted),
        avoided_nodes=avoided,
        why_waiting=why_waiting,
        refused=tuple(refused),
        reduce_job_id=reduce_job_id,
        unit=None if profile.billing is None else profile.billing.unit,
        expected=expected_cost(profile, shaped),
        worst=worst_cost(profile, shaped),
        unjudged_leases=unjudged(study),
        group_cells=Counter(row.group_id for row in plan.rows),
    )


def plan_after_look(grid_path: Path, results: str | None, look_at: Callable[[Study], Seen]) -> tuple[Plan, Seen]:
    """A plan, and the queue as it was seen before: the look records what jobs have lost.

    By that, or by what a worker does meanwhile, a search may go on to its next rung: then that one is looked at.
    """
    study = Study(results_folder(results) / grid_to_make(grid_path, results).study)
    while True:
        seen = look_at(study)
        plan = make_plan(grid_path, results)
        if plan.study.folder == study.folder:
            return plan, seen
        study = plan.study
