"""The published results against the grid of the paper: each is one cell, or is rejected for a named reason."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cell import Cell, canonical_json
from pipeline.grid import Grid, cells, find_grid, read_grid
from pipeline.imported import import_sah
from pipeline.imported.mapping import Mapped, mapped
from pipeline.imported.published import published_rows
from pipeline.make_data.layout import MANIFEST, TRAIN, VALIDATION
from pipeline.models.catalogue import CHECKPOINTS
from pipeline.reduce import Reduction, reduce_studies

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT.parent / "shared" / "published" / "sah-final-results.jsonl"
GRIDS = ("paper", "paper-one-model", "paper-one-task", "paper-pre-and-post")

needs_published = pytest.mark.skipif(not PUBLISHED.is_file(), reason="the published results are not on this machine")


@pytest.fixture
def made_ifeval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two made items: the version of the task `ifeval` is that of the data at hand."""
    folder = tmp_path / "made"
    folder.mkdir()
    item = {"prompt": "Say hello.", "response": "Hello.", "target": "Hello."}
    for name in (TRAIN, VALIDATION):
        pq.write_table(pa.Table.from_pylist([item]), folder / name)
    (folder / MANIFEST).write_text("{}")
    monkeypatch.setenv("TCX_IFEVAL_MADE", str(folder))


def grid_of(name: str) -> Grid:
    return read_grid(ROOT / "jobs" / f"{name}.yaml")


def agrees(cell: Cell, row: Mapped) -> bool:
    """Whether a cell has all the parameters that are known of a published row."""
    parameters: Mapping[str, object] = cell.parameters
    return all(parameters[name] == value for name, value in row.parameters.items())


@needs_published
def test_every_published_row_is_one_cell(made_ifeval: None) -> None:
    by_names: dict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in cells(grid_of("paper"), {}):
        by_names[cell.task, cell.model, cell.family].append(cell)
    numbers: Counter[int] = Counter()
    wrong = []
    for row in published_rows(PUBLISHED.read_text(), "published"):
        found = mapped(row, "published")
        number = sum(agrees(cell, found) for cell in by_names[found.task, row.model, found.family])
        numbers[number] += 1
        if number != 1:
            wrong.append((row.line, number))
    assert wrong == []
    assert numbers == {1: 1389}


@needs_published
def test_counts(tmp_path: Path) -> None:
    done = import_sah(PUBLISHED, "sah", results=str(tmp_path))
    assert (done.num_rows, done.num_new, done.num_present) == (1389, 1379, 0)
    assert Counter(row.reason for row in done.rejected) == {"zero-length-prompt": 10}
    rejected = Counter(row.label.rpartition(" / ")[0] for row in done.rejected)
    assert rejected == {
        "ifeval / olmo3-7b-step0": 6,
        "ifeval / smollm3-step0": 2,
        "gsm8k-metamath / olmo3-7b-step0": 2,
    }
    reduction = reduce_studies([done.study.folder])
    points = reduction.points.to_pylist()
    assert Counter(row["status"] for row in points) == {"imported": 1379}
    assert Counter(row["family"] for row in points) == {
        "subset": 810, "icl": 371, "baseline": 51, "urial": 51, "blora": 36, "reweight": 24, "lora": 18, "full": 12,
        "lm-head": 6,
    }  # fmt: skip
    assert Counter(row["task"] for row in points) == {"flores-en-fr": 554, "gsm8k-metamath": 421, "ifeval": 404}
    assert {row["model"] for row in points} <= set(CHECKPOINTS)
    texts = json.dumps([{name: str(value) for name, value in row.items()} for row in points])
    assert "/network" not in texts and "scratch" not in texts
    check_frontier(reduction)


def check_frontier(reduction: Reduction) -> None:
    """Published frontiers as others have read them off the same rows, lengths in bits with the scripts."""
    frontier: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    for row in reduction.frontier.to_pylist():
        if row["scope"] == "all":
            frontier[row["task"], row["model"]].append((row["program_length_bits"], round(row["test_performance"], 1)))
    mathematics = frontier["gsm8k-metamath", "smollm3-stage1"]
    assert mathematics[:4] == [(2952, 2.6), (4381, 8.1), (4520, 14.5), (4705, 14.6)]
    assert [score for _, score in mathematics[4:]] == [
        22.1, 26.2, 28.3, 29.9, 30.4, 33.2, 38.2, 41.9, 47.1, 51.7, 51.9, 53.0, 58.4,
    ]  # fmt: skip
    translation = frontier["flores-en-fr", "olmo3-7b-step1414k"]
    assert (translation[0], translation[-1][1]) == ((2952, 22.5), 38.7)


@pytest.mark.parametrize("name", GRIDS)
def test_shipped_grids_have_no_mistakes(name: str, made_ifeval: None) -> None:
    grid = read_grid(find_grid(str(ROOT / "jobs" / f"{name}.yaml")))
    assert grid.study == name
    planned = cells(grid, {})
    assert all(cell.model in CHECKPOINTS for cell in planned)


@pytest.mark.parametrize("name", GRIDS[1:])
def test_cuts_are_of_the_paper(name: str, made_ifeval: None) -> None:
    """Its cells are the same ones, evaluation included, so that results of both count together."""
    whole = {canonical_json(cell.to_json()) for cell in cells(grid_of("paper"), {})}
    assert {canonical_json(cell.to_json()) for cell in cells(grid_of(name), {})} <= whole
