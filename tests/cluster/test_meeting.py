"""Processes of a job that find each other over real connections, among strangers and failures."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.exits import AGAIN_STATUS
from pipeline.cluster.meeting import RanksError, Visitor, Wire, come, gather
from pipeline.cluster.ranks import Follower
from pipeline.pool import WorkerDiedError
from pipeline.team import Place

ROOT = Path(__file__).resolve().parents[2]
LEAD = """
import sys
from pathlib import Path
from pipeline.cluster.meeting import gather, leading
with leading(Path(sys.argv[1])):
    gather(Path(sys.argv[1]), 2, float(sys.argv[2]))
"""
Start = Callable[..., "Future[Any]"]


@pytest.fixture
def start() -> Iterator[Start]:
    with ThreadPoolExecutor() as pool:
        yield pool.submit


def published(meeting: Path) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while not meeting.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    note: dict[str, Any] = json.loads(meeting.read_text())
    return note


def test_strangers_do_not_keep_a_job_waiting(tmp_path: Path, start: Start) -> None:
    meeting = tmp_path / "meeting.json"
    gathered = start(gather, meeting, 3, 20)
    port = published(meeting)["port"]
    strangers = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
    for stranger, says in zip(strangers, (b"", b"GET / HTTP/1.1\r\n", b'{"key": "guessed"}\n', b"[]\n"), strict=True):
        stranger.sendall(says)
    begin = time.monotonic()
    wires = [start(come, meeting, rank, 20) for rank in (2, 1)]
    visitors = gathered.result()
    assert time.monotonic() - begin < 10  # less than a silent one would be listened to
    assert [visitor.rank for visitor in visitors] == [1, 2]
    for stranger in strangers[1:]:
        stranger.settimeout(10)
        assert stranger.recv(100) == b""
    visitors[0].wire.tell({"do": "run"})
    assert next(wires[1].result().messages()) == {"do": "run"}


def test_what_listens_at_the_same_place_elsewhere_is_not_the_first_process(tmp_path: Path, start: Start) -> None:
    other, mine = tmp_path / "other.json", tmp_path / "mine.json"
    other_job = start(gather, other, 2, 20)
    mine.write_text(json.dumps(published(other) | {"key": "mine"}))
    with pytest.raises(RanksError, match=r"process 1 on .* does not reach the first process"):
        come(mine, 1, 1)
    start(come, other, 1, 20)
    assert [visitor.rank for visitor in other_job.result()] == [1]


def test_those_who_came_learn_that_another_one_did_not(tmp_path: Path, start: Start) -> None:
    meeting = tmp_path / "meeting.json"
    gathered = start(gather, meeting, 4, 1.5)
    wire = start(come, meeting, 2, 20).result()
    assert list(wire.messages()) == []
    with pytest.raises(RanksError, match="processes 1, 3 of 4 did not report within 2 s"):
        gathered.result()


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, AGAIN_STATUS), (signal.SIGUSR2, AGAIN_STATUS), (signal.SIGINT, 130), (None, 1)],
)
def test_the_others_learn_that_the_first_process_has_left(
    tmp_path: Path, start: Start, number: int | None, status: int
) -> None:
    meeting = tmp_path / "meeting.json"
    command = [sys.executable, "-c", LEAD, str(meeting), "60" if number else "0.5"]
    leader = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    published(meeting)
    if number:
        leader.send_signal(number)
    errors = leader.communicate()[1].decode()
    assert leader.returncode == status, errors
    begin = time.monotonic()
    with pytest.raises(RanksError, match="the first process has left: " + ("it was told" if number else "RanksError")):
        come(meeting, 1, 60)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("last", [b"", b'{"event": "sta'], ids=["silence", "half a line"])
def test_a_connection_that_breaks_is_the_fault_of_its_node(last: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near, _ = listener.accept()
    follower = Follower(Visitor(wire=Wire(near), rank=1, host="far-node", local_rank=0, address="127.0.0.1"))
    follower.place = Place(rank=1, world_size=2, local_rank=0, address="127.0.0.1", port=1)
    far.sendall(b'{"event": "load", "model": "m"}\n' + last)
    far.shutdown(socket.SHUT_WR)
    events = follower.run(Path("study"), Path("plan"), "group")
    assert next(events)["node"] == "far-node"
    with pytest.raises(WorkerDiedError, match="the connection to process 1 on far-node broke") as death:
        next(events)
    assert (death.value.cause, death.value.node) == ("node", "far-node")
    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    far.close()
    follower.close()
