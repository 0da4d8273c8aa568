"""How long planning takes: 1,000, 10,000 and 100,000 cells, from the grid file to `plan.parquet`.

    python benchmarks/plan_time.py [--json]

Needs neither torch nor a model. Each size is planned three times in a process of its own; the fastest counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NUM_SEEDS = (10, 100, 1000)
CELLS_A_SEED = 100
REPEATS = 3

PLAN = """
import json, sys, time
from pathlib import Path
from pipeline.models import parse_model
from pipeline.models.spec import staged_folder
from pipeline.plan import make_plan

# What staging leaves behind, without the weights: planning reads no more, and cells get their ids.
folder = staged_folder(parse_model("smollm2-135m", Path()))
folder.mkdir(parents=True, exist_ok=True)
(folder / "staged.json").write_text(json.dumps({"identity": "a" * 64, "parameters": 1}))
seconds = []
for _ in range(int(sys.argv[3])):
    started = time.perf_counter()
    plan = make_plan(Path(sys.argv[1]), sys.argv[2])
    seconds.append(time.perf_counter() - started)
assert all(row.cell_id for row in plan.rows)
assert "torch" not in sys.modules
megabytes = plan.study.plan_path.stat().st_size / 1e6
print(json.dumps({"cells": len(plan.rows), "seconds": min(seconds), "megabytes": megabytes}))
"""


def grid_text(num_seeds: int) -> str:
    """A grid of 100 cells a seed."""
    rates = ", ".join(f"{number}.0e-5" for number in range(1, 6))
    return (
        "study: plan-time\ntasks: [chain-sum]\nmodels: [smollm2-135m]\nprograms:\n"
        f"  - {{family: subset, lr: [{rates}], epochs: [1, 2, 3, 4]}}\n"
        "budgets: [1KiB, 4KiB, 16KiB, 64KiB, 256KiB]\n"
        f"seeds: [{', '.join(map(str, range(num_seeds)))}]\n"
    )


def measure(num_seeds: int) -> dict[str, float]:
    """Plans one grid in a fresh process and an empty folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "grid.yaml").write_text(grid_text(num_seeds))
        done = subprocess.run(
            [sys.executable, "-c", PLAN, str(folder / "grid.yaml"), str(folder / "results"), str(REPEATS)],
            env=os.environ | {"PYTHONPATH": str(ROOT), "TCX_CACHE": str(folder / "cache")},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    measured: dict[str, float] = json.loads(done.stdout)
    assert measured["cells"] == num_seeds * CELLS_A_SEED
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    rows = [measure(num_seeds) for num_seeds in NUM_SEEDS]
    for row in rows:
        row["microseconds_per_cell"] = 1e6 * row["seconds"] / row["cells"]
        row["ratio_per_cell"] = row["microseconds_per_cell"] / rows[0]["microseconds_per_cell"]
    if as_json:
        print(json.dumps({"benchmark": "plan_time", "repeats": REPEATS, "rows": rows}, indent=2))
        return
    print("ratio: time per cell relative to the first row")
    print(f"{'cells':>8} {'seconds':>8} {'us/cell':>8} {'ratio':>6} {'plan MB':>8}")
    for row in rows:
        print(
            f"{row['cells']:>8,} {row['seconds']:>8.2f} {row['microseconds_per_cell']:>8.1f} "
            f"{row['ratio_per_cell']:>6.2f} {row['megabytes']:>8.2f}"
        )


if __name__ == "__main__":
    main()
