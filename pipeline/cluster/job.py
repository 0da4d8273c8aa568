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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.attempts import record_attempts
from pipeline.checkpoints import steps_saved
from pipeline.cluster.exits import AGAIN_STATUS, SETUP_FAILED_STATUS
from pipeline.cluster.ledger import Submission, intent_of, read_submission, resources_in
from pipeline.cluster.meeting import SIGNALS, RanksError, leading
from pipeline.cluster.ranks import Leader, follow
from pipeline.cluster.slurm import job_is_gone
from pipeline.errors import ENDS_BATCH, UserError
from pipeline.files import read_patiently, write_atomically
from pipeline.leases import lease, slurm_job_id, this_owner
from pipeline.pool import Worker
from pipeline.snapshot import check_environment, environment
from pipeline.store import Study
from pipeline.supervise import run_group
from pipeline.team import Member

MOST_STARTS_WITHOUT_PROGRESS = 3
"""A job that is put back more often without a new shard or a later checkpoint is given up."""
MARGIN_SECONDS = 10.0
"""Of the time between TERM and KILL, left for the end of the job itself."""


class _Stop:
    """Signals: USR2 before the time limit, TERM before the end, INT from `tcx cancel --graceful`."""

    def __init__(self, member: Member, lead_seconds: float, grace_seconds: float) -> None:
        self.time_is_short = threading.Event()
        self.is_ending = False
        self._member = member
        self._lead_seconds = lead_seconds
        self._grace_seconds = grace_seconds
        self.status = AGAIN_STATUS
        signal.signal(signal.SIGUSR2, self._on_warning)
        signal.signal(signal.SIGTERM, self._on_end)
        signal.signal(signal.SIGINT, self._on_end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

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
        if number == signal.SIGINT:
            self.status = 128 + number
        self._member.ask_to_stop()
        self._later(max(1.0, self._grace_seconds - MARGIN_SECONDS), self.exit)

    def exit(self) -> None:
        """Ends this process. Leases stay: the job may be started again, and else they tell what it was doing."""
        self._member.kill()
        os._exit(self.status)

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
        Exit status: 0 when all is well, 1 when a cell failed, `AGAIN_STATUS` when it should go on in the queue.
    """
    study = Study(Path(study_folder))
    submission = read_submission(study, token)
    index = int(os.environ.get("SLURM_ARRAY_TASK_ID", 0))
    groups = submission.batches()[index]
    cells = {cell for of_group in groups.values() for cell in of_group}
    rank = int(os.environ.get("SLURM_PROCID", 0))
    _say(f"job {slurm_job_id()}, process {rank}: {len(cells)} cells in {len(groups)} groups")
    is_team = resources_in(submission, next(iter(groups))).needs_team
    if is_team and rank:
        _leave_signals_to_first()
    with leading(_meeting(submission, index)) if is_team and not rank else nullcontext():
        return _checked(study, submission, index, groups, rank)


def _checked(study: Study, submission: Submission, index: int, groups: dict[str, list[str]], rank: int) -> int:
    """The work, where nothing speaks against it; returns the exit status."""
    cells = {cell for of_group in groups.values() for cell in of_group}
    # First, for it notes the start: of a job without one, `tcx status` would tell, too.
    if _is_stuck(study, submission, index, groups, writes=rank == 0):
        message = f"started {MOST_STARTS_WITHOUT_PROGRESS} times without a new shard or a later checkpoint"
        if rank == 0:
            record_attempts(study, sorted(cells - study.valid_cells(cells)), "stuck", message)
        _say(message)
        return 1
    try:
        check_environment(_expected_environment(submission))
    except UserError as error:
        if rank == 0:
            record_attempts(study, sorted(cells - study.valid_cells(cells)), "environment", str(error))
        _say(str(error))
        return SETUP_FAILED_STATUS
    resources = resources_in(submission, next(iter(groups)))
    log = study.logs / f"worker-{slurm_job_id()}-{rank}.log"
    if not resources.needs_team:
        _take_own_gpu()
        return _work(study, submission, groups, Worker(log), rank)
    meeting = _meeting(submission, index)
    try:
        if rank:
            follow(meeting, log, rank)
            return 0
        return _work(study, submission, groups, Leader(meeting, log, resources.processes).team(), rank)
    except RanksError as error:
        if rank == 0:
            owner = this_owner() if error.node is None else replace(this_owner(), node=error.node)
            record_attempts(study, sorted(cells - study.valid_cells(cells)), "node", str(error), owner)
        _say(str(error))
        return 1


def _expected_environment(submission: Submission) -> dict[str, Any]:
    """That of the submission; in containers, that of the first job which has come so far."""
    expected: dict[str, Any] | None = intent_of(submission.study, submission.token)["environment"]
    if expected is not None:
        return expected
    path = submission.folder / "environment.json"
    write_atomically(path, json.dumps(environment()).encode(), replace=False)
    found: dict[str, Any] = json.loads(read_patiently(path.read_text))
    return found


def _meeting(submission: Submission, index: int) -> Path:
    """Where the processes of one start of a job find each other."""
    return submission.folder / f"meeting-{index}-{os.environ.get('SLURM_RESTART_COUNT', 0)}.json"


def _take_own_gpu() -> None:
    """Of the GPUs that the job has on this node, the one for this process: Slurm shows all of them to each."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    local_rank = int(os.environ.get("SLURM_LOCALID", 0))
    if len(gpus) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[local_rank % len(gpus)]


def _leave_signals_to_first() -> None:
    """The first process of a team gives the orders; its own end is the end of all."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _work(study: Study, submission: Submission, of_group: dict[str, list[str]], member: Member, rank: int) -> int:
    groups = list(of_group)
    owner, intent = this_owner(), intent_of(study, submission.token)
    stop = _Stop(member, intent["signal_lead_seconds"], intent["grace_seconds"])
    # Each process starts at another place, so that they seldom meet.
    start = rank * len(groups) // int(os.environ.get("SLURM_NTASKS", 1))
    status, may_go_on = 0, True
    for group in groups[start:] + groups[:start]:
        if stop.is_set() or not may_go_on:
            break
        before = _progress(study, of_group, [group])
        with lease(study, group, owner, job_is_gone) as is_ours:
            if not is_ours:
                _say(f"group {group} is being worked on by another process")
                continue
            for event in run_group(member, study, submission.cells_path, group, is_stopping=stop.is_set):
                _say(_line(event))
                status |= event["event"] in ("failed", "died") and not stop.is_set()
                # A broken node or a full disk would else go through all that is left within minutes, and fail it.
                may_go_on &= event.get("cause") not in ENDS_BATCH
            if stop.is_ending:
                stop.exit()
            if stop.time_is_short.is_set() and _progress(study, of_group, [group]) == before:
                # The same time would not be enough again; the next submission asks for more.
                left = set(of_group[group]) - study.valid_cells(of_group[group])
                record_attempts(
                    study, sorted(left), "timeout", "the job neared its time limit before the cell was made"
                )
                may_go_on = False
    member.close()
    cells = {cell for members in of_group.values() for cell in members}
    done = len(study.valid_cells(cells))
    _say(f"{done} of {len(cells)} cells of this batch are done")
    if not may_go_on:
        return 1
    if stop.is_set() and done < len(cells):
        _say("asked to stop: the rest waits for the next start")
        return stop.status
    return status


def _progress(study: Study, of_group: Mapping[str, Sequence[str]], groups: Iterable[str]) -> list[int]:
    """How far these groups are: shards, then steps of their checkpoints."""
    cells = [cell for group in groups for cell in of_group[group]]
    return [len(study.valid_cells(cells)), sum(steps_saved(study.checkpoints / group) for group in groups)]


def _is_stuck(
    study: Study, submission: Submission, index: int, of_group: Mapping[str, Sequence[str]], *, writes: bool
) -> bool:
    """Whether the last starts of a batch have brought it no further; every process of the job finds the same."""
    path = submission.started(index)
    restart = int(os.environ.get("SLURM_RESTART_COUNT", 0))
    try:
        starts: dict[str, list[int]] = json.loads(read_patiently(path.read_text))
    except FileNotFoundError:
        starts = {}
    earlier = [starts[key] for key in sorted(starts, key=int) if int(key) < restart]
    now = _progress(study, of_group, of_group)
    if writes:
        write_atomically(path, json.dumps({**starts, str(restart): now}).encode(), replace=True)
    return len(earlier) >= MOST_STARTS_WITHOUT_PROGRESS and now <= earlier[-MOST_STARTS_WITHOUT_PROGRESS]


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
    if event["status"] != "ok":
        return f"done ({event['status']}): {event['cell']}"
    scores = f"validation {event['validation']:.2f}, test {event['test']:.2f}"
    return f"done (ok, {event['bytes']:,} bytes, {scores}): {event['cell']}"


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}", flush=True)


if __name__ == "__main__":
    # One that comes before there is a handler waits for it, in the place of ending the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    sys.exit(run_batch(sys.argv[1], sys.argv[2]))
