"""`tcx status --watch` and `tcx logs` beside jobs of a real Slurm."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, quiet_cluster: Any, tiny_model: Path) -> Start:
    """Starts `tcx` in a folder with a grid and a profile whose jobs are held."""
    (tmp_path / "grid.yaml").write_text(GRID.format(model=tiny_model))
    shipped = (ROOT / "slurm" / "testcluster.yaml").read_text()
    (tmp_path / "held.yaml").write_text(f"{shipped}options: {{hold: ''}}\n")
    # Every question to the queue leaves a line.
    counting = tmp_path / "bin" / "squeue"
    counting.parent.mkdir()
    counting.write_text(f'#!/bin/sh\necho >> {tmp_path}/questions\nexec {shutil.which("squeue")} "$@"\n')
    counting.chmod(0o755)
    path = f"{counting.parent}:{quiet_cluster.env['PATH']}"
    return lambda *arguments: quiet_cluster.begin(tmp_path, *arguments, PATH=path)


def output(process: subprocess.Popen[str], status: int = 0) -> str:
    text, errors = process.communicate(timeout=240)
    assert process.returncode == status, text + errors
    return text


def submit(start: Start) -> str:
    """Submits everything as one job that is held; its id."""
    sent = json.loads(output(start("submit", "grid.yaml", "--cluster", "held.yaml", "--json")))
    assert sent["num_batches"] == 1
    return f"{sent['job_ids'][0]}_0"


def test_watch_ends_with_the_last_job(start: Start, quiet_cluster: Any, tmp_path: Path) -> None:
    job = submit(start)
    (tmp_path / "questions").unlink()
    started = time.monotonic()
    watching = start("status", "small", "--watch", "--every", "2")
    time.sleep(5)
    assert watching.poll() is None  # a job that waits is not the end
    quiet_cluster.run("scontrol", "release", job)
    text = output(watching)
    looks = (time.monotonic() - started) / 2
    assert text.count("study small") == 1  # no terminal: the last table only
    (total,) = [line for line in text.splitlines() if line.startswith("│ all")]
    assert [int(cell) for cell in total.split("│")[4:7]] == [3, 3, 0]  # cells, done, to do
    assert 3 <= len((tmp_path / "questions").read_text().splitlines()) <= looks + 1


def test_watch_ends_with_ctrl_c(start: Start, quiet_cluster: Any, tmp_path: Path) -> None:
    submit(start)
    (tmp_path / "questions").unlink()
    watching = start("status", "small", "--watch", "--every", "60")
    quiet_cluster.until((tmp_path / "questions").exists)
    time.sleep(2)
    watching.send_signal(signal.SIGINT)
    assert "3 queued: JobHeldUser" in output(watching)
    assert output(start("status", "small", "--watch", "--json"), status=2) == ""


def test_follow_prints_lines_until_the_job_ends(start: Start, quiet_cluster: Any, tmp_path: Path) -> None:
    job = submit(start)
    cell = Study(tmp_path / "results" / "small").read_plan()["cell_id"][0].as_py()
    assert "has written no log (yet)" in output(start("logs", "small", cell))
    following = start("logs", "small", cell, "-f")
    time.sleep(2)
    assert following.poll() is None  # a job that waits may still run
    quiet_cluster.run("scontrol", "release", job)
    text = output(following)
    lines = [line[20:] for line in text.splitlines() if line.startswith("20")]
    assert lines[0].startswith(f"job {job}, process 0: 3 cells")
    assert lines[-1] == "3 of 3 cells of this batch are done"
    assert sum("loaded /" in line for line in lines) == 1  # each line once
    assert text.splitlines()[-1] == f"job {job} has ended"
    assert text.count(f"{job}_0_0.log") == 1
    # Now that it has ended, following shows the end of the log and ends.
    assert output(start("logs", "small", cell, "-f", "-n", "1")).count("cells of this batch are done") == 1


def test_logs_of_one_attempt(start: Start, quiet_cluster: Any, tmp_path: Path) -> None:
    """The first job is cancelled after a worker had begun, the second does the rest."""
    study = Study(tmp_path / "results" / "small")
    first = submit(start)
    cells = study.read_plan()["cell_id"].to_pylist()
    quiet_cluster.run("scontrol", "release", first)
    quiet_cluster.until(lambda: any(study.leases.glob("*.json")), deadline_s=60)
    quiet_cluster.run("scontrol", "requeuehold", first)
    quiet_cluster.until(lambda: quiet_cluster.run("squeue", "-h", "-o", "%T").stdout == "PENDING\n")
    output(start("cancel", "small"))
    cell = next(cell for cell in cells if cell not in study.listed_cells())
    output(start("status", "small"))
    second = json.loads(
        output(start("submit", "grid.yaml", "--cluster", "held.yaml", "--retry", "cancelled", "--json"))
    )["job_ids"][0]
    quiet_cluster.run("scontrol", "release", f"{second}_0")
    output(start("logs", "small", cell, "--follow"))
    (row,) = [row for row in study.read_attempts().to_pylist() if row["cell_id"] == cell]
    assert (row["slurm_job_id"], row["attempt"], row["cause"]) == (first, 1, "cancelled")
    logs = {attempt: output(start("logs", "small", cell, "--attempt", str(attempt))) for attempt in (1, 2)}
    assert f"{first}_" in logs[1] and f"{second}_0_" not in logs[1]
    assert f"{second}_0_0_0.log" in logs[2] and f"{first}_" not in logs[2]
    refused = start("logs", "small", cell, "--attempt", "3")
    assert "there are: 1, 2" in refused.communicate()[1]
    assert refused.returncode == 2
