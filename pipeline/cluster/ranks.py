"""The processes of one job as a team: the first one gives orders, the others take them over a connection to it.

A connection that breaks is the end of a process, on either side.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.cluster.meeting import MEET_SECONDS, Visitor, come, gather, own_addresses
from pipeline.pool import Worker, WorkerDiedError
from pipeline.team import Place, Team, free_port

LOOK_SECONDS = 0.1


class Follower:
    """A process on another place of the job, as the first one sees it."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.place: Place | None = None
        self._is_working = False

    def run(self, study_folder: Path, plan_path: Path, group_id: str) -> Iterator[dict[str, Any]]:
        """See `pool.Worker.run`."""
        assert self.place is not None
        order = {"study": str(study_folder.resolve()), "plan": str(plan_path.resolve()), "group": group_id}
        self._is_working = True
        self._tell({"do": "run", **order, "environment": self.place.environment()})
        host = self.visitor.host
        for event in self.visitor.wire.messages():
            if event["event"] in ("idle", "died"):
                self._is_working = False
            if event["event"] == "idle":
                return
            if event["event"] == "died":
                raise WorkerDiedError(event["cause"], f"{event['message']} (on {host})", host)
            yield event | {"node": host}
        raise WorkerDiedError("node", f"the connection to process {self.visitor.rank} on {host} broke", host)

    def ask_to_stop(self) -> None:
        """Let it save and end."""
        self._tell({"do": "stop"})

    def kill(self) -> None:
        """End its worker at once."""
        self._tell({"do": "kill"})

    def close(self) -> None:
        """Nothing where it waits for the next order. One that does not end its work is given up."""
        if self._is_working:
            self.visitor.wire.close()

    def _tell(self, order: dict[str, Any]) -> None:
        self.visitor.wire.tell(order)


class Leader:
    """The first process of a job: gathers the others, and makes teams of them."""

    def __init__(self, meeting: Path, log: Path, world_size: int, patience: float = MEET_SECONDS) -> None:
        """Waits for all others.

        Args:
            meeting: file in which is published where this process listens.
            log: standard error of its own worker.
            world_size: processes of the job.
            patience: time until all must be there.

        Raises:
            RanksError: not all came.
        """
        self._log = log
        self.followers = [Follower(visitor) for visitor in gather(meeting, world_size, patience)]

    def team(self) -> Team:
        """All processes of the job as one team."""

        def members() -> Sequence[Worker | Follower]:
            port, size = free_port(), len(self.followers) + 1
            local_rank = int(os.environ.get("SLURM_LOCALID", 0))
            own = Place(rank=0, world_size=size, local_rank=local_rank, address=own_addresses()[0], port=port)
            for follower in self.followers:
                follower.place = Place(
                    rank=follower.visitor.rank,
                    world_size=size,
                    local_rank=follower.visitor.local_rank,
                    address=follower.visitor.address,
                    port=port,
                )
            return [Worker(self._log, own.environment()), *self.followers]

        return Team(members)


def follow(meeting: Path, log: Path, rank: int, patience: float = MEET_SECONDS) -> None:
    """Takes orders of the first process until it is gone.

    Args:
        meeting: where it publishes where it listens.
        log: standard error of the worker.
        rank: number of this process.
        patience: time until it must be reached.

    Raises:
        RanksError: it could not be reached, or has left.
    """
    wire = come(meeting, rank, patience)
    orders: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    current: list[Worker] = []
    is_working = threading.Event()

    def end() -> None:
        # Again and again: the order may come while the process is being started.
        while is_working.is_set():
            for worker in current:
                worker.kill()
            time.sleep(LOOK_SECONDS)

    def listen() -> None:
        for order in wire.messages():
            if order["do"] == "run":
                is_working.set()
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
                wire.tell(event)
        except WorkerDiedError as death:
            last = {"event": "died", "cause": death.cause, "message": str(death)}
        worker.close()
        current.clear()
        is_working.clear()
        wire.tell(last)
