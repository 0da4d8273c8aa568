"""What the panels by family and by view, and those of models, show."""

from __future__ import annotations

from collections import Counter

import numpy as np
from matplotlib.colors import to_hex

from pipeline.report.breakdown import family_figures, view_figures
from pipeline.report.curves import PUBLISHED, THIN
from pipeline.report.palette import FAMILY_STYLES, VIEW_STYLES
from pipeline.report.tables import is_imported
from pipeline.report.tasks import overview_figure, task_figure
from tests.report.samples import (
    levels,
    marked,
    mixed_points,
    panel,
    panels_of,
    paper_points,
    point,
    published,
    rich_points,
    tables_of,
    texts,
)


def small() -> list[dict[str, object]]:
    """Three programs of which two are on the frontier, and two published ones."""
    return [
        point(0, 500, 10.0, family="icl"),
        point(1, 1000, 5.0, family="icl"),
        point(2, 2000, 30.0, family="lora"),
        published(3, 400, 8.0, family="icl"),
        published(4, 3000, 40.0, family="subset"),
    ]


def test_every_program_is_a_pale_marker_of_its_family() -> None:
    axes = panels_of(family_figures(tables_of(small()))[""])[0]
    for family, hollow, expected in (
        ("icl", False, {(500.0, 10.0), (1000.0, 5.0)}),
        ("lora", False, {(2000.0, 30.0)}),
        ("icl", True, {(400.0, 8.0)}),
        ("subset", True, {(3000.0, 40.0)}),
    ):
        lines = marked(axes, color=FAMILY_STYLES[family].color, hollow=hollow, alpha=0.4)
        seen = {(x, y) for line in lines for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)}
        assert seen == expected
        assert {line.get_marker() for line in lines} == {FAMILY_STYLES[family].marker}


def test_frontiers_of_ours_and_of_the_published_are_two_lines() -> None:
    axes = panels_of(family_figures(tables_of(small()))[""])[0]
    theirs, ours = levels(axes)
    assert [line.tolist() for line in ours.get_segments()] == [
        [[500, 10], [2000, 10]],
        [[2000, 30], [2000, 30]],
    ]
    assert [line.tolist() for line in theirs.get_segments()] == [
        [[400, 8], [3000, 8]],
        [[3000, 40], [3000, 40]],
    ]
    assert np.isclose(theirs.get_linewidth()[0], THIN * ours.get_linewidth()[0])


def test_only_ours_have_intervals() -> None:
    axes = panels_of(family_figures(tables_of(small()))[""])[0]
    bars = [
        segment.tolist()
        for container in axes.containers
        for collection in container.lines[2]
        for segment in collection.get_segments()
    ]
    assert sorted(bars) == [[[500, 9], [500, 11]], [[2000, 27], [2000, 33]]]


def test_legend_names_the_published_only_where_there_are_any() -> None:
    lines = set(PUBLISHED.split("\n"))
    assert lines <= set(texts(family_figures(tables_of(small()))[""]))
    assert not lines & set(texts(family_figures(tables_of(rich_points()))[""]))


def test_levels_have_the_colour_and_the_dash_of_their_view() -> None:
    axes = panels_of(view_figures(tables_of(small()))[""])[0]
    bold = [part for part in levels(axes) if part.get_alpha() == 1.0]
    assert [[to_hex(color).upper() for color in part.get_colors()] for part in bold] == [
        [VIEW_STYLES["inference"].color, VIEW_STYLES["data"].color],
        [VIEW_STYLES["inference"].color, VIEW_STYLES["parametric"].color],
    ]
    solid, dashed = bold[0].get_linestyles()
    assert solid[1] is None and dashed[1] is not None
    # Each view alone, pale: inference and data of the published, inference and parametric of ours.
    assert len([part for part in levels(axes) if part.get_alpha() == 0.5]) == 4


def test_scores_and_lengths_are_at_the_same_place_in_all_panels_of_a_task() -> None:
    for figure in family_figures(tables_of(paper_points())).values():
        panels = panels_of(figure)
        assert len(panels) == 18 or len(panels) == 19
        assert len({axes.get_ylim() for axes in panels}) == len({axes.get_xlim() for axes in panels}) == 1


def test_few_models_stand_side_by_side_with_tasks_below_one_another() -> None:
    figures = family_figures(tables_of(mixed_points()))
    assert list(figures) == [""]
    panels = panels_of(figures[""])
    assert [axes.get_title(loc="left") for axes in panels] == ["smollm3-step0", "smollm3-stage1", "smollm3"] + [""] * 3
    assert [axes.get_ylabel().split("\n")[0] for axes in panels[::3]] == ["sums", "words"]
    assert texts(figures[""]).count("floor 1.0") == 2


def test_models_of_a_panel_are_told_apart_by_legend_and_line() -> None:
    figure = overview_figure(tables_of(paper_points()))
    assert {"smollm3", "olmo3-7b", "olmo3-32b", "smollm2-135m"} == {
        axes.get_title(loc="left") for axes in panels_of(figure)
    } - {""}
    lines = Counter(text for text in texts(figure))
    assert lines["olmo3-7b-instruct-step400"] == 1 and lines["smollm3-stage1"] == 1


def test_published_programs_are_hollow_in_the_figure_of_a_task() -> None:
    points = mixed_points()
    axes = task_figure(tables_of(points), "sums").axes[0]
    for imported in (True, False):
        expected = sum(
            is_imported(row) == imported and row["task"] == "sums" and row["model"] == "smollm3-stage1"
            for row in points
        )
        seen = sum(len(line.get_xdata()) for line in marked(axes, color="#0072B2", hollow=imported, alpha=0.4))
        assert seen == expected == 6


def test_band_of_seeds_and_floor_line() -> None:
    figure = task_figure(tables_of(rich_points()), "sums")
    assert {"range of seeds", "floor 4.0"} <= set(texts(figure))
    without = [row for row in rich_points() if row["seed"] != 2 and not row["is_floor"]]
    assert not {"range of seeds", "floor 4.0"} & set(texts(task_figure(tables_of(without), "sums")))
    assert panel(overview_figure(tables_of(rich_points())), title="sums").get_xlabel() == "program length"
