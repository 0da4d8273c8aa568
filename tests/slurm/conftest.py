"""A real Slurm for tests, which `slurm/testcluster` runs in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTCLUSTER = ROOT / "slurm" / "testcluster"
AS_NOBODY = (
    *("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"),
    # Files of root stay open to it: to Slurm alone it is somebody else.
    *("--inh-caps=+dac_override", "--ambient-caps=+dac_override", "env", "LOGNAME=nobody"),
)
"""Before a command: runs it as another user."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs, and how to talk to it."""

    folder: Path
    env: dict[str, str]

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command on the cluster, which has to succeed unless `check` is false."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def begin(
        self, folder: Path, *arguments: str, before: Sequence[str] = (), **environment: str
    ) -> subprocess.Popen[str]:
        """Starts `tcx` in a folder, with a cache of its own there, by the command `before`."""
        own = {"TCX_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT), "COLUMNS": "400"}
        command = [*before, sys.executable, "-m", "pipeline.cli", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=folder, env=self.env | own | environment, stdout=pipe, stderr=pipe, text=True
        )

    def finish(self, running: subprocess.Popen[str], status: int = 0) -> subprocess.CompletedProcess[str]:
        """Waits for what `begin` has started, which has to end with this status."""
        stdout, stderr = running.communicate(timeout=600)
        assert running.returncode == status, stdout + stderr
        return subprocess.CompletedProcess(running.args, status, stdout, stderr)

    def tcx(
        self, folder: Path, *arguments: str, status: int = 0, before: Sequence[str] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs `tcx` as `begin` starts it."""
        return self.finish(self.begin(folder, *arguments, before=before, **environment), status)

    def testcluster(self, *command: str) -> str:
        """Runs a command of `slurm/testcluster` on this cluster and returns what it prints."""
        return self.run(sys.executable, str(TESTCLUSTER), *command, "--folder", str(self.folder)).stdout

    def until(self, condition: Callable[[], bool], deadline_s: float = 30) -> None:
        """Waits for a condition, and fails with a picture of the cluster when it does not come true."""
        end = time.monotonic() + deadline_s
        while not condition():
            if time.monotonic() > end:
                queue = self.run("squeue", "--states=all", check=False).stdout
                pytest.fail(f"Not after {deadline_s} s.\n{queue}{self.testcluster('status')}")
            time.sleep(0.2)


def start(*options: str) -> Cluster:
    """Starts a cluster in a new folder; what cannot be for lack of programs or rights is skipped, unless asked for."""
    required = "TCX_REQUIRE_SLURM" in os.environ
    # Sockets want a short path, which pytest's own folders need not have.
    folder = Path(tempfile.mkdtemp(prefix="tcx-slurm-", dir="/tmp"))
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    env["SLURM_CONF"] = str(folder / "etc" / "slurm.conf")
    install = ["--install"] if required or "CI" in os.environ else []
    command = [sys.executable, str(TESTCLUSTER), "up", "--folder", str(folder), *install, *options]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
    if done.returncode == 2 and not required:
        pytest.skip(f"Tests on a real Slurm are left out. {done.stderr}")
    if done.returncode:
        pytest.fail(f"`slurm/testcluster up` ended with {done.returncode}: {done.stderr}")
    return Cluster(folder, env)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster of two nodes of 4 GPUs, MaxArraySize 31, MaxSubmitJobs 60, partitions main and urgent."""
    started = start()
    yield started
    started.testcluster("down")


@pytest.fixture
def quiet_cluster(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, with no jobs before and after the test."""
    yield cluster
    cluster.run("scancel", "--state=pending")
    cluster.run("scancel", "--state=running")
    cluster.until(lambda: not cluster.run("squeue", "--noheader").stdout)
