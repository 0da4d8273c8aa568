"""Every figure of every kind of study: nothing lies on anything else, nothing is cut off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from pipeline.imported import import_sah
from pipeline.reduce import reduce_studies
from pipeline.report.figures import FIGURES
from pipeline.report.tables import LeftOut, Tables
from pipeline.report.tasks import task_figure
from tests.report.samples import (
    Row,
    assert_readable,
    mixed_points,
    panels_of,
    paper_points,
    point,
    rich_points,
    tables_of,
)

PUBLISHED_FILE = Path(__file__).parents[2] / "../shared/published/sah-final-results.jsonl"
LONG = "a/folder/that/somebody/has/given/quite/a/long/name/to"


def many_tasks() -> list[Row]:
    return [row | {"task": f"task {number}"} for number in range(6) for row in rich_points() if row["task"] == "sums"]


def many_models() -> list[Row]:
    """Models that the catalogue does not know, each a family of its own."""
    return [row | {"model": f"model-{letter}"} for letter in "abcdefg" for row in rich_points()]


def long_names() -> list[Row]:
    return [row | {"task": f"{LONG}/{row['task']}.yaml", "model": f"./{LONG}/{row['model']}"} for row in rich_points()]


STUDIES = {
    "two models": rich_points,
    "published and ours": mixed_points,
    "every checkpoint": paper_points,
    "one checkpoint": lambda: [row for row in paper_points() if row["model"] == "smollm3-stage1"],
    "many tasks": many_tasks,
    "many models": many_models,
    "long names": long_names,
    "one program": lambda: [point(0, 500, 50.0)],
    "one length": lambda: [point(number, 400, 100.0, family=f"family {number}") for number in range(20)],
    "zeros": lambda: [point(number, 300 * 2**number, 0.0) for number in range(5)],
    "ten decades": lambda: [
        point(number, 10**number, 5.0, select="test", test_low=None, test_high=None) for number in range(1, 11)
    ],
}


def all_figures(tables: Tables) -> Mapping[str, Figure]:
    figures = {f"task {task}": task_figure(tables, task) for task in tables.tasks}
    for name, pages in FIGURES.items():
        try:
            figures |= {f"{name} {suffix}": figure for suffix, figure in pages(tables).items()}
        except LeftOut:
            continue
    return figures


@pytest.mark.parametrize("study", STUDIES)
def test_nothing_overlaps(study: str) -> None:
    figures = all_figures(tables_of(STUDIES[study]()))
    assert len(figures) >= 3
    for name, figure in figures.items():
        try:
            assert_readable(figure)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


def test_overlap_is_seen() -> None:
    figure = all_figures(tables_of(rich_points()))["task sums"]
    axes = panels_of(figure)[0]
    axes.text(0.5, 0.5, "one text", transform=axes.transAxes)
    assert_readable(figure)
    axes.text(0.52, 0.5, "another text", transform=axes.transAxes)
    with pytest.raises(AssertionError, match="lies on"):
        assert_readable(figure)


@pytest.mark.skipif(not PUBLISHED_FILE.exists(), reason="the published rows are not here")
def test_published_rows(tmp_path: Path) -> None:
    study = import_sah(PUBLISHED_FILE, "sah", results=str(tmp_path)).study
    reduction = reduce_studies([study.folder])
    tables = Tables(points=reduction.points.to_pylist(), frontier=reduction.frontier.to_pylist())
    figures = all_figures(tables)
    assert len(figures) == 13
    for name, figure in figures.items():
        try:
            assert_readable(figure)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
    drawn: dict[str, Any] = {name: len(panels_of(figure)) for name, figure in figures.items()}
    assert drawn["families ifeval"] == drawn["views gsm8k-metamath"] == 17
    assert drawn["overview "] == 9 and drawn["checkpoints "] == drawn["trajectory "] == 6 and drawn["reduction "] == 3
