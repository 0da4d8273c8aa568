"""Questions to Slurm and orders for it, through its commands."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from pipeline.cluster.environment import clean_environment
from pipeline.errors import TaskComplexityError, UserError
from pipeline.leases import Owner
from pipeline.machine import slurm_setting

ANSWER_SECONDS = 60
LONGEST_JOB = timedelta(days=100)
"""How far accounting is asked to look back for a job of which only the id is known."""
UNENDED_STATES = frozenset({"PENDING", "RUNNING", "REQUEUED", "RESIZING", "SUSPENDED"})
"""States of accounting in which a job may still go on."""
LATER = re.compile(r"MaxSubmit|MaxJobCount|job submit limit|accounting/QOS policy|temporarily", re.I)
"""What sbatch says when a limit on the number of jobs is met: the rest waits, nothing is wrong."""
NEVER = re.compile(r"\b(?:Assoc|QOS)(?!\w*Submit)\w+")
"""Name of a limit of another kind: one job alone is above it, and no waiting mends that."""


class LiveTask(NamedTuple):
    """One array task, or one job, in the queue.

    Attributes:
        job_id: id of the job, or of the array that it is part of.
        array_index: number in the array, 0 for a single job.
        state: `PENDING`, `RUNNING`, ...
        reason: why it waits.
        name: name of the job.
        user: whose job it is.
    """

    job_id: str
    array_index: int
    state: str
    reason: str
    name: str
    user: str


class TaskRecord(NamedTuple):
    """What accounting knows of one array task, or one job.

    Attributes:
        state: `TIMEOUT`, `NODE_FAIL`, ... without what follows the first word.
        status: exit status of its script.
        nodes: nodes that it ran on.
    """

    state: str
    status: int
    nodes: str

    @property
    def has_ended(self) -> bool:
        """Whether it will never go on."""
        return self.state not in UNENDED_STATES


class SlurmError(TaskComplexityError, RuntimeError):
    """Slurm does not answer, or not as it should."""


class NoAnswerError(SlurmError):
    """`sbatch` was called, and whether Slurm has the job is not known."""


class SubmitLimitError(SlurmError):
    """A limit on the number of jobs is met: what was not submitted waits."""


def has_slurm() -> bool:
    """Whether this machine has the commands of Slurm."""
    return shutil.which("squeue") is not None


def live_tasks(users: Iterable[str] = ()) -> list[LiveTask]:
    """All jobs of this user, and of others, that are in the queue, every array task by itself; one question.

    Args:
        users: the others.

    Raises:
        SlurmError: Slurm does not answer.
    """
    whose = ",".join(sorted({getpass.getuser(), *users}))
    text = _ask("squeue", "--noheader", "--array", "--user", whose, "--format", "%F|%K|%T|%u|%j|%r")
    tasks = []
    for line in text.splitlines():
        job_id, index, state, user, name, reason = line.split("|", 5)
        number = int(index) if index.strip().isdigit() else 0
        tasks.append(LiveTask(job_id.strip(), number, state, reason, name, user))
    return tasks


def task_records(job_ids: Sequence[str], since: datetime) -> dict[tuple[str, int], TaskRecord]:
    """What accounting says of the tasks of these jobs; empty where there is no accounting.

    Args:
        job_ids: ids of jobs or arrays.
        since: when the first of them was submitted: without it, accounting looks back to midnight only.
    """
    if not job_ids:
        return {}
    # A day more, since the clocks of two hosts differ, and a time of day has no zone here.
    start = (since - timedelta(days=1)).strftime("%Y-%m-%d")
    try:
        text = _ask(
            *("sacct", "--allocations", "--noheader", "--parsable2", "--format", "JobID,State,ExitCode,NodeList"),
            *("--starttime", start, "--jobs", ",".join(job_ids)),
        )
    except SlurmError:
        return {}
    found: dict[tuple[str, int], TaskRecord] = {}
    for line in text.splitlines():
        job, state, exit_code, nodes = line.split("|", 3)
        job_id, _, indices = job.partition("_")
        task = TaskRecord(state.split()[0], int(exit_code.partition(":")[0]), "" if nodes == NO_NODES else nodes)
        found |= {(job_id, index): task for index in _indices(indices)}
    return found


def _indices(text: str) -> list[int]:
    """Numbers of array tasks as Slurm writes them: `3`, `[0-4,7%2]` for tasks that never ran; a single job has 0."""
    found: list[int] = []
    for part in text.strip("[]").partition("%")[0].split(","):
        first, _, last = part.partition("-")
        found += range(int(first or 0), int(last or first or 0) + 1)
    return found


def known_nodes(names: Iterable[str]) -> frozenset[str]:
    """Those of these nodes (`node1`, `node[1-2]`) that this cluster has, each by itself.

    Raises:
        SlurmError: Slurm does not answer.
    """
    if not (listed := ",".join(names)):
        return frozenset()
    return frozenset(_ask("sinfo", "--noheader", "--all", "--Node", "--format=%N", "--nodes", listed).split())


def find_job(name: str, since: datetime, tasks: Iterable[LiveTask]) -> str | None:
    """Id of the job of this name, among these tasks of the queue or in accounting; None where there is none."""
    for task in tasks:
        if task.name == name:
            return task.job_id
    start = (since - timedelta(days=1)).strftime("%Y-%m-%d")
    try:
        text = _ask(
            *("sacct", "--allocations", "--noheader", "--parsable2"),
            *("--format", "JobID", "--name", name, "--starttime", start),
        )
    except SlurmError:
        return None
    ids = [line.partition("_")[0] for line in text.split()]
    return ids[0] if ids else None


def sbatch(script: Path, name: str, since: datetime) -> str:
    """Submits a script. An error, but that of a limit, is believed only when no job of that name is there afterwards.

    Args:
        script: the file.
        name: its job name, which no other job has.
        since: a time before now.

    Returns:
        Id of the job, or of the array.

    Raises:
        SubmitLimitError: there are as many jobs in the queue as are allowed.
        UserError: Slurm refuses the job.
        NoAnswerError: Slurm may have the job.
        SlurmError: Slurm was not reached.
    """
    done = _run("sbatch", "--parsable", str(script))
    if done.returncode == 0 and (match := re.match(r"\d+", done.stdout.strip())):
        return match.group()
    message = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
    if LATER.search(message) and not NEVER.search(message) and "timed out" not in message:
        raise SubmitLimitError(message)
    # The controller may have taken the job and lost the answer.
    for _ in range(3):
        if found := find_job(name, since, live_tasks()):
            return found
        time.sleep(1)
    if re.search(r"Unable to contact|Connection refused", message):
        raise SlurmError(f"sbatch: {message}; nothing was submitted, say the same command again")
    if done.returncode == _TIMED_OUT or "timed out" in message:
        raise NoAnswerError(
            f"sbatch: {message}; whether Slurm has the job shows in some minutes: until then its cells count as "
            "queued, then `tcx submit` submits them, or finds the job"
        )
    raise UserError(f"Slurm refuses the job {script}: {message}")


def test_only(script: str) -> tuple[bool, str]:
    """Whether Slurm would take a script, and what it says; submits nothing.

    Raises:
        UserError: there is no Slurm here.
    """
    done = _run("sbatch", "--test-only", text=script)
    said = [line.removeprefix("sbatch: ").strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return done.returncode == 0, "; ".join(said)


def scancel(job_ids: Iterable[str], *, signal: str | None = None) -> None:
    """Cancels jobs (`17`, `17_3`), a hundred with one call.

    Args:
        job_ids: what to cancel.
        signal: send this signal to the processes of the jobs, in the place of ending them.
    """
    wanted = list(job_ids)
    for start in range(0, len(wanted), 100):
        _ask("scancel", *(["--signal", signal] if signal else []), *wanted[start : start + 100])


def job_is_gone(owner: Owner) -> bool:
    """Whether the owner of a lease will never go on; for owners that are no process of this machine.

    A job that waits in the queue after it was put back is not gone: it will find its own lease. Where Slurm does not
    answer, nobody is gone.
    """
    return owner.slurm_job_id is not None and has_slurm() and has_ended(owner.slurm_job_id, owner.user)


def has_ended(job_id: str, user: str | None = None) -> bool:
    """Whether a job (`17`, `17_3`) has left the queue; False where Slurm does not answer.

    Args:
        job_id: the job.
        user: whose it is, None if that is not known.
    """
    try:
        if _ask("squeue", "--noheader", "--format", "%i", "--jobs", job_id).strip():
            return False
    except SlurmError as error:
        if "Invalid job id" not in str(error):  # so long ago that Slurm has forgotten it, or hidden
            return False
    if is_shown(user):
        return True
    place = place_of(job_id)
    record = task_records(place[:1], datetime.now(UTC) - LONGEST_JOB).get(place)
    return record is not None and record.has_ended


def is_shown(user: str | None) -> bool:
    """Whether the queue shows the jobs of a user, so that one which is not there has ended; None for somebody."""
    if user == getpass.getuser():
        return True
    hidden = slurm_setting("PrivateData")
    return hidden is not None and "jobs" not in hidden.split(",")


def place_of(job_id: str) -> tuple[str, int]:
    """Id of the array and number in it of a job (`17_3`); a single job (`17`) has 0."""
    array_id, _, index = job_id.partition("_")
    return array_id, int(index or 0)


NO_NODES = "None assigned"
_TIMED_OUT = -1


def _run(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            env=clean_environment(os.environ),
        )
    except FileNotFoundError as error:
        raise UserError(f"{command[0]} is not on this machine: submit from a login node of the cluster") from error
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, _TIMED_OUT, "", f"no answer within {ANSWER_SECONDS} s")


def _ask(*command: str) -> str:
    done = _run(*command)
    if done.returncode:
        raise SlurmError(f"{command[0]}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout
