"""Tasks of the hub end to end, without it: a grid is run on local copies, which are samples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipeline.shards import read_shard
from pipeline.store import Study

GRID = """
study: samples
tasks: [lima, piqa]
models: [{model}]
programs:
  - {{family: trivial, reply: [copy, constant]}}
evaluation: {{validation_items: 2, test_items: 2}}
"""


def tcx(folder: Path, *arguments: str) -> Any:
    environment = os.environ | {"TCX_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_run_on_samples(local_hub: Any, tmp_path: Path, tiny_model: Path) -> None:
    local_hub.json_lines(
        "GAIR/lima/train.jsonl", [{"conversations": [f"Ask {n}?", f"Line.\n\nLine {n}."]} for n in range(30)]
    )
    for split in ("train", "validation"):
        rows = [{"goal": f"{split} {n}", "sol1": f"x {n}", "sol2": "y", "label": n % 2} for n in range(30)]
        local_hub.parquet(f"ybisk/piqa/plain_text/{split}/0000.parquet", rows)
    (tmp_path / "grid.yaml").write_text(GRID.format(model=tiny_model))
    tcx(tmp_path, "run", "grid.yaml", "--jobs", "1", "--results", "results")
    study = Study(tmp_path / "results" / "samples")
    rows = [read_shard(path, path.stem) for path in study.shard_files()]
    assert sorted(row["task"] for row in rows) == 2 * ["lima"] + 2 * ["piqa"]
    assert {row["status"] for row in rows} == {"ok"}
    for task in ("lima", "piqa"):
        versions = {row["task_version"] for row in rows if row["task"] == task}
        assert len(versions) == 1 and versions != {1}
    # The same grid on other data is other cells: none of the ones above counts for it.
    local_hub.json_lines("GAIR/lima/train.jsonl", [{"conversations": [f"Ask {n}?", f"Say {n}."]} for n in range(30)])
    states = json.loads(tcx(tmp_path, "plan", "grid.yaml", "--results", "results", "--json").stdout)["states"]
    assert (states["done"], states["to_do"]) == (2, 2)
