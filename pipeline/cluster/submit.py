"""`tcx submit`: plans, and hands what is neither done nor in the queue to Slurm. Saying it again resumes."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from pipeline.cluster.batches import Batch, Group, by_resources, groups_of, part_of, walltime_minutes
from pipeline.cluster.batches import pack as pack_batches
from pipeline.cluster.inspect import limits_of
from pipeline.cluster.ledger import Submission, intend
from pipeline.cluster.profile import Profile, load_profile
from pipeline.cluster.queue import Queue, look
from pipeline.cluster.sbatch import Shape, sbatch_text, shape_of
from pipeline.cluster.slurm import SubmitLimitError, sbatch
from pipeline.errors import CAUSES, UserError
from pipeline.files import write_atomically
from pipeline.grid import read_grid
from pipeline.models.spec import CACHE_VARIABLE, cache_folder
from pipeline.plan import Plan, PlanRow, make_plan
from pipeline.pool import WORKER_ENVIRONMENT
from pipeline.resources import Resources
from pipeline.run import stage_models
from pipeline.snapshot import environment, freeze
from pipeline.status import DONE, FAILED
from pipeline.store import Study, results_folder

HELD_AFTER_ATTEMPTS = {
    "cancelled": 1,
    "stuck": 1,
    "environment": 2,
    "code": 2,
    "program-crash": 2,
    "program-output": 2,
    "program-payload": 2,
    "program-timeout": 2,
}
"""Cause of the last attempt -> attempts after which a cell waits for `--retry`: it would fail again in the same way."""
BAD_NODE_CELLS = 2
"""Cells lost by the fault of one node, after which that node is avoided for a while."""


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
        reduce_job_id: the job that reduces afterwards.
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
    reduce_job_id: str | None

    def render(self, console: Console) -> None:
        """Print for people."""
        lines = [f"{self.cells:,} cells: {self.done:,} done, {self.queued:,} in the queue before"]
        if self.job_ids:
            lines.append(
                f"submitted {self.submitted:,} cells as {self.num_batches:,} array tasks in "
                f"{len(self.job_ids)} arrays: {', '.join(self.job_ids)}"
            )
        if self.waiting:
            why = f" ({self.why_waiting})" if self.why_waiting else ""
            lines.append(f"{self.waiting:,} cells wait for room in the queue{why}: say the same command again later")
        for cause, count in self.held.items():
            lines.append(f"{count:,} cells failed by {cause} ({CAUSES[cause]}) and are held: --retry {cause}")
        if self.unresolved:
            lines.append(f"{self.unresolved:,} cells have a base model that is not staged")
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
        content = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**content, "study_folder": str(self.study_folder), "job_ids": list(self.job_ids)}


def submit(
    grid_path: Path,
    cluster: str,
    *,
    settings: dict[str, str],
    results: str | None,
    part: tuple[int, int],
    retry: str | None,
    reduce: bool,
    console: Console,
) -> SubmitSummary:
    """Submits the cells of a grid that are neither done nor in the queue.

    Args:
        grid_path: the grid file.
        cluster: name or path of a cluster profile.
        settings: values that win over those of the profile.
        results: folder of the studies, None for the default.
        part: part i of n of the grid.
        retry: only cells that failed with this cause, or `failed` for any; also those that are held. None for all but
            those that are held.
        reduce: add a job that reduces after all others.
        console: where progress is shown.

    Raises:
        GridError: every mistake of the grid or of the profile.
        UserError: Slurm refuses, or the profile lacks what the site requires.
        SlurmError: Slurm does not answer.
    """
    profile = load_profile(cluster, settings)
    profile.check_complete()
    stage_models(grid_path, console)
    study = Study(results_folder(results) / read_grid(grid_path).study)
    with console.status("asking Slurm"):
        queue = look(study)  # first, since it tells of what jobs have lost
    plan = make_plan(grid_path, results)
    groups = part_of(groups_of(row for row in plan.rows if row.group_id is not None), *part)
    rows = [row for group in groups for row in group.rows]
    attempts = study.read_attempts()
    tries = Counter(attempts["cell_id"].to_pylist())
    avoided = bad_nodes(attempts, profile.exclude_nodes_hours)
    open_rows = [row for row in rows if row.state.name != DONE and row.cell_id not in queue.cells]
    held = [row for row in open_rows if retry is None and _is_held(row, tries)]
    not_asked = {row.cell_id for row in open_rows if retry is not None and not _is_asked(row, retry)}
    held_ids = {row.cell_id for row in held} | not_asked
    wanted = groups_of(row for row in open_rows if row.cell_id not in held_ids)
    submitted, why_waiting = _submit_waves(plan, profile, wanted, queue, avoided, console)
    waiting = sum(len(group.rows) for group in wanted) - sum(
        batch.num_cells for _, batches in submitted for batch in batches
    )
    live = [task.job_id for task in queue.tasks]
    after = list(dict.fromkeys([*live, *(one.job_id or "" for one, _ in submitted)]))
    return SubmitSummary(
        study_folder=study.folder,
        cells=len(rows),
        done=sum(row.state.name == DONE for row in rows),
        queued=sum(row.cell_id in queue.cells for row in rows if row.state.name != DONE),
        submitted=sum(batch.num_cells for _, batches in submitted for batch in batches),
        held=dict(Counter(str(row.state.cause) for row in held)),
        waiting=waiting,
        unresolved=sum(row.group_id is None for row in plan.rows),
        job_ids=tuple(str(submission.job_id) for submission, _ in submitted),
        num_batches=sum(len(batches) for _, batches in submitted),
        avoided_nodes=avoided,
        why_waiting=why_waiting,
        reduce_job_id=_submit_reduce(study, profile, after) if reduce and after else None,
    )


def bad_nodes(attempts: pa.Table, hours: float) -> tuple[str, ...]:
    """Nodes that have lost several cells by their own fault in the last hours, by the attempts of a study."""
    since = datetime.now(UTC) - timedelta(hours=hours)
    cells: dict[str, set[str]] = defaultdict(set)
    for attempt in attempts.filter(pc.equal(attempts["cause"], "node")).to_pylist():
        if attempt["finished_utc"] > since:
            cells[attempt["host"]].add(attempt["cell_id"])
    return tuple(sorted(host for host, lost in cells.items() if len(lost) >= BAD_NODE_CELLS))


def job_script(
    profile: Profile, submission: Submission, batches: Sequence[Batch], code: Path, avoided: Sequence[str]
) -> str:
    """The script of one array."""
    study = submission.study
    resources = batches[0].resources
    minutes = walltime_minutes(batches, lanes_of(profile, resources), profile.max_walltime_minutes)
    arguments = ["-u", "-m", "pipeline.cluster.job", str(study.folder.resolve()), submission.token]
    return sbatch_text(
        profile,
        batch_shape(profile, resources, minutes),
        job_name=submission.job_name,
        comment=f"tcx:{submission.token}",
        array_tasks=len(batches),
        log_folder=study.logs.resolve(),
        command=f"{profile.python_command} {shlex.join(arguments)}",
        excluded_nodes=avoided,
        environment=_environment(code),
    )


def lanes_of(profile: Profile, resources: Resources) -> int:
    """Groups that one job works on at the same time: one for each GPU where a site gives whole nodes."""
    return (profile.gpus_per_node or 1) if profile.whole_node and not resources.needs_team else 1


def batch_shape(profile: Profile, resources: Resources, minutes: int) -> Shape:
    """Resources of one job for Slurm: a process for each lane, or for each member of the team."""
    gpu = profile.gpu_request != "none"
    if not resources.needs_team:
        return shape_of(profile, processes=lanes_of(profile, resources), walltime_minutes=minutes, gpu=gpu)
    processes = resources.processes
    most = profile.gpus_per_node or processes
    # As few nodes as hold the processes, the same number on each.
    nodes = resources.nodes or next(
        nodes for nodes in range(-(-processes // most), processes + 1) if not processes % nodes
    )
    return shape_of(profile, processes=processes, nodes=nodes, walltime_minutes=minutes, gpu=gpu)


def _environment(code: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(code.resolve()), CACHE_VARIABLE: str(cache_folder().resolve()), **WORKER_ENVIRONMENT}


def _is_held(row: PlanRow, attempts: Counter[str]) -> bool:
    if row.state.name != FAILED or row.cell_id is None:
        return False
    limit = HELD_AFTER_ATTEMPTS.get(row.state.cause or "")
    return limit is not None and attempts[row.cell_id] >= limit


def _is_asked(row: PlanRow, retry: str) -> bool:
    return row.state.name == FAILED and retry in ("failed", row.state.cause)


def _submit_waves(
    plan: Plan, profile: Profile, wanted: list[Group], queue: Queue, avoided: Sequence[str], console: Console
) -> tuple[list[tuple[Submission, list[Batch]]], str | None]:
    """Arrays within the limits of the site; and what was said where they ended it."""
    if not wanted:
        return [], None
    limits = limits_of(profile)
    ideal_seconds = 60.0 * profile.ideal_walltime_minutes
    batches = [
        batch
        for kind, groups in by_resources(wanted).items()
        for batch in pack_batches(groups, ideal_seconds, lanes_of(profile, kind))
    ]
    room = len(batches) if limits.max_submit_jobs is None else limits.max_submit_jobs - queue.num_tasks_of_user
    code = freeze(plan.study)
    plan.study.logs.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {"profile": profile.name, "code": str(code.name), "environment": environment()}
    facts["signal_lead_seconds"] = profile.signal_lead_seconds
    cells = plan.study.read_plan()
    assert cells is not None
    row_of = {cell_id: row for row, cell_id in enumerate(cells["cell_id"].to_pylist())}
    submitted: list[tuple[Submission, list[Batch]]] = []
    while batches and room > 0:
        _, leading = next(groupby(batches, lambda batch: batch.resources))
        alike = len(list(leading))
        size = min(alike, room, limits.max_array_size or alike)
        wave, batches = batches[:size], batches[size:]
        try:
            numbers = {
                row_of[row.cell_id]: number
                for number, batch in enumerate(wave)
                for group in batch.groups
                for row in group.rows
            }
            submission = intend(plan.study, cells.take(list(numbers)), list(numbers.values()), facts)
            submitted.append((_submit_array(submission, profile, wave, code, avoided), wave))
        except SubmitLimitError as limit:
            return submitted, str(limit).splitlines()[-1]
        room -= size
        console.print(f"submitted array {submitted[-1][0].job_id} of {size} tasks", highlight=False)
    return submitted, f"{limits.max_submit_jobs} jobs are allowed" if batches else None


def _submit_array(
    submission: Submission, profile: Profile, batches: Sequence[Batch], code: Path, avoided: Sequence[str]
) -> Submission:
    try:
        script = job_script(profile, submission, batches, code, avoided)
        write_atomically(submission.script_path, script.encode(), replace=False)
        return submission.note_job(sbatch(submission.script_path, submission.job_name, submission.submitted_utc))
    except (UserError, SubmitLimitError) as error:
        submission.note_void(str(error))
        raise


def _submit_reduce(study: Study, profile: Profile, after: list[str]) -> str:
    """A small job that reduces when the others have ended, however they ended."""
    study.submissions.mkdir(parents=True, exist_ok=True)
    code = freeze(study)
    name = f"tcx-reduce-{datetime.now(UTC):%Y%m%d%H%M%S}"
    script = study.submissions / f"{name}.sbatch"
    text = sbatch_text(
        profile,
        batch_shape(profile, Resources(), min(60, profile.max_walltime_minutes or 60)),
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
