"""What of a study is in the queue of Slurm, and what has left it without a result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import pyarrow.compute as pc

from pipeline.attempts import count_attempts, record_attempts
from pipeline.cluster.ledger import Submission, submissions
from pipeline.cluster.slurm import EndedTask, LiveTask, ended_tasks, find_job, live_tasks
from pipeline.leases import Owner, abandoned, drop_lease
from pipeline.store import Study

CAUSE_OF_STATE = {
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "PREEMPTED": "preempted",
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "OUT_OF_MEMORY": "oom-host",
    "CANCELLED": "cancelled",
}
"""State in which a job ended -> cause for the cells that it was working on; any other state leaves `lost`."""

RUNNING_STATES = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "STAGE_OUT", "SUSPENDED", "SIGNALING"})
GRACE_SECONDS = 120
"""A submission without a job that is younger may still be on its way to Slurm, from another shell."""


class Queued(NamedTuple):
    """A cell that is in the queue.

    Attributes:
        job_id: `17_3`.
        is_running: whether its job has started.
        reason: why Slurm lets it wait, empty for a running one.
    """

    job_id: str
    is_running: bool
    reason: str


class Queue(NamedTuple):
    """The queue as one study sees it.

    Attributes:
        cells: cells in the queue, by id.
        tasks: array tasks of this study in the queue.
        num_tasks_of_user: all jobs of the user, of whatever study: what the limits count.
        ended: submissions with a job of which nothing is in the queue any more.
    """

    cells: Mapping[str, Queued]
    tasks: tuple[LiveTask, ...]
    num_tasks_of_user: int
    ended: tuple[Submission, ...]


def look(study: Study) -> Queue:
    """Asks Slurm once, brings the records in line with the answer, and joins it with what was submitted.

    A lease that is left over names the group that a job was working on when it ended: its open cells get an attempt
    with the cause. Cells of the job that it had not come to are simply to do.

    Raises:
        SlurmError: Slurm does not answer.
    """
    tasks = live_tasks()
    _settle(study, tasks)
    return _joined(study, tasks)


def _joined(study: Study, tasks: Sequence[LiveTask]) -> Queue:
    by_name: dict[str, list[LiveTask]] = {}
    for task in tasks:
        by_name.setdefault(task.name, []).append(task)
    cells: dict[str, Queued] = {}
    ended: list[Submission] = []
    mine: list[LiveTask] = []
    for submission in submissions(study):
        if submission.is_void:
            continue
        live = by_name.get(submission.job_name, [])
        mine += live
        if not live:
            if submission.job_id is not None:
                ended.append(submission)
            continue
        batches = submission.batches()
        for task in live:
            is_running = task.state in RUNNING_STATES
            queued = Queued(f"{task.job_id}_{task.array_index}", is_running, "" if is_running else task.reason)
            for group in batches.get(task.array_index, {}).values():
                cells.update(dict.fromkeys(group, queued))
    return Queue(cells, tuple(mine), len(tasks), tuple(ended))


def _settle(study: Study, tasks: Sequence[LiveTask]) -> None:
    """Jobs that `sbatch` denied, and cells that jobs have lost."""
    for submission in submissions(study):
        if submission.job_id is None and not submission.is_void:
            _adopt(submission, tasks)
    live = {(task.job_id, task.array_index) for task in tasks}

    def is_gone(owner: Owner) -> bool:
        return owner.slurm_job_id is not None and _place(owner.slurm_job_id) not in live

    lost = abandoned(study, is_gone)
    if not lost:
        return
    ended = _ended(study, lost.values())
    open_cells, earlier = _open_cells(study, lost), count_attempts(study)
    told = _cancelled(study)
    for group, owner in lost.items():
        if drop_lease(study, group, owner):
            cause, message = _cause(owner, ended)
            untold = sorted(cell for cell in open_cells[group] if (cell, owner.slurm_job_id) not in told)
            record_attempts(study, untold, cause, message, owner, earlier)


def _cancelled(study: Study) -> set[tuple[str, str | None]]:
    """Cells with the job that was cancelled under them: `tcx cancel` has told of them when it did so."""
    rows = study.read_attempts()
    rows = rows.filter(pc.equal(rows["cause"], "cancelled"))
    return set(zip(rows["cell_id"].to_pylist(), rows["slurm_job_id"].to_pylist(), strict=True))


def _ended(study: Study, owners: Iterable[Owner]) -> dict[tuple[str, int], EndedTask]:
    job_ids = sorted({_place(owner.slurm_job_id)[0] for owner in owners if owner.slurm_job_id})
    oldest = min((submission.submitted_utc for submission in submissions(study)), default=datetime.now(UTC))
    return ended_tasks(job_ids, oldest)


def _cause(owner: Owner, ended: Mapping[tuple[str, int], EndedTask]) -> tuple[str, str]:
    if owner.slurm_job_id is None:
        return "killed", f"process {owner.pid} on {owner.host} is gone"
    task = ended.get(_place(owner.slurm_job_id))
    if task is None:
        return "lost", f"job {owner.slurm_job_id} is neither in the queue nor known to accounting"
    cause = CAUSE_OF_STATE.get(task.state, "lost")
    return cause, f"job {owner.slurm_job_id} ended as {task.state} on {task.nodes}"


def _open_cells(study: Study, groups: Iterable[str]) -> dict[str, set[str]]:
    """Cells of these groups without a shard, from all submissions: the plan may have changed since."""
    found: dict[str, set[str]] = {group: set() for group in groups}
    for submission in submissions(study):
        for of_batch in submission.batches().values():
            for group in of_batch.keys() & found.keys():
                found[group].update(of_batch[group])
    done = study.valid_cells(cell for cells in found.values() for cell in cells)
    return {group: cells - done for group, cells in found.items()}


def _adopt(submission: Submission, tasks: Sequence[LiveTask]) -> None:
    """A submission whose `sbatch` has not been heard of again: it has a job, or it has none."""
    if job_id := find_job(submission.job_name, submission.submitted_utc, tasks):
        submission.note_job(job_id)
    elif (datetime.now(UTC) - submission.submitted_utc).total_seconds() > GRACE_SECONDS:
        submission.note_void("no job of this token was found")


def _place(slurm_job_id: str) -> tuple[str, int]:
    job_id, _, index = slurm_job_id.partition("_")
    return job_id, int(index or 0)
