"""Processes of a team that come late, do not come, or find their port taken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import ProgramError
from pipeline.team import Place, bound_socket, free_port

ROOT = Path(__file__).resolve().parents[2]
JOIN = """
import time
from pipeline.adapt import processes
processes.PREFLIGHT_SECONDS = 3
time.sleep(5 * processes.rank())
processes.join()
print(processes.agree(f"from {processes.rank()}"))
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    """This process is the first one of two, and the other one does not come."""
    from pipeline.adapt import processes

    found = Place(rank=0, world_size=2, local_rank=0, address="127.0.0.1", port=free_port())
    for name, value in found.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "ARRIVE_SECONDS", 1)
    return found


def test_a_late_process_is_waited_for() -> None:
    """Longer than a collective may take: importing torch from a cold disk is no broken network."""
    port = free_port()
    running = []
    for rank in range(2):
        place = Place(rank=rank, world_size=2, local_rank=rank, address="127.0.0.1", port=port)
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | place.environment()
        running.append(subprocess.Popen([sys.executable, "-c", JOIN], env=env, stdout=subprocess.PIPE, text=True))
    assert [process.communicate()[0] for process in running] == ["from 0\n", "from 0\n"]


def test_who_is_missing_is_said(place: Place) -> None:
    from pipeline.adapt.processes import join

    with pytest.raises(ProgramError, match=r"not all came .* /process 1; .*GLOO_SOCKET_IFNAME") as error:
        join()
    assert error.value.cause == "node"


def test_a_port_that_was_taken_meanwhile_is_no_fault_of_the_node(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.adapt.processes import join

    with bound_socket() as thief:
        thief.listen()
        monkeypatch.setenv("MASTER_PORT", str(thief.getsockname()[1]))
        with pytest.raises(ProgramError, match="is taken now; the next try takes another one") as error:
            join()
    assert error.value.cause == "code"
