"""What runs on a node: works through the groups of one batch, with the worker that works everywhere.

Run by `srun`, once for each process of a job, as `python -m pipeline.cluster.job STUDY_FOLDER TOKEN`. The processes of
one job share its groups by their leases.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.attempts import record_attempts
from pipeline.cluster.ledger import Submission, intent_of, read_submission, resources_in
from pipeline.cluster.ranks import Leader, RanksError, follow
from pipeline.cluster.sbatch import SETUP_FAILED_STATUS
from pipeline.cluster.slurm import job_is_gone, requeue
from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.leases import lease, slurm_job_id, this_owner
from pipeline.pool import Worker
from pipeline.snapshot import check_environment
from pipeline.store import Study
from pipeline.supervise import run_group
from pipeline.team import Member

MOST_STARTS_WITHOUT_PROGRESS = 3
"""A job that is put back more often without a new shard or checkpoint is given up."""
STUCK_STATUS = 75
"""EX_TEMPFAIL of sysexits.h."""


LAST_SECONDS = 20.0
"""After TERM; Slurm's KillWait is 30 s, and preemption without a grace time gives as much."""


class _Stop:
    """Signals of Slurm: USR2 before the time limit, TERM before the end."""

    def __init__(self, member: Member, lead_seconds: float) -> None:
        self.time_is_short = threading.Event()
        self.is_ending = False
        self._member = member
        self._lead_seconds = lead_seconds
        signal.signal(signal.SIGUSR2, self._on_warning)
        signal.signal(signal.SIGTERM, self._on_end)

    def is_set(self) -> bool:
        """Whether the work should end."""
        return self.is_ending or self.time_is_short.is_set()

    def _on_warning(self, number: int, frame: FrameType | None) -> None:
        self.time_is_short.set()
        self._member.ask_to_stop()
        # Half of the time is for saving, the rest for going back into the queue.
        self._later(self._lead_seconds / 2, self._member.kill)

    def _on_end(self, number: int, frame: FrameType | None) -> None:
        self.is_ending = True
        self._member.ask_to_stop()
        self._later(LAST_SECONDS, self.exit)

    def exit(self) -> None:
        """Ends this process. Leases stay: the job may be started again, and else they tell what it was doing."""
        self._member.kill()
        os._exit(128 + signal.SIGTERM)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        timer.start()


def run_batch(study_folder: str, token: str) -> int:
    """Makes the shards that a batch lacks.

    Args:
        study_folder: folder of the study.
        token: the submission; which batch of it, Slurm's array index says.

    Returns:
        Exit status: 0 when every cell of the batch is done, 1 when one failed.
    """
    study = Study(Path(study_folder))
    submission = read_submission(study, token)
    index = int(os.environ.get("SLURM_ARRAY_TASK_ID", 0))
    groups = submission.batches()[index]
    cells = {cell for of_group in groups.values() for cell in of_group}
    rank = int(os.environ.get("SLURM_PROCID", 0))
    _say(f"job {slurm_job_id()}, process {rank}: {len(cells)} cells in {len(groups)} groups")
    try:
        check_environment(intent_of(study, token)["environment"])
    except UserError as error:
        if rank == 0:
            record_attempts(study, sorted(cells - study.valid_cells(cells)), "environment", str(error))
        _say(str(error))
        return SETUP_FAILED_STATUS
    if rank == 0 and _is_stuck(study, submission, index, groups):
        message = f"started {MOST_STARTS_WITHOUT_PROGRESS} times without a new shard or checkpoint"
        record_attempts(study, sorted(cells - study.valid_cells(cells)), "stuck", message)
        _say(message)
        return STUCK_STATUS
    resources = resources_in(submission, next(iter(groups)))
    log = study.logs / f"worker-{slurm_job_id()}-{rank}.log"
    if not resources.needs_team:
        _take_own_gpu()
        return _work(study, submission, groups, Worker(log), rank)
    meeting = submission.folder / f"meeting-{index}-{os.environ.get('SLURM_RESTART_COUNT', 0)}.json"
    try:
        if rank:
            _leave_signals_to_first()
            follow(meeting, log, rank)
            return 0
        return _work(study, submission, groups, Leader(meeting, log, resources.processes).team(), rank)
    except RanksError as error:
        if rank == 0:
            owner = this_owner() if error.node is None else replace(this_owner(), node=error.node)
            record_attempts(study, sorted(cells - study.valid_cells(cells)), "node", str(error), owner)
        _say(str(error))
        return 1


def _take_own_gpu() -> None:
    """Of the GPUs that the job has on this node, the one for this process: Slurm shows all of them to each."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    local_rank = int(os.environ.get("SLURM_LOCALID", 0))
    if len(gpus) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[local_rank % len(gpus)]


def _leave_signals_to_first() -> None:
    """The first process of a team gives the orders; its own end is the end of all."""
    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, lambda *_: None)


def _work(study: Study, submission: Submission, of_group: dict[str, list[str]], member: Member, rank: int) -> int:
    groups, cells = list(of_group), {cell for members in of_group.values() for cell in members}
    owner = this_owner()
    stop = _Stop(member, intent_of(study, submission.token)["signal_lead_seconds"])
    done_before = len(study.valid_cells(cells))
    # Each process starts at another place, so that they seldom meet.
    start = rank * len(groups) // int(os.environ.get("SLURM_NTASKS", 1))
    is_node_well = True
    for group in groups[start:] + groups[:start]:
        if stop.is_set() or not is_node_well:
            break
        with lease(study, group, owner, job_is_gone) as is_ours:
            if not is_ours:
                _say(f"group {group} is being worked on by another process")
                continue
            for event in run_group(member, study, submission.cells_path, group, is_stopping=stop.is_set):
                _say(_line(event))
                # A broken node would else go through all that is left within minutes, and fail it.
                is_node_well &= event.get("cause") != "node"
            if stop.is_ending:
                stop.exit()
    member.close()
    done = len(study.valid_cells(cells))
    _say(f"{done} of {len(cells)} cells of this batch are done")
    if done == len(cells):
        return 0
    job_id = slurm_job_id()
    if (
        stop.time_is_short.is_set()
        and rank == 0
        and job_id
        and (done > done_before or _checkpoint_files(study, groups))
    ):
        _say("time is short: back into the queue" if requeue(job_id) else "time is short, and Slurm does not requeue")
    return 1


def _checkpoint_files(study: Study, groups: Iterable[str]) -> list[Path]:
    return [path for group in groups for path in (study.checkpoints / group).rglob("*") if path.is_file()]


def _is_stuck(study: Study, submission: Submission, index: int, of_group: dict[str, list[str]]) -> bool:
    """Notes how far the batch is at this start, and compares with the starts before."""
    path = submission.folder / f"starts-{index}.json"
    try:
        starts: list[list[int]] = json.loads(path.read_text())
    except FileNotFoundError:
        starts = []
    cells = {cell for members in of_group.values() for cell in members}
    files = _checkpoint_files(study, of_group)
    newest = max((file.stat().st_mtime_ns for file in files), default=0)
    starts.append([len(study.valid_cells(cells)), len(files), newest])
    write_atomically(path, json.dumps(starts).encode(), replace=True)
    last = starts[-MOST_STARTS_WITHOUT_PROGRESS - 1 :]
    return len(last) > MOST_STARTS_WITHOUT_PROGRESS and all(start == last[0] for start in last)


def _line(event: dict[str, Any]) -> str:
    """One event of a worker for the log."""
    kind = event["event"]
    if kind == "load":
        return f"loaded {event['model']}"
    if kind == "stage":
        return f"{event['cell']}: {event['stage']}"
    if kind == "micro_batch":
        return f"{event['micro_batch']} examples at a time"
    if kind in ("died", "again"):
        return f"{event.get('cause', 'again')}: {event['message']}"
    if kind == "failed":
        return f"failed ({event['cause']}): {event['cell']}: {event['message']}"
    score = f", {event['bytes']:,} bytes, test {event['performance']:.2f}" if event["status"] == "ok" else ""
    return f"done ({event['status']}{score}): {event['cell']}"


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(run_batch(sys.argv[1], sys.argv[2]))
