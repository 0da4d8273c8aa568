"""Cold start of `tcx --help` against the bare interpreter, in turn, in processes of their own.

    python benchmarks/help_time.py [--json]

The ratio is what the package and its command line add to `python -c pass`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

REPEATS = 9
COMMANDS = {"python": [sys.executable, "-c", "pass"], "tcx_help": [sys.executable, "-m", "pipeline.cli", "--help"]}


def wall_seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(REPEATS):
        for name, command in COMMANDS.items():
            seconds[name].append(wall_seconds(command))
    measured = {f"{name}_seconds": statistics.median(values) for name, values in seconds.items()}
    measured["ratio"] = measured["tcx_help_seconds"] / measured["python_seconds"]
    if as_json:
        print(json.dumps(measured))
    else:
        print(
            f"tcx --help {measured['tcx_help_seconds']:.2f} s, python -c pass {measured['python_seconds']:.3f} s: "
            f"{measured['ratio']:.1f} times"
        )


if __name__ == "__main__":
    main()
