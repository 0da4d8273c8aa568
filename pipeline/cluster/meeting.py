"""How the processes of one job find each other, and what they talk over.

Neither host files nor ssh: Slurm has started all of them. The first publishes where it listens in the study folder, on
a port below those that the kernel hands out, and the others come to it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from pipeline.cluster.exits import AGAIN_STATUS
from pipeline.files import write_atomically
from pipeline.machine import node_name
from pipeline.team import bound_socket

MEET_SECONDS = 600.0
"""Nodes of a job start within minutes of each other."""
GREETING_SECONDS = 30.0
"""For the few bytes that each side says when a connection is made."""
LONGEST_GREETING = 4096
LOOK_SECONDS = 0.5
SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
"""What ends a job; Slurm sends them to all of its processes."""
GAVE_UP = "gave_up"
"""Key of the note that the first process leaves in the place of where it listens."""
KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 90_000}
"""The end of a connection to a node that is cut off: after 90 seconds. Without these the kernel takes hours."""


class RanksError(Exception):
    """Processes of the job did not come together; says which, and on which nodes.

    Attributes:
        node: where the first of those that are missing should be, None where that is not known.
    """

    def __init__(self, message: str, node: str | None = None) -> None:
        self.node = node
        super().__init__(message)


class Wire:
    """A connection to another process that carries JSON, one message a line."""

    def __init__(self, connection: socket.socket) -> None:
        """Take a connection over."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._connection = connection
        self._lines = connection.makefile("r", encoding="utf-8")

    def tell(self, message: dict[str, Any]) -> None:
        """Says something; nothing where the other side is gone, which whoever listens to it is told."""
        with contextlib.suppress(OSError):
            self._connection.sendall(f"{json.dumps(message)}\n".encode())

    def greeting(self, seconds: float) -> dict[str, Any]:
        """The first message; afterwards there is no limit of time.

        Raises:
            OSError: it did not come in time, or the connection broke.
            ValueError: something else came.
        """
        self._connection.settimeout(seconds)
        message = json.loads(self._lines.readline(LONGEST_GREETING))
        self._connection.settimeout(None)
        if not isinstance(message, dict):
            raise ValueError(f"no greeting: {message!r}")
        return message

    def messages(self) -> Iterator[dict[str, Any]]:
        """What the other side says until it is gone. Half a line, or a broken connection, is its end."""
        with contextlib.suppress(OSError, ValueError):
            for line in self._lines:
                yield json.loads(line)

    def close(self) -> None:
        """Ends the connection; whoever listens to it is told, on both sides."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


@dataclass(frozen=True, kw_only=True, slots=True)
class Visitor:
    """A process of the job that has come to the first one.

    Attributes:
        wire: connection to it.
        rank: number of the process.
        host: its node.
        local_rank: number among the processes of its node.
        address: the address by which it reached the first process.
    """

    wire: Wire
    rank: int
    host: str
    local_rank: int
    address: str


@contextmanager
def leading(meeting: Path) -> Iterator[None]:
    """The time of the first process: however it leaves, those that still look for it are told.

    A signal ends it with the status that puts the job back into the queue, until its work sets handlers of its own.

    Args:
        meeting: the file in which it publishes where it listens.
    """

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)  # a job that is ended gets more than one
        raise SystemExit(128 + number if number == signal.SIGINT else AGAIN_STATUS)

    for number in SIGNALS:
        signal.signal(number, leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    reason = "it has ended"
    try:
        yield
    except SystemExit:
        reason = "it was told to end"
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise
    finally:
        with contextlib.suppress(OSError):
            write_atomically(meeting, json.dumps({GAVE_UP: reason}).encode(), replace=True)


def gather(meeting: Path, world_size: int, patience: float = MEET_SECONDS) -> list[Visitor]:
    """Waits in the first process for all others.

    Strangers may knock, such as what watches over a node: whoever does not know the key is sent away, and whoever says
    nothing keeps nobody waiting.

    Args:
        meeting: file in which is published where this process listens.
        world_size: processes of the job.
        patience: time until all must be there.

    Returns:
        The others, in the order of their numbers.

    Raises:
        RanksError: not all came.
    """
    deadline = time.monotonic() + patience
    key = secrets.token_hex(16)
    arrived: queue.SimpleQueue[Visitor] = queue.SimpleQueue()
    came: dict[int, Visitor] = {}
    with bound_socket() as listener:
        listener.listen()
        port = listener.getsockname()[1]
        threading.Thread(target=_receive, args=(listener, key, arrived), daemon=True).start()
        note = {"addresses": own_addresses(), "port": port, "key": key}
        write_atomically(meeting, json.dumps(note).encode(), replace=True)
        try:
            while len(came) < world_size - 1:
                visitor = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
                came[visitor.rank] = visitor  # one that comes again has given its first connection up
        except queue.Empty:
            for visitor in came.values():
                visitor.wire.close()
            raise _missing(sorted(set(range(1, world_size)) - came.keys()), world_size, patience) from None
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # ends the thread, which closing alone would not
    return [came[rank] for rank in sorted(came)]


def come(meeting: Path, rank: int, patience: float = MEET_SECONDS) -> Wire:
    """Goes from another process to the first one.

    Args:
        meeting: where the first one publishes where it listens.
        rank: number of this process.
        patience: time until it must be reached.

    Raises:
        RanksError: it could not be reached, or has left.
    """
    deadline = time.monotonic() + patience
    reason = f"{meeting} was not there"
    while time.monotonic() < deadline:
        try:
            os.listdir(meeting.parent)  # network file systems look again
            note = json.loads(meeting.read_text())
        except (OSError, ValueError):
            note = {}
        if GAVE_UP in note:
            raise RanksError(f"process {rank} on {node_name()}: the first process has left: {note[GAVE_UP]}")
        for address in note.get("addresses", ()):
            try:
                return _greet(address, note["port"], note["key"], rank)
            except (OSError, ValueError) as error:
                reason = f"{address}:{note['port']}: {error}"
        time.sleep(LOOK_SECONDS)
    raise RanksError(f"process {rank} on {node_name()} does not reach the first process: {reason}")


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


def _receive(listener: socket.socket, key: str, arrived: queue.SimpleQueue[Visitor]) -> None:
    """Lets everybody in who knocks, until the listener is shut down."""

    def hear_out(connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            wire = Wire(connection)
            hello = wire.greeting(GREETING_SECONDS)
            if hello.pop("key", None) == key:
                wire.tell({"do": "wait"})
                arrived.put(Visitor(wire=wire, **hello))
                return
        connection.close()

    while True:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            if error.errno in (errno.EBADF, errno.EINVAL):
                return
            time.sleep(LOOK_SECONDS)  # a visitor who has left, or too many open files
            continue
        threading.Thread(target=hear_out, args=(connection,), daemon=True).start()


def _greet(address: str, port: int, key: str, rank: int) -> Wire:
    """Goes to an address, and waits for the answer: something else may listen there, on another machine of that name.

    Raises:
        OSError: nobody answers there.
        ValueError: somebody else does.
    """
    connection = socket.create_connection((address, port), timeout=10)
    try:
        wire = Wire(connection)
        local_rank = int(os.environ.get("SLURM_LOCALID", 0))
        hello = {"rank": rank, "host": node_name(), "local_rank": local_rank, "address": address}
        wire.tell({"key": key, **hello})
        wire.greeting(GREETING_SECONDS)
    except (OSError, ValueError):
        connection.close()
        raise
    return wire


def _missing(ranks: Sequence[int], world_size: int, patience: float) -> RanksError:
    command = ["scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")]
    try:
        shown = subprocess.run(command, capture_output=True, text=True).stdout.split()
    except OSError:
        shown = []  # a container may have no commands of Slurm
    per_node = max(1, world_size // max(1, len(shown)))
    places = [
        f"{rank} (on {shown[rank // per_node]})" if rank // per_node < len(shown) else str(rank) for rank in ranks
    ]
    message = f"processes {', '.join(places)} of {world_size} did not report within {patience:.0f} s"
    node = shown[ranks[0] // per_node] if ranks[0] // per_node < len(shown) else None
    return RanksError(f"{message}; look at the node", node)
