"""Leases of jobs of a real Slurm, and of jobs of another cluster."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pipeline.files import write_atomically
from pipeline.leases import Owner, lease_path, read_lease
from pipeline.store import Study

ROOT = Path(__file__).resolve().parents[2]
GRID = """
study: small
tasks: [chain-sum]
models: [{model}]
programs: [{{family: icl, shots: [1, 2]}}, {{family: baseline}}]
evaluation: {{validation_items: 2, test_items: 2}}
"""

pytestmark = pytest.mark.slurm

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
