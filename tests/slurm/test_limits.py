"""Limits of a site that the profile does not know, on a real Slurm: what is refused is said, and the rest goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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
