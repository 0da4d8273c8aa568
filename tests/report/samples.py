"""Studies to draw, and what is really drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from pipeline.models import CHECKPOINTS
from pipeline.reduce.curves import FRONTIER, build_curves, frontier_rows
from pipeline.reduce.points import POINTS
from pipeline.report.style import arrange, house_style
from pipeline.report.tables import Tables
from pipeline.store import Study

Row = dict[str, Any]

VIEWS = {
    "trivial": "floor",
    "baseline": "inference",
    "urial": "inference",
    "icl": "inference",
    "subset": "data",
    "lora": "parametric",
    "blora": "parametric",
    "reweight": "combined",
}


def point(number: int, length_bytes: float | None, score: float | None, **changes: Any) -> Row:
    """A row of the table `points`."""
    row: Row = {field.name: None for field in POINTS}
    row |= {"cell_id": f"{number:064x}", "program_sha256": f"{number:064x}", "task": "sums", "model": "tiny"}
    row |= {"family": "icl", "status": "ok", "select": "validation", "is_floor": False, "metric": "accuracy"}
    row |= {"higher_is_better": True, "validation_performance": score, "test_performance": score}
    if length_bytes is not None and score is not None:
        row |= {"program_length_bits": int(8 * length_bytes)}
        row |= {"test_low": 0.9 * score, "test_high": min(100, 1.1 * score)}
    row |= changes
    return row | {"view": changes.get("view", VIEWS.get(row["family"], "home-made"))}


def published(number: int, length_bytes: float, score: float, **changes: Any) -> Row:
    """A row of the table `points` that others published."""
    theirs = {"status": "imported", "select": "test", "validation_performance": None, "program_sha256": None}
    return point(number, length_bytes, score, **theirs, **{"test_low": None, "test_high": None, **changes})


def rich_points() -> list[Row]:
    """Two tasks, two models of which one is a twin with random weights, five families, two seeds."""
    points = [
        point(0, 300, 4.0, family="trivial", is_floor=True),
        point(1, 60_000, 4.0, model="tiny@random-1", family="lora"),
    ]
    for seed in (1, 2):
        for step, family in enumerate(("icl", "subset", "lora", "home-made")):
            number = 10 * seed + step
            points.append(point(number, 900 * 4**step, 15.0 * (step + 1) + seed, family=family, seed=seed))
    points.append(point(90, 2000, 0.3, task="en/fr", metric="bleu"))
    return points


def paper_points(
    tasks: Sequence[tuple[str, str]] = (("sums", "accuracy"), ("words", "instructions-loose")),
) -> list[Row]:
    """Published programs of every checkpoint of the catalogue; the later the checkpoint, the better."""
    points = []
    for task, metric in tasks:
        for checkpoint in CHECKPOINTS.values():
            for step, family in enumerate(("baseline", "icl", "subset", "reweight", "blora", "lora")):
                score = 2.0 + 8 * checkpoint.order + step
                size = 370 * 8**step
                place = {"task": task, "metric": metric, "model": checkpoint.alias, "family": family}
                points.append(published(len(points), size, score, **place))
    return points


def mixed_points() -> list[Row]:
    """Published programs of three checkpoints of one training run, and ours of the same, half as long."""
    theirs = [row for row in paper_points() if row["model"] in ("smollm3-step0", "smollm3-stage1", "smollm3")]
    ours = [
        point(
            1000 + number,
            row["program_length_bits"] / 16,
            row["test_performance"],
            **{name: row[name] for name in ("task", "metric", "model", "family")},
        )
        for number, row in enumerate(theirs)
    ]
    floors = [
        point(2000, 150, 1.0, family="trivial", is_floor=True, model="smollm3"),
        point(2001, 150, 1.0, family="trivial", is_floor=True, model="smollm3", task="words"),
    ]
    return [*theirs, *ours, *floors]


def tables_of(points: Sequence[Row]) -> Tables:
    return Tables(points=list(points), frontier=frontier_rows(build_curves(points, "validation")))


def write_study(folder: Path, points: Sequence[Row]) -> Study:
    study = Study(folder)
    frontier = frontier_rows(build_curves(points, "validation"))
    study.write_table("points", pa.Table.from_pylist(list(points), schema=POINTS))
    study.write_table("frontier", pa.Table.from_pylist(frontier, schema=FRONTIER))
    return study


class _Recorder(RendererAgg):
    """Draws, and keeps every line of text with its box."""

    def __init__(self, figure: Figure) -> None:
        width, height = figure.bbox.size
        super().__init__(width, height, figure.dpi)
        self.texts: list[tuple[str, Bbox]] = []

    def draw_text(
        self, gc: Any, x: Any, y: Any, s: Any, prop: Any, angle: Any, ismath: Any = False, mtext: Any = None
    ) -> None:
        super().draw_text(gc, x, y, s, prop, angle, ismath=ismath, mtext=mtext)
        width, height, descent = self.get_text_width_height_descent(s, prop, ismath)
        # The renderer counts y from above.
        base = self.height - y
        boxes = {
            0: Bbox.from_bounds(x, base - descent, width, height),
            90: Bbox.from_bounds(x - height + descent, base, height, width),
        }
        self.texts.append((s, boxes[round(angle)]))


def drawn_texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every line of text that is drawn, with its box in pixels."""
    with house_style():
        arrange(figure)
        recorder = _Recorder(figure)
        figure.draw(recorder)
    return recorder.texts


def texts(figure: Figure) -> list[str]:
    return [text for text, _ in drawn_texts(figure)]


def assert_readable(figure: Figure) -> None:
    """No text lies on another one or leaves the figure; no legend lies on a panel, and no panel on another one."""
    drawn = drawn_texts(figure)
    assert drawn
    width, height = figure.bbox.size
    for text, box in drawn:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, f"{text!r} is cut off"
    for (text, box), (other, other_box) in combinations(drawn, 2):
        assert not _meet(box, other_box), f"{text!r} lies on {other!r}"
    panels = [axes.get_window_extent() for axes in panels_of(figure)]
    for one, two in combinations(panels, 2):
        assert not _meet(one, two), "a panel lies on another one"
    for legend in figure.findobj(Legend):
        for panel in panels:
            assert not _meet(legend.get_window_extent(), panel), "a legend lies on a panel"


def panels_of(figure: Figure) -> list[Axes]:
    """Axes with data; the one that only holds a legend is left out."""
    return [axes for axes in figure.axes if axes.axison]


def panel(figure: Figure, *, title: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def marked(axes: Axes, *, color: str | None = None, hollow: bool | None = None, alpha: float = 1.0) -> list[Line2D]:
    """Lines with markers in a panel, by outline, filling and how pale they are."""
    return [
        line
        for line in axes.lines
        if line.get_marker() not in ("None", None, "")
        and len(line.get_xdata())
        and (color is None or color in (line.get_markeredgecolor(), line.get_markerfacecolor()))
        and (hollow is None or (line.get_markerfacecolor() == "white") == hollow)
        and (line.get_alpha() or 1.0) == alpha
    ]


def levels(axes: Axes) -> list[LineCollection]:
    """The level parts of frontiers in a panel."""
    return [
        part
        for part in axes.collections
        if isinstance(part, LineCollection)
        and part.get_segments()
        and all(len(line) == 2 and line[0][1] == line[1][1] for line in part.get_segments())
    ]


def _meet(one: Bbox, two: Bbox) -> bool:
    slack = 0.5
    return bool(
        one.x0 + slack < two.x1 and two.x0 + slack < one.x1 and one.y0 + slack < two.y1 and two.y0 + slack < one.y1
    )
