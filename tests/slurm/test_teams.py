"""Cells adapted by processes on two nodes under ZeRO, disturbed in the middle: the programs of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.shards import read_shard
from pipeline.store import Study

ROOT = Path(__file__).resolve().parents[2]
GRID = """
study: team
tasks: [chain-sum]
models: [{model}]
programs:
  - {{family: lora, examples: 64, epochs: 8, bits: 4}}
  - {{family: full, examples: 64, epochs: 8, bits: 4, lr: 1.0e-3}}
evaluation: {{validation_items: 2, test_items: 2}}
resources:
  - {{processes: 2, nodes: 2, checkpoint_minutes: 0}}
  - {{family: lora, strategy: zero2}}
  - {{family: full, strategy: zero3}}
"""

pytestmark = pytest.mark.slurm


def digests(study: Study) -> dict[str, str]:
    return {path.stem: read_shard(path, path.stem)["program_sha256"] for path in study.shard_files()}


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def workers_of(job: str, rank: int) -> list[int]:
    """Worker processes of this number in the team of a job."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_worker = b"pipeline.worker" in (folder / "cmdline").read_bytes()
            variables = (folder / "environ").read_bytes().split(b"\0") if is_worker else []
        except OSError:
            continue
        if {f"RANK={rank}".encode(), f"SLURM_ARRAY_JOB_ID={job}".encode()} <= set(variables):
            found.append(int(folder.name))
    return found


def test_two_nodes_train_one_cell_through_faults(cluster: Any, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "grid.yaml").write_text(GRID.format(model=tiny_model))
    study = Study(tmp_path / "disturbed" / "team")

    def submit() -> list[str]:
        jobs: list[str] = json.loads(
            cluster.tcx(
                tmp_path, "submit", "grid.yaml", "--cluster", "testcluster", "--results", "disturbed", "--json"
            ).stdout
        )["job_ids"]
        return jobs

    def log(job: str) -> str:
        return "".join(path.read_text() for path in sorted(study.logs.glob(f"{job}_0_0_*.log")))

    jobs = submit()
    assert len(jobs) == 2  # two strategies are two shapes
    calm = cluster.begin(tmp_path, "run", "grid.yaml", "--results", "calm")
    wait_until(lambda: all("saved checkpoint" in log(job) for job in jobs), "no checkpoint was saved")
    lora, full = sorted(jobs, key=lambda job: "/ lora (" not in log(job))

    # One job is put back into the queue in the middle of its training.
    cluster.run("scontrol", "requeue", f"{full}_0")
    # Of the other one the process on the second node is killed: the first notices, ends its own, and records it.
    for process in workers_of(lora, 1):
        os.kill(process, signal.SIGKILL)
    wait_until(lambda: study.read_attempts().num_rows, "no attempt was recorded")
    assert any("process 1 of the team" in text for text in study.read_attempts()["message"].to_pylist())
    cluster.until(lambda: not cluster.run("squeue", "--noheader", f"--jobs={lora}", check=False).stdout, 60)
    (lora_again,) = submit()
    cluster.until(lambda: not cluster.run("squeue", "--noheader").stdout, 300)

    assert all("went on from checkpoint" in log(job) for job in (full, lora_again))
    cluster.finish(calm)
    assert digests(study) == digests(Study(tmp_path / "calm" / "team"))
    assert len(digests(study)) == 2
    for cell in digests(study):
        row = read_shard(study.shard_path(cell), cell)
        facts = json.loads(row["settings"])
        assert facts["processes"] == 2
        # AdamW keeps two numbers of four bytes for each weight; a process holds those of half of the weights.
        assert facts["optimizer_state_bytes"] == pytest.approx(4 * facts["numbers"], rel=0.01)
    assert not study.checkpoints.is_dir() or not any(study.checkpoints.iterdir())
