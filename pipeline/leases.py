"""Claims of processes on groups of cells, so that no two work on one group at the same time.

A lease is a file that only one process can create. It holds its owner, and it is stale when that owner is gone: for a
process of this machine the kernel knows, for a job the Slurm of its cluster does. For all others nobody here knows, and
a person has to say. Nothing depends on clocks or on `flock`. Should two processes claim one stale lease within
microseconds, both may work; the first shard then counts, as everywhere.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.files import move_if_absent, read_patiently, write_atomically
from pipeline.machine import cluster_name, node_name
from pipeline.store import Study

LOOKS = 10
LOOK_SECONDS = 0.5
"""Between two looks at a lease that cannot be read: released just now, not seen yet over NFS, or no lease at all."""
SHOWN_LEASES = 5


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
        cluster: that the job is in; None outside of Slurm.
        user: whose job it is; None outside of Slurm.
    """

    host: str
    node: str
    pid: int
    started: int
    slurm_job_id: str | None
    restart: int
    cluster: str | None = None
    user: str | None = None


IsGone = Callable[[Owner], bool]
"""Whether the owner of a lease will never go on; not asked for processes of this machine and jobs of other clusters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unjudged:
    """A lease of which nothing here can tell whether its owner is gone.

    Attributes:
        group_id: the group.
        owner: who has it.
        since: when it was claimed, by the clock of the file system; for people.
        path: the file.
    """

    group_id: str
    owner: Owner
    since: datetime
    path: Path

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {
            "group_id": self.group_id,
            "owner": asdict(self.owner),
            "since": self.since.isoformat(),
            "path": str(self.path),
        }


def this_owner() -> Owner:
    """This process."""
    return Owner(
        host=socket.gethostname(),
        node=node_name(),
        pid=os.getpid(),
        started=_start_of(os.getpid()) or 0,
        slurm_job_id=slurm_job_id(),
        restart=int(os.environ.get("SLURM_RESTART_COUNT", 0)),
        cluster=os.environ.get("SLURM_CLUSTER_NAME") if slurm_job_id() else None,
        user=getpass.getuser() if slurm_job_id() else None,
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
    if not _claim(study, group_id, owner, is_gone):
        yield False
        return
    try:
        yield True
    finally:
        path = lease_path(study, group_id)
        if read_lease(path) == owner:
            # One that cannot be deleted is stale as soon as this process has ended.
            with contextlib.suppress(OSError):
                path.unlink()


def lease_path(study: Study, group_id: str) -> Path:
    """Place of the lease of a group."""
    return study.leases / f"{group_id}.json"


def read_lease(path: Path) -> Owner | None:
    """Owner of a lease; None where there is none, or none that can be read."""
    try:
        return _owner_in(read_patiently(path.read_bytes))
    except OSError:
        return None


def leased(study: Study) -> dict[str, Owner]:
    """Groups that have an owner, living or lost, with that owner."""
    owners = {path.stem: read_lease(path) for path in study.leases.glob("*.json")}
    return {group: owner for group, owner in owners.items() if owner is not None}


def abandoned(leases: Mapping[str, Owner], is_gone: IsGone) -> dict[str, Owner]:
    """Groups whose owner was lost while it worked on them, of those that `leased` has found."""
    return {group: owner for group, owner in leases.items() if _is_stale(owner, None, is_gone)}


def unjudged(study: Study) -> tuple[Unjudged, ...]:
    """Leases of processes of other machines outside of Slurm, and of jobs of clusters other than the one here."""
    found = []
    for group, owner in sorted(leased(study).items()):
        path = lease_path(study, group)
        if _is_of_other_cluster(owner) or (owner.slurm_job_id is None and owner.host != socket.gethostname()):
            with contextlib.suppress(FileNotFoundError):  # released just now
                since = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                found.append(Unjudged(group_id=group, owner=owner, since=since, path=path))
    return tuple(found)


def unjudged_lines(leases: Sequence[Unjudged], num_cells: Mapping[str | None, int]) -> list[str]:
    """What to say of such leases: one line each, of many the first ones.

    Args:
        leases: the leases.
        num_cells: cells of each group.
    """
    lines = []
    for lease_ in leases[:SHOWN_LEASES]:
        owner, group = lease_.owner, lease_.group_id
        who = f"process {owner.pid}" if owner.slurm_job_id is None else f"job {owner.slurm_job_id} of {owner.cluster}"
        lines.append(
            f"{num_cells.get(group, 0):,} cells (group {group[:12]}) are worked on by {who} on {owner.host} since "
            f"{lease_.since:%Y-%m-%d %H:%M} UTC, as far as can be told from here; if that is gone, delete {lease_.path}"
        )
    if len(leases) > SHOWN_LEASES:
        lines.append(f"and {len(leases) - SHOWN_LEASES:,} more groups like these: --json lists all")
    return lines


def drop_lease(study: Study, group_id: str, owner: Owner) -> bool:
    """Takes the lease of a lost owner away; False when it has another owner by now."""
    aside = _move_aside(lease_path(study, group_id), "stale", lambda path: read_lease(path) == owner)
    if aside is not None:
        aside.unlink()
    return aside is not None


def _claim(study: Study, group_id: str, owner: Owner, is_gone: IsGone) -> bool:
    path, content = lease_path(study, group_id), json.dumps(asdict(owner)).encode()
    for _ in range(LOOKS):
        if write_atomically(path, content, replace=False):
            return True
        other = read_lease(path)
        if other is None:
            time.sleep(LOOK_SECONDS)
        elif not _is_stale(other, owner, is_gone):
            return False
        else:
            drop_lease(study, group_id, other)
    # What is no lease is kept for people. What cannot be looked at may be one.
    _move_aside(path, "unreadable", _is_no_lease)
    return write_atomically(path, content, replace=False)


def _owner_in(content: bytes) -> Owner | None:
    """The owner that a lease names. Fields of a newer version are left out; one without a field of this is no lease."""
    try:
        fields = json.loads(content)
        return Owner(**{name: fields[name] for name in Owner.__dataclass_fields__ if name in fields})
    except (ValueError, TypeError):
        return None


def _is_no_lease(path: Path) -> bool:
    try:
        return _owner_in(read_patiently(path.read_bytes)) is None
    except OSError:
        return False


def _move_aside(path: Path, suffix: str, is_meant: Callable[[Path], bool]) -> Path | None:
    """Moves a lease to another name, if it is the one that is meant.

    Another process may have put its own there since it was looked at: that one goes back.
    """
    aside = path.with_suffix(f".{uuid.uuid4().hex}.{suffix}")
    try:
        path.rename(aside)
    except OSError:
        # Over NFS also when the file was moved and the answer was lost.
        if not aside.exists():
            return None
    if is_meant(aside):
        return aside
    move_if_absent(aside, path)
    aside.unlink(missing_ok=True)
    return None


def _is_stale(other: Owner, asking: Owner | None, is_gone: IsGone) -> bool:
    if (
        asking is not None
        and other.slurm_job_id is not None
        and (other.slurm_job_id, other.cluster) == (asking.slurm_job_id, asking.cluster)
    ):
        if other.restart != asking.restart:
            return True  # this very job, before Slurm started it again
        if other.host == asking.host:
            return _start_of(other.pid) != other.started
        return False
    if other.slurm_job_id is None and other.host == socket.gethostname():
        return _start_of(other.pid) != other.started
    return not _is_of_other_cluster(other) and is_gone(other)


def _is_of_other_cluster(owner: Owner) -> bool:
    """Whether the Slurm of this machine, if there is one, knows nothing of the job of an owner."""
    return owner.cluster is not None and owner.cluster != cluster_name()


def _start_of(pid: int) -> int | None:
    """Start of a process in ticks after boot, None where there is none."""
    try:
        # The name in the second field may hold blanks and parentheses.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None
