"""`tcx submit` on a real Slurm: what is queued, done, lost and refused; programs equal those of a local run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.ledger import submissions
from pipeline.shards import read_shard
from pipeline.store import Study

ROOT = Path(__file__).resolve().parents[2]
GRID = """
study: small
tasks: [chain-sum]
models: [{model}]
programs:
  - {{family: trivial, reply: [copy, constant]}}
  - {{family: baseline}}
  - {{family: icl, shots: [1, 2]}}
  - {{family: lora, examples: 8, epochs: 1, bits: [3, 4]}}
evaluation: {{validation_items: 3, test_items: 4}}
"""
MANY = """
study: many
tasks: [chain-sum]
models: [{model}]
programs: [{{family: icl, shots: 1}}]
seeds: [{seeds}]
evaluation: {{validation_items: 1, test_items: 1}}
"""
SLOW = """
study: slow
tasks: [chain-sum]
models: [{model}]
programs:
  - {{family: lora, examples: all, batch: 2000, epochs: 1, bits: [3, 4]}}
  - {{family: baseline}}
evaluation: {{validation_items: 1, test_items: 1}}
"""
"""A minute of work comes first."""

pytestmark = pytest.mark.slurm
Tcx = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("submit")
    (folder / "grid.yaml").write_text(GRID.format(model=tiny_model))
    seeds = ", ".join(map(str, range(70)))
    (folder / "many.yaml").write_text(MANY.format(model=tiny_model, seeds=seeds))
    (folder / "slow.yaml").write_text(SLOW.format(model=tiny_model))
    # Jobs of this profile wait until somebody releases them.
    shipped = (ROOT / "slurm" / "testcluster.yaml").read_text()
    (folder / "held.yaml").write_text(f"{shipped}options: {{hold: ''}}\n")
    return folder


@pytest.fixture(scope="module")
def tcx(folder: Path, cluster: Any) -> Tcx:
    def run(*arguments: str, results: str = "results", status: int = 0, code: Path = ROOT) -> Any:
        return cluster.tcx(folder, *arguments, "--results", results, status=status, PYTHONPATH=str(code))

    return run


@pytest.fixture(scope="module")
def wait(cluster: Any) -> Callable[[], None]:
    """Waits until no job of this project is in the queue."""

    def until_empty() -> None:
        deadline = time.monotonic() + 240
        while any(line.startswith("tcx-") for line in cluster.run("squeue", "-h", "-o", "%j").stdout.splitlines()):
            assert time.monotonic() < deadline, cluster.run("squeue").stdout
            time.sleep(0.5)

    return until_empty


@pytest.fixture(scope="module")
def submit(tcx: Tcx) -> Callable[..., dict[str, Any]]:
    def run(*options: str, grid: str = "grid.yaml", profile: str = "testcluster", **keywords: Any) -> dict[str, Any]:
        throttle = ("--set", "array_parallelism=2")
        done = tcx("submit", grid, "--cluster", profile, *throttle, "--json", *options, **keywords)
        content: dict[str, Any] = json.loads(done.stdout)
        return content

    return run


@pytest.fixture(scope="module")
def calm(tcx: Tcx, folder: Path) -> dict[str, str]:
    """Digests of the programs of an undisturbed run on this machine."""
    tcx("run", "grid.yaml", results="calm")
    return digests(folder / "calm" / "small")


def digests(study: Path) -> dict[str, str]:
    return {path.stem: read_shard(path, path.stem)["program_sha256"] for path in Study(study).shard_files()}


def states(tcx: Tcx, study: str, results: str) -> dict[str, int]:
    content: dict[str, int] = json.loads(tcx("status", study, "--json", results=results).stdout)["states"]
    return {name: count for name, count in content.items() if count}


def test_submit_finishes_and_equals_a_local_run(
    tcx: Tcx, submit: Callable[..., dict[str, Any]], wait: Callable[[], None], calm: dict[str, str], folder: Path
) -> None:
    first = submit("--reduce")
    assert (first["submitted"], first["waiting"], first["done"]) == (7, 0, 0)
    assert first["reduce_job_id"]
    again = submit()
    assert (again["submitted"], again["queued"] + again["done"]) == (0, 7)
    assert "nothing to do" in tcx("submit", "grid.yaml", "--cluster", "testcluster").stdout
    # A job of the same cluster may be seen by anybody who asks.
    assert sum(states(tcx, "small", "results").values()) == 7
    wait()
    assert states(tcx, "small", "results") == {"done": 7}
    assert submit()["done"] == 7
    assert digests(folder / "results" / "small") == calm
    assert Study(folder / "results" / "small").table_path("frontier", "csv").is_file()
    row = read_shard(*next((path, path.stem) for path in Study(folder / "results" / "small").shard_files()))
    assert row["slurm_job_id"] == f"{first['job_ids'][0]}_0"
    logs = tcx("logs", "small", row["cell_id"][:12]).stdout
    assert "7 of 7 cells of this batch are done" in logs
    assert logs.count("loaded /") == 1  # one model for the whole batch


def test_limits_are_met_by_waves(tcx: Tcx, submit: Callable[..., dict[str, Any]], cluster: Any, folder: Path) -> None:
    """70 batches where an array may have 31 tasks and the queue 60."""
    alone = ("--set", "ideal_walltime_minutes=1")
    first = submit(*alone, grid="many.yaml", profile="held.yaml")
    assert (first["submitted"], first["waiting"], len(first["job_ids"])) == (60, 10, 2)
    assert submit(*alone, grid="many.yaml", profile="held.yaml")["submitted"] == 0
    # Slurm's own word where the profile's limit is wrong: nothing is lost, the rest waits.
    wrong = ("--set", "max_submit_jobs=100")
    refused = submit(*alone, *wrong, grid="many.yaml", profile="held.yaml")
    assert (refused["submitted"], refused["waiting"]) == (0, 10)
    assert refused["why_waiting"]
    assert states(tcx, "many", "results") == {"queued": 60, "to_do": 10}
    assert "JobHeldUser" in tcx("status", "many").stdout
    cancelled = json.loads(tcx("cancel", "many", "--pending", "--json").stdout)
    assert (len(cancelled["job_ids"]), cancelled["num_cells"]) == (60, 60)
    assert states(tcx, "many", "results") == {"failed": 60, "to_do": 10}
    after = submit(*alone, grid="many.yaml", profile="held.yaml")
    assert (after["submitted"], after["held"]) == (10, {"cancelled": 60})
    assert submit(*alone, "--retry", "cancelled", grid="many.yaml", profile="held.yaml")["submitted"] == 50
    tcx("cancel", "many")
    assert not any(submission.job_id is None and not submission.is_void for submission in submissions(study(folder)))


def study(folder: Path) -> Study:
    return Study(folder / "results" / "many")


def test_parts_make_the_whole(tcx: Tcx, submit: Callable[..., dict[str, Any]], folder: Path) -> None:
    """Two parts, as on two clusters; here they only have to share the cells out."""
    parts = [submit("--part", f"{part}/2", profile="held.yaml", results=f"part{part}") for part in (1, 2)]
    cells = [
        {cell for groups in sent.batches().values() for group in groups.values() for cell in group}
        for part in (1, 2)
        for sent in submissions(Study(folder / f"part{part}" / "small"))
    ]
    assert [part["submitted"] for part in parts] == [len(of_part) for of_part in cells]
    assert sum(map(len, cells)) == len(set().union(*cells)) == 7
    for part in (1, 2):
        tcx("cancel", "small", results=f"part{part}")


def test_an_answer_that_is_lost_is_looked_up(
    folder: Path, tcx: Tcx, submit: Callable[..., dict[str, Any]], cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar = folder / "bin" / "sbatch"
    liar.parent.mkdir()
    liar.write_text(f'#!/bin/sh\n{shutil.which("sbatch")} "$@"\necho "sbatch: error: Socket timed out" >&2\nexit 1\n')
    liar.chmod(0o755)
    monkeypatch.setitem(cluster.env, "PATH", f"{liar.parent}:{cluster.env['PATH']}")
    assert submit(profile="held.yaml", results="liar")["submitted"] == 7
    assert submit(profile="held.yaml", results="liar")["submitted"] == 0
    jobs = cluster.run("squeue", "-h", "-o", "%j").stdout.split()
    (sent,) = submissions(Study(folder / "liar" / "small"))
    assert jobs.count(sent.job_name) == 1
    tcx("cancel", "small", results="liar")


def test_two_at_the_same_time_share_the_cells(
    folder: Path, tcx: Tcx, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have asked for the queue before one of them goes on."""
    on = ("submit", "many.yaml", "--cluster", "held.yaml", "--set", "ideal_walltime_minutes=1", "--part", "1/2")
    tcx(*on, "--max-cost", "0", results="both", status=2)  # stages the model
    slow, looks = folder / "slow" / "squeue", folder / "looks"
    slow.parent.mkdir()
    looks.mkdir()
    wait = f"until [ $(ls {looks} | wc -l) -ge 2 ]; do sleep 0.1; done"
    slow.write_text(f'#!/bin/sh\n{shutil.which("squeue")} "$@" || exit\ntouch {looks}/$PPID\n{wait}\n')
    slow.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setitem(cluster.env, "PATH", f"{slow.parent}:{cluster.env['PATH']}")
        both = [cluster.begin(folder, *on, "--results", "both", "--json") for _ in range(2)]
        sent = [json.loads(cluster.finish(one).stdout) for one in both]
    cells = sent[0]["cells"]
    assert sum(one["submitted"] for one in sent) == states(tcx, "many", "both")["queued"] == cells
    assert [(one["submitted"] + one["queued"], one["waiting"]) for one in sent] == [(cells, 0)] * 2
    assert len(cluster.run("squeue", "-h", "-r").stdout.splitlines()) == cells
    tcx("cancel", "many", results="both")


def test_what_slurm_refuses_is_said_and_nothing_is_left(tcx: Tcx, folder: Path) -> None:
    arguments = ("submit", "grid.yaml", "--cluster", "testcluster", "--set", "partition=nowhere")
    done = tcx(*arguments, results="refused", status=2)
    assert "Slurm refuses" in done.stderr
    assert "nowhere" in done.stderr or "partition" in done.stderr
    (sent,) = submissions(Study(folder / "refused" / "small"))
    assert sent.is_void
    assert states(tcx, "small", "refused") == {"to_do": 7}


def test_code_and_environment_are_those_of_the_submission(
    tcx: Tcx, submit: Callable[..., dict[str, Any]], wait: Callable[[], None], cluster: Any, folder: Path, calm: Any
) -> None:
    """The tree is broken while the jobs wait, and the job is submitted from inside of another one."""
    code = folder / "code"
    shutil.copytree(ROOT / "pipeline", code / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    inner = folder / "inner.sh"
    command = f"{sys.executable} -m pipeline.cli submit grid.yaml --cluster held.yaml --results nested --json"
    inner.write_text(
        f"#!/bin/sh\ncd {folder}\nexport TCX_CACHE={folder / 'cache'} PYTHONPATH={code}\n{command} > nested.json\n"
    )
    cluster.run("sbatch", "--wait", "--cpus-per-task=2", "--gres=gpu:2", "-o", str(folder / "inner.log"), str(inner))
    sent = json.loads((folder / "nested.json").read_text())
    assert sent["submitted"] == 7, (folder / "inner.log").read_text()
    script = next((folder / "nested" / "small" / "submissions").glob("*/job.sbatch")).read_text()
    assert "--gres=gpu:1" in script and "--cpus-per-task=1" in script
    broken = code / "pipeline" / "families" / "common.py"
    broken.write_text("raise RuntimeError('edited after the submission')\n")
    cluster.run("scontrol", "release", sent["job_ids"][0])
    wait()
    assert digests(folder / "nested" / "small") == calm


def test_an_environment_that_differs_ends_the_job_at_once(
    tcx: Tcx, submit: Callable[..., dict[str, Any]], wait: Callable[[], None], cluster: Any, folder: Path
) -> None:
    sent = submit(profile="held.yaml", results="drift")
    (intent,) = (folder / "drift" / "small" / "submissions").glob("*/intent.json")
    content = json.loads(intent.read_text())
    content["environment"]["packages"]["torch"] = "1.0"
    intent.write_text(json.dumps(content))
    cluster.run("scontrol", "release", sent["job_ids"][0])
    wait()
    status = json.loads(tcx("status", "small", "--json", results="drift").stdout)
    assert status["failed_by_cause"] == {"environment": 7}
    # One end of one job is one attempt, so that nothing is held yet.
    assert Study(folder / "drift" / "small").read_attempts().num_rows == 7
    again = submit(profile="held.yaml", results="drift")
    assert (again["submitted"], again["held"]) == (7, {})
    tcx("cancel", "small", results="drift")
    cell = next(iter(Study(folder / "drift" / "small").read_plan()["cell_id"].to_pylist()))
    assert "torch is 2." in tcx("status", "small", "--why", cell, results="drift").stdout


def test_status_is_right_without_accounting(
    tcx: Tcx, submit: Callable[..., dict[str, Any]], wait: Callable[[], None], cluster: Any, folder: Path
) -> None:
    """A job is cancelled behind our back while it works: its lease tells what it had begun."""
    (job,) = submit(grid="slow.yaml", results="noacct")["job_ids"]
    slow = Study(folder / "noacct" / "slow")
    cluster.until(lambda: any(slow.leases.glob("*.json")), 120)
    cluster.testcluster("accounting-off")
    try:
        assert cluster.run("sacct", check=False).returncode != 0
        assert states(tcx, "slow", "noacct") == {"running": 3}
        (group,) = (path.stem for path in slow.leases.glob("*.json"))
        cluster.run("scancel", job)
        wait()
        assert sum(states(tcx, "slow", "noacct").values()) == 3
        rows = slow.read_attempts().select(["cell_id", "slurm_job_id", "cause"]).to_pylist()
        begun = {row["cell_id"] for row in slow.read_plan().to_pylist() if row["group_id"] == group}
        assert {row["cell_id"] for row in rows} == begun and len(rows) == len(begun)
        assert {(row["slurm_job_id"], row["cause"]) for row in rows} == {(f"{job}_0", "lost")}
        assert not any(slow.leases.iterdir())
    finally:
        cluster.testcluster("accounting-on")


def test_ten_faults_lose_nothing(cluster: Any, tmp_path: Path, tiny_model: Path) -> None:
    """The short form of the fault campaign; see `campaign.py`."""
    script = Path(__file__).with_name("campaign.py")
    done = subprocess.run(
        [
            *(sys.executable, str(script), "--folder", str(tmp_path), "--model", str(tiny_model)),
            *("--faults", "10", "--bases", "1", "--seeds", "1", "--seed", "3", "--minutes", "5"),
        ],
        env=cluster.env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
