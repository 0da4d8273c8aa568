"""Leases of jobs of a real Slurm, and of jobs of another cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pipeline.files import write_atomically
from pipeline.leases import Owner, lease_path, read_lease
from pipeline.store import Study

from .conftest import AS_NOBODY, Cluster

ROOT = Path(__file__).resolve().parents[2]
GRID = """
study: small
tasks: [chain-sum]
models: [{model}]
programs: [{{family: icl, shots: [1, 2]}}, {{family: baseline}}]
evaluation: {{validation_items: 2, test_items: 2}}
"""

pytestmark = pytest.mark.slurm


def test_of_two_clusters_each_judges_its_own_jobs(tmp_path: Path, quiet_cluster: Any, tiny_model: Path) -> None:
    def tcx(*arguments: str) -> str:
        done: str = quiet_cluster.tcx(tmp_path, *arguments).stdout
        return done

    def hold(group: str, cluster: str) -> Path:
        owner = Owner(host="node9", node="node9", pid=9, started=9, slurm_job_id="999999_0", restart=0, cluster=cluster)
        path = lease_path(study, group)
        assert write_atomically(path, json.dumps(asdict(owner)).encode(), replace=False)
        return path

    (tmp_path / "grid.yaml").write_text(GRID.format(model=tiny_model))
    shipped = (ROOT / "slurm" / "testcluster.yaml").read_text()
    (tmp_path / "held.yaml").write_text(f"{shipped}options: {{hold: ''}}\n")
    submit = ("submit", "grid.yaml", "--cluster", "held.yaml")
    study = Study(tmp_path / "results" / "small")
    sent = json.loads(tcx(*submit, "--json"))
    assert sent["unjudged_leases"] == [] and "group_cells" not in sent
    first, second, *_ = dict.fromkeys(study.read_plan()["group_id"].to_pylist())
    ours, theirs = hold(first, "testcluster"), hold(second, "elsewhere")

    (told,) = json.loads(tcx("status", "small", "--json"))["unjudged_leases"]
    assert (told["group_id"], told["owner"]["cluster"]) == (second, "elsewhere")
    assert not ours.exists() and theirs.exists()
    assert set(study.read_attempts()["slurm_job_id"].to_pylist()) == {"999999_0"}
    assert f"delete {Path('results') / 'small' / 'leases' / theirs.name}" in tcx(*submit)

    # The job leaves that group alone and does the others. A lease of its own names this cluster.
    quiet_cluster.run("scontrol", "release", f"{sent['job_ids'][0]}_0")
    names = set()

    def has_ended() -> bool:
        names.update(owner.cluster for path in study.leases.glob("*.json") if (owner := read_lease(path)) is not None)
        return not quiet_cluster.run("squeue", "--noheader").stdout

    quiet_cluster.until(has_ended, deadline_s=120)
    assert names == {"testcluster", "elsewhere"}
    assert theirs.exists()
    assert 0 < len(study.valid_cells()) < 3


HOLD = """
import sys, time
from pathlib import Path
from pipeline.cluster.slurm import job_is_gone
from pipeline.leases import lease, this_owner
from pipeline.store import Study
with lease(Study(Path(sys.argv[1])), sys.argv[2], this_owner(), job_is_gone):
    time.sleep(600)
"""
"""What `tcx run` does with a group inside of an interactive job."""


@pytest.fixture
def place(tmp_path: Path, tiny_model: Path) -> Path:
    (tmp_path / "grid.yaml").write_text(GRID.format(model=tiny_model))
    shipped = (ROOT / "slurm" / "testcluster.yaml").read_text()
    (tmp_path / "held.yaml").write_text(f"{shipped}options: {{hold: ''}}\n")
    return tmp_path


@pytest.fixture
def shared(quiet_cluster: Cluster) -> Cluster:
    """The cluster, where `nobody` has an account, too."""
    quiet_cluster.run("sacctmgr", "--immediate", "add", "user", "nobody", "account=testcluster", check=False)
    quiet_cluster.folder.chmod(0o755)
    return quiet_cluster


@pytest.fixture
def private(shared: Cluster) -> Iterator[Cluster]:
    """The same, where users see their own jobs alone."""
    conf = shared.folder / "etc" / "slurm.conf"
    text = conf.read_text()
    conf.write_text(f"{text}PrivateData=jobs\n")
    shared.run("scontrol", "reconfigure")
    yield shared
    conf.write_text(text)
    shared.run("scontrol", "reconfigure")


def states(cluster: Cluster, place: Path, **keywords: Any) -> dict[str, int]:
    content: dict[str, int] = json.loads(cluster.tcx(place, "status", "small", "--json", **keywords).stdout)["states"]
    return {name: count for name, count in content.items() if count}


def test_a_job_of_somebody_who_submitted_nothing_keeps_its_lease(shared: Cluster, place: Path) -> None:
    """Two people work on one study: one has called `tcx submit`, the other is in an interactive job."""
    study = Study(place / "results" / "small")
    submit = ("submit", "grid.yaml", "--cluster", "held.yaml", "--json")
    shared.tcx(place, *submit)
    sleep = ("sbatch", "--parsable", "--output=/dev/null", "--wrap", "sleep 600")
    job = shared.run(*AS_NOBODY, *sleep).stdout.strip()
    shared.until(lambda: shared.run("squeue", "-h", "-j", job, "-o", "%T").stdout == "RUNNING\n")
    group = study.read_plan()["group_id"][0].as_py()
    inside = shared.env | {"PYTHONPATH": str(ROOT), "SLURM_JOB_ID": job, "SLURM_CLUSTER_NAME": "testcluster"}
    holder = subprocess.Popen([*AS_NOBODY, sys.executable, "-c", HOLD, str(study.folder), group], env=inside)
    try:
        path = lease_path(study, group)
        shared.until(path.exists)
        assert states(shared, place) == {"queued": 3}
        assert read_lease(path) is not None and study.read_attempts().num_rows == 0
    finally:
        holder.kill()
        holder.wait()
    # Now the job is gone indeed.
    shared.run("scancel", job)
    shared.until(lambda: "CANCELLED" in shared.run("sacct", "-X", "-n", "-j", job, "-o", "State").stdout)
    states(shared, place)
    assert not path.exists()
    rows = study.read_attempts().select(["slurm_job_id", "cause"]).to_pylist()
    assert {(row["slurm_job_id"], row["cause"]) for row in rows} == {(job, "cancelled")}


def test_jobs_that_slurm_hides_count_as_queued(private: Cluster, place: Path) -> None:
    """Who does not see the jobs of others takes the word of accounting for them."""
    study = Study(place / "results" / "small")
    submit = ("submit", "grid.yaml", "--cluster", "held.yaml", "--json")
    (job,) = json.loads(private.tcx(place, *submit).stdout)["job_ids"]
    assert private.run(*AS_NOBODY, "squeue", "--noheader").stdout == ""
    assert states(private, place, before=AS_NOBODY) == {"queued": 3}
    sent = json.loads(private.tcx(place, *submit, before=AS_NOBODY).stdout)
    assert (sent["submitted"], sent["queued"]) == (0, 3)
    ask = f"from pipeline.cluster.slurm import has_ended as e; print(e('{job}_0', 'root'), e('{job}_0'))"
    asking = (*AS_NOBODY, f"PYTHONPATH={ROOT}", sys.executable, "-c", ask)
    assert private.run(*asking).stdout == "False False\n"
    # Without accounting nothing at all is known of them.
    private.testcluster("accounting-off")
    try:
        assert states(private, place, before=AS_NOBODY) == {"queued": 3}
        assert private.run(*asking).stdout == "False False\n"
        # What is one's own is shown, so that its absence is its end.
        own = ("--results", "own")
        (mine,) = json.loads(private.tcx(place, *submit, *own, before=AS_NOBODY).stdout)["job_ids"]
        private.run("scancel", mine)
        told = json.loads(private.tcx(place, "status", "small", "--json", *own, before=AS_NOBODY).stdout)
        assert told["failed_by_cause"] == {"lost": 3}
    finally:
        private.testcluster("accounting-on")
    assert study.read_attempts().num_rows == 0
    private.run("scancel", job)
    private.until(lambda: "CANCELLED" in private.run("sacct", "-X", "-n", "-j", job, "-o", "State").stdout)
    assert states(private, place, before=AS_NOBODY) == {"failed": 3}
    assert study.read_attempts()["cause"].to_pylist() == ["cancelled"] * 3
    assert private.run(*asking).stdout == "True True\n"
