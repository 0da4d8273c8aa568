"""How jobs end before their cells do: what is saved, what goes on by itself, what is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.ledger import submissions
from pipeline.files import write_atomically
from pipeline.leases import lease_path, this_owner
from pipeline.store import Study, read_shard

from .conftest import ROOT, Cluster

GRID = """
study: ends
tasks: [chain-sum]
models: [{model}]
programs:
  - {{family: lora, examples: 64, epochs: 20, bits: [3, 4]}}
evaluation: {{validation_items: 2, test_items: 2}}
"""
SLOW = GRID.replace("examples: 64", "examples: all, batch: 2000")
"""Every step takes all examples, two seconds of them."""
SMALL = """
study: small
tasks: [chain-sum]
models: [{model}]
programs:
  - {{family: trivial, reply: [copy, constant]}}
  - {{family: baseline}}
  - {{family: icl, shots: [1, 2]}}
seeds: [1, 2]
evaluation: {{validation_items: 2, test_items: 2}}
"""

pytestmark = pytest.mark.slurm


@pytest.fixture
def place(tmp_path: Path, tiny_model: Path) -> Path:
    (tmp_path / "grid.yaml").write_text(GRID.format(model=tiny_model))
    (tmp_path / "small.yaml").write_text(SMALL.format(model=tiny_model))
    # Jobs of this profile wait until somebody releases them.
    (tmp_path / "held.yaml").write_text((ROOT / "slurm" / "testcluster.yaml").read_text() + "options: {hold: ''}\n")
    return tmp_path


def submit(
    cluster: Cluster, place: Path, *options: str, grid: str = "grid.yaml", profile: str = "testcluster"
) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        cluster.tcx(place, "submit", grid, "--cluster", profile, *options, "--json").stdout
    )
    return content


def status(cluster: Cluster, place: Path, study: str = "ends") -> dict[str, Any]:
    content: dict[str, Any] = json.loads(cluster.tcx(place, "status", study, "--json").stdout)
    return content


def logs(study: Study) -> str:
    return "".join(path.read_text() for path in sorted(study.logs.glob("*.log")))


def is_empty(cluster: Cluster) -> Callable[[], bool]:
    return lambda: not cluster.run("squeue", "--noheader").stdout


def digests(study: Study) -> dict[str, str]:
    return {path.stem: read_shard(path, path.stem)["program_sha256"] for path in study.shard_files()}


@pytest.fixture(scope="module")
def calm(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, str]:
    """Digests of the programs of an undisturbed run on this machine."""
    place = tmp_path_factory.mktemp("calm")
    (place / "grid.yaml").write_text(GRID.format(model=tiny_model))
    cluster.tcx(place, "run", "grid.yaml")
    return digests(Study(place / "results" / "ends"))


@pytest.mark.parametrize("signal", ["USR2", "TERM"])
def test_a_job_that_is_warned_saves_and_goes_on(
    quiet_cluster: Cluster, place: Path, calm: dict[str, str], signal: str
) -> None:
    """USR2 comes before the time limit, TERM at the start of a grace time; the script puts the job back."""
    cluster, study = quiet_cluster, Study(place / "results" / "ends")
    job = f"{submit(cluster, place)['job_ids'][0]}_0"
    cluster.until(lambda: "epochs, loss" in logs(study), 120)
    assert "saved checkpoint" not in logs(study)  # only the signal saves: the period is ten minutes
    cluster.run("scancel", f"--signal={signal}", job)
    cluster.until(lambda: "back into the queue" in logs(study), 60)
    cluster.until(is_empty(cluster), 120)
    assert "saved checkpoint 00000001" in logs(study)
    assert "went on from checkpoint 00000001" in logs(study)
    assert status(cluster, place)["states"]["done"] == 2
    assert study.read_attempts().num_rows == 0
    rows = [read_shard(path, path.stem) for path in study.shard_files()]
    assert {row["restarts"] for row in rows} == {1}
    assert digests(study) == calm


def test_a_cell_that_failed_keeps_no_job_from_going_on(quiet_cluster: Cluster, place: Path, tiny_model: Path) -> None:
    cluster, study = quiet_cluster, Study(place / "results" / "ends")
    both = GRID.replace("programs:\n", "programs:\n  - {{family: baseline}}\n")
    (place / "grid.yaml").write_text(both.format(model=tiny_model))
    job = submit(cluster, place, profile="held.yaml")["job_ids"][0]
    (broken,) = study.folder.glob("**/pipeline/families/baseline.py")
    broken.write_text(broken.read_text().replace("constants = ", "raise RuntimeError('broken'); constants = "))
    cluster.run("scontrol", "release", job)
    cluster.until(lambda: "epochs, loss" in logs(study), 120)
    assert "failed (code)" in logs(study)
    cluster.run("scancel", "--signal=USR2", f"{job}_0")
    cluster.until(lambda: "back into the queue" in logs(study), 60)
    cluster.until(is_empty(cluster), 120)
    assert status(cluster, place)["states"]["done"] == 2
    assert status(cluster, place)["failed_by_cause"] == {"code": 1}


def test_a_job_that_ends_between_two_groups_goes_on(quiet_cluster: Cluster, place: Path) -> None:
    cluster, study = quiet_cluster, Study(place / "results" / "small")
    sent = submit(cluster, place, grid="small.yaml", profile="held.yaml")
    (submission,) = submissions(study)
    first, second, *_ = (lease_path(study, group) for group in submission.batches()[0])
    # The job waits some seconds for what is no lease (yet).
    second.parent.mkdir(exist_ok=True)
    second.write_text("no lease")
    cluster.run("scontrol", "release", sent["job_ids"][0])
    cluster.until(lambda: bool(list(study.shard_files())) and not first.exists(), 60)
    cluster.run("scancel", "--signal=TERM", f"{sent['job_ids'][0]}_0")
    write_atomically(second, json.dumps(asdict(this_owner())).encode(), replace=True)
    cluster.until(lambda: "back into the queue" in logs(study), 30)
    second.unlink()
    cluster.until(is_empty(cluster), 120)
    assert "is being worked on by another process" in logs(study)
    assert status(cluster, place, "small")["states"]["done"] == sent["submitted"]
    assert study.read_attempts().num_rows == 0


def test_a_full_disk_ends_the_job_and_holds_nothing(quiet_cluster: Cluster, place: Path) -> None:
    cluster, study = quiet_cluster, Study(place / "results" / "small")
    sent = submit(cluster, place, grid="small.yaml", profile="held.yaml")
    (submission,) = submissions(study)
    first, *_ = submission.batches()[0].values()
    study.shards.mkdir()
    cluster.run("mount", "-t", "tmpfs", "-o", "size=4k", "none", str(study.shards))
    try:
        cluster.run("scontrol", "release", sent["job_ids"][0])
        cluster.until(is_empty(cluster), 60)
    finally:
        cluster.run("umount", str(study.shards))
    assert status(cluster, place, "small")["failed_by_cause"] == {"disk": len(first)}
    assert "no node has lost a cell" in cluster.tcx(place, "nodes", "small").stdout
    again = submit(cluster, place, grid="small.yaml", profile="held.yaml")
    cluster.run("scancel", *again["job_ids"])
    assert again["submitted"] == sent["submitted"]


def test_a_job_without_progress_is_told_and_gets_more_time(
    quiet_cluster: Cluster, place: Path, tiny_model: Path
) -> None:
    """The warning comes before anything can be saved: to start again with the same time would be in vain."""
    cluster, study = quiet_cluster, Study(place / "results" / "ends")
    (place / "grid.yaml").write_text(SLOW.format(model=tiny_model))
    # A second is left for saving, and the first step takes longer.
    job = f"{submit(cluster, place, '--set', 'signal_lead_seconds=2')['job_ids'][0]}_0"
    cluster.until(lambda: "examples at a time" in logs(study), 60)
    cluster.run("scancel", "--signal=USR2", job)
    cluster.until(is_empty(cluster), 60)
    assert status(cluster, place)["failed_by_cause"] == {"timeout": 2}
    submit(cluster, place)
    scripts = [sent.script_path.read_text() for sent in submissions(study)]
    assert [f"--time={minutes}\n" in text for minutes, text in zip((10, 20), scripts, strict=True)] == [True, True]
    assert "back into the queue" not in logs(study)
    cluster.tcx(place, "cancel", "ends")


def test_a_graceful_cancel_saves_and_stays_away(quiet_cluster: Cluster, place: Path, tiny_model: Path) -> None:
    cluster, study = quiet_cluster, Study(place / "results" / "ends")
    # Long enough for a command that begins while others compute.
    (place / "grid.yaml").write_text(GRID.replace("epochs: 20", "epochs: 50").format(model=tiny_model))
    submit(cluster, place)
    cluster.until(lambda: "epochs, loss" in logs(study), 120)
    told = json.loads(cluster.tcx(place, "cancel", "ends", "--graceful", "--json").stdout)
    assert told["num_cells"] == 2
    cluster.until(is_empty(cluster), 60)
    assert "saved checkpoint" in logs(study) and "back into the queue" not in logs(study)
    assert status(cluster, place)["failed_by_cause"] == {"cancelled": 2}
    assert submit(cluster, place)["submitted"] == 0
    assert submit(cluster, place, "--retry", "cancelled")["submitted"] == 2
    cluster.until(is_empty(cluster), 120)
    assert "went on from checkpoint" in logs(study)
    assert status(cluster, place)["states"]["done"] == 2


def test_a_job_that_never_began_is_told(quiet_cluster: Cluster, place: Path) -> None:
    cluster = quiet_cluster
    (place / "broken.yaml").write_text(
        (ROOT / "slurm" / "testcluster.yaml").read_text() + "setup: [ls /no-such-place]\n"
    )
    arguments = ("submit", "small.yaml", "--cluster", "broken.yaml", "--json")
    cells = json.loads(cluster.tcx(place, *arguments).stdout)["submitted"]
    cluster.until(is_empty(cluster), 60)
    for looking in [cluster.begin(place, "status", "small") for _ in range(3)]:
        cluster.finish(looking)
    assert status(cluster, place, "small")["failed_by_cause"] == {"environment": cells}
    cell = Study(place / "results" / "small").read_attempts()["cell_id"][0].as_py()
    why = cluster.tcx(place, "status", "small", "--why", cell).stdout
    assert "status 78 on node" in why and "setup of the profile failed" in why
    # Told once, however often one looks, and by however many at once; and held after the second time.
    assert Study(place / "results" / "small").read_attempts().num_rows == cells
    assert json.loads(cluster.tcx(place, *arguments).stdout)["submitted"] == cells
    cluster.until(is_empty(cluster), 60)
    assert json.loads(cluster.tcx(place, *arguments).stdout)["held"] == {"environment": cells}


def test_a_pending_job_that_is_cancelled_behind_our_back_is_told(quiet_cluster: Cluster, place: Path) -> None:
    cluster = quiet_cluster
    sent = submit(cluster, place, grid="small.yaml", profile="held.yaml")
    cluster.run("scancel", *sent["job_ids"])
    cluster.until(is_empty(cluster), 30)
    assert status(cluster, place, "small")["failed_by_cause"] == {"cancelled": sent["submitted"]}


def test_processes_of_a_whole_node_share_its_cells(quiet_cluster: Cluster, place: Path) -> None:
    cluster, study = quiet_cluster, Study(place / "results" / "small")
    sent = submit(cluster, place, "--set", "whole_node=true", grid="small.yaml")
    assert sent["num_batches"] == 1
    cluster.until(is_empty(cluster), 180)
    assert status(cluster, place, "small")["states"]["done"] == sent["submitted"]
    said = {path.name: path.read_text() for path in study.logs.glob(f"{sent['job_ids'][0]}_0_?_0.log")}
    assert len(said) == 4
    assert sum("done (ok" in text for text in said.values()) > 1
    state = "sacct", "--allocations", "--noheader", "--parsable2", "--format=State", f"--jobs={sent['job_ids'][0]}"
    assert cluster.run(*state).stdout.split() == ["COMPLETED"]


def test_the_first_job_says_what_a_container_holds(quiet_cluster: Cluster, place: Path) -> None:
    """`python` is a command of its own here: what it finds is not what the submitting shell knows."""
    cluster, study = quiet_cluster, Study(place / "results" / "small")
    python = f"env CONTAINER=1 {sys.executable}"
    sent = submit(cluster, place, "--set", f"python={python}", "--part", "1/3", grid="small.yaml")
    cluster.until(is_empty(cluster), 120)
    assert status(cluster, place, "small")["states"]["done"] == sent["submitted"] > 0
    (submission,) = submissions(study)
    packages = json.loads((submission.folder / "environment.json").read_text())["packages"]
    assert packages["torch"].startswith("2.")
