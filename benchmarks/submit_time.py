"""How long submitting takes: 1,000, 10,000 and 100,000 cells on a real Slurm, and against plain submitit.

    python benchmarks/submit_time.py [--json] [--most-cells 100000]

Starts a `slurm/testcluster` of its own, with MaxArraySize 1001, so it needs root and the programs of Slurm. Jobs are
submitted held, so nothing runs, and no weights are needed. Each size is submitted in two ways: packed to four hours a
job, as profiles do, and with one cell a job, which is the most that Slurm can be asked to take. Times are those of
whole commands, start of Python included; calls of `sbatch` are counted by a script of that name, first on PATH.

Submitit is `AutoExecutor.map_array` over as many calls that do nothing, held too, in the same cluster, against one
cell a job; once as it is, and once where the caller splits the calls by MaxArraySize. Ratios: its number over ours.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NUM_CELLS = (1_000, 10_000, 100_000)
CELLS_A_SEED = 10
PROGRAMS = {
    "packed": "{family: icl, shots: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}",
    "one cell a job": "{family: lora, bits: 4, rank: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}",
}
"""Ten cells a seed: encoders of the first share their work, those of the second do not."""
IDEAL_WALLTIME_MINUTES = {"packed": 240, "one cell a job": 1}
MAX_ARRAY_SIZE = 1001
REPEATS = 3
"""At the smallest size, where the start of Python counts; the fastest is taken."""

STAGE = """
import json
from pathlib import Path
from pipeline.models import parse_model
from pipeline.models.spec import staged_folder

# What staging leaves behind, without the weights: planning and submitting read no more, and cells get their ids.
folder = staged_folder(parse_model("smollm2-135m", Path()))
folder.mkdir(parents=True, exist_ok=True)
(folder / "staged.json").write_text(json.dumps({"identity": "a" * 64, "parameters": 100_000}))
"""
SUBMITIT = """
import sys
import submitit

folder, num_jobs, array_size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
executor = submitit.AutoExecutor(folder=folder, cluster="slurm")
executor.update_parameters(
    timeout_min=10, slurm_array_parallelism=array_size, slurm_additional_parameters={"hold": True}
)
for start in range(0, num_jobs, array_size):
    executor.map_array(abs, range(start, min(start + array_size, num_jobs)))
"""


@dataclass(frozen=True)
class Bench:
    """A cluster that runs, and a folder.

    Attributes:
        folder: holds everything.
        env: variables of every command.
        calls: file with one line a call of sbatch.
    """

    folder: Path
    env: dict[str, str]
    calls: Path

    def seconds(self, *command: str) -> tuple[float, str]:
        """Wall time of a command that succeeds, and what it prints."""
        started = time.perf_counter()
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return seconds, done.stdout

    def tcx(self, *arguments: str) -> tuple[float, dict[str, Any]]:
        """Wall time of a command of `tcx`, and its answer."""
        seconds, text = self.seconds(sys.executable, "-m", "pipeline.cli", *arguments, "--json")
        return seconds, json.loads(text)

    def num_calls(self) -> int:
        """Calls of sbatch since this was asked last."""
        count = len(self.calls.read_text().splitlines()) if self.calls.exists() else 0
        self.calls.write_text("")
        return count

    def empty_queue(self) -> None:
        """Cancels everything and waits until it is gone."""
        self.seconds("scancel", "--state=pending", "--user=root")
        while self.seconds("squeue", "--noheader", "--states=pending,running,completing")[1]:
            time.sleep(0.5)


@contextlib.contextmanager
def bench(max_submit_jobs: int) -> Iterator[Bench]:
    """Starts a cluster, and ends it with the block."""
    testcluster = [sys.executable, str(ROOT / "slurm" / "testcluster")]
    with tempfile.TemporaryDirectory(prefix="tcx-submit-", dir="/tmp") as name:  # sockets want a short path
        folder, calls = Path(name), Path(name) / "calls"
        counting = folder / "bin" / "sbatch"
        counting.parent.mkdir()
        counting.write_text(f'#!/bin/sh\necho call >> {calls}\nexec {shutil.which("sbatch")} "$@"\n')
        counting.chmod(0o755)
        env = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "TCX_"))}
        env |= {
            "PATH": f"{counting.parent}:{env['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TCX_CACHE": str(folder / "cache"),
            "SLURM_CONF": str(folder / "slurm" / "etc" / "slurm.conf"),
        }
        limits = [f"--max-array-size={MAX_ARRAY_SIZE}", f"--max-submit-jobs={max_submit_jobs}"]
        subprocess.run(
            [*testcluster, "up", "--folder", f"{folder}/slurm", *limits], stdout=subprocess.DEVNULL, check=True
        )
        try:
            started = Bench(folder, env, calls)
            started.seconds(sys.executable, "-c", STAGE)
            (folder / "held.yaml").write_text("partition: main\ncpus_per_gpu: 1\noptions: {hold: ''}\n")
            yield started
        finally:
            subprocess.run([*testcluster, "down", "--folder", f"{folder}/slurm"], stdout=subprocess.DEVNULL, check=True)


def grid_text(study: str, num_seeds: int, packing: str) -> str:
    """A grid of ten cells a seed."""
    return (
        f"study: {study}\ntasks: [chain-sum]\nmodels: [smollm2-135m]\nprograms: [{PROGRAMS[packing]}]\n"
        f"seeds: [{', '.join(map(str, range(num_seeds)))}]\n"
    )


def measure(cluster: Bench, num_cells: int, packing: str) -> dict[str, Any]:
    """Plans, submits and looks at one grid."""
    study = f"cells{num_cells}-{packing.replace(' ', '-')}"
    (cluster.folder / "grid.yaml").write_text(grid_text(study, num_cells // CELLS_A_SEED, packing))
    plan_seconds, plan = cluster.tcx("plan", "grid.yaml")
    minutes = f"ideal_walltime_minutes={IDEAL_WALLTIME_MINUTES[packing]}"
    cluster.num_calls()
    submit_seconds, submitted = cluster.tcx("submit", "grid.yaml", "--cluster", "held.yaml", "--set", minutes)
    num_calls = cluster.num_calls()
    again_seconds, again = cluster.tcx("submit", "grid.yaml", "--cluster", "held.yaml", "--set", minutes)
    status_seconds, status = cluster.tcx("status", study)
    assert plan["cells"] == submitted["submitted"] == again["queued"] == status["states"]["queued"] == num_cells
    assert again["submitted"] == cluster.num_calls() == 0
    files = num_files(cluster.folder / "results" / study)
    cluster.empty_queue()
    return {
        "cells": num_cells,
        "packing": packing,
        "plan_seconds": plan_seconds,
        "submit_seconds": submit_seconds,
        "submit_again_seconds": again_seconds,
        "status_seconds": status_seconds,
        "sbatch_calls": num_calls,
        "arrays": len(submitted["job_ids"]),
        "cells_per_batch": num_cells / submitted["num_batches"],
        "files": files,
        "files_per_cell": files / num_cells,
    }


def measure_submitit(cluster: Bench, num_jobs: int, array_size: int) -> dict[str, Any]:
    """The same number of jobs by submitit; or why it cannot."""
    folder = cluster.folder / f"submitit{num_jobs}"
    facts = {"cells": num_jobs, "array_size": array_size}
    cluster.num_calls()
    try:
        seconds, _ = cluster.seconds(sys.executable, "-c", SUBMITIT, str(folder), str(num_jobs), str(array_size))
    except RuntimeError as error:
        return {**facts, "error": str(error).strip().splitlines()[-1]}
    finally:
        files = num_files(folder)
        shutil.rmtree(folder, ignore_errors=True)
        cluster.empty_queue()
    return {**facts, "submit_seconds": seconds, "sbatch_calls": cluster.num_calls(), "files": files}


def num_files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def fastest(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One row with the least of each time."""
    times = [key for key in rows[0] if key.endswith("_seconds")]
    return rows[0] | {key: min(row[key] for row in rows) for key in times}


def run(most_cells: int) -> dict[str, Any]:
    sizes = [size for size in NUM_CELLS if size <= most_cells]
    with bench(max_submit_jobs=2 * max(sizes)) as cluster:
        rows, plain = [], []
        for size in sizes:
            repeats = range(REPEATS if size == sizes[0] else 1)
            for packing in IDEAL_WALLTIME_MINUTES:
                measured = []
                for _ in repeats:
                    shutil.rmtree(cluster.folder / "results", ignore_errors=True)
                    measured.append(measure(cluster, size, packing))
                rows.append(fastest(measured))
            for array_size in sorted({size, min(size, MAX_ARRAY_SIZE)}, reverse=True) if size <= NUM_CELLS[1] else ():
                measured = [measure_submitit(cluster, size, array_size) for _ in repeats]
                plain.append(fastest(measured))
                if "error" not in plain[-1]:
                    keys = ("submit_seconds", "sbatch_calls", "files")
                    plain[-1]["ratios"] = {key: plain[-1][key] / rows[-1][key] for key in keys}
    return {"benchmark": "submit_time", "rows": rows, "submitit": plain}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--most-cells", type=int, default=NUM_CELLS[-1], help="leave larger sizes out")
    options = parser.parse_args()
    measured = run(options.most_cells)
    if options.json:
        print(json.dumps(measured, indent=2))
        return
    print(
        f"{'cells':>8} {'packing':<15} {'plan s':>7} {'submit s':>8} {'again s':>7} {'status s':>8} {'sbatch':>6} "
        f"{'cells/batch':>11} {'files':>6} {'files/cell':>10}"
    )
    for row in measured["rows"]:
        print(
            f"{row['cells']:>8,} {row['packing']:<15} {row['plan_seconds']:>7.2f} {row['submit_seconds']:>8.2f} "
            f"{row['submit_again_seconds']:>7.2f} {row['status_seconds']:>8.2f} {row['sbatch_calls']:>6} "
            f"{row['cells_per_batch']:>11.1f} {row['files']:>6} {row['files_per_cell']:>10.4f}"
        )
    for row in measured["submitit"]:
        said = row.get("error") or ", ".join(
            f"{key} {row[key]:,.4g} ({ratio:.3g} times ours)" for key, ratio in row["ratios"].items()
        )
        print(f"submitit, {row['cells']:,} jobs in arrays of {row['array_size']:,}: {said}")


if __name__ == "__main__":
    main()
