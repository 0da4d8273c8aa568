"""The wheel with the base dependencies and nothing else, as on the laptop of someone who has only shards."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from pipeline import schema
from pipeline.packing import pack
from pipeline.store import Study

from .reduce.conftest import plan_row, shard_row

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_PACKAGED = {"slurm/testcluster"}
"""Files beside the package's data that only a checkout has."""

RUN = """\
import json, sys
sys.path[:0] = sys.argv[1:3]
from pipeline.cli import app
statuses = []
for arguments in json.loads(sys.argv[3]):
    try:
        statuses.append(app(arguments, standalone_mode=False))
    except SystemExit as end:
        statuses.append(end.code)
heavy = {"torch", "transformers", "peft", "accelerate", "datasets"} & set(sys.modules)
print("STATUSES", json.dumps([statuses, sorted(heavy)]))
"""
NOTEBOOK = """\
import sys
sys.path[:0] = sys.argv[1:3]
import pipeline as tcx
study = tcx.read_study("elsewhere")
print(study, len(study.points()), len(study.items(study.points()["cell_id"][0])))
study.plot().figure.savefig("plot.png")
"""


def closure(requirements: Iterable[str]) -> list[Distribution]:
    """Installed distributions that these requirements need, each once."""
    found: dict[str, Distribution] = {}
    todo = [Requirement(line) for line in requirements]
    while todo:
        requirement = todo.pop()
        is_needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if is_needed and name not in found:
            found[name] = distribution(name)
            todo += [Requirement(line) for line in found[name].requires or ()]
    return list(found.values())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built from a copy of it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in ("pipeline", "jobs", "slurm"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    build = f"import setuptools.build_meta as backend; backend.build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def paths(wheel: Path) -> list[str]:
    """The unpacked wheel, and a folder with what its base dependencies need."""
    package, view = wheel.parent / "package", wheel.parent / "view"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(package)
    view.mkdir()
    for found in closure(PROJECT["dependencies"]):
        for name in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            (view / name).symlink_to(str(found.locate_file(name)))
    return [str(package), str(view)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shards and programs of a study, made elsewhere."""
    folder = tmp_path_factory.mktemp("laptop")
    study = Study(folder / "results" / "elsewhere")
    program = pack("pipeline.decoders.constant", {"REPLY": "1"})
    study.commit_program(program.content)
    parts = ("decoder", "payload", "container")
    bits = {f"{part}_bits": 8 * getattr(program, f"{part}_bytes") for part in parts}
    rows = [
        shard_row("floor", family="trivial", view="floor", length_bytes=len(program.content), validation=2, test=1)
        | {"program_sha256": program.sha256, **bits},
        shard_row("icl", length_bytes=300, validation=8, test=9),
        shard_row("subset", family="subset", view="data", length_bytes=500, validation=16, test=15),
    ]
    for row in rows:
        assert study.commit_shard(row)
    study.write_plan(schema.table_of([plan_row(row) | {"task_source": row["task"]} for row in rows], schema.PLAN))
    return folder


def process(paths: list[str], script: str, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the standard library and these paths only."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", script, *paths, *arguments],
        cwd=place,
        env=os.environ | {"MPLBACKEND": "Agg", "COLUMNS": "200", "TCX_CACHE": str(place / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


def run(paths: list[str], place: Path, *commands: list[str]) -> tuple[subprocess.CompletedProcess[str], list[Any]]:
    """Verbs of `tcx`, one after the other; their exit statuses."""
    done = process(paths, RUN, place, json.dumps(commands))
    assert "STATUSES" in done.stdout, done.stderr
    statuses, heavy = json.loads(done.stdout.rpartition("STATUSES")[2])
    assert heavy == []
    assert "Traceback" not in done.stderr
    return done, [status or 0 for status in statuses]


def test_the_wheel_holds_all_data(wheel: Path) -> None:
    """Whatever lies in the package and is no source: grids, profiles, the parts of the page."""
    names = {name.removeprefix("pipeline/") for name in zipfile.ZipFile(wheel).namelist()}
    package = ROOT / "pipeline"
    files = {
        f"{Path(folder).relative_to(package)}/{name}".removeprefix("./")
        for folder, _, found in os.walk(package, followlinks=True)
        for name in found
        if "__pycache__" not in folder
    }
    assert {"jobs/quickstart.yaml", "slurm/mila.yaml", "py.typed", "api.py"} <= files
    assert files - names == NOT_PACKAGED


def test_only_the_base_is_there(paths: list[str], place: Path) -> None:
    done = process(paths, "import sys; sys.path[:0] = sys.argv[1:3]; import pyarrow, torch", place)
    assert "No module named 'torch'" in done.stderr


def test_shards_become_curves_figures_and_a_page(paths: list[str], place: Path) -> None:
    study = Study(place / "results" / "elsewhere")
    program = next(study.programs.glob("*/*.pyz"))
    without_program = shard_row("icl")["cell_id"]
    done, statuses = run(
        paths,
        place,
        ["status", "elsewhere"],
        ["show", without_program],
        ["show", str(program)],
        ["reduce", "elsewhere"],
        ["report", "elsewhere"],
        ["validate", "quickstart"],
        ["profile", "mila"],
    )
    assert statuses == [0] * 7, done.stderr
    assert "is not there: shards came without programs" in done.stdout
    assert "print(" in done.stdout, "the decoder's source"
    assert "sums / tiny: frontier" in done.stdout
    assert "3 of 3 cells done" in done.stdout
    assert study.table_path("frontier", "csv").is_file()
    assert (study.figures / "sums.pdf").read_bytes().startswith(b"%PDF")
    page = study.page_path.read_text()
    assert page.startswith("<!doctype html>") and len(page) > 10**6, "the plotting library is inside"
    notebook = process(paths, NOTEBOOK, place)
    assert notebook.stdout.startswith("<study elsewhere: 3 cells, 1 tasks, 1 base models; "), notebook.stderr
    assert notebook.stdout.split()[-2:] == ["3", "40"]
    assert (place / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_what_needs_torch_says_so_once(paths: list[str], place: Path) -> None:
    done, statuses = run(paths, place, ["verify", "elsewhere"], ["run", "quickstart"])
    assert statuses == [2, 2]
    messages = done.stderr.splitlines()
    assert len(messages) == 2
    for message, purpose in zip(messages, ("executing programs", "running cells"), strict=True):
        assert message.startswith(f"tcx: {purpose} needs torch, transformers, peft, accelerate, constriction, which")
        assert "pip install -c constraints.txt '.[train]'" in message
