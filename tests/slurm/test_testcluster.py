"""What `slurm/testcluster` promises to those who test on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import TESTCLUSTER, Cluster, start

pytestmark = pytest.mark.slurm


def submit(cluster: Cluster, *options: str, wrap: str = "true") -> str:
    """Submits a job that runs at most a minute, and returns its number."""
    output = [] if any(option.startswith("--output") for option in options) else ["--output=/dev/null"]
    return cluster.run("sbatch", "--parsable", "--time=1", *output, *options, f"--wrap={wrap}").stdout.strip()


def state(cluster: Cluster, job: str) -> str:
    return cluster.run("squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%T").stdout.strip()


def history(cluster: Cluster, job: str) -> list[str]:
    """States of all runs of a job, as accounting has them."""
    command = ["sacct", "--duplicates", "--allocations", "--noheader", "--parsable2", "--format=State", f"--jobs={job}"]
    return cluster.run(*command).stdout.split()


def alive(pid: int) -> bool:
    """Whether a process runs: a zombie has no program any more."""
    return os.path.exists(f"/proc/{pid}/exe")


def test_a_node_gives_its_four_gpus(quiet_cluster: Cluster) -> None:
    command = ["bash", "-c", "echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES $SLURM_JOB_PARTITION"]
    for node in ("node1", "node2"):
        seen = quiet_cluster.run("srun", "--time=1", f"--nodelist={node}", "--gres=gpu:4", *command)
        assert seen.stdout == f"{node} 0,1,2,3 main\n"


def test_srun_spans_two_nodes(quiet_cluster: Cluster, tmp_path: Path) -> None:
    tasks = "srun --nodes=2 --ntasks=2 bash -c 'echo $SLURM_PROCID $SLURM_NTASKS $SLURMD_NODENAME'"
    job = submit(quiet_cluster, "--nodes=2", "--ntasks-per-node=1", f"--output={tmp_path}/out", wrap=tasks)
    quiet_cluster.until(lambda: state(quiet_cluster, job) == "COMPLETED")
    assert sorted((tmp_path / "out").read_text().splitlines()) == ["0 2 node1", "1 2 node2"]


def test_array_beyond_the_limit_is_refused(quiet_cluster: Cluster) -> None:
    submit(quiet_cluster, "--hold", "--array=0-30")
    refused = quiet_cluster.run("sbatch", "--array=0-31", "--wrap=true", check=False)
    assert refused.returncode
    assert "Invalid job array specification" in refused.stderr


def test_job_beyond_the_limit_is_refused(quiet_cluster: Cluster) -> None:
    for _ in range(2):
        submit(quiet_cluster, "--hold", "--array=0-29")
    refused = quiet_cluster.run("sbatch", "--wrap=true", check=False)
    assert refused.returncode
    assert "AssocMaxSubmitJobLimit" in refused.stderr


def test_dry_run_submits_nothing(quiet_cluster: Cluster) -> None:
    said = quiet_cluster.run("sbatch", "--test-only", "--gres=gpu:4", "--time=1", "--wrap=true").stderr
    assert "to start at" in said
    assert not quiet_cluster.run("squeue", "--noheader").stdout


def test_urgent_job_preempts(quiet_cluster: Cluster) -> None:
    long_job = submit(quiet_cluster, "--nodes=2", "--ntasks-per-node=1", "--gres=gpu:4", wrap="sleep 50")
    quiet_cluster.until(lambda: state(quiet_cluster, long_job) == "RUNNING")
    urgent_job = submit(quiet_cluster, "--partition=urgent", "--gres=gpu:4")
    quiet_cluster.until(lambda: state(quiet_cluster, urgent_job) == "COMPLETED")
    assert "Restarts=1" in quiet_cluster.run("scontrol", "show", "job", long_job).stdout
    quiet_cluster.until(lambda: state(quiet_cluster, long_job) == "RUNNING")
    quiet_cluster.until(lambda: history(quiet_cluster, long_job) == ["PREEMPTED", "RUNNING"])


def test_node_fails_and_returns(quiet_cluster: Cluster, tmp_path: Path) -> None:
    # Without environment, and without the leader of its step above it, a process is hard to find.
    hidden = f"env --ignore-environment sleep 50 & echo $! > {tmp_path}/pid; wait"
    lost = submit(quiet_cluster, "--nodelist=node1", "--no-requeue", wrap=hidden)
    again = submit(quiet_cluster, "--nodelist=node1", wrap="sleep 50")
    elsewhere = submit(quiet_cluster, "--nodelist=node2", wrap="sleep 50")
    jobs = [lost, again, elsewhere]
    quiet_cluster.until(lambda: [state(quiet_cluster, job) for job in jobs] == ["RUNNING"] * 3)
    quiet_cluster.until(lambda: (tmp_path / "pid").exists())

    quiet_cluster.testcluster("node-fail", "1")
    assert not alive(int((tmp_path / "pid").read_text()))
    assert json.loads(quiet_cluster.testcluster("status", "--json"))["daemons"]["node1"] == "down"
    quiet_cluster.until(lambda: state(quiet_cluster, again) == "PENDING", deadline_s=90)
    quiet_cluster.until(lambda: history(quiet_cluster, lost) == ["NODE_FAIL"])
    assert state(quiet_cluster, elsewhere) == "RUNNING"

    quiet_cluster.testcluster("node-return", "1")
    quiet_cluster.until(lambda: state(quiet_cluster, again) == "RUNNING")
    quiet_cluster.until(lambda: history(quiet_cluster, again) == ["NODE_FAIL", "RUNNING"])


def test_jobs_outlive_the_controller(quiet_cluster: Cluster) -> None:
    held = submit(quiet_cluster, "--hold")
    running = submit(quiet_cluster, wrap="sleep 50")
    quiet_cluster.until(lambda: state(quiet_cluster, running) == "RUNNING")
    quiet_cluster.testcluster("controller-restart")
    assert [state(quiet_cluster, job) for job in (held, running)] == ["PENDING", "RUNNING"]


def test_works_without_accounting(quiet_cluster: Cluster) -> None:
    quiet_cluster.testcluster("accounting-off")
    try:
        refused = quiet_cluster.run("sacct", check=False)
        assert refused.returncode
        assert "Connection refused" in refused.stderr
        job = submit(quiet_cluster)
        quiet_cluster.until(lambda: state(quiet_cluster, job) == "COMPLETED")
    finally:
        quiet_cluster.testcluster("accounting-on")
    quiet_cluster.until(lambda: history(quiet_cluster, job) == ["COMPLETED"])


def test_up_twice_and_env(cluster: Cluster) -> None:
    assert "Already running" in cluster.testcluster("up")
    assert cluster.testcluster("env") == f"export SLURM_CONF={cluster.env['SLURM_CONF']}\n"


def test_down_leaves_nothing(tmp_path: Path) -> None:
    own = start("--nodes=1")
    submit(own, wrap=f"env --ignore-environment sleep 50 & echo $! > {tmp_path}/pid; wait")
    own.until(lambda: (tmp_path / "pid").exists())
    own.testcluster("down")

    def traces(process: Path) -> str:
        try:
            return f"{process.joinpath('cmdline').read_text()}{process.joinpath('environ').read_text()}"
        except (OSError, UnicodeDecodeError):
            return ""

    assert not [process for process in Path("/proc").glob("[0-9]*") if str(own.folder) in traces(process)]
    assert not alive(int((tmp_path / "pid").read_text()))
    assert not own.folder.exists()
    assert "No cluster" in own.testcluster("down")


def call(*command: str, path: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path}
    return subprocess.run([sys.executable, TESTCLUSTER, *command], env=environment, capture_output=True, text=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="says so, before anything else, to who is not root")
def test_missing_programs_are_named(tmp_path: Path) -> None:
    # Folders of a cluster have short names, and nothing is made of this one.
    refused = call("up", "--folder", "/tmp/tcx-new", path=str(tmp_path))
    assert refused.returncode == 2
    assert "slurmctld" in refused.stderr
    assert "apt-get install" in refused.stderr


def test_other_files_are_left_alone(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    for command in ("up", "down"):
        call(command, "--folder", str(tmp_path), path=cluster.env["PATH"])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
