"""How long reducing takes, and how much memory, against reading the same columns and against a notebook.

    python benchmarks/reduce_speed.py [--largest 1e6] [--shards 1000] [--repeats 3] [--json]

Synthetic rows of a grid of 4 tasks, 6 models, 7 families and 3 seeds: compacted without items from 1,000 to `--largest`
rows, compacted with 64 items a split up to 100,000 of them, and `--shards` shards, each a file. Every measurement is a
process of its own; of several the fastest counts. What is measured:

* reduce: `reduce_studies`, with all tables.
* stream: the part of it that touches every row, `stream_points`: merge, rules, points, frontiers. The rest is
  comparisons and intervals of curves, whose time depends on models, scopes and items, and not on the number of rows.
* scan: `pyarrow.parquet.ParquetFile.iter_batches` of exactly the columns that reduce reads, whose batches are dropped.
* notebook: `pandas.read_parquet` of these columns, then groups of task and model sorted by length, and the programs
  that beat the running maximum. Up to a million rows: it holds all of them.

Ratios are stream / scan, of wall time and of processor time; the latter depends less on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline import schema  # noqa: E402
from pipeline.compacted import ROWS_AT_ONCE, write_compacted  # noqa: E402
from pipeline.reduce.sources import READ_COLUMNS  # noqa: E402
from pipeline.shards import write_shard  # noqa: E402
from pipeline.store import Study  # noqa: E402

TASKS = [f"task-{number}" for number in range(4)]
MODELS = [f"model-{number}" for number in range(6)]
FAMILIES = {
    "baseline": "inference",
    "icl": "inference",
    "subset": "data",
    "lora": "parametric",
    "blora": "parametric",
    "full": "parametric",
    "reweight": "combined",
}
NUM_ITEMS = 64
LARGEST_WITH_ITEMS = 100_000
LARGEST_NOTEBOOK = 1_000_000

MEASURE = """
import json, sys, time
started, cpu = time.perf_counter(), time.process_time()
{work}
seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
# Not `ru_maxrss`, in which a child process starts with what its parent had.
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({{"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mebibytes": int(peak) / 1024}}))
"""
WORKS = {
    "reduce": """
from pathlib import Path
from pipeline.reduce import reduce_studies
reduce_studies([Path(sys.argv[1])], out=Path(sys.argv[1]) / "out")
""",
    "stream": """
from pathlib import Path
from pipeline.reduce.stream import stream_points
from pipeline.store import Study
stream_points(Study(Path(sys.argv[1]) / "out"), [Study(Path(sys.argv[1]))], "validation")
""",
    "scan": """
import pyarrow.parquet as pq
from pathlib import Path
for path in Path(sys.argv[1]).glob("[cs]*/**/*.parquet"):
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(columns=json.loads(sys.argv[2])):
            pass
""",
    "notebook": """
import pandas as pd
from pathlib import Path
paths = Path(sys.argv[1]).glob("[cs]*/**/*.parquet")
rows = pd.concat([pd.read_parquet(path, columns=json.loads(sys.argv[2])) for path in paths])
rows.columns = json.loads(sys.argv[2])  # pandas names fields of nested columns by their last part
score, order = "validation.performance", ["task", "model", "program_length_bits"]
rows = rows.sort_values([*order, score], ascending=[True, True, True, False])
best = rows.groupby(["task", "model"])[score].transform(lambda it: it.cummax().shift(fill_value=-1))
frontier = rows[rows[score] > best]
""",
}


def texts(values: list[str], codes: np.ndarray[Any, Any]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(values)).cast(pa.string())


def digests(content: np.ndarray[Any, Any]) -> pa.Array:
    """Hexadecimal texts of rows of 32 bytes."""
    ends = np.arange(0, 64 * (len(content) + 1), 64, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(content), [None, pa.py_buffer(ends), pa.py_buffer(content.tobytes().hex().encode())]
    )


def scores(performance: np.ndarray[Any, Any], num_items: int, chance: np.random.Generator) -> pa.StructArray:
    """Scores of a split; without items its lists are empty."""
    num_rows = len(performance)
    is_right = (100 * chance.random(num_rows * num_items) < np.repeat(performance, num_items)).astype(np.float64)
    pairs = np.stack([is_right, np.ones_like(is_right)], axis=1).reshape(-1)
    replies = [f"Let me think about it. The answer is {number}." for number in range(1000)]

    def lists(values: pa.Array, size: int) -> pa.ListArray:
        ends = np.arange(num_rows + 1, dtype=np.int32) * size
        return pa.ListArray.from_arrays(pa.array(ends), values)

    per_item = pa.ListArray.from_arrays(pa.array(np.arange(0, len(pairs) + 1, 2, dtype=np.int32)), pa.array(pairs))
    columns = [
        pa.array(performance),
        pa.array(np.full(num_rows, num_items)),
        lists(pa.array(100 * is_right), num_items),
        lists(per_item, num_items),
        lists(pa.array([], schema.METRIC_SCORE), 0),
        lists(texts(replies, chance.integers(0, 1000, num_rows * num_items)), num_items),
    ]
    return pa.StructArray.from_arrays(columns, fields=list(schema.SPLIT_SCORES))


def synthetic(start: int, num_rows: int, total: int, num_items: int) -> pa.Table:
    """Rows `start` and following of a study of `total` rows, sorted by cell id."""
    chance = np.random.default_rng([7, start])
    step = 2**64 // total
    heads = np.arange(start, start + num_rows, dtype=np.uint64) * np.uint64(step)
    heads += chance.integers(0, step, num_rows, dtype=np.uint64)
    tails = chance.integers(0, 256, (num_rows, 24), dtype=np.uint8)
    ids = np.concatenate([heads.astype(">u8").view(np.uint8).reshape(num_rows, 8), tails], axis=1)
    model, family = chance.integers(0, len(MODELS), num_rows), chance.integers(0, len(FAMILIES), num_rows)
    budget = 2 ** chance.integers(10, 21, num_rows)
    decoder = 8 * chance.integers(200, 500, num_rows)
    length = 8 * (budget - chance.integers(0, 200, num_rows))
    quality = np.clip(8 * np.log2(length / 2000) - 3 * model + chance.normal(0, 6, num_rows), 0, 100)
    validation, test = (np.round(np.clip(quality + chance.normal(0, 3, num_rows), 0, 100) * 2.56) / 2.56 for _ in "ab")
    given: dict[str, Any] = {
        "cell_id": digests(ids),
        "program_sha256": digests(chance.integers(0, 256, (num_rows, 32), dtype=np.uint8)),
        "task": texts(TASKS, chance.integers(0, len(TASKS), num_rows)),
        "model": texts(MODELS, model),
        "model_identity": texts([f"{number:064x}" for number in range(len(MODELS))], model),
        "family": texts(list(FAMILIES), family),
        "view": texts(list(FAMILIES.values()), family),
        "parameters": texts([f'{{"epochs":{number}}}' for number in range(50)], chance.integers(0, 50, num_rows)),
        "settings": texts([f'{{"rank":{number}}}' for number in range(640)], chance.integers(0, 640, num_rows)),
        "budget_bytes": budget,
        "seed": chance.integers(1, 4, num_rows),
        "program_length_bits": length,
        "decoder_bits": decoder,
        "payload_bits": length - decoder - 960,
        "coded_bits": length - decoder - 960,
        "nll_bits": chance.random(num_rows) * length,
        "validation": scores(validation, num_items, chance),
        "test": scores(test, num_items, chance),
        "peak_memory_bytes": chance.integers(10**9, 10**11, num_rows),
        "host": texts([f"node{number:03}" for number in range(200)], chance.integers(0, 200, num_rows)),
    }
    same: dict[str, Any] = {
        "schema_version": schema.SCHEMA_VERSION,
        "task_version": 1,
        "family_version": 1,
        "status": "ok",
        "container_bits": 960,
        "metric": "accuracy",
        "higher_is_better": True,
        "isolation": "kernel",
        "machine_class": "H100 torch 2.13",
        "git_commit": "a" * 40,
        "attempt": 1,
        "package_versions": json.dumps({f"package-{number}": "1.2.3" for number in range(25)}),
    }
    for name in ("wall_seconds", "encode_seconds", "execute_seconds", "cpu_seconds", "gpu_seconds", "flops"):
        given[name] = chance.random(num_rows) * 1000
    for name in ("train_tokens", "generated_tokens"):
        given[name] = chance.integers(0, 10**6, num_rows)
    columns = [
        pa.array(given[field.name], field.type) if isinstance(given.get(field.name), np.ndarray)
        else given.get(field.name, pa.repeat(pa.scalar(same.get(field.name), field.type), num_rows))
        for field in schema.SHARD
    ]  # fmt: skip
    return pa.table(columns, schema=schema.SHARD)


def write_large(folder: Path, num_rows: int, num_items: int) -> None:
    starts = range(0, num_rows, ROWS_AT_ONCE)
    parts = (synthetic(start, min(ROWS_AT_ONCE, num_rows - start), num_rows, num_items) for start in starts)
    write_compacted(Study(folder).compacted_path("all"), parts)


def write_small(folder: Path, num_rows: int, num_items: int) -> None:
    for start in range(0, num_rows, ROWS_AT_ONCE):
        rows = synthetic(start, min(ROWS_AT_ONCE, num_rows - start), num_rows, num_items)
        for place, cell_id in enumerate(rows["cell_id"].to_pylist()):
            path = Study(folder).shard_path(cell_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                write_shard(file, rows.slice(place, 1))


def measure(work: str, folder: Path, repeats: int) -> dict[str, float]:
    """The fastest of several runs."""
    command = [sys.executable, "-c", MEASURE.format(work=WORKS[work]), str(folder), json.dumps(READ_COLUMNS)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    runs = [
        json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)
        for _ in range(repeats)
    ]
    return {name: min(run[name] for run in runs) for name in runs[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=float, default=1e6, metavar="ROWS", help="of a compacted file (1e6)")
    parser.add_argument("--shards", type=int, default=1000, metavar="FILES", help="shards that are files (1000)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each; the fastest counts (3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    sizes = [10**power for power in range(3, 8) if 10**power <= given.largest]
    cases = [("compacted", write_large, size, 0) for size in sizes]
    cases += [("compacted, items", write_large, size, NUM_ITEMS) for size in sizes if size <= LARGEST_WITH_ITEMS]
    cases.append(("shards", write_small, given.shards, NUM_ITEMS))
    rows = []
    for kind, write, size, num_items in cases:
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), size, num_items)
            works = [work for work in WORKS if work != "notebook" or size <= LARGEST_NOTEBOOK]
            found = {work: measure(work, Path(name), given.repeats) for work in works}
        rows.append({"kind": kind, "rows": size, **found})
        if not given.json:
            print_row(rows[-1], is_first=len(rows) == 1)
    if given.json:
        print(json.dumps({"benchmark": "reduce_speed", "repeats": given.repeats, "rows": rows}, indent=2))


def print_row(row: dict[str, Any], *, is_first: bool) -> None:
    if is_first:
        print("seconds of wall time (of processors), peak memory in MiB; ratios are stream / scan")
        print(f"{'':<17}{'rows':>11}" + "".join(f"{work:>22}" for work in WORKS) + f"{'wall':>6}{'cpu':>6}")
    parts = [f"{row['kind']:<17}{row['rows']:>11,}"]
    for work in WORKS:
        it = row.get(work)
        text = f"{it['seconds']:.2f} ({it['cpu_seconds']:.2f}) {it['peak_mebibytes']:,.0f}" if it else "-"
        parts.append(f"{text:>22}")
    parts += [f"{row['stream'][name] / row['scan'][name]:>6.1f}" for name in ("seconds", "cpu_seconds")]
    print("".join(parts), flush=True)


if __name__ == "__main__":
    main()
