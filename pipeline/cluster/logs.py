"""Logs of the jobs that worked on one cell, and how they are followed while a job runs."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
from rich.console import Console

from pipeline.cluster.ledger import submissions
from pipeline.cluster.sbatch import log_files
from pipeline.cluster.slurm import has_ended
from pipeline.errors import InvalidShardError, UserError
from pipeline.rows import read_row
from pipeline.status import unique_id
from pipeline.store import Study, open_study

LOOK_SECONDS = 0.5
ASK_SECONDS = 10.0
"""Time between two questions to Slurm whether a job that is followed has ended."""


class Job(NamedTuple):
    """A job, or one start of it.

    Attributes:
        job_id: `17_3`.
        restarts: how often Slurm had started it before, None for all its starts.
    """

    job_id: str
    restarts: int | None = None


def show_logs(
    name: str, cell: str, *, results: str | None, attempt: int | None, follow: bool, num_lines: int, console: Console
) -> None:
    """Prints the ends of the logs of the jobs that had a cell, oldest first.

    Args:
        name: name or folder of the study.
        cell: start of the id of the cell.
        results: folder of the studies, None for the default.
        attempt: only the start of the job that made this attempt, None for all jobs.
        follow: of these only the last one, and its new lines as they come, until it has ended or Ctrl-C.
        num_lines: lines from the end of each file.
        console: where to.

    Raises:
        UserError: no such study, cell or attempt, or no job had it.
    """
    study = open_study(name, results)
    jobs = _jobs_by_cell(study)
    if not jobs:
        raise UserError(f"nothing of study {study.name} was submitted to a cluster; `tcx run` logs to {study.logs}")
    cell_id = unique_id(cell, jobs)
    chosen = jobs[cell_id] if attempt is None else _jobs_of_attempt(study, cell_id, attempt)
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            _follow(study, chosen[-1], num_lines, console)
        return
    for job in chosen:
        if not _Tail(study, job, num_lines, console).print_new():
            console.print(f"job {job.job_id} has written no log (yet)", highlight=False)


def _jobs_by_cell(study: Study) -> dict[str, list[Job]]:
    jobs: dict[str, list[Job]] = {}
    for submission in submissions(study):
        if submission.job_id is None:
            continue
        for index, groups in submission.batches().items():
            for cell_id in (cell_id for group in groups.values() for cell_id in group):
                jobs.setdefault(cell_id, []).append(Job(f"{submission.job_id}_{index}"))
    return jobs


def _jobs_of_attempt(study: Study, cell_id: str, attempt: int) -> list[Job]:
    """The start of a job that made this attempt; several where jobs worked at the same time and counted the same."""
    failed = study.read_attempts()
    rows = failed.filter(pc.equal(failed["cell_id"], cell_id)).to_pylist()
    with contextlib.suppress(FileNotFoundError, InvalidShardError):
        rows.append(read_row(study, cell_id, ["attempt", "slurm_job_id", "restarts"]))
    found = [row for row in rows if row["attempt"] == attempt]
    if not found:
        known = ", ".join(sorted({str(row["attempt"]) for row in rows}, key=int)) or "none"
        raise UserError(
            f"cell {cell_id[:12]} has no attempt {attempt} that has ended; there are: {known}. One that goes on is "
            f"shown by `tcx logs {study.argument} {cell_id[:12]} --follow`"
        )
    jobs = [Job(row["slurm_job_id"], row["restarts"]) for row in found if row["slurm_job_id"] is not None]
    if not jobs:
        raise UserError(f"attempt {attempt} was made in no job of a cluster; `tcx run` logs to {study.logs}")
    return jobs


class _Tail:
    """Prints what is new in the logs of a job."""

    def __init__(self, study: Study, job: Job, num_lines: int, console: Console) -> None:
        self._study = study
        self._job = job
        self._num_lines: int | None = num_lines
        self._console = console
        self._read: dict[Path, int] = {}
        self._last: Path | None = None

    def print_new(self) -> bool:
        """Prints the last lines at the first time, then whole lines that were added since; whether there is a log."""
        paths = log_files(self._study.logs, self._job.job_id, self._job.restarts)
        for path in paths:
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                added = file.read()
            if self._num_lines is None:
                added = added[: added.rfind(b"\n") + 1]  # the rest of the last line is still to come
            self._read[path] = self._read.get(path, 0) + len(added)
            lines = added.decode(errors="replace").splitlines()
            self._print(path, lines if self._num_lines is None else lines[-self._num_lines :])
        self._num_lines = None
        return bool(paths)

    def _print(self, path: Path, lines: list[str]) -> None:
        if lines and path != self._last:
            self._console.rule(path.name)
            self._last = path
        for line in lines:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _follow(study: Study, job: Job, num_lines: int, console: Console) -> None:
    tail = _Tail(study, job, num_lines, console)
    tail.print_new()
    asked = time.monotonic()
    is_over = has_ended(job.job_id)
    while not is_over:
        time.sleep(LOOK_SECONDS)
        if time.monotonic() - asked > ASK_SECONDS:
            is_over, asked = has_ended(job.job_id), time.monotonic()
        tail.print_new()  # after the question, so that nothing of a job that has ended is left out
    console.print(f"job {job.job_id} has ended", highlight=False)
