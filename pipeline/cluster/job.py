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
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.attempts import record_attempts, record_death
from pipeline.cluster.ledger import Submission, intent_of, read_submission
from pipeline.cluster.sbatch import SETUP_FAILED_STATUS
from pipeline.cluster.slurm import job_is_gone, requeue
from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.leases import lease, slurm_job_id, this_owner
from pipeline.pool import Worker, WorkerDiedError
from pipeline.snapshot import check_environment
from pipeline.store import Study

MOST_STARTS_WITHOUT_PROGRESS = 3
"""A job that is put back more often without a new shard or checkpoint is given up."""
STUCK_STATUS = 75
"""EX_TEMPFAIL of sysexits.h."""


class _Stop:
    """Signals of Slurm: USR2 before the time limit, TERM before the end."""

    def __init__(self) -> None:
        self.time_is_short = threading.Event()
        self.worker: Worker | None = None
        signal.signal(signal.SIGUSR2, self._on_warning)
        signal.signal(signal.SIGTERM, self._on_end)

    def _on_warning(self, number: int, frame: FrameType | None) -> None:
        self.time_is_short.set()
        if self.worker is not None:
            self.worker.kill()  # what it was doing goes on from its last checkpoint

    def _on_end(self, number: int, frame: FrameType | None) -> None:
        if self.worker is not None:
            self.worker.kill()
        # Leases are kept: the job may be started again, and if not they tell what it was working on.
        os._exit(128 + number)


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
    if rank == 0 and _is_stuck(study, submission, index, cells):
        message = f"started {MOST_STARTS_WITHOUT_PROGRESS} times without a new shard or checkpoint"
        record_attempts(study, sorted(cells - study.valid_cells(cells)), "stuck", message)
        _say(message)
        return STUCK_STATUS
    return _work(study, submission, list(groups), cells, rank)


def _take_own_gpu() -> None:
    """Of the GPUs that the job has on this node, the one for this process: Slurm shows all of them to each."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    local_rank = int(os.environ.get("SLURM_LOCALID", 0))
    if len(gpus) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[local_rank % len(gpus)]


def _work(study: Study, submission: Submission, groups: list[str], cells: set[str], rank: int) -> int:
    _take_own_gpu()
    stop, owner = _Stop(), this_owner()
    worker = stop.worker = Worker(study.logs / f"worker-{slurm_job_id()}-{rank}.log")
    done_before = len(study.valid_cells(cells))
    # Each process starts at another place, so that they seldom meet.
    start = rank * len(groups) // int(os.environ.get("SLURM_NTASKS", 1))
    for group in groups[start:] + groups[:start]:
        if stop.time_is_short.is_set():
            break
        with lease(study, group, owner, job_is_gone) as is_ours:
            if not is_ours:
                _say(f"group {group} is being worked on by another process")
                continue
            try:
                for event in worker.run(study.folder, submission.cells_path, group):
                    _say(_line(event))
            except WorkerDiedError as death:
                _say(str(death))
                if not stop.time_is_short.is_set():
                    record_death(study, submission.cells_path, group, death)
    worker.close()
    done = len(study.valid_cells(cells))
    _say(f"{done} of {len(cells)} cells of this batch are done")
    if done == len(cells):
        return 0
    job_id = slurm_job_id()
    if stop.time_is_short.is_set() and rank == 0 and job_id and (done > done_before or study.checkpoints.is_dir()):
        _say("time is short: back into the queue" if requeue(job_id) else "time is short, and Slurm does not requeue")
    return 1


def _is_stuck(study: Study, submission: Submission, index: int, cells: set[str]) -> bool:
    """Notes how far the batch is at this start, and compares with the starts before."""
    path = submission.folder / f"starts-{index}.json"
    try:
        starts: list[list[int]] = json.loads(path.read_text())
    except FileNotFoundError:
        starts = []
    checkpoints = sum(1 for file in study.checkpoints.rglob("*") if file.is_file())
    newest = max((file.stat().st_mtime_ns for file in study.checkpoints.rglob("*") if file.is_file()), default=0)
    starts.append([len(study.valid_cells(cells)), checkpoints, newest])
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
    if kind == "failed":
        return f"failed ({event['cause']}): {event['cell']}: {event['message']}"
    score = f", {event['bytes']:,} bytes, test {event['performance']:.2f}" if event["status"] == "ok" else ""
    return f"done ({event['status']}{score}): {event['cell']}"


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(run_batch(sys.argv[1], sys.argv[2]))
