"""The processes of one job as a team: the first one gives orders, the others take them over a connection to it.

Neither host files nor ssh: Slurm has started all of them. The first publishes where it listens in the study folder, on
a port below those that the kernel hands out. A connection that breaks is the end of a process, on either side.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.files import write_atomically
from pipeline.machine import node_name
from pipeline.pool import Worker, WorkerDiedError
from pipeline.team import Place, Team, free_port

MEET_SECONDS = 600.0
"""Nodes of a job start within minutes of each other."""
LOOK_SECONDS = 0.5


class RanksError(Exception):
    """Processes of the job did not come together; says which, and on which nodes.

    Attributes:
        node: where the first of those that are missing should be, None where that is not known.
    """

    def __init__(self, message: str, node: str | None = None) -> None:
        self.node = node
        super().__init__(message)


class Follower:
    """A process on another place of the job, as the first one sees it."""

    def __init__(self, connection: socket.socket, rank: int, host: str, local_rank: int, address: str) -> None:
        self.rank, self.host, self.local_rank, self.address = rank, host, local_rank, address
        self._connection = connection
        self._lines = connection.makefile("r", encoding="utf-8")
        self.place: Place | None = None

    def run(self, study_folder: Path, plan_path: Path, group_id: str) -> Iterator[dict[str, Any]]:
        """See `pool.Worker.run`."""
        assert self.place is not None
        order = {"study": str(study_folder.resolve()), "plan": str(plan_path.resolve()), "group": group_id}
        self._send({"do": "run", **order, "environment": self.place.environment()})
        for line in self._lines:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "idle":
                return
            if event["event"] == "died":
                raise WorkerDiedError(event["cause"], f"{event['message']} (on {self.host})", self.host)
            yield event
        raise WorkerDiedError("node", f"the connection to process {self.rank} on {self.host} broke", self.host)

    def ask_to_stop(self) -> None:
        """Let it save and end."""
        self._send({"do": "stop"})

    def kill(self) -> None:
        """End its worker at once."""
        self._send({"do": "kill"})

    def close(self) -> None:
        """Nothing: it waits for the next order."""

    def _send(self, order: dict[str, Any]) -> None:
        _tell(self._connection, order)  # should it be gone, whoever waits for its events is told


class Leader:
    """The first process of a job: gathers the others, and makes teams of them."""

    def __init__(self, meeting: Path, log: Path, world_size: int) -> None:
        """Waits for all others.

        Args:
            meeting: file in which is published where this process listens.
            log: standard error of its own worker.
            world_size: processes of the job.

        Raises:
            RanksError: not all came.
        """
        self._log = log
        self.followers: list[Follower] = []
        key, port = secrets.token_hex(16), free_port()
        listener = socket.create_server(("", port))
        note = {"addresses": own_addresses(), "port": port, "key": key}
        write_atomically(meeting, json.dumps(note).encode(), replace=True)
        deadline = time.monotonic() + MEET_SECONDS
        while len(self.followers) < world_size - 1:
            listener.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                connection, _ = listener.accept()
                connection.settimeout(30)
                hello = json.loads(connection.makefile("r").readline())
            except TimeoutError:
                came = {follower.rank for follower in self.followers} | {0}
                missing = sorted(set(range(world_size)) - came)
                raise _missing(missing, world_size) from None
            except (OSError, ValueError):
                continue  # somebody else knocked
            if hello.get("key") != key:
                connection.close()
                continue
            connection.settimeout(None)
            self.followers.append(
                Follower(connection, hello["rank"], hello["host"], hello["local_rank"], hello["address"])
            )
        listener.close()
        self.followers.sort(key=lambda follower: follower.rank)

    def team(self) -> Team:
        """All processes of the job as one team."""

        def members() -> Sequence[Worker | Follower]:
            port, size = free_port(), len(self.followers) + 1
            local_rank = int(os.environ.get("SLURM_LOCALID", 0))
            own = Place(rank=0, world_size=size, local_rank=local_rank, address=own_addresses()[0], port=port)
            for follower in self.followers:
                follower.place = Place(
                    rank=follower.rank,
                    world_size=size,
                    local_rank=follower.local_rank,
                    address=follower.address,
                    port=port,
                )
            return [Worker(self._log, own.environment()), *self.followers]

        return Team(members)


def follow(meeting: Path, log: Path, rank: int) -> None:
    """Takes orders of the first process until it is gone.

    Args:
        meeting: where it publishes where it listens.
        log: standard error of the worker.
        rank: number of this process.

    Raises:
        RanksError: it could not be reached.
    """
    connection = _connect(meeting, rank)
    orders: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    current: list[Worker] = []

    def end() -> None:
        # Again and again: the order may come while the process is being started.
        while current or not orders.empty():
            for worker in current:
                worker.kill()
            time.sleep(LOOK_SECONDS / 5)

    def listen() -> None:
        for line in connection.makefile("r", encoding="utf-8"):
            order = json.loads(line)
            if order["do"] == "run":
                orders.put(order)
            elif order["do"] == "stop" and current:
                current[0].ask_to_stop()
            elif order["do"] == "kill":
                end()
        end()  # nobody is left to work for
        orders.put(None)

    threading.Thread(target=listen, daemon=True).start()
    while (order := orders.get()) is not None:
        worker = Worker(log, order["environment"])
        current[:] = [worker]
        last: dict[str, Any] = {"event": "idle"}
        try:
            for event in worker.run(Path(order["study"]), Path(order["plan"]), order["group"]):
                _tell(connection, event)
        except WorkerDiedError as death:
            last = {"event": "died", "cause": death.cause, "message": str(death)}
        worker.close()
        current.clear()
        _tell(connection, last)


def own_addresses() -> list[str]:
    """Names and addresses by which other nodes may reach this one, the likeliest first."""
    found = []
    for name in (os.environ.get("SLURMD_NODENAME", ""), socket.gethostname()):
        try:
            socket.getaddrinfo(name, None)
        except OSError:
            continue
        if name:
            found.append(name)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; the kernel picks the interface
            found.append(probe.getsockname()[0])
        except OSError:
            pass
    return [*dict.fromkeys(found), "127.0.0.1"]


def _connect(meeting: Path, rank: int) -> socket.socket:
    deadline = time.monotonic() + MEET_SECONDS
    reason = f"{meeting} was not there"
    while time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        try:
            os.listdir(meeting.parent)  # network file systems look again
            note = json.loads(meeting.read_text())
        except (OSError, ValueError):
            continue
        for address in note["addresses"]:
            try:
                connection = socket.create_connection((address, note["port"]), timeout=10)
            except OSError as error:
                reason = f"{address}:{note['port']}: {error}"
                continue
            connection.settimeout(None)
            hello = {
                "key": note["key"],
                "rank": rank,
                "host": node_name(),
                "local_rank": int(os.environ.get("SLURM_LOCALID", 0)),
                "address": address,
            }
            _tell(connection, hello)
            return connection
    raise RanksError(f"process {rank} on {node_name()} does not reach the first process: {reason}")


def _tell(connection: socket.socket, event: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the other side is gone, which whoever reads from it sees
        connection.sendall(f"{json.dumps(event)}\n".encode())


def _missing(ranks: Sequence[int], world_size: int) -> RanksError:
    nodes = os.environ.get("SLURM_JOB_NODELIST", "")
    shown = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True).stdout.split()
    per_node = max(1, world_size // max(1, len(shown)))
    places = [
        f"{rank} (on {shown[rank // per_node]})" if rank // per_node < len(shown) else str(rank) for rank in ranks
    ]
    message = f"processes {', '.join(places)} of {world_size} did not report within {MEET_SECONDS:.0f} s"
    node = shown[ranks[0] // per_node] if ranks[0] // per_node < len(shown) else None
    return RanksError(f"{message}; look at the node", node)
