"""From a grid file to verified programs and curves, through the commands, on a tiny model."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import catalog
from pipeline.cell import Evaluation
from pipeline.errors import ProgramError
from pipeline.evaluate import items_of
from pipeline.program_file import unpack
from pipeline.runner import Runner
from pipeline.runner.items import read_outputs, write_inputs
from pipeline.runner.reference_machine import build_view
from pipeline.shards import read_shard
from pipeline.store import Study
from pipeline.verdicts import keep_verdicts, read_verdicts

GRID = """
study: tiny
tasks: [chain-sum]
models: [{model}, {model}@random-1]
programs:
  - {{family: trivial, reply: [copy, constant]}}
  - {{family: baseline}}
  - {{family: urial}}
  - {{family: icl, shots: [1, 3]}}
  - {{family: icl, budgets: [1250B, 200B]}}
  - {{family: sampled, shots: 2, samples: 3, answers: [vote, mbr]}}
  - {{family: prompt-search, candidates: 2, shots: 1}}
  - {{family: subset, examples: 12, epochs: [1, 2]}}
  - {{family: subset, budgets: [1700B]}}
  - {{family: plain-subset, examples: 3, epochs: 2}}
  - {{family: taught, shown: 1, examples: 12, epochs: 2}}
  - {{family: lora, examples: 8, epochs: 1, bits: 4}}
  - {{family: lora, examples: 8, epochs: 1, budgets: [2KiB]}}
  - {{family: lora, examples: 8, epochs: 1, bits: 16}}
  - {{family: blora, examples: 16, epochs: 2, gate_lr: 1.0, quantisation_penalty: 0.1}}
  - {{family: tuner, examples: 8, epochs: 1, shots: 1, numbers: 500, budgets: [2KiB]}}
  - {{family: gains, examples: 8, epochs: 1, numbers: 100, budgets: [1KiB]}}
  - {{family: scales, examples: 8, epochs: 1, numbers: 200, budgets: [1KiB]}}
  - {{family: lm-head, examples: 8, epochs: 1, bits: 3}}
  - {{family: full, examples: 8, epochs: 1, budgets: [16KiB]}}
  - {{family: subset, examples: 12, epochs: 1, weights: all, lr: 1e-4}}
  - {{family: reweight, updates: 2, examples: 16, epochs: 1, bits: 4}}
exclude:
  - model: "*@random-1"
    family: [trivial, urial, icl, sampled, prompt-search, plain-subset, taught]
  - model: "*@random-1"
    family: [lora, blora, tuner, gains, scales, lm-head, full, reweight]
  - model: "*@random-1"
    epochs: [2, 3]
{exclude}evaluation: {{validation_items: 3, test_items: 4}}
"""
FEW = """\
  - model: "*@random-1"
  - family: [trivial, baseline, urial, sampled, prompt-search, plain-subset, taught]
  - family: [lora, blora, gains, scales, lm-head]
"""
"""What a grid leaves out that is enough to be killed over and over."""
ALIKE = {"urial", "sampled", "prompt-search", "scales", "lm-head"}
"""Families whose decoders are those of `baseline`, `icl`, `gains` and `full` but for a few lines."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "grid.yaml").write_text(GRID.format(model=tiny_model, exclude=""))
    (folder / "few.yaml").write_text(GRID.format(model=tiny_model, exclude=FEW))
    return folder


def tcx(folder: Path, *arguments: str, results: str = "results") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments, "--results", results],
        cwd=folder,
        env=os.environ | {"TCX_CACHE": str(folder / "cache"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def study(workplace: Path) -> Study:
    tcx(workplace, "run", "grid.yaml", "--jobs", "2")
    return Study(workplace / "results" / "tiny")


@pytest.fixture(scope="module")
def rows(study: Study) -> list[dict[str, Any]]:
    return [read_shard(path, path.stem) for path in study.shard_files()]


def test_every_cell_has_a_shard_and_every_length_is_a_file(study: Study, rows: list[dict[str, Any]]) -> None:
    assert len(rows) == 27 + 3
    for row in rows:
        if row["status"] == "infeasible":
            assert (row["family"], row["budget_bytes"]) == ("icl", 200)
            continue
        content = study.program_path(row["program_sha256"]).read_bytes()
        assert 8 * len(content) == row["program_length_bits"]
        assert row["isolation"] == "kernel"
        if row["budget_bytes"]:
            assert len(content) <= row["budget_bytes"]


def test_real_bits_are_near_the_ideal(rows: list[dict[str, Any]]) -> None:
    coded = [row for row in rows if row["coded_bits"]]
    assert {row["family"] for row in coded} >= {"icl", "subset", "reweight"}
    for row in coded:
        assert row["nll_bits"] < row["coded_bits"] <= 1.01 * row["nll_bits"] + 64


def test_verify_runs_a_program_of_every_decoder_cold(workplace: Path, study: Study, rows: list[dict[str, Any]]) -> None:
    """Left out are families whose programs have the decoder of another one; `make matrix` verifies all."""
    made = {
        row["family"]: row["program_sha256"] for row in rows if row["status"] == "ok" and row["family"] not in ALIKE
    }
    paths = [str(study.program_path(digest)) for digest in made.values()]
    summary = json.loads(tcx(workplace, "verify", *paths, "--json").stdout)
    # Cells whose budgets do not bind may have one program: each is compared.
    cells = sum(row["program_sha256"] in made.values() for row in rows)
    assert (summary["verified"], summary["failed"]) == (cells, 0)
    assert len(paths) == 12


def test_verify_that_is_interrupted_keeps_what_it_found(workplace: Path, study: Study) -> None:
    copied = Study(workplace / "interrupted" / "tiny")
    shutil.copytree(study.folder, copied.folder, ignore=shutil.ignore_patterns(study.verdicts_path.name))
    verifying = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "verify", "tiny", "--results", "interrupted", "--jobs", "1"],
        cwd=workplace,
        env=os.environ | {"TCX_CACHE": str(workplace / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not read_verdicts(copied):
        assert verifying.poll() is None
        time.sleep(0.05)
    os.killpg(verifying.pid, signal.SIGINT)  # as a terminal does: programs that run get it, too
    _, told = verifying.communicate(timeout=60)
    assert verifying.returncode == 130
    assert "interrupted; what is done is kept" in told and "Traceback" not in told
    found = read_verdicts(copied)
    assert 0 < len(found) < len(list(copied.shard_files()))
    assert not any(problems for of_cell in found.values() for problems in of_cell.values())


def test_verify_tells_what_differs_and_of_another_machine(
    workplace: Path, study: Study, rows: list[dict[str, Any]]
) -> None:
    copying, constant = [row for row in rows if row["family"] == "trivial"]
    other = Study(workplace / "elsewhere" / "tiny")
    for row in (copying, constant):
        other.commit_program(study.program_path(row["program_sha256"]).read_bytes())
    changed = copying["test"] | {"predictions": ["7", *copying["test"]["predictions"][1:]]}
    marked = copying["test"] | {"predictions": ["a mark", *copying["test"]["predictions"][1:]]}
    made = {
        "differs": copying | {"test": changed, "machine_class": "a typewriter"},
        "same program": copying,
        "cut": constant,
        "no such model": constant | {"model_identity": "f" * 64},
        "damaged shard": copying | {"test": marked},
    }
    ids = {name: hashlib.sha256(name.encode()).hexdigest() for name in made}
    for name, row in made.items():
        assert other.commit_shard(row | {"cell_id": ids[name]})
    shard = other.shard_path(ids["damaged shard"])
    content = shard.read_bytes()
    assert b"a mark" in content
    shard.chmod(0o644)
    shard.write_bytes(content.replace(b"a mark", b"a bark"))
    program = other.program_path(constant["program_sha256"])
    program.chmod(0o644)
    program.write_bytes(program.read_bytes()[:-5])
    before = {ids[name]: {made[name]["program_sha256"]: []} for name in ("cut", "no such model", "damaged shard")}
    keep_verdicts(other, before)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "verify", "tiny", "--results", "elsewhere", "--json"],
        cwd=workplace,
        env=os.environ | {"TCX_CACHE": str(workplace / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["verified"], summary["failed"]) == (1, 4)
    verdicts = {one["cell_id"]: one for one in summary["programs"]}
    found = {name: (verdicts[ids[name]]["problems"], verdicts[ids[name]]["obstacles"]) for name in made}
    assert found["differs"][0][0] == "1 of 4 test outputs differ from the shard's"
    assert found["differs"][0][-1].startswith("it was made on a typewriter, this is ")
    assert found["same program"] == ([], [])
    assert f"the shard says {constant['program_length_bits']}" in found["cut"][0][0]
    assert "the program ended with" in found["cut"][0][-1] and not found["cut"][1]
    for name, why in (("no such model", "no base model of identity ffffffffffff"), ("damaged shard", "checksum")):
        problems, (obstacle,) = found[name]
        assert not problems and why in obstacle
    damaged = verdicts[ids["damaged shard"]]["program"]
    assert workplace / damaged == other.program_path(made["damaged shard"]["program_sha256"])
    # What says nothing of a program leaves what was found before.
    kept = read_verdicts(other)
    problems_of = {name: kept[cell_id][made[name]["program_sha256"]] for name, cell_id in ids.items()}
    assert problems_of == {
        "differs": found["differs"][0],
        "same program": [],
        "cut": found["cut"][0],
        "no such model": [],
        "damaged shard": [],
    }


def test_programs_run_by_plain_python_where_this_package_is_not(
    workplace: Path, study: Study, rows: list[dict[str, Any]], tiny_model: Path
) -> None:
    """A virtual environment with the packages of the reference machine, and the command that the README tells."""
    python = workplace / "bare" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", python.parents[1]], check=True)
    packages = python.parents[1] / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (packages / "reference.pth").write_text(f"{build_view(workplace / 'cache')}\n")
    assert subprocess.run([python, "-c", "import pipeline"], cwd=packages, capture_output=True).returncode == 1
    trained = [row for row in rows if row["status"] == "ok" and not row["model"].endswith("random-1")]
    items = items_of(catalog.task("chain-sum"), Evaluation(validation_items=3, test_items=4))
    inputs = [dict(example.input) for split in ("validation", "test") for example in items[split]]
    for family in ("icl", "lora"):
        row = next(row for row in trained if row["family"] == family)
        ids = write_inputs(workplace / "inputs.jsonl", inputs)
        with (workplace / "inputs.jsonl").open() as source, (workplace / "outputs.jsonl").open("w") as target:
            subprocess.run(
                [python, study.program_path(row["program_sha256"]), tiny_model],
                stdin=source,
                stdout=target,
                stderr=subprocess.DEVNULL,
                cwd=packages,
                check=True,
            )
        outputs = read_outputs(workplace / "outputs.jsonl", ids)
        assert list(outputs) == row["validation"]["predictions"] + row["test"]["predictions"]


def test_a_flipped_bit_and_a_foreign_base_are_refused(
    workplace: Path, study: Study, rows: list[dict[str, Any]], tiny_model: Path
) -> None:
    row = next(row for row in rows if row["family"] == "subset" and not row["model"].endswith("random-1"))
    content = bytearray(study.program_path(row["program_sha256"]).read_bytes())
    _, payload = unpack(bytes(content))
    foreign = next(
        facts.parent / "files"
        for facts in (workplace / "cache" / "models").glob("*/staged.json")
        if json.loads(facts.read_text())["random_seed"] == 1
    )
    with Runner(workplace / "cache", warm=True) as runner:
        with pytest.raises(ProgramError) as refused:
            runner.execute(bytes(content), foreign, [{"sum": "1 + 1"}], time_limit_seconds=120)
        assert refused.value.cause == "program-payload"
        content[len(payload) // 2] ^= 1
        with pytest.raises(ProgramError) as refused:
            runner.execute(bytes(content), tiny_model, [{"sum": "1 + 1"}], time_limit_seconds=120)
        assert refused.value.cause == "program-payload"


def test_curves_figures_show_and_status(workplace: Path, study: Study, rows: list[dict[str, Any]]) -> None:
    for name in ("points", "frontier", "complexity"):
        assert study.table_path(name, "csv").stat().st_size > 0
        assert study.table_path(name, "parquet").stat().st_size > 0
    assert study.figure_path("chain-sum", "svg").is_file()
    status = json.loads(tcx(workplace, "status", "tiny", "--json").stdout)
    assert status["states"]["done"] == len(rows)
    row = next(row for row in rows if row["family"] == "icl" and row["status"] == "ok")
    shown = json.loads(tcx(workplace, "show", row["cell_id"][:16], "--json").stdout)
    assert shown["program_length_bits"] == row["program_length_bits"]
    assert "Calculate:" in shown["source"]
    assert "Calculate:" in shown["payload_text"]


def test_a_second_run_redoes_nothing(workplace: Path, study: Study) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.shard_files()}
    tcx(workplace, "run", "grid.yaml")
    assert {path: path.stat().st_mtime_ns for path in study.shard_files()} == before


def test_a_killed_run_goes_on_and_gives_the_same_programs(workplace: Path, study: Study) -> None:
    other = Study(workplace / "killed" / "tiny")
    seen: dict[Path, int] = {}
    moments = random.Random(1)
    for _ in range(3):
        run = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "run", "few.yaml", "--results", "killed"],
            cwd=workplace,
            env=os.environ | {"TCX_CACHE": str(workplace / "cache")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(moments.uniform(3, 14))
        run.send_signal(signal.SIGKILL)
        run.wait()
        time.sleep(1)
        assert {path: path.stat().st_mtime_ns for path in seen} == seen
        seen = {path: path.stat().st_mtime_ns for path in other.shard_files()}
    tcx(workplace, "run", "few.yaml", results="killed")
    assert {path: path.stat().st_mtime_ns for path in seen} == seen

    def digests(found: Study) -> dict[str, str]:
        return {path.stem: read_shard(path, path.stem)["program_sha256"] for path in found.shard_files()}

    found, undisturbed = digests(other), digests(study)
    assert len(found) == 11
    assert found == {cell_id: undisturbed[cell_id] for cell_id in found}
