"""How a worker that dies tells what it died of."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CGROUPS = Path("/sys/fs/cgroup")
GRID = """
study: demo
tasks: [chain-sum]
models: [{model}]
programs: [{{family: icl, shots: 1}}]
"""
SCRIPT = """
import sys
from pathlib import Path
from pipeline.plan import make_plan
from pipeline.pool import Worker, WorkerDiedError
plan = make_plan(Path(sys.argv[1]), "results")
try:
    list(Worker(Path("log")).run(plan.study.folder, plan.study.plan_path, plan.rows[0].group_id))
except WorkerDiedError as death:
    print(death.cause)
"""


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A control group of the kernel that has too little memory for a worker."""
    place = next(
        (line.split(":") for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line), None
    )
    version_1 = place is not None
    parent = CGROUPS / "memory" / place[2].lstrip("/") if place else CGROUPS
    folder = parent / f"tcx-{uuid.uuid4().hex}"
    try:
        folder.mkdir()
        (folder / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(250 * 2**20))
    except OSError as error:
        if folder.is_dir():
            folder.rmdir()
        pytest.skip(f"this machine lets nobody limit memory here: {error}")
    yield folder
    folder.rmdir()


@pytest.fixture
def die(tmp_path: Path, tiny_model: Path) -> Callable[..., str]:
    """Runs a worker that will die, and returns the cause that is told."""
    from pipeline.models import parse_model
    from pipeline.models.stage import stage

    (tmp_path / "grid.yaml").write_text(GRID.format(model=tiny_model))
    env = os.environ | {"PYTHONPATH": str(ROOT), "TCX_CACHE": str(tmp_path / "cache")}

    def run(first: str = "", *before: str) -> str:
        command = [*before, sys.executable, "-c", first + SCRIPT, "grid.yaml"]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TCX_CACHE", env["TCX_CACHE"])
        stage(parse_model(str(tiny_model), tmp_path))
    return run


def test_the_kernel_says_that_memory_was_short(small_memory: Path, die: Callable[..., str]) -> None:
    """The signal is that of any other kill; the counter of the control group tells them apart."""
    assert die("", "bash", "-c", f'echo $$ > "{small_memory}/cgroup.procs"; exec "$@"', "bash") == "oom-host"


@pytest.mark.parametrize(
    ("number", "cause"), [("KILL", "killed"), ("HUP", "killed"), ("SEGV", "code"), ("BUS", "code"), ("ABRT", "code")]
)
def test_a_signal_tells_a_crash_from_a_kill(number: str, cause: str, die: Callable[..., str]) -> None:
    # As soon as there is a worker, whose import of torch takes longer than to see it.
    kill = f"""\
import os, subprocess, threading, time
def kill():
    while subprocess.run(["pkill", "-{number}", "-P", str(os.getpid()), "-f", "pipeline.worker"]).returncode:
        time.sleep(0.1)
threading.Thread(target=kill, daemon=True).start()
"""
    assert die(kill) == cause
