"""What a full disk does to a run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.adapt.state import save_state
from pipeline.checkpoints import Checkpoints
from pipeline.gc import collect
from pipeline.store import Study
from pipeline.verdicts import keep_verdicts, read_verdicts
from tests.small_shards import shard_row

ROOT = Path(__file__).resolve().parents[1]
GRID = """
study: small
tasks: [chain-sum]
models: [{model}]
programs: [{{family: icl, shots: [1, 2]}}, {{family: baseline}}]
evaluation: {{validation_items: 2, test_items: 2}}
"""


@pytest.fixture
def study(tmp_path: Path, tiny_model: Path) -> Iterator[Study]:
    """A study whose shards have one page of disk: enough for none."""
    (tmp_path / "grid.yaml").write_text(GRID.format(model=tiny_model))
    study = Study(tmp_path / "results" / "small")
    study.shards.mkdir(parents=True)
    if os.geteuid():
        pytest.skip("only root mounts a small disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(study.shards)], check=True)
    try:
        yield study
    finally:
        subprocess.run(["umount", str(study.shards)])


def test_a_full_disk_ends_the_run_and_holds_nothing(study: Study, tmp_path: Path) -> None:
    def run() -> tuple[int, str]:
        command = [sys.executable, "-m", "pipeline.cli", "run", "grid.yaml", "--jobs", "1"]
        env = os.environ | {"PYTHONPATH": str(ROOT), "TCX_CACHE": str(tmp_path / "cache"), "COLUMNS": "400"}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    status, text = run()
    assert status == 1 and "failed (disk)" in text
    # One program was executed; the cells of its group failed with it, the other group was not begun.
    assert len(list(study.programs.glob("*/*"))) == 1
    group_of = {row["cell_id"]: row["group_id"] for row in study.read_plan().to_pylist()}
    attempts = study.read_attempts()
    (group,) = {group_of[cell] for cell in attempts["cell_id"].to_pylist()}
    assert attempts["cause"].to_pylist() == ["disk"] * list(group_of.values()).count(group)
    subprocess.run(["umount", str(study.shards)], check=True)
    assert run()[0] == 0
    assert len(study.valid_cells()) == 3


def test_work_goes_on_without_a_checkpoint(study: Study) -> None:
    import torch

    told: list[str] = []
    checkpoints = Checkpoints(
        study.shards / "group",
        facts={},
        code=None,
        period_seconds=0,
        is_asked_to_stop=lambda: False,
        report=told.append,
    )
    state = {"weights": torch.zeros(100_000)}
    checkpoints.save_if_due(lambda folder: save_state(state, folder / "state.pt"), lambda: {"steps": 1})
    (said,) = told
    assert "goes on without one" in said and "No space left on device" in said


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    if os.geteuid():
        pytest.skip("only root mounts a folder")
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)])


def test_a_read_only_study_is_verified_and_looked_through(tmp_path: Path) -> None:
    study = Study(tmp_path / "sums")
    study.commit_shard(shard_row(1))
    (study.folder / ".left.tmp").write_text("by a killed writer")
    os.utime(study.folder / ".left.tmp", (0, 0))
    with read_only(study.folder):
        keep_verdicts(study, {"cell": {"program": []}})
        summary = collect(str(study.folder), results=None, is_dry=True)
        with pytest.raises(OSError):
            collect(str(study.folder), results=None, is_dry=False)
    assert read_verdicts(study) == {}
    assert {one.kind for one in summary.freed if one.num_files} == {"temporary files"}
