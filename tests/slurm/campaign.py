"""Fault campaign: a study on a real Slurm while workers, nodes, jobs, the controller and files are broken at random.

    python tests/slurm/campaign.py --folder DIR --model MODEL [--faults 200] [--seed 1] [--minutes 90]

Needs a running `slurm/testcluster` in SLURM_CONF. It makes an undisturbed study by `tcx run` first, then submits the
same grid, injects faults and submits again whatever is open. In the end it compares the two: every cell done, none
twice, equal digests of all programs, equal tables. Say the same command again to go on after a stop.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTCLUSTER = ROOT / "slurm" / "testcluster"
GRID = """
study: campaign
tasks: [chain-sum]
models: [{models}]
programs:
  - {{family: trivial, reply: [copy, constant]}}
  - {{family: baseline}}
  - {{family: urial}}
  - {{family: icl, shots: [1, 2, 3, 4]}}
  - {{family: subset, examples: [8, 12, 16], epochs: [1, 2]}}
  - {{family: lora, examples: 24, epochs: 8, bits: [3, 4, 5, 6]}}
seeds: [{seeds}]
evaluation: {{validation_items: 3, test_items: 4}}
resources: [{{checkpoint_minutes: 0}}]
"""
PARALLEL_TASKS = 2
NODES = ("1", "2")
BREAKABLE = Path("pipeline", "families", "common.py")
"""The module that is broken for a while after a submission."""
CHECKPOINT_SECONDS = 5.0
"""How long a fault waits for a checkpoint that it could damage."""


@dataclass
class Campaign:
    """One folder with a copy of the code, two studies and the record of what was broken."""

    folder: Path
    model: Path
    bases: int
    seeds: int
    chance: random.Random
    injected: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.code = self.folder / "code"
        if not self.code.is_dir():
            # Jobs must not see what becomes of the tree that they were submitted from; this one may be broken.
            shutil.copytree(ROOT / "pipeline", self.code / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
        # What an earlier campaign that was ended in the middle of a fault has left broken.
        if self.broken_code.exists():
            self.broken_code.rename(self.code / BREAKABLE)
        for node in NODES:
            _testcluster("node-return", node)
        models = ", ".join([str(self.model), *(f"{self.model}@random-{n}" for n in range(1, self.bases))])
        seeds = ", ".join(map(str, range(1, self.seeds + 1)))
        (self.folder / "grid.yaml").write_text(GRID.format(models=models, seeds=seeds))
        self.flag = self.folder / "sbatch-lies"
        fake = self.folder / "bin" / "sbatch"
        fake.parent.mkdir(exist_ok=True)
        real = shutil.which("sbatch")
        fake.write_text(
            f'#!/bin/sh\n{real} "$@"; status=$?\n'
            f'if [ -e {self.flag} ]; then rm {self.flag}; echo "sbatch: error: Socket timed out" >&2; exit 1; fi\n'
            "exit $status\n"
        )
        fake.chmod(0o755)

    @property
    def broken_code(self) -> Path:
        """The whole module while the one in the tree is broken."""
        return self.folder / "whole-module.py"

    @property
    def study(self) -> Path:
        return self.folder / "shaken" / "campaign"

    def tcx(self, *arguments: str, results: str = "shaken", check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", *arguments, "--results", results],
            cwd=self.folder,
            env=os.environ
            | {
                "PYTHONPATH": str(self.code),
                "TCX_CACHE": str(self.folder / "cache"),
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            raise RuntimeError(f"tcx {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done

    def submit(self, *options: str) -> dict[str, object]:
        settings = [f"array_parallelism={PARALLEL_TASKS}", "ideal_walltime_minutes=3"]
        given = [word for setting in settings for word in ("--set", setting)]
        done = self.tcx("submit", "grid.yaml", "--cluster", "testcluster", *given, "--json", *options)
        content: dict[str, object] = json.loads(done.stdout)
        return content

    def states(self) -> dict[str, int]:
        content = json.loads(self.tcx("status", "campaign", "--json").stdout)
        states: dict[str, int] = content["states"]
        return states

    def inject(self) -> str:
        """Breaks one thing at random; a fault that finds nothing to break counts as missed."""
        name = self.chance.choice(list(FAULTS))
        (self.injected if FAULTS[name](self) else self.missed)[name] += 1
        return name

    # what the faults need

    def running(self) -> list[str]:
        return _lines("squeue", "-h", "-r", "-t", "RUNNING", "-o", "%i %j", keep="tcx-")

    def queued(self) -> list[str]:
        return _lines("squeue", "-h", "-r", "-o", "%i %j", keep="tcx-")

    def processes(self, mark: str) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if mark.encode() in (path / "cmdline").read_bytes():
                    environment = (path / "environ").read_bytes()
                    if b"SLURM_JOB_ID=" in environment and str(self.folder).encode() in environment:
                        found.append(int(path.name))
            except OSError:
                continue
        return found

    def shards(self) -> list[Path]:
        return sorted(self.study.glob("shards/*/*.parquet"))


def _lines(*command: str, keep: str) -> list[str]:
    text = subprocess.run(command, capture_output=True, text=True).stdout
    return [line.split()[0] for line in text.splitlines() if keep in line]


def _run(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _testcluster(*command: str) -> bool:
    folder = Path(os.environ["SLURM_CONF"]).parents[1]
    return _run(sys.executable, str(TESTCLUSTER), *command, "--folder", str(folder))


def _kill(campaign: Campaign, mark: str) -> bool:
    found = campaign.processes(mark)
    if not found:
        return False
    try:
        os.kill(campaign.chance.choice(found), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def kill_worker(campaign: Campaign) -> bool:
    return _kill(campaign, "pipeline.worker")


def kill_job(campaign: Campaign) -> bool:
    return _kill(campaign, "pipeline.cluster.job")


def requeue(campaign: Campaign) -> bool:
    jobs = campaign.running()
    return bool(jobs) and _run("scontrol", "requeue", campaign.chance.choice(jobs))


def cancel(campaign: Campaign) -> bool:
    jobs = campaign.queued()
    return bool(jobs) and _run("scancel", campaign.chance.choice(jobs))


def fail_node(campaign: Campaign) -> bool:
    node = campaign.chance.choice(NODES)
    failed = _testcluster("node-fail", node)
    time.sleep(campaign.chance.uniform(1, 10))
    return _testcluster("node-return", node) and failed


def restart_controller(campaign: Campaign) -> bool:
    return _testcluster("controller-restart")


def shorten_time_limit(campaign: Campaign) -> bool:
    jobs = campaign.running()
    # The job ends when it has run for a minute in all; 0 would mean no limit.
    return bool(jobs) and _run("scontrol", "update", f"JobId={campaign.chance.choice(jobs)}", "TimeLimit=1")


def preempt(campaign: Campaign) -> bool:
    command = (
        "sbatch",
        "-p",
        "urgent",
        "-N",
        "2",
        "--gres=gpu:4",
        "--exclusive",
        "-o",
        "/dev/null",
        "--wrap",
        "sleep 4",
    )
    return bool(campaign.running()) and _run(*command)


def sbatch_lies(campaign: Campaign) -> bool:
    campaign.flag.touch()
    campaign.submit()
    was_called = not campaign.flag.exists()
    campaign.flag.unlink(missing_ok=True)
    return was_called


def _truncate(campaign: Campaign, path: Path) -> None:
    os.truncate(path, campaign.chance.randrange(path.stat().st_size))


def _flip_bit(campaign: Campaign, path: Path) -> None:
    with path.open("r+b") as file:
        place = campaign.chance.randrange(path.stat().st_size)
        file.seek(place)
        value = file.read(1)[0]
        file.seek(place)
        file.write(bytes([value ^ 1 << campaign.chance.randrange(8)]))


def truncate_shard(campaign: Campaign) -> bool:
    shards = campaign.shards()
    if shards:
        _truncate(campaign, campaign.chance.choice(shards))
    return bool(shards)


def flip_bit_of_shard(campaign: Campaign) -> bool:
    shards = campaign.shards()
    if shards:
        _flip_bit(campaign, campaign.chance.choice(shards))
    return bool(shards)


def _of_checkpoint(campaign: Campaign, damage: Callable[[Campaign, Path], None]) -> bool:
    """Kills all workers, then damages the newest checkpoint of a group: who goes on with the group meets the damage."""
    end = time.monotonic() + CHECKPOINT_SECONDS
    while time.monotonic() < end:
        if any(campaign.study.glob("checkpoints/*/[0-9]*/*")):
            for process in campaign.processes("pipeline.worker"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            newest = [max(group.glob("[0-9]*"), default=None) for group in campaign.study.glob("checkpoints/*")]
            files = sorted(path for folder in newest if folder is not None for path in folder.rglob("*.pt"))
            if files:
                damage(campaign, campaign.chance.choice(files))
                return True
        time.sleep(0.1)
    return False


def truncate_checkpoint(campaign: Campaign) -> bool:
    return _of_checkpoint(campaign, _truncate)


def flip_bit_of_checkpoint(campaign: Campaign) -> bool:
    return _of_checkpoint(campaign, _flip_bit)


def break_code(campaign: Campaign) -> bool:
    """The tree is broken for a while after the submission: what is queued must not notice."""
    path = campaign.code / BREAKABLE
    path.rename(campaign.broken_code)
    path.write_text("raise RuntimeError('edited after the submission')\n")
    time.sleep(campaign.chance.uniform(1, 5))
    campaign.broken_code.rename(path)
    return bool(campaign.running())


FAULTS: dict[str, Callable[[Campaign], bool]] = {
    fault.__name__: fault
    for fault in (
        kill_worker,
        kill_job,
        requeue,
        cancel,
        fail_node,
        restart_controller,
        shorten_time_limit,
        preempt,
        sbatch_lies,
        truncate_shard,
        flip_bit_of_shard,
        truncate_checkpoint,
        flip_bit_of_checkpoint,
        break_code,
    )
}


def digests(study: Path) -> dict[str, str]:
    """Digest of the program of each cell, from the columns of the shards that the reducer reads too."""
    from pipeline.shards import read_shard_columns
    from pipeline.store import Study

    return {
        path.stem: read_shard_columns(path, path.stem, ["cell_id", "program_sha256"])["program_sha256"][0].as_py()
        for path in Study(study).shard_files()
    }


def run(campaign: Campaign, num_faults: int, deadline: float, say: Callable[[str], None]) -> dict[str, object]:
    """Injects faults while the study runs, then lets it come to its end, and compares.

    Returns:
        What happened: counts of faults, cells, attempts, and the outcome of each comparison.
    """
    calm = campaign.folder / "calm" / "campaign"
    started = time.monotonic()
    if not (calm / "curves" / "frontier.csv").exists():
        campaign.tcx("run", "grid.yaml", results="calm")
    say(f"undisturbed study: {len(digests(calm))} cells in {time.monotonic() - started:.0f} s")
    campaign.submit()
    while sum(campaign.injected.values()) < num_faults and time.monotonic() < deadline:
        name = campaign.inject()
        say(f"{sum(campaign.injected.values())} faults, {sum(campaign.missed.values())} missed; last: {name}")
        time.sleep(campaign.chance.uniform(0, 4))
        if not campaign.queued():
            # Damage in the middle of a shard shows when it is read, which is when the study is reduced.
            campaign.tcx("reduce", "campaign", check=False)
            campaign.submit()
            campaign.submit("--retry", "failed")
            if campaign.states()["done"] == len(digests(calm)):
                # Nothing is left to disturb: begin anew with part of the work.
                for path in campaign.chance.sample(campaign.shards(), k=len(campaign.shards()) // 3):
                    path.unlink()
                campaign.submit()
    while time.monotonic() < deadline + 1800:
        if not campaign.queued():
            campaign.tcx("reduce", "campaign", check=False)
            states = campaign.states()
            say(f"states: { {name: count for name, count in states.items() if count} }")
            if states["done"] == sum(states.values()):
                break
            campaign.submit()
            campaign.submit("--retry", "failed")
        time.sleep(2)
    campaign.tcx("reduce", "campaign")
    points = (campaign.study / "curves" / "points.csv").read_text().splitlines()
    cells = [line.split(",")[0] for line in points[1:]]
    return {
        "faults": dict(campaign.injected),
        "missed": dict(campaign.missed),
        "cells": len(digests(calm)),
        "done": len(digests(campaign.study)),
        "none_twice": len(cells) == len(set(cells)),
        "same_digests": digests(campaign.study) == digests(calm),
        "same_tables": {
            name: (campaign.study / "curves" / f"{name}.csv").read_text()
            == (calm / "curves" / f"{name}.csv").read_text()
            for name in ("frontier", "complexity", "contrast")
        },
        "causes": dict(Counter(_attempts(campaign.study, "cause"))),
        "checkpoints": _checkpoint_lines(campaign.study),
        "seconds": round(time.monotonic() - started),
    }


def _attempts(study: Path, column: str) -> list[str]:
    from pipeline.store import Study

    values: list[str] = Study(study).read_attempts().column(column).to_pylist()
    return values


def _checkpoint_lines(study: Path) -> dict[str, int]:
    """How often jobs say that they saved a checkpoint, went on from one, or left one out for its damage."""
    text = "".join(path.read_text(errors="replace") for path in study.glob("logs/*.log"))
    return {what: text.count(what) for what in ("saved checkpoint", "went on from checkpoint", "it is damaged")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="holds everything")
    parser.add_argument("--model", type=Path, required=True, help="folder of a small model")
    parser.add_argument("--faults", type=int, default=200, help="faults to inject")
    parser.add_argument("--bases", type=int, default=2, help="base models: this one, and as many with random weights")
    parser.add_argument("--seeds", type=int, default=11, help="seeds of the grid: 14 cells a base each, and 4 more")
    parser.add_argument("--seed", type=int, default=1, help="of the faults")
    parser.add_argument("--minutes", type=float, default=90, help="time for injecting")
    options = parser.parse_args()
    campaign = Campaign(
        options.folder.resolve(), options.model.resolve(), options.bases, options.seeds, random.Random(options.seed)
    )
    record = options.folder / "faults.json"
    if record.exists():
        counts = json.loads(record.read_text())
        campaign.injected, campaign.missed = Counter(counts["injected"]), Counter(counts["missed"])
        campaign.chance.seed(f"{options.seed} {sum(campaign.injected.values())}")

    def say(text: str) -> None:
        record.write_text(json.dumps({"injected": campaign.injected, "missed": campaign.missed}))
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    result = run(campaign, options.faults, time.monotonic() + 60 * options.minutes, say)
    print(json.dumps(result, indent=1))
    tables: dict[str, bool] = result["same_tables"]  # type: ignore[assignment]
    held = [result["none_twice"], result["same_digests"], result["cells"] == result["done"], *tables.values()]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
