"""A real sbatch takes the scripts of all shipped profiles, once what names the site is replaced."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.inspect import check_profile
from pipeline.cluster.profile import Profile, load_profile, shipped_folder
from pipeline.cluster.sbatch import sbatch_text
from pipeline.cluster.shapes import batch_shape, lanes_of
from pipeline.resources import Resources

from .conftest import Cluster

pytestmark = pytest.mark.slurm

NAMES_HERE = {"partition": "main", "account": "testcluster", "qos": "normal", "constraint": "test", "gpu_type": "test"}
"""What a site calls its things -> what the test cluster calls its own."""
ONE_PROCESS = Resources()
NODE_CPUS = 16
NODE_MEMORY_GIB = 15
SHIPPED = sorted(path.stem for path in shipped_folder().glob("*.yaml"))
"""No profile is left out: the test cluster can express all of them, but for the size of nodes and the names."""


def fitted(profile: Profile) -> Profile:
    """The profile with the names of the test cluster, and no more CPUs and memory than its nodes have."""
    lanes = lanes_of(profile, ONE_PROCESS)
    changes: dict[str, Any] = {
        key: name for key, name in NAMES_HERE.items() if getattr(profile, key) is not None or key in profile.required
    }
    if profile.cpus_per_gpu * lanes > NODE_CPUS:
        changes["cpus_per_gpu"] = NODE_CPUS // lanes
    if (profile.memory_gib_per_gpu or 0) * lanes > NODE_MEMORY_GIB:
        changes["memory_gib_per_gpu"] = NODE_MEMORY_GIB / lanes
    return load_profile(profile.name, {key: str(value) for key, value in changes.items()})


def script(profile: Profile, folder: Path, resources: Resources = ONE_PROCESS) -> str:
    minutes = min(profile.ideal_walltime_minutes, profile.max_walltime_minutes or profile.ideal_walltime_minutes)
    path = folder / "job.sbatch"
    text = sbatch_text(
        profile,
        batch_shape(profile, resources, minutes),
        job_name="tcx-test",
        comment="tcx:test",
        array_tasks=3,
        log_folder=folder,
        command="true",
        excluded_nodes=["node2"],
    )
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_sbatch_takes_the_script(cluster: Cluster, name: str, tmp_path: Path) -> None:
    done = cluster.run("sbatch", "--test-only", script(fitted(load_profile(name)), tmp_path))
    assert "to start at" in done.stderr
    assert "on nodes node1 in partition main" in done.stderr


@pytest.mark.parametrize(
    ("settings", "ok"),
    [
        ({}, True),
        ({"gpu_type": "test", "cpus_per_gpu": "4", "memory_gib_per_gpu": "3.9"}, True),
        ({"partition": "main,urgent", "gpu_type": "test"}, True),
        ({"gpu_type": "h100"}, False),
        ({"gpus_per_node": "8"}, False),
        ({"cpus_per_gpu": "5"}, False),
        ({"memory_gib_per_gpu": "4"}, False),
    ],
)
def test_the_doctor_knows_what_the_nodes_have(
    cluster: Cluster, settings: dict[str, str], ok: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `sbatch` does, of a job of all GPUs of a node."""
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    profile = load_profile("testcluster", settings)
    (nodes,) = (finding for finding in check_profile(profile) if finding.name == "nodes")
    assert nodes.ok is ok
    team = script(profile, tmp_path, Resources(processes=profile.gpus_per_node or 1))
    assert (cluster.run("sbatch", "--test-only", team, check=False).returncode == 0) is ok


@pytest.mark.parametrize("key", NAMES_HERE)
def test_names_of_another_site_are_refused(cluster: Cluster, key: str, tmp_path: Path) -> None:
    """So that the test above can fail."""
    wrong = dataclasses.replace(fitted(load_profile("testcluster")), **{key: "nowhere"})
    assert cluster.run("sbatch", "--test-only", script(wrong, tmp_path), check=False).returncode
