"""`tcx submit`: plans, and hands what is neither done nor in the queue to Slurm. Saying it again resumes."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from pipeline.cluster.batches import Batch, waves_of
from pipeline.cluster.costs import Cost, check_cost, expected_cost, worst_cost
from pipeline.cluster.inspect import limits_of, own_limits
from pipeline.cluster.ledger import Submission, intend, reduce_job_name
from pipeline.cluster.nodes import BAD_NODE_CELLS, bad_nodes
from pipeline.cluster.profile import Profile, load_profile
from pipeline.cluster.queue import look
from pipeline.cluster.sbatch import sbatch_text
from pipeline.cluster.selection import select
from pipeline.cluster.shapes import array_shape, pack_for, shape_of
from pipeline.cluster.slurm import NoAnswerError, SubmitLimitError, live_tasks, sbatch, scancel
from pipeline.errors import CAUSES, TaskComplexityError, UserError
from pipeline.files import write_atomically
from pipeline.grid import read_grid
from pipeline.hub import LOCAL_VARIABLE
from pipeline.leases import Unjudged, unjudged, unjudged_lines
from pipeline.models.spec import CACHE_VARIABLE, cache_folder
from pipeline.plan import Plan, grid_to_make, make_plan
from pipeline.pool import WORKER_ENVIRONMENT
from pipeline.prefetch.gaps import find_gaps
from pipeline.run import stage_models
from pipeline.snapshot import environment, freeze
from pipeline.store import Study, results_folder
from pipeline.tasks.ifeval import MADE_VARIABLE

Seen = TypeVar("Seen")

DATA_VARIABLES = (LOCAL_VARIABLE, MADE_VARIABLE)
"""Folders of data that jobs are told of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmitSummary:
    """What was submitted and what was not.

    Attributes:
        study_folder: folder of the study.
        cells: cells of the plan (of this part).
        done: cells that have a shard.
        queued: cells that were in the queue before.
        submitted: cells that are in the queue now and were not before.
        held: cells that wait for `--retry`, by cause.
        waiting: cells that wait for room in the queue.
        unresolved: cells without a staged base model.
        job_ids: arrays that were submitted.
        num_batches: array tasks that were submitted.
        avoided_nodes: nodes that jobs are kept from.
        why_waiting: what Slurm says of its limit.
        refused: what Slurm says of arrays that it does not take.
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
        if not self.job_ids and not self.waiting:
            lines.append("nothing to do")
        lines.append(f"next: tcx status {self.study_folder}")
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
        plan, queue = plan_after_look(grid_path, results, look)
    study = plan.study
    attempts = study.read_attempts()
    chosen = select(plan, queued=queue.cells, attempts=attempts, part=part, retry=retry)
    batches = pack_for(profile, chosen.wanted)
    limits = limits_of(profile) if batches else own_limits(profile)
    profile = dataclasses.replace(profile, max_walltime_minutes=limits.max_walltime_minutes)
    waves = waves_of(batches, queue.num_tasks_of_user, limits.max_submit_jobs, limits.max_array_size)
    if max_cost is not None and batches:
        shaped = [(array, array_shape(profile, array)) for wave in waves for array in wave]
        check_cost(profile, worst_cost(profile, shaped), max_cost)
    avoided = bad_nodes(attempts, profile.exclude_nodes_hours)
    why_waiting = f"{limits.max_submit_jobs} jobs are allowed" if len(waves) > 1 or [] in waves else None
    submitted: list[tuple[Submission, Sequence[Batch]]] = []
    refused: list[str] = []
    reduce_job_id = None
    live = [task.job_id for task in queue.tasks]
    try:
        for submission, array in _submit_wave(study, profile, waves[0] if waves else [], avoided, refused):
            submitted.append((submission, array))
            console.print(f"submitted array {submission.job_id} of {len(array)} tasks", highlight=False)
        after = list(dict.fromkeys([*live, *(one.job_id or "" for one, _ in submitted)]))
        if reduce and after:
            reduce_job_id = _submit_reduce(study, profile, after)
    except SubmitLimitError as limit:
        why_waiting = str(limit).splitlines()[-1]
    if refused and not submitted:
        raise UserError(refused[0])
    num_submitted = sum(batch.num_cells for _, array in submitted for batch in array)
    shaped = [(array, array_shape(profile, array)) for _, array in submitted]
    return SubmitSummary(
        study_folder=study.folder,
        cells=chosen.cells,
        done=chosen.done,
        queued=chosen.queued,
        submitted=num_submitted,
        held=chosen.held,
        waiting=chosen.num_wanted - num_submitted,
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


def job_script(
    profile: Profile, submission: Submission, batches: Sequence[Batch], code: Path, avoided: Sequence[str]
) -> str:
    """The script of one array."""
    study = submission.study
    arguments = ["-u", "-m", "pipeline.cluster.job", str(study.folder.resolve()), submission.token]
    return sbatch_text(
        profile,
        array_shape(profile, batches),
        job_name=submission.job_name,
        comment=f"tcx:{submission.token}",
        array_tasks=len(batches),
        log_folder=study.logs.resolve(),
        command=f"{profile.python_command} {shlex.join(arguments)}",
        excluded_nodes=avoided,
        environment=_environment(code),
    )


def _environment(code: Path) -> dict[str, str]:
    folders = {CACHE_VARIABLE: str(cache_folder())}
    # Data that tasks read here is to be read there, too.
    folders |= {name: os.environ[name] for name in DATA_VARIABLES if os.environ.get(name)}
    own = {name: str(Path(folder).resolve()) for name, folder in folders.items()}
    return {"PYTHONPATH": str(code.resolve()), **own, **WORKER_ENVIRONMENT}


def _submit_wave(
    study: Study,
    profile: Profile,
    arrays: Sequence[Sequence[Batch]],
    avoided: Sequence[str],
    refused: list[str],
) -> Iterator[tuple[Submission, Sequence[Batch]]]:
    """Submits one array after the other; yields each when Slurm has it, and notes what Slurm says of those it refuses.

    Raises:
        SubmitLimitError: Slurm takes no more jobs now.
    """
    if not arrays:
        return
    code = freeze(study)
    study.logs.mkdir(parents=True, exist_ok=True)
    facts = {
        "profile": profile.name,
        "code": str(code.name),
        # What a container holds is not known here: its first job tells.
        "environment": environment() if profile.python is None else None,
        "python": profile.python_command,
        "signal_lead_seconds": profile.signal_lead_seconds,
        "grace_seconds": profile.grace_seconds,
    }
    cells = study.read_plan()
    assert cells is not None
    row_of = {cell_id: row for row, cell_id in enumerate(cells["cell_id"].to_pylist())}
    for array in arrays:
        numbers = {
            row_of[row.cell_id]: number
            for number, batch in enumerate(array)
            for group in batch.groups
            for row in group.rows
        }
        submission = intend(study, cells.take(list(numbers)), list(numbers.values()), facts)
        try:
            yield _submit_array(submission, profile, array, code, avoided), array
        except UserError as error:
            refused.append(str(error))


def _submit_array(
    submission: Submission, profile: Profile, batches: Sequence[Batch], code: Path, avoided: Sequence[str]
) -> Submission:
    try:
        script = job_script(profile, submission, batches, code, avoided)
        write_atomically(submission.script_path, script.encode(), replace=False)
        return submission.note_job(sbatch(submission.script_path, submission.job_name, submission.submitted_utc))
    except NoAnswerError:
        raise  # not void: the job may be there
    except TaskComplexityError as error:
        submission.note_void(str(error))
        raise


def _submit_reduce(study: Study, profile: Profile, after: list[str]) -> str:
    """A small job that reduces when the others have ended, however they ended."""
    study.submissions.mkdir(parents=True, exist_ok=True)
    code = freeze(study)
    name = reduce_job_name(study)
    scancel(task.job_id for task in live_tasks() if task.name == name)  # it waits for fewer jobs than this one
    script = study.submissions / f"{name}.sbatch"
    text = sbatch_text(
        profile,
        shape_of(profile, processes=1, walltime_minutes=min(60, profile.max_walltime_minutes or 60), gpu=False),
        job_name=name,
        comment=name,
        array_tasks=None,
        log_folder=study.logs.resolve(),
        command=f"{profile.python_command} {shlex.join(['-m', 'pipeline.cli', 'reduce', str(study.folder.resolve())])}",
        dependency=f"afterany:{':'.join(after)}",
        environment=_environment(code),
    )
    write_atomically(script, text.encode(), replace=True)
    return sbatch(script, name, datetime.now(UTC))
