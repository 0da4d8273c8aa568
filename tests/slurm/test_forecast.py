"""`tcx plan --cluster` and `tcx submit --max-cost` on a real Slurm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.store import Study

ROOT = Path(__file__).resolve().parents[2]
GRID = """
study: many
tasks: [chain-sum]
models: [{model}]
programs: [{{family: icl, shots: 1}}]
seeds: [{seeds}]
"""

pytestmark = pytest.mark.slurm


def test_forecast_tells_what_submitting_then_does(quiet_cluster: Any, tmp_path: Path, tiny_model: Path) -> None:
    """70 jobs where an array may have 31 tasks and the queue 60; each job is given 10 minutes of one GPU."""

    def run(*arguments: str, status: int = 0) -> Any:
        return quiet_cluster.tcx(tmp_path, *arguments, status=status)

    (tmp_path / "grid.yaml").write_text(GRID.format(model=tiny_model, seeds=", ".join(map(str, range(70)))))
    shipped = (ROOT / "slurm" / "testcluster.yaml").read_text()
    (tmp_path / "held.yaml").write_text(f"{shipped}options: {{hold: ''}}\n")
    run("submit", "grid.yaml", "--cluster", "held.yaml", "--max-cost", "0", status=2)  # stages the model
    assert not Study(tmp_path / "results" / "many").submissions.exists()
    on = ("grid.yaml", "--cluster", "held.yaml", "--set", "ideal_walltime_minutes=1")

    cluster = json.loads(run("plan", *on, "--check", "--json").stdout)["cluster"]
    assert (cluster["cells"], cluster["jobs"], cluster["sbatch_calls"], cluster["waves"]) == (70, 70, 3, 2)
    assert [array["jobs"] for array in cluster["arrays"]] == [31, 29, 10]
    assert all(array["accepted"] and "to start at" in array["slurm"] for array in cluster["arrays"])
    assert cluster["worst"]["units"] == pytest.approx(70 / 6)
    assert cluster["warnings"] == []  # an hour of time limit, and no longest walltime
    assert not quiet_cluster.run("squeue", "--noheader").stdout
    text = run("plan", *on, "--set", "max_walltime_minutes=20").stdout
    assert "3 calls of sbatch in 2 waves" in text
    assert "warning: family icl: " in text

    refused = run("plan", *on, "--check", "--set", "partition=nowhere", status=1).stdout
    assert "Slurm REFUSES 3 of 3 arrays: error: invalid partition" in refused
    assert "--cluster PROFILE" in run("plan", "grid.yaml", "--check", status=2).stderr

    # All that is to do counts, also what waits for room.
    assert "more than --max-cost 11" in run("submit", *on, "--max-cost", "11", status=2).stderr
    assert not Study(tmp_path / "results" / "many").submissions.exists()
    sent = json.loads(run("submit", *on, "--max-cost", "12", "--json").stdout)
    assert (len(sent["job_ids"]), sent["num_batches"], sent["waiting"]) == (2, 60, 10)
    assert sent["worst"]["units"] == pytest.approx(10)
    assert sent["unit"] == "GPU-hours"

    later = json.loads(run("plan", *on, "--json").stdout)["cluster"]
    assert (later["cells"], later["queued"], later["waves"]) == (10, 60, 2)
    run("cancel", "many")


def test_jobs_are_packed_to_what_the_partition_allows(quiet_cluster: Any, tmp_path: Path, tiny_model: Path) -> None:
    """The profile knows no longest job and wants long ones; of the partitions `main,urgent` one is short."""
    grid = GRID.format(model=tiny_model, seeds=", ".join(map(str, range(70))))
    (tmp_path / "grid.yaml").write_text(grid)
    shipped = (ROOT / "slurm" / "testcluster.yaml").read_text()
    (tmp_path / "held.yaml").write_text(f"{shipped}options: {{hold: ''}}\n")
    on = ("--cluster", "held.yaml", "--set", "ideal_walltime_minutes=240", "--set", "partition=main,urgent")
    quiet_cluster.tcx(tmp_path, "submit", "grid.yaml", *on, "--max-cost", "0", status=2)  # stages the model
    quiet_cluster.run("scontrol", "update", "partitionname=main", "maxtime=4")
    try:
        assert "allows 4 minutes" in quiet_cluster.tcx(tmp_path, "doctor", *on).stdout
        planned = json.loads(quiet_cluster.tcx(tmp_path, "plan", "grid.yaml", *on, "--check", "--json").stdout)
        cluster = planned["cluster"]
        assert cluster["worst"]["units"] > cluster["expected"]["units"] > 4 / 60  # so that one job would not do
        assert [array["walltime_minutes"] for array in cluster["arrays"]] == [4]
        sent = json.loads(quiet_cluster.tcx(tmp_path, "submit", "grid.yaml", *on, "--json").stdout)
        assert sent["num_batches"] == cluster["jobs"] > 1
        assert sent["worst"] == cluster["worst"]
        assert set(quiet_cluster.run("squeue", "--noheader", "--format=%l").stdout.split()) == {"4:00"}
    finally:
        quiet_cluster.run("scontrol", "update", "partitionname=main", "maxtime=INFINITE")
