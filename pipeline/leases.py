"""Claims of processes on groups of cells, so that no two work on one group at the same time.

A lease is a file that only one process can create. It holds its owner, and it is stale when that owner is gone: for a
process of this machine the kernel knows, for a job Slurm does. Nothing depends on clocks or on `flock`. Should two
processes claim one stale lease within microseconds, both may work; the first shard then counts, as everywhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.files import write_atomically
from pipeline.machine import node_name
from pipeline.store import Study


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Who works on a group.

    Attributes:
        host: name of the machine.
        node: the same, as Slurm calls it.
        pid: process on that machine.
        started: start of the process in ticks after boot, since numbers of processes are used again.
        slurm_job_id: `17`, or `17_3` in an array; None outside of Slurm.
        restart: how often Slurm has started the job again.
    """

    host: str
    node: str
    pid: int
    started: int
    slurm_job_id: str | None
    restart: int


IsGone = Callable[[Owner], bool]
"""Whether the owner of a lease will never go on; only asked for owners that this machine cannot judge."""


def this_owner() -> Owner:
    """This process."""
    return Owner(
        host=socket.gethostname(),
        node=node_name(),
        pid=os.getpid(),
        started=_start_of(os.getpid()) or 0,
        slurm_job_id=slurm_job_id(),
        restart=int(os.environ.get("SLURM_RESTART_COUNT", 0)),
    )


def slurm_job_id() -> str | None:
    """Id of the job that this process is part of, as `squeue` and `sacct` write it."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


@contextmanager
def lease(study: Study, group_id: str, owner: Owner, is_gone: IsGone) -> Iterator[bool]:
    """Holds the lease of a group for the time of a block.

    Args:
        study: the study.
        group_id: the group.
        owner: this process.
        is_gone: judges owners in other jobs and on other machines.

    Yields:
        False where a living process has the group: leave it alone.
    """
    path = lease_path(study, group_id)
    if not _claim(path, owner, is_gone):
        yield False
        return
    try:
        yield True
    finally:
        if read_lease(path) == owner:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def lease_path(study: Study, group_id: str) -> Path:
    """Place of the lease of a group."""
    return study.leases / f"{group_id}.json"


def read_lease(path: Path) -> Owner | None:
    """Owner of a lease; None where there is none."""
    try:
        return Owner(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def leased(study: Study) -> dict[str, Owner]:
    """Groups that have an owner, living or lost, with that owner."""
    owners = {path.stem: read_lease(path) for path in study.leases.glob("*.json")}
    return {group: owner for group, owner in owners.items() if owner is not None}


def abandoned(study: Study, is_gone: IsGone) -> dict[str, Owner]:
    """Groups whose owner was lost while it worked on them, with that owner."""
    return {group: owner for group, owner in leased(study).items() if _is_stale(owner, None, is_gone)}


def drop_lease(study: Study, group_id: str, owner: Owner) -> bool:
    """Takes the lease of a lost owner away; False when it has another owner by now."""
    path = lease_path(study, group_id)
    aside = path.with_suffix(f".{uuid.uuid4().hex}.stale")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return False
    is_his = read_lease(aside) == owner
    if not is_his:
        # Another process was faster, and what we have moved is its lease.
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()
    return is_his


def _claim(path: Path, owner: Owner, is_gone: IsGone) -> bool:
    content = json.dumps(asdict(owner)).encode()
    while not write_atomically(path, content, replace=False):
        other = read_lease(path)
        if other is None:
            # Released just now, or no lease at all (half a file cannot be): look again, or clear the place.
            if path.exists() and path.stat().st_size == 0:
                path.unlink(missing_ok=True)
            continue
        if not _is_stale(other, owner, is_gone):
            return False
        drop_lease(Study(path.parent.parent), path.stem, other)
    return True


def _is_stale(other: Owner, asking: Owner | None, is_gone: IsGone) -> bool:
    if asking is not None and other.slurm_job_id is not None and other.slurm_job_id == asking.slurm_job_id:
        if other.restart != asking.restart:
            return True  # this very job, before Slurm started it again
        if other.host == asking.host:
            return _start_of(other.pid) != other.started
        return False
    if other.slurm_job_id is None and other.host == socket.gethostname():
        return _start_of(other.pid) != other.started
    return is_gone(other)


def _start_of(pid: int) -> int | None:
    """Start of a process in ticks after boot, None where there is none."""
    try:
        # The name in the second field may hold blanks and parentheses.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None
