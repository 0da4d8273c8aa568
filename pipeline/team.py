"""Several processes that work on one group together: they adapt its model, and the first of them makes its programs."""

from __future__ import annotations

import queue
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.pool import Worker, WorkerDiedError

FIRST_PORT = 10_000
"""Below are the ports of services."""
EPHEMERAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
LAST_SECONDS = 30.0
"""What all others of a team together get to end after the first of them has, and again after they were killed."""


class Member(Protocol):
    """One process of a team, here or on another node; see `pool.Worker`."""

    def run(self, study_folder: Path, plan_path: Path, group_id: str) -> Iterator[dict[str, Any]]:
        """Events of the process while it works on a group."""
        ...

    def ask_to_stop(self) -> None:
        """Let it save and end."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...

    def close(self) -> None:
        """Let it end, now that nothing is left for it; one that still works is given up."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Place of a process in its team, as accelerate and torch read it from the environment.

    Attributes:
        rank: number of the process.
        world_size: number of processes.
        local_rank: number among the processes of its node.
        address: where the first process listens, as this one reaches it.
        port: its port.
    """

    rank: int
    world_size: int
    local_rank: int
    address: str
    port: int

    def environment(self) -> dict[str, str]:
        """Variables of the process."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_RANK": str(self.local_rank),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


class Team:
    """Works on a group like one worker would. Its processes are new for every group."""

    def __init__(self, members: Callable[[], Sequence[Member]]) -> None:
        """Prepare; cheap.

        Args:
            members: makes the members of the team, the first process first.
        """
        self._make_members = members
        self._members: Sequence[Member] = ()

    def run(self, study_folder: Path, plan_path: Path, group_id: str) -> Iterator[dict[str, Any]]:
        """Makes the shards that a group lacks; yields the events of the first process. See `Worker.run`.

        Raises:
            WorkerDiedError: one of the processes ended or failed; none is left running.
        """
        members = self._members = self._make_members()
        events: queue.SimpleQueue[tuple[int, dict[str, Any] | WorkerDiedError | None]] = queue.SimpleQueue()

        def listen(rank: int) -> None:
            try:
                for event in members[rank].run(study_folder, plan_path, group_id):
                    events.put((rank, event))
                events.put((rank, None))
            except WorkerDiedError as death:
                events.put((rank, death))
            except Exception as error:  # whatever it is: nobody else could tell that this thread has ended
                events.put((rank, WorkerDiedError("code", f"{type(error).__name__}: {error}")))

        # A worker dies with the thread that has started it, so each lives until its process has ended.
        threads = [threading.Thread(target=listen, args=(rank,), daemon=True) for rank in range(len(members))]
        for thread in threads:
            thread.start()
        try:
            yield from _events_of_first(events)
            _wait_for(threads)
        finally:
            self.kill()
            _wait_for(threads)
            for member in members:
                member.close()
            self._members = ()

    def ask_to_stop(self) -> None:
        """Let all of them save and end."""
        for member in self._members:
            member.ask_to_stop()

    def kill(self) -> None:
        """End all of them at once."""
        for member in self._members:
            member.kill()

    def close(self) -> None:
        """Nothing is left between two groups."""


def _events_of_first(
    events: queue.SimpleQueue[tuple[int, dict[str, Any] | WorkerDiedError | None]],
) -> Iterator[dict[str, Any]]:
    """Events of the first process until it is done with the group; a failure of another one ends the work."""
    while True:
        rank, event = events.get()
        if isinstance(event, WorkerDiedError):
            raise (
                event if rank == 0 else WorkerDiedError(event.cause, f"process {rank} of the team: {event}", event.node)
            )
        if rank == 0:
            if event is None:
                return
            yield event
        elif event is not None and event["event"] == "failed":
            raise WorkerDiedError(event["cause"], f"process {rank} of the team: {event['message']}", event.get("node"))


def _wait_for(threads: Sequence[threading.Thread]) -> None:
    deadline = time.monotonic() + LAST_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def local_team(log: Path, processes: int) -> Team:
    """A team on this machine.

    Args:
        log: standard error of its processes, with the number of each added to the name.
        processes: their number.
    """

    def members() -> Sequence[Member]:
        port = free_port()
        return [
            Worker(
                log.with_stem(f"{log.stem}-{rank}"),
                Place(rank=rank, world_size=processes, local_rank=rank, address="127.0.0.1", port=port).environment(),
            )
            for rank in range(processes)
        ]

    return Team(members)


def free_port() -> int:
    """A port that nobody listens on; see `bound_socket`."""
    with bound_socket() as probe:
        port: int = probe.getsockname()[1]
    return port


def bound_socket() -> socket.socket:
    """A socket at a free port below those that the kernel hands out: no connection can take it meanwhile."""
    first_ephemeral = int(EPHEMERAL_PORTS.read_text().split()[0]) if EPHEMERAL_PORTS.exists() else 32_768
    candidates = list(range(FIRST_PORT, max(first_ephemeral, FIRST_PORT + 1000)))
    random.SystemRandom().shuffle(candidates)
    for port in candidates:
        bound = socket.socket()
        try:
            bound.bind(("", port))
        except OSError:
            bound.close()
            continue
        return bound
    raise OSError(f"no port between {FIRST_PORT} and {FIRST_PORT + len(candidates)} is free")
