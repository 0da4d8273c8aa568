"""Figures: the files, what they say, and that they are the same on every run."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest

from pipeline.errors import UserError
from pipeline.reduce.curves import FRONTIER, build_curves, frontier_rows
from pipeline.reduce.points import POINTS
from pipeline.report import style
from pipeline.report.figures import draw_figures
from pipeline.report.style import FAMILY_MARKERS, FORMATS, family_markers, model_styles
from pipeline.store import Study

Row = dict[str, Any]


def point(number: int, length_bytes: int | None, score: float | None, **changes: Any) -> Row:
    """A row of the table `points`."""
    row: Row = {field.name: None for field in POINTS}
    row |= {"cell_id": f"{number:064x}", "program_sha256": f"{number:064x}", "task": "sums", "model": "tiny"}
    row |= {"family": "icl", "view": "inference", "select": "validation", "is_floor": False, "metric": "accuracy"}
    row |= {"higher_is_better": True, "validation_performance": score, "test_performance": score}
    if length_bytes is not None and score is not None:
        row |= {"program_length_bits": 8 * length_bytes, "test_low": 0.9 * score, "test_high": min(100, 1.1 * score)}
    return row | changes


def write_study(folder: Path, points: Sequence[Row]) -> Study:
    study = Study(folder)
    frontier = frontier_rows(build_curves(points, "validation"))
    study.write_table("points", pa.Table.from_pylist(list(points), schema=POINTS))
    study.write_table("frontier", pa.Table.from_pylist(frontier, schema=FRONTIER))
    return study


def rich_points() -> list[Row]:
    points = [
        point(0, 300, 4.0, family="trivial", view="floor", is_floor=True),
        point(1, 60_000, 4.0, model="tiny@random-1", family="lora", view="parametric"),
    ]
    for seed in (1, 2):
        for step, family in enumerate(("icl", "subset", "lora", "home-made")):
            number = 10 * seed + step
            points.append(point(number, 900 * 4**step, 15.0 * (step + 1) + seed, family=family, seed=seed))
    points.append(point(90, 2000, 0.3, task="en/fr", metric="bleu"))
    return points


def svg_text(study: Study, name: str) -> str:
    return study.figure_path(name, "svg").read_text(encoding="utf-8")


def test_files_and_labels(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", rich_points())
    paths = draw_figures(study)
    assert {path.name for path in paths} == {
        f"{name}.{suffix}" for name in ("sums", "en-fr", "overview") for suffix in FORMATS
    }
    assert set(paths) == set(study.figures.iterdir())
    for path in paths:
        start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[path.suffix[1:]]
        assert path.read_bytes().startswith(start)
    for name in ("sums", "en-fr", "overview"):
        ElementTree.fromstring(svg_text(study, name))
    text = svg_text(study, "sums")
    labels = ["sums", "program length", "test accuracy (%)", "1 KiB", "tiny", "tiny@random-1", "floor 4.0"]
    for label in [*labels, "home-made", "range of seeds", "95% over test items", "program length in bits"]:
        assert f"<!-- {label} -->" in text
    assert "<!-- test BLEU -->" in svg_text(study, "overview")


def test_drawn_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", rich_points())
    first = {path: path.read_bytes() for path in draw_figures(study)}
    assert first == {path: path.read_bytes() for path in draw_figures(study)}
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    assert today not in svg_text(study, "sums")


@pytest.mark.parametrize(
    "points",
    [
        [point(0, 500, 50.0)],
        [point(0, None, None, metric=None, higher_is_better=None)],
        [point(number, 300 * 2**number, 0.0) for number in range(5)],
        [point(number, 300 * 2**number, 0.01 * number, metric="bleu") for number in range(5)],
        [point(number, 400, 100.0, family=f"family {number}") for number in range(20)],
        [point(number, 300 * 2**number, 9.0 - number, metric="errors", higher_is_better=False) for number in range(5)],
        [point(number, 10**number, 5.0, select="test", test_low=None, test_high=None) for number in range(1, 11)],
    ],
    ids=["one point", "infeasible", "zeros", "tiny scores", "one length", "lower is better", "ten decades"],
)
def test_degenerate_studies(tmp_path: Path, points: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "FORMATS", ("svg",))
    study = write_study(tmp_path / "study", points)
    assert {path.name for path in draw_figures(study)} == {"sums.svg", "overview.svg"}
    ElementTree.fromstring(svg_text(study, "sums"))


def test_labels_of_degenerate_studies(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study", [point(0, 500, 5.0, metric="errors", higher_is_better=False, select="test")]
    )
    draw_figures(study)
    assert "test errors (lower is better), chosen on test" in svg_text(study, "sums")


def test_task_called_overview_keeps_its_own_file(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", [point(0, 500, 5.0, task="overview")])
    assert {path.stem for path in draw_figures(study)} == {"overview", "task-overview"}


def test_empty_study_has_no_figures(tmp_path: Path) -> None:
    assert draw_figures(write_study(tmp_path / "study", [])) == []


def test_unreduced_study(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tcx reduce"):
        draw_figures(Study(tmp_path / "study"))


def test_styles_do_not_depend_on_order() -> None:
    styles = model_styles(["b", "a@random-1", "a", "b"])
    assert styles == model_styles(["a", "a@random-1", "b"])
    assert styles["a@random-1"].is_twin and not styles["a"].is_twin
    assert len({(style.color, style.line) for style in styles.values()}) == 3


def test_families_have_markers_of_their_own() -> None:
    markers = family_markers(["zeta", "lora", "alpha", "trivial"])
    assert list(markers) == ["trivial", "lora", "alpha", "zeta"]
    assert markers["lora"] == FAMILY_MARKERS["lora"]
    assert len(set(markers.values())) == 4
