"""What the profile does not know of a site, on a real Slurm: what is refused is said, and the rest goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.attempts import record_attempts
from pipeline.leases import this_owner
from pipeline.store import Study

from .conftest import Cluster

ROOT = Path(__file__).resolve().parents[2]
GRID = """
study: limited
tasks: [chain-sum]
models: [{model}]
programs: [{{family: icl, shots: 1}}]
seeds: [1, 2, 3, 4, 5, 6]
"""
NO_LIMITS = ("MaxSubmitJobsPerUser=-1", "MaxTRESPerUser=gres/gpu=-1", "MinTRESPerJob=gres/gpu=-1", "Flags=-1")

pytestmark = pytest.mark.slurm
Submit = Callable[..., dict[str, Any]]


@pytest.fixture
def limit(quiet_cluster: Cluster) -> Iterator[Callable[..., None]]:
    """Sets limits of the QOS that all jobs have; none are left afterwards."""

    def modify(*limits: str) -> None:
        quiet_cluster.run("sacctmgr", "--immediate", "modify", "qos", "normal", "set", *limits)

    yield modify
    modify(*NO_LIMITS)


@pytest.fixture
def submit(quiet_cluster: Cluster, tmp_path: Path, tiny_model: Path) -> Submit:
    """Submits six jobs of one cell, which wait in the queue for somebody to release them."""
    (tmp_path / "grid.yaml").write_text(GRID.format(model=tiny_model))
    shipped = (ROOT / "slurm" / "testcluster.yaml").read_text()
    (tmp_path / "held.yaml").write_text(f"{shipped}options: {{hold: ''}}\n")

    def run(*options: str, status: int = 0) -> dict[str, Any]:
        alone = ("--cluster", "held.yaml", "--set", "ideal_walltime_minutes=1")
        done = quiet_cluster.tcx(tmp_path, "submit", "grid.yaml", *alone, "--json", *options, status=status)
        content: dict[str, Any] = json.loads(done.stdout)
        return content

    return run


def in_queue(cluster: Cluster) -> list[str]:
    """Job ids of all that is in the queue, each task of an array by itself."""
    return cluster.run("squeue", "--noheader", "--array", "--format=%F").stdout.split()


def test_the_job_that_reduces_is_in_the_queue_or_said_to_be_refused(
    submit: Submit, limit: Callable[..., None], quiet_cluster: Cluster
) -> None:
    first = submit("--reduce", "--set", "max_submit_jobs=3")
    assert (first["submitted"], first["waiting"]) == (2, 4)  # one place is for the job that reduces
    assert in_queue(quiet_cluster).count(first["reduce_job_id"]) == 1

    limit("MaxSubmitJobsPerUser=7")
    full = submit("--reduce", status=1)
    assert (full["submitted"], full["waiting"], full["reduce_job_id"]) == (4, 0, None)
    assert "no job reduces afterwards" in full["refused"][0] and "MaxSubmitJobPerUser" in full["refused"][0]
    assert first["reduce_job_id"] in in_queue(quiet_cluster)  # the earlier one is better than none

    limit(*NO_LIMITS)
    second = submit("--reduce")["reduce_job_id"]
    assert second in in_queue(quiet_cluster) and first["reduce_job_id"] not in in_queue(quiet_cluster)

    # As on a site whose account is for jobs with GPUs alone.
    limit("MinTRESPerJob=gres/gpu=1", "Flags=DenyOnLimit")
    without = submit("--reduce", status=1)
    assert (without["queued"], without["reduce_job_id"]) == (6, None)
    assert "QOSMinGRES" in without["refused"][0]
    assert second in in_queue(quiet_cluster)


def test_what_fits_into_an_unknown_limit_is_found(
    submit: Submit, limit: Callable[..., None], quiet_cluster: Cluster, tmp_path: Path
) -> None:
    limit("MaxSubmitJobsPerUser=2")
    first = submit()  # the profile says 60
    assert (first["submitted"], first["waiting"], first["refused"]) == (2, 4, [])
    assert len(in_queue(quiet_cluster)) == 2
    assert (submit()["submitted"], len(in_queue(quiet_cluster))) == (0, 2)

    on = ("--cluster", "held.yaml", "--set", "ideal_walltime_minutes=1", "--set", "max_submit_jobs=null")
    assert "Slurm says 2" in quiet_cluster.tcx(tmp_path, "doctor", *on).stdout
    planned = json.loads(quiet_cluster.tcx(tmp_path, "plan", "grid.yaml", *on, "--json").stdout)["cluster"]
    assert (planned["cells"], planned["waves"]) == (4, 3)  # none, since two are in the queue, then two and two
    again = submit("--set", "max_submit_jobs=null")
    assert (again["submitted"], again["why_waiting"]) == (0, "2 jobs are allowed")


def test_a_limit_that_lets_nothing_through_is_a_refusal(submit: Submit, limit: Callable[..., None]) -> None:
    limit("MaxSubmitJobsPerUser=0")
    sent = submit(status=1)
    assert (sent["submitted"], sent["waiting"]) == (0, 6)
    assert "not even one job is taken" in sent["refused"][0]


def test_a_team_that_is_above_the_limit_of_one_user_is_refused(
    submit: Submit, limit: Callable[..., None], quiet_cluster: Cluster, tmp_path: Path
) -> None:
    limit("MaxTRESPerUser=gres/gpu=2", "Flags=DenyOnLimit")
    grid = tmp_path / "grid.yaml"
    team = grid.read_text().replace("icl, shots: 1", "lora, examples: 8, bits: 4")
    grid.write_text(f"{team}resources: [{{processes: 4}}]\n")
    done = quiet_cluster.tcx(tmp_path, "submit", "grid.yaml", "--cluster", "held.yaml", status=2)
    assert "Slurm refuses" in done.stderr and "QOSMaxGRESPerUser" in done.stderr


def test_machines_that_are_no_nodes_are_not_excluded(submit: Submit, quiet_cluster: Cluster, tmp_path: Path) -> None:
    """`tcx run` loses cells by the fault of its machine, too, and other clusters work on the same study."""
    on = ("--cluster", "held.yaml", "--max-cost", "0")
    quiet_cluster.tcx(tmp_path, "submit", "grid.yaml", *on, status=2)  # stages the model
    study = Study(tmp_path / "results" / "limited")
    cells = study.read_plan()["cell_id"].to_pylist()  # type: ignore[index]
    for number, host in enumerate(("laptop", "node2", "gpu[01-07]")):
        record_attempts(study, cells[2 * number :][:2], "node", "full disk", replace(this_owner(), node=host))
    sent = submit()
    assert (sent["submitted"], sent["avoided_nodes"]) == (6, ["node2"])
