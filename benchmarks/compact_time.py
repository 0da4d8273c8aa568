"""How long a study takes to be compacted, and to be planned with everything done: as shards and as a compacted file.

    python benchmarks/compact_time.py [--cells 100000] [--items 24] [--json]

Needs neither torch nor a model. Shards hold as many items as asked; each time is that of one process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from plan_time import CELLS_A_SEED, ROOT, grid_text

STAGE = """
import json, resource, sys, time
from pathlib import Path
from pipeline import schema
from pipeline.models import parse_model
from pipeline.models.spec import staged_folder
from pipeline.plan import make_plan
from pipeline.store import Study

folder = Path(sys.argv[1])
grid, results, study = folder / "grid.yaml", str(folder / "results"), Study(folder / "results" / "plan-time")

def tell(seconds, **facts):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mebibytes": peak, **facts}))
"""

MAKE = """
import pyarrow.parquet as pq
from pipeline.seals import seal
# What staging leaves behind, without the weights: planning reads no more, and cells get their ids.
place = staged_folder(parse_model("smollm2-135m", Path()))
place.mkdir(parents=True, exist_ok=True)
(place / "staged.json").write_text(json.dumps({"identity": "a" * 64, "parameters": 1}))
plan = make_plan(grid, results)
number = int(sys.argv[2])
scores = {"performance": 50.0, "num_items": number, "item_scores": [100.0, 0.0] * (number // 2),
          "statistics": [[1.0, 1.0], [0.0, 1.0]] * (number // 2), "other_metrics": [],
          "predictions": [f"answer {place}" for place in range(number)]}
row = dict.fromkeys(schema.SHARD.names) | {
    "schema_version": schema.SCHEMA_VERSION, "status": "ok", "validation": scores, "test": scores,
    "program_length_bits": 800, "decoder_bits": 400, "payload_bits": 80, "container_bits": 320, "wall_seconds": 1.0}
for planned in plan.rows:
    path = study.shard_path(planned.cell_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"cell_id": planned.cell_id, "schema_version": str(schema.SCHEMA_VERSION)}
    table = schema.table_of([row | {"cell_id": planned.cell_id}], schema.SHARD).replace_schema_metadata(metadata)
    with path.open("xb") as file:  # without the waits for the disk of `commit_shard`
        pq.write_table(table, file, use_dictionary=False, write_statistics=False, write_page_checksum=True)
        seal(file)
tell(0.0)
"""

PLAN = """
started = time.perf_counter()
plan = make_plan(grid, results)
assert plan.tally.states["done"] == len(plan.rows)
assert "torch" not in sys.modules
tell(time.perf_counter() - started, cells=len(plan.rows))
"""

COMPACT = """
from rich.console import Console
from pipeline.compact import compact
started = time.perf_counter()
summary = compact(str(study.folder), results=None, console=Console(quiet=True))
assert not list(study.shard_files())
tell(time.perf_counter() - started, bytes_before=summary.bytes_before, bytes_after=summary.bytes_after)
"""


def measured(stage: str, folder: Path, num_items: int) -> dict[str, float]:
    """Runs one stage in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", STAGE + stage, str(folder), str(num_items)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TCX_CACHE": str(folder / "cache")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000, help="cells, in hundreds")
    parser.add_argument("--items", type=int, default=24, help="items of each split, an even number")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "grid.yaml").write_text(grid_text(options.cells // CELLS_A_SEED))
        stages = {"make": MAKE, "plan of shards": PLAN, "compact": COMPACT, "plan of a compacted file": PLAN}
        found = {stage: measured(code, folder, options.items) for stage, code in stages.items()}
    del found["make"]
    if options.json:
        print(json.dumps({"benchmark": "compact_time", "items": options.items, "stages": found}, indent=2))
        return
    for stage, facts in found.items():
        print(f"{stage:>25}: {facts['seconds']:8.2f} s, {facts['peak_mebibytes']:6.0f} MiB at the most")
    sizes = found["compact"]
    print(f"{sizes['bytes_before'] / 2**20:,.1f} MiB of shards, {sizes['bytes_after'] / 2**20:,.1f} MiB compacted")


if __name__ == "__main__":
    main()
