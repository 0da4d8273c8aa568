"""What of a study is in the queue of Slurm, and what has left it without a result."""

from __future__ import annotations

import getpass
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import pyarrow.compute as pc

from pipeline.attempts import count_attempts, record_attempts
from pipeline.cluster.exits import SETUP_FAILED_STATUS
from pipeline.cluster.ledger import Submission, submissions
from pipeline.cluster.slurm import LiveTask, TaskRecord, find_job, is_shown, live_tasks, place_of, task_records
from pipeline.leases import Owner, abandoned, drop_lease, leased, this_owner
from pipeline.machine import cluster_name
from pipeline.store import Study

CAUSE_OF_STATE = {
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "PREEMPTED": "preempted",
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "OUT_OF_MEMORY": "oom-host",
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    # With a lease left behind: somebody ended its process, and not the job.
    "COMPLETED": "killed",
    "FAILED": "killed",
}
"""State in which a job ended -> cause for the cells that it was working on; any other state leaves `lost`."""
CAUSE_BEFORE_START = {**CAUSE_OF_STATE, "COMPLETED": "lost", "FAILED": "lost"}
"""The same for a job that ended before it had begun to work."""

RUNNING_STATES = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "STAGE_OUT", "SUSPENDED", "SIGNALING"})
GRACE_SECONDS = 120
"""A submission without a job that is younger may still be on its way to Slurm, from another shell."""
ON_ITS_WAY = "on its way to Slurm"


class Queued(NamedTuple):
    """A cell that is in the queue.

    Attributes:
        job_id: `17_3`; None before Slurm has said that it has the job.
        is_running: whether its job has started.
        reason: why Slurm lets it wait, empty for a running one.
    """

    job_id: str | None
    is_running: bool
    reason: str


class Queue(NamedTuple):
    """The queue as one study sees it.

    Attributes:
        cells: cells in the queue, by id.
        tasks: array tasks of this study in the queue.
        num_tasks_of_user: all jobs of the user, of whatever study: what the limits count.
    """

    cells: Mapping[str, Queued]
    tasks: tuple[LiveTask, ...]
    num_tasks_of_user: int


def look(study: Study) -> Queue:
    """Asks Slurm once, brings the records in line with the answer, and joins it with what was submitted.

    A lease that is left over names the group that a job was working on when it ended: its open cells get an attempt
    with the cause, and so do all open cells of a job that ended before it could begin. Cells of a job that it had not
    come to are simply to do.

    Raises:
        SlurmError: Slurm does not answer.
    """
    # Before the question: a job that is submitted or begins in between must not count as one that has left the queue.
    known, leases = _of_this_cluster(study), leased(study)
    users = {submission.user for submission in known} | {owner.user for owner in leases.values() if owner.user}
    tasks = live_tasks(users)
    return _joined(study, tasks + _settle(study, known, leases, tasks))


def _joined(study: Study, tasks: Sequence[LiveTask]) -> Queue:
    by_name = _by_name(tasks)
    cells: dict[str, Queued] = {}
    mine: list[LiveTask] = []
    for submission in _of_this_cluster(study):
        live = by_name.get(submission.job_name, [])
        is_on_its_way = submission.job_id is None and not submission.is_void and not live
        if not live and not is_on_its_way:
            continue
        mine += live
        batches = submission.batches()
        places = [(task.array_index, _queued(task)) for task in live]
        if is_on_its_way:
            places = [(index, Queued(None, False, ON_ITS_WAY)) for index in batches]
        for index, queued in places:
            for group in batches.get(index, {}).values():
                cells.update(dict.fromkeys(group, queued))
    user = getpass.getuser()
    return Queue(cells, tuple(mine), sum(task.user == user for task in tasks))


def _of_this_cluster(study: Study) -> list[Submission]:
    """What this Slurm can tell of: several clusters may write into one study."""
    here = cluster_name()
    return [submission for submission in submissions(study) if submission.cluster in (None, here)]


def _queued(task: LiveTask) -> Queued:
    is_running = task.state in RUNNING_STATES
    return Queued(f"{task.job_id}_{task.array_index}", is_running, "" if is_running else task.reason)


def _by_name(tasks: Sequence[LiveTask]) -> dict[str, list[LiveTask]]:
    found: dict[str, list[LiveTask]] = {}
    for task in tasks:
        found.setdefault(task.name, []).append(task)
    return found


def _settle(
    study: Study, known: Sequence[Submission], leases: Mapping[str, Owner], tasks: Sequence[LiveTask]
) -> list[LiveTask]:
    """Jobs that `sbatch` denied, cells that jobs have lost, and jobs that ended before they could begin.

    Returns:
        Tasks that Slurm hides from us, as far as accounting does not know that they have ended.
    """
    by_name = _by_name(tasks)
    for submission in known:
        if submission.job_id is None:
            _adopt(submission, by_name.get(submission.job_name, ()))
    live = {(task.job_id, task.array_index) for task in tasks}
    left = abandoned(leases, lambda owner: owner.slurm_job_id is not None and place_of(owner.slurm_job_id) not in live)
    absent = {
        submission: batches
        for submission in known
        if submission.job_id is not None
        and (batches := _absent(submission, by_name.get(submission.job_name, ())) - submission.settled())
    }
    if not left and not absent:
        return []
    records = _records(study, left.values(), absent)

    def is_over(place: tuple[str, int], user: str | None) -> bool:
        # Accounting hears of an end a little later than the queue, and then says how it was.
        record = records.get(place)
        return is_shown(user) if record is None else record.has_ended

    lost = {
        group: owner
        for group, owner in left.items()
        if owner.slurm_job_id is None or is_over(place_of(owner.slurm_job_id), owner.user)
    }
    earlier, hidden = count_attempts(study), list[LiveTask]()
    _tell_lost(study, lost, records, earlier)
    for submission, batches in absent.items():
        job_id, user = str(submission.job_id), submission.user
        over = {batch for batch in batches if is_over((job_id, batch), user)}
        if over:
            _tell_never_begun(submission, over, records, earlier)
            submission.note_settled(over)
        if not is_shown(user):
            for batch in batches - over:
                record = records.get((job_id, batch))
                state = record.state if record else "PENDING"
                hidden.append(LiveTask(job_id, batch, state, f"Slurm hides jobs of {user}", submission.job_name, user))
    return hidden


def _absent(submission: Submission, live: Iterable[LiveTask]) -> frozenset[int]:
    return frozenset(range(submission.num_batches)).difference(task.array_index for task in live)


def _tell_lost(
    study: Study, lost: Mapping[str, Owner], records: Mapping[tuple[str, int], TaskRecord], earlier: Counter[str]
) -> None:
    """Attempts for the groups whose jobs ended with the lease in hand."""
    if not lost:
        return
    open_cells, told = _open_cells(study, lost), _cancelled(study)
    for group, owner in lost.items():
        if drop_lease(study, group, owner):
            cause, message = _cause(owner, records)
            untold = sorted(cell for cell in open_cells[group] if (cell, owner.slurm_job_id) not in told)
            record_attempts(study, untold, cause, message, owner, earlier)


def _tell_never_begun(
    submission: Submission,
    batches: Iterable[int],
    records: Mapping[tuple[str, int], TaskRecord],
    earlier: Counter[str],
) -> None:
    """Attempts for the cells of jobs that ended before our code ran: nothing else tells of them."""
    study = submission.study
    never_begun = [batch for batch in batches if not submission.started(batch).exists()]
    if not never_begun:
        return
    cells_of, told = submission.batches(), _cancelled(study)
    for batch in never_begun:
        job_id = f"{submission.job_id}_{batch}"
        cells = {cell for group in cells_of[batch].values() for cell in group}
        untold = sorted(cell for cell in cells - study.valid_cells(cells) if (cell, job_id) not in told)
        task = records.get((str(submission.job_id), batch))
        owner = replace(this_owner(), slurm_job_id=job_id, node=task.nodes if task else "")
        # Several who look at the same time all find it.
        event = f"{submission.token}-{batch}"
        record_attempts(study, untold, *_cause_before_start(job_id, task), owner, earlier, event)


def _cause_before_start(job_id: str, task: TaskRecord | None) -> tuple[str, str]:
    if task is None:
        return "lost", f"job {job_id} left the queue before it had begun, and accounting does not know it"
    where = (
        f"job {job_id} ended as {task.state} with status {task.status} on {task.nodes or 'no node'} before it had begun"
    )
    if task.status == SETUP_FAILED_STATUS:
        return "environment", f"{where}: the setup of the profile failed there; the log of the job has the line"
    return CAUSE_BEFORE_START.get(task.state, "lost"), where


def _cancelled(study: Study) -> set[tuple[str, str | None]]:
    """Cells with the job that was cancelled under them: `tcx cancel` has told of them when it did so."""
    rows = study.read_attempts()
    rows = rows.filter(pc.equal(rows["cause"], "cancelled"))
    return set(zip(rows["cell_id"].to_pylist(), rows["slurm_job_id"].to_pylist(), strict=True))


def _records(study: Study, owners: Iterable[Owner], absent: Iterable[Submission]) -> dict[tuple[str, int], TaskRecord]:
    job_ids = {place_of(owner.slurm_job_id)[0] for owner in owners if owner.slurm_job_id}
    job_ids |= {str(submission.job_id) for submission in absent}
    oldest = min((submission.submitted_utc for submission in submissions(study)), default=datetime.now(UTC))
    return task_records(sorted(job_ids), oldest)


def _cause(owner: Owner, records: Mapping[tuple[str, int], TaskRecord]) -> tuple[str, str]:
    if owner.slurm_job_id is None:
        return "killed", f"process {owner.pid} on {owner.host} is gone"
    task = records.get(place_of(owner.slurm_job_id))
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


def _adopt(submission: Submission, live: Sequence[LiveTask]) -> None:
    """A submission whose `sbatch` has not been heard of again: it has a job, or it has none."""
    if live:
        submission.note_job(live[0].job_id)  # also where it was given up: a busy controller answers late
    elif submission.is_void:
        return
    elif job_id := find_job(submission.job_name, submission.submitted_utc, live):
        submission.note_job(job_id)
    elif is_shown(submission.user) and submission.age_seconds() > GRACE_SECONDS:
        submission.note_void("no job of this token was found")
