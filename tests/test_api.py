"""The Python API, as a notebook uses it: frames with known numbers, plots that are those of the figures, messages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from matplotlib import pyplot

import pipeline as tcx
from pipeline.errors import UserError
from pipeline.reduce import reduce_studies
from pipeline.report.tasks import task_figure
from pipeline.store import Study

from .reduce.conftest import Row, correct, imported_row, shard_row
from .report.samples import drawn_texts, levels, marked

ROOT = Path(__file__).parent.parent
MODEL, TWIN = "smollm2-135m", "smollm2-135m@random-1"


def quickstart_rows() -> list[Row]:
    """Two tasks, a base model and its twin, four families; counts are of 20 items, 5 points each."""
    rows = []
    for task in ("chain-sum", "en-fr-software"):
        for model, factor in ((MODEL, 1), (TWIN, 0)):
            place = {"task": task, "model": model, "model_identity": str(factor + 1) * 64}
            for family, view, length, validation, test in (
                ("trivial", "floor", 100, 1, 1),
                ("icl", "inference", 300, 4, 5),
                ("subset", "data", 500, 12, 10),
                ("lora", "parametric", 4000, 16, 15),
            ):
                scores = {"validation": max(1, validation * factor), "test": max(1, test * factor)}
                name = f"{task} {model} {family}"
                parameters = '{"rank":4}' if family == "lora" else "{}"
                program = {"family": family, "view": view, "length_bytes": length, "parameters": parameters}
                rows.append(shard_row(name, **place, **program, **scores))
    place = {"task": "chain-sum", "model": MODEL, "model_identity": "2" * 64}
    return [*rows, shard_row("none", **place, status="infeasible", budget_bytes=64)]


def paper_rows() -> list[Row]:
    """Published programs of checkpoints of one training run, the later the better."""
    models = ("smollm3-step0", "smollm3-stage1", "smollm3-stage2", "smollm3")
    return [
        imported_row(f"{model} {size}", 8 * size, 5.0 + 9 * order + step, task="gsm8k-metamath", model=model)
        for order, model in enumerate(models)
        for step, size in enumerate((400, 3000, 90_000))
    ]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies `quickstart` and `sah`, with shards and programs, reduced."""
    folder = tmp_path_factory.mktemp("notebook") / "results"
    for name, rows in (("quickstart", quickstart_rows()), ("sah", paper_rows())):
        study = Study(folder / name)
        for row in rows:
            assert study.commit_shard(row)
        if name == "quickstart":
            study.commit_program(f"program of chain-sum {MODEL} lora".encode())
        reduce_studies([study.folder])
    return folder


@pytest.fixture
def study(results: Path) -> tcx.ReducedStudy:
    return tcx.read_study("quickstart", results=results)


@pytest.fixture
def paper(results: Path) -> tcx.ReducedStudy:
    return tcx.read_study(results / "sah")


@pytest.fixture(autouse=True)
def agg() -> Iterator[None]:
    """Plots without a screen, closed afterwards."""
    backend = matplotlib.get_backend()
    matplotlib.use("Agg")
    yield
    pyplot.close("all")
    matplotlib.use(backend)


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import pipeline; names = dir(pipeline); "
    code += "print(*(set(sys.modules) - before)); print(*names)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    modules, names = (line.split() for line in done.stdout.splitlines())
    assert {name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names} == {"pipeline"}
    assert {"read_study", "reduce_studies", "ReducedStudy"} <= set(names)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = tcx.no_such_name


def test_tables_need_neither_pandas_nor_matplotlib(results: Path) -> None:
    code = "import sys, pipeline; study = pipeline.read_study(sys.argv[1]); study.arrow('points'); repr(study); "
    code += "print({'pandas', 'matplotlib', 'torch', 'transformers'} & set(sys.modules))"
    command = [sys.executable, "-c", code, str(results / "quickstart")]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip() == "set()"


def test_names(study: tcx.ReducedStudy) -> None:
    assert study.tasks == ["chain-sum", "en-fr-software"]
    assert study.models == [TWIN, MODEL]
    assert {"all", "family:icl", "view:data"} <= set(study.scopes)
    assert {"points", "frontier", "complexity", "reduction"} <= set(study.tables)
    assert repr(study).startswith("<study quickstart: 17 cells, 2 tasks, 2 base models; ")
    assert study.completeness["num_ok"] == 16


def test_frames_have_the_numbers_and_types_of_the_tables(study: tcx.ReducedStudy) -> None:
    curve = study.frontier("chain-sum", MODEL)
    assert curve["program_length_bits"].tolist() == [800, 2400, 4000, 32000]
    assert curve["performance"].tolist() == [5.0, 20.0, 60.0, 80.0]
    assert curve["test_performance"].tolist() == [5.0, 25.0, 50.0, 75.0]
    points = study.points()
    assert len(points) == 17
    assert points["program_length_bits"].dtype == pd.Int64Dtype()
    assert points["program_length_bits"].isna().sum() == 1
    assert points["is_floor"].dtype == pd.BooleanDtype()
    assert set(study.frontier(model=TWIN)["model"]) == {TWIN}
    assert set(study.frontier(scope=["family:icl", "family:lora"])["scope"]) == {"family:icl", "family:lora"}
    assert set(study.frontier(scope=None)["scope"]) == set(study.scopes)
    assert len(study.table("points", task=["chain-sum"])) == 9
    assert study.arrow("points").num_rows == 17


def test_a_frame_may_be_changed(study: tcx.ReducedStudy) -> None:
    points = study.points()
    points["test_performance"] = -1.0
    assert (study.points()["test_performance"].dropna() >= 0).all()


def test_targets_of_ones_own_are_those_of_reduce(study: tcx.ReducedStudy, results: Path, tmp_path: Path) -> None:
    targets = [20, "50%", f"{MODEL}/subset"]
    asked = study.complexity(targets=targets, scope=None)
    reduced = tcx.reduce_studies("quickstart", targets=targets, out=tmp_path / "out", results=results)
    assert reduced.folder == tmp_path / "out"
    pd.testing.assert_frame_equal(asked, reduced.complexity(scope=None))
    of_model = asked.query("task == 'chain-sum' and model == @MODEL and scope == 'all'")
    # From the floor of 5 to the best score of 80, half of the way is 42.5.
    assert of_model["target_performance"].tolist() == [20.0, 42.5, 60.0]
    assert of_model["task_complexity_bits"].tolist() == [2400, 4000, 4000]
    assert study.complexity(targets="50%")["target_performance"].equals(
        study.complexity(targets=["50%"])["target_performance"]
    )
    assert set(study.complexity(targets=75)["target_performance"]) == {75.0}
    default = study.complexity("chain-sum", MODEL)
    assert default["target_performance"].iloc[-1] == 80.0


def test_sets_of_families_are_compared_as_by_reduce(results: Path, tmp_path: Path) -> None:
    study = tcx.reduce_studies("quickstart", dominance=["lora,subset/icl"], out=tmp_path / "out", results=results)
    rows = study.table("dominance", "chain-sum", MODEL)
    assert list(rows.loc[rows["programs"] == "lora,subset", "reference_programs"]) == ["icl"]
    with pytest.raises(UserError, match="two sets of program families"):
        tcx.reduce_studies("quickstart", dominance=["lora"], out=tmp_path / "out", results=results)


def test_scopes_without_programs(tmp_path: Path) -> None:
    barren = Study(tmp_path / "barren")
    barren.commit_shard(shard_row("too large", family="lora", status="infeasible", program_length_bits=None))
    study = tcx.reduce_studies(barren.folder)
    assert study.frontier().empty
    assert study.complexity().empty
    barren.commit_shard(shard_row("fits"))
    study = tcx.reduce_studies(barren.folder)
    assert study.complexity(scope="family:lora")["task_complexity_bits"].isna().all()


def test_items_and_program_of_a_cell(study: tcx.ReducedStudy, paper: tcx.ReducedStudy) -> None:
    best = study.frontier("chain-sum", MODEL)["cell_id"].iloc[-1]
    items = study.items(best[:12])
    assert items.columns.tolist() == ["split", "item", "score", "prediction"]
    assert items.groupby("split").size().to_dict() == {"test": 20, "validation": 20}
    assert items["item"].tolist() == [*range(20)] * 2
    assert items.query("split == 'test'")["score"].unique().tolist() == correct(15, 20)["item_scores"][:1]
    assert study.program(best).read_bytes() == f"program of chain-sum {MODEL} lora".encode()
    infeasible = study.points().query("status == 'infeasible'")["cell_id"].iloc[0]
    published = paper.points()["cell_id"].iloc[0]
    other = study.frontier("chain-sum", MODEL)["cell_id"].iloc[0]
    for call, message in (
        (lambda: study.items("zz"), "no cell of this study has an id that starts with 'zz'"),
        (lambda: study.items(infeasible), "has no items: over budget"),
        (lambda: paper.items(published), "has no items: published"),
        (lambda: study.program(infeasible), "has no program file"),
        (lambda: study.program(other), "is not there: looked for"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_items_of_merged_folders(results: Path, tmp_path: Path) -> None:
    merged = tcx.reduce_studies("quickstart", "sah", out=tmp_path / "merged", results=results)
    cell = merged.frontier("chain-sum", MODEL)["cell_id"].iloc[-1]
    assert len(merged.items(cell)) == 40
    assert merged.program(cell).is_file()
    with pytest.raises(UserError, match="no shard of cell"):
        tcx.read_study(tmp_path / "merged").items(cell)


def test_items_are_those_of_the_program_that_counts(tmp_path: Path) -> None:
    folders = []
    for attempt, right in ((2, 5), (1, 15)):
        made = Study(tmp_path / f"made-{attempt}")
        made.commit_shard(shard_row("cell", attempt=attempt, test=right, program_sha256=str(attempt) * 64))
        folders.append(made.folder)
    merged = tcx.reduce_studies(*folders, out=tmp_path / "merged")
    assert merged.points()["test_performance"].tolist() == [75.0]
    cell = merged.points()["cell_id"].iloc[0]
    assert merged.items(cell).query("split == 'test'")["score"].unique().tolist() == [75.0]


def test_a_plot_is_the_figure(study: tcx.ReducedStudy) -> None:
    """One drawing code: markers, frontiers and texts of the axes are those of the figure of the task."""
    axes = study.plot("chain-sum")
    figure = task_figure(study._tables, "chain-sum")
    drawn, expected = axes, figure.axes[0]
    assert [line.get_xydata().tolist() for line in drawn.lines] == [
        line.get_xydata().tolist() for line in expected.lines
    ]
    for style in ("get_color", "get_marker", "get_markersize", "get_markeredgecolor"):
        assert [getattr(line, style)() for line in drawn.lines] == [getattr(line, style)() for line in expected.lines]
    segments = [[segment.tolist() for segment in part.get_segments()] for part in levels(drawn)]
    assert segments == [[segment.tolist() for segment in part.get_segments()] for part in levels(expected)]
    assert segments
    assert (drawn.get_xlim(), drawn.get_ylim()) == (expected.get_xlim(), expected.get_ylim())
    assert (drawn.get_ylabel(), drawn.get_title(loc="left")) == (expected.get_ylabel(), expected.get_title(loc="left"))
    entries = [text.get_text() for text in drawn.get_legend().get_texts()]
    assert entries == [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize(
    ("method", "label", "expected"),
    [
        ("plot_families", MODEL, {"lora", "frontier", "floor 5.0"}),
        ("plot_views", MODEL, {"parametric", "pale: that view alone", "floor 5.0"}),
        ("plot_checkpoints", "smollm3", {"post-training: smollm3", "BERT-base"}),
        ("plot_trajectory", "smollm3", {"up to 512 B", "stage1", "post"}),
    ],
)
def test_other_plots(
    study: tcx.ReducedStudy, paper: tcx.ReducedStudy, method: str, label: str, expected: set[str]
) -> None:
    place = (paper, "gsm8k-metamath") if label == "smollm3" else (study, "chain-sum")
    axes = getattr(place[0], method)(place[1], label)
    assert marked(axes)
    assert expected <= {text for text, _ in drawn_texts(axes.figure)}


def test_reduction_on_given_axes(paper: tcx.ReducedStudy) -> None:
    _, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4))
    assert paper.plot_reduction(ax=right) is right
    assert not left.has_data()
    # Each stage is as good at 90,000 bytes as the post-trained model at 400 or sooner.
    assert {"225× (16.0)", "225× (25.0)"} <= {text for text, _ in drawn_texts(right.figure)}
    assert "reaches the same" in right.get_legend().get_texts()[1].get_text()


def test_published_checkpoints_are_hollow_and_chosen(paper: tcx.ReducedStudy) -> None:
    axes = paper.plot(model=["smollm3-stage1", "smollm3"], legend=False)
    assert axes.get_legend() is None
    assert marked(axes, hollow=True) and not marked(axes, hollow=False)
    assert len(levels(axes)) == 2


def test_nothing_global_is_changed(study: tcx.ReducedStudy) -> None:
    with pyplot.rc_context({"font.size": 13, "axes.spines.right": True, "xtick.labelsize": 18}):
        before = dict(matplotlib.rcParams)
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 4))
        study.plot("chain-sum", ax=left, legend=False)
        study.plot("en-fr-software")
        study.plot_views("chain-sum", MODEL, ax=right)
        assert dict(matplotlib.rcParams) == before
        assert left.spines["right"].get_visible()
        assert left.xaxis.get_ticklabels()[0].get_fontsize() == 18
        figure.canvas.draw()
        boxes = [label.get_window_extent() for label in left.xaxis.get_ticklabels() if label.get_text()]
        assert len(boxes) > 1
        assert all(one.x1 < other.x0 for one, other in pairwise(boxes)), "labels overlap"


def test_messages(study: tcx.ReducedStudy, paper: tcx.ReducedStudy, results: Path, tmp_path: Path) -> None:
    Study(results / "fresh").commit_shard(shard_row("alone"))
    many = Study(tmp_path / "many")
    for name in "abcdefg":
        many.commit_shard(shard_row(name, model=f"base-{name}", model_identity=name * 64))
    crowded = tcx.reduce_studies(many.folder)
    for call, message in (
        (lambda: tcx.read_study("quickstar", results=results), "no study 'quickstar'.*did you mean quickstart"),
        (lambda: tcx.read_study("fresh", results=results), "has not been reduced.*tcx reduce"),
        (lambda: tcx.reduce_studies(), "no study folder given"),
        (lambda: study.frontier("chain-sun"), "unknown task 'chain-sun'; did you mean chain-sum"),
        (lambda: study.frontier(model=[MODEL, "smollm2"]), "unknown base model 'smollm2'; did you mean smollm2-135m"),
        (lambda: study.frontier(scope="family:lorra"), "unknown scope 'family:lorra'; did you mean family:lora"),
        (lambda: study.table("pints"), "unknown table 'pints'; did you mean points"),
        (lambda: study.table("points", scope="all"), "no column 'scope'"),
        (lambda: study.complexity(targets=["most"]), "target 'most'"),
        (lambda: study.plot(), "has 2 tasks: choose one with task=, of chain-sum, en-fr-software"),
        (lambda: study.plot_views("chain-sum"), "has 2 base models: choose one with model="),
        (lambda: study.plot_trajectory("chain-sum"), "cannot be drawn so: no model family has 3 checkpoints"),
        (lambda: study.plot_reduction("chain-sum"), "no model family has a post-trained checkpoint and one of"),
        (lambda: paper.plot_checkpoints(family="smollm4"), "unknown model family 'smollm4'; did you mean smollm3"),
        (lambda: crowded.plot("sums"), "7 base models are too many for one panel"),
    ):
        with pytest.raises(UserError, match=re.compile(message, re.DOTALL)):
            call()
    assert pyplot.get_fignums() == [], "a figure that was not drawn is left open"


def test_models_of_many_are_told_apart(tmp_path: Path) -> None:
    """Where all models of a study share a ramp of colours, a chosen few get colours of their own."""
    many = Study(tmp_path / "many")
    models = [f"base-{letter}" for letter in "abcdefg"]
    for model in models:
        many.commit_shard(shard_row(model, model=model, model_identity=model[-1] * 64))
    axes = tcx.reduce_studies(many.folder).plot(model=models[:3])
    looks = {(str(part.get_colors()), str(part.get_linestyle())) for part in levels(axes)}
    assert len(levels(axes)) == len(looks) == 3


def test_the_examples_of_the_pages_run(results: Path, tmp_path: Path) -> None:
    """Every Python block of README.md and docs/python.md, in one script, from a folder with the studies."""
    text = "".join((ROOT / name).read_text() for name in ("README.md", "docs/python.md"))
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 11
    (tmp_path / "results").symlink_to(results)
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "unknown task 'chain-sun'; did you mean chain-sum?" in done.stdout
    assert (tmp_path / "chain-sum.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "merged" / "curves" / "points.parquet").is_file()
