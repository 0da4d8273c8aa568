"""One grid on two clusters: two parts, two folders, two profiles; the curves are those of one run."""

from __future__ import annotations

import csv
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.store import Study

ROOT = Path(__file__).resolve().parents[2]
GRID = """
study: parts
tasks: [chain-sum]
models: [{model}, {model}@random-1]
programs:
  - {{family: trivial, reply: [copy, constant]}}
  - {{family: baseline}}
  - {{family: urial}}
  - {{family: icl, shots: [1, 2]}}
  - {{family: lora, examples: 8, epochs: 1, bits: [3, 4]}}
seeds: [1]
evaluation: {{validation_items: 3, test_items: 4}}
"""
OTHER_PROFILE = """
description: another cluster, which asks for GPUs in another way
partition: urgent
gpu_request: gpus-per-node
gpu_type: test
cpus_per_gpu: 2
ideal_walltime_minutes: 5
max_walltime_minutes: 60
"""
TIMES_AND_PLACES = {"attempt", "encode_seconds", "execute_seconds", "wall_seconds", "cpu_seconds", "gpu_seconds"}
TIMES_AND_PLACES |= {"peak_memory_bytes", "host", "slurm_job_id", "restarts", "started_utc", "finished_utc", "study"}

pytestmark = pytest.mark.slurm


def table(study: Path, name: str) -> list[dict[str, str]]:
    """Rows of a reduced table, without what no two runs have in common."""
    with Study(study).table_path(name, "csv").open() as file:
        rows = [
            {key: value for key, value in row.items() if key not in TIMES_AND_PLACES} for row in csv.DictReader(file)
        ]
    return sorted(rows, key=json.dumps) if name == "points" else rows


def test_two_parts_on_two_clusters_make_the_curves_of_one_run(
    quiet_cluster: Any, tmp_path: Path, tiny_model: Path
) -> None:
    (tmp_path / "grid.yaml").write_text(GRID.format(model=tiny_model))
    (tmp_path / "other.yaml").write_text(OTHER_PROFILE)

    def tcx(*arguments: str, cache: str = "cache-a") -> str:
        done: str = quiet_cluster.tcx(tmp_path, *arguments, TCX_CACHE=str(tmp_path / cache)).stdout
        return done

    sent = [
        json.loads(tcx("submit", "grid.yaml", *options, "--json", cache=f"cache-{name}"))
        for name, *options in (
            ("a", "--cluster", "testcluster", "--part", "1/2", "--results", "a"),
            ("b", "--cluster", "other.yaml", "--part", "2/2", "--results", "b"),
        )
    ]
    assert all(part["submitted"] == part["cells"] > 0 for part in sent)
    tcx("run", "grid.yaml", "--jobs", "1", "--results", "whole")
    deadline = time.monotonic() + 240
    while quiet_cluster.run("squeue", "--noheader").stdout:
        assert time.monotonic() < deadline, quiet_cluster.run("squeue").stdout
        time.sleep(0.5)

    a, b, whole = (tmp_path / name / "parts" for name in ("a", "b", "whole"))
    cells = [Study(study).listed_cells() for study in (a, b, whole)]
    assert not cells[0] & cells[1] and cells[0] | cells[1] == cells[2]
    assert [len(of_part) for of_part in cells[:2]] == [part["cells"] for part in sent]

    tcx("reduce", "a/parts", "b/parts", "--out", "both")
    for name in ("frontier", "complexity", "points"):
        assert table(tmp_path / "both", name) == table(whole, name), name
    assert len(table(tmp_path / "both", "points")) == len(cells[2])

    # The shards alone tell what is done, wherever they were made.
    shutil.copytree(b / "shards", a / "shards", dirs_exist_ok=True)
    assert "nothing to do" in tcx("submit", "grid.yaml", "--cluster", "testcluster", "--results", "a")
    assert not quiet_cluster.run("squeue", "--noheader").stdout
