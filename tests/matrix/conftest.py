"""One way to run a grid on samples of every task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

from pipeline.shards import read_shard
from pipeline.store import Study
from tests.matrix.samples import write_samples


class Run(Protocol):
    """Runs a grid named `matrix`, verifies its programs cold if asked to, and gives the rows of its shards."""

    def __call__(self, grid: str, *, verify: bool) -> list[dict[str, Any]]: ...


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A place with samples of every task."""
    write_samples(tmp_path / "hub", tmp_path / "made")
    environment = os.environ | {
        "TCX_CACHE": str(tmp_path / "cache"),
        "TCX_DATA": str(tmp_path / "hub"),
        "TCX_IFEVAL_MADE": str(tmp_path / "made"),
        "HF_HUB_OFFLINE": "1",
    }

    def tcx(*arguments: str) -> str:
        command = [sys.executable, "-m", "pipeline.cli", *arguments, "--results", "results"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(grid: str, *, verify: bool) -> list[dict[str, Any]]:
        (tmp_path / "grid.yaml").write_text(grid)
        tcx("run", "grid.yaml")
        study = Study(tmp_path / "results" / "matrix")
        rows = [read_shard(path, path.stem) for path in study.shard_files()]
        if verify:
            verified = json.loads(tcx("verify", "matrix", "--json"))
            assert (verified["verified"], verified["failed"]) == (sum(row["status"] == "ok" for row in rows), 0)
        return rows

    return run
