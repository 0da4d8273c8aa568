"""The files: which there are, what they say, and that they are the same on every run."""

from __future__ import annotations

import datetime
import io
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from pipeline.errors import UserError
from pipeline.report import style
from pipeline.report.figures import draw_figures
from pipeline.report.style import FORMATS
from pipeline.store import Study
from tests.report.samples import Row, mixed_points, paper_points, point, rich_points, write_study


def svg_text(study: Study, name: str) -> str:
    return study.figure_path(name, "svg").read_text(encoding="utf-8")


def drawn(study: Study) -> tuple[set[str], str]:
    """Names of the figures, and what was said."""
    said = io.StringIO()
    paths = draw_figures(study, Console(file=said, width=200))
    return {path.stem for path in paths}, said.getvalue()


def test_files_and_labels(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", rich_points())
    paths = draw_figures(study)
    names = ("sums", "en-fr", "overview", "families", "views", "checkpoints")
    assert {path.name for path in paths} == {f"{name}.{suffix}" for name in names for suffix in FORMATS}
    assert set(paths) == set(study.figures.iterdir())
    for path in paths:
        start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[path.suffix[1:]]
        assert path.read_bytes().startswith(start)
    for name in names:
        ElementTree.fromstring(svg_text(study, name))
    text = svg_text(study, "sums")
    labels = ["sums", "program length", "test accuracy (%)", "1 KiB", "10⁵", "tiny", "tiny@random-1", "floor 4.0"]
    for label in [*labels, "home-made", "range of seeds", "95% over test items", "program length in bits"]:
        assert f"<!-- {label} -->" in text
    assert "<!-- test BLEU -->" in svg_text(study, "overview")


def test_labels_are_drawn_as_they_are_and_have_files_of_their_own(tmp_path: Path) -> None:
    points = [
        point(number, 300, 4.0, task=task, model="./runs/$a_$b") for number, task in enumerate(("a/b", "a-b", "c"))
    ]
    study = write_study(tmp_path / "study", points)
    paths = draw_figures(study)
    assert len(set(paths)) == len(paths)
    names = {path.stem for path in paths if path.stem.startswith(("a-b", "c"))}
    assert len(names) == 3 and "c" in names and all(name == "c" or len(name) == len("a-b-123456") for name in names)
    assert "<!-- ./runs/$a_$b -->" in svg_text(study, "c")


def test_each_figure_left_out_is_said_once_and_why(tmp_path: Path) -> None:
    names, said = drawn(write_study(tmp_path / "study", rich_points()))
    assert "reduction" not in names and "trajectory" not in names
    assert said.splitlines() == [
        "figure reduction is left out: no model family has a post-trained checkpoint and one of pre- or mid-training "
        "on the same task",
        "figure trajectory is left out: no model family has 3 checkpoints whose order in training is known",
    ]


def test_nothing_is_left_out_of_a_study_that_has_it_all(tmp_path: Path) -> None:
    names, said = drawn(write_study(tmp_path / "study", mixed_points()))
    assert said == ""
    assert names == {"sums", "words", "overview", "families", "views", "checkpoints", "reduction", "trajectory"}


def test_many_models_have_a_page_for_each_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "FORMATS", ("svg",))
    names, _ = drawn(write_study(tmp_path / "study", paper_points()))
    pages = {f"{name}-{task}" for name in ("families", "views") for task in ("sums", "words")}
    assert names == {"sums", "words", "overview", "checkpoints", "reduction", "trajectory"} | pages


def test_drawn_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", mixed_points())
    first = {path: path.read_bytes() for path in draw_figures(study)}
    assert first == {path: path.read_bytes() for path in draw_figures(study)}
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    assert today not in svg_text(study, "sums")


def test_figures_that_are_not_drawn_any_more_go(tmp_path: Path) -> None:
    write_study(tmp_path / "study", mixed_points())
    draw_figures(Study(tmp_path / "study"))
    study = write_study(tmp_path / "study", [point(0, 300, 4.0, task="words")])
    (study.figures / "notes.md").write_text("mine")
    paths = draw_figures(study)
    assert {*study.figures.iterdir()} == {*paths, study.figures / "notes.md"}
    assert not study.figure_path("sums", "png").exists() and not study.figure_path("trajectory", "svg").exists()


def test_picture_is_large_enough_for_print(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", rich_points())
    draw_figures(study)
    header = study.figure_path("sums", "png").read_bytes()[16:24]
    assert int.from_bytes(header[:4], "big") == round(6.3 * 220)


@pytest.mark.parametrize(
    "points",
    [
        [point(0, 500, 50.0)],
        [point(number, 300 * 2**number, 0.0) for number in range(5)],
        [point(number, 300 * 2**number, 0.01 * number, metric="bleu") for number in range(5)],
        [point(number, 300 * 2**number, 9.0 - number, metric="errors", higher_is_better=False) for number in range(5)],
        [point(number, 10**number, 5.0, select="test", test_low=None, test_high=None) for number in range(1, 11)],
    ],
    ids=["one point", "zeros", "tiny scores", "lower is better", "ten decades"],
)
def test_degenerate_studies(tmp_path: Path, points: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "FORMATS", ("svg",))
    study = write_study(tmp_path / "study", points)
    names, _ = drawn(study)
    assert names == {"sums", "overview", "families", "views"}
    ElementTree.fromstring(svg_text(study, "sums"))


def test_task_without_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "FORMATS", ("svg",))
    nothing: dict[str, Any] = {"metric": None, "higher_is_better": None, "status": "infeasible"}
    study = write_study(tmp_path / "study", [point(0, None, None, **nothing)])
    names, said = drawn(study)
    assert names == {"sums"}
    assert "<!-- all cells are infeasible -->" in svg_text(study, "sums")
    assert "figure overview is left out: no task has a program" in said
    both = write_study(tmp_path / "both", [point(0, None, None, **nothing), point(1, 500, 5.0, task="words")])
    assert drawn(both)[0] == {"sums", "words", "overview", "families", "views"}
    assert "sums" not in svg_text(both, "overview")


def test_labels_of_degenerate_studies(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study", [point(0, 500, 5.0, metric="errors", higher_is_better=False, select="test")]
    )
    draw_figures(study)
    assert "test errors (lower is better), chosen on test" in svg_text(study, "sums")


@pytest.mark.parametrize("task", ["overview", "families", "views-sums"])
def test_task_called_like_a_figure_keeps_its_own_file(
    tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "FORMATS", ("svg",))
    names, _ = drawn(write_study(tmp_path / "study", [point(0, 500, 5.0, task=task)]))
    assert names == {f"task-{task}", "overview", "families", "views"}


def test_empty_study_has_no_figures(tmp_path: Path) -> None:
    assert draw_figures(write_study(tmp_path / "study", [])) == []


def test_unreduced_study(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tcx reduce"):
        draw_figures(Study(tmp_path / "study"))


def test_drawing_loads_no_torch(tmp_path: Path) -> None:
    write_study(tmp_path / "study", rich_points())
    script = (
        "import sys; from pathlib import Path; from pipeline.report.figures import draw_figures;"
        "from pipeline.store import Study; draw_figures(Study(Path(sys.argv[1])));"
        "print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "study")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
