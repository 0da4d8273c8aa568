"""Frontiers of checkpoints over one another, what post-training saves, and scores along the training."""

from __future__ import annotations

import pytest

from pipeline.models import CHECKPOINTS
from pipeline.report.checkpoints import REFERENCES, checkpoint_figures, last_of_stages, references_of
from pipeline.report.palette import STAGE_STYLES
from pipeline.report.reduction import factor_label, reduction_figure, savings
from pipeline.report.standing import families_of
from pipeline.report.tables import LeftOut
from pipeline.report.trajectory import best_scores, told_apart, trajectory_figures
from tests.report.samples import (
    Row,
    levels,
    marked,
    mixed_points,
    panels_of,
    paper_points,
    point,
    published,
    tables_of,
    texts,
)


def course() -> list[Row]:
    """Published programs of five checkpoints of one training run, with lengths that give round factors."""
    points = []
    for model, programs in {
        "smollm3-step0": [(512, 1.0)],
        "smollm3-stage1": [(512, 10.0), (2**20, 50.0)],
        "smollm3-stage2": [(512, 20.0), (2**15, 60.0)],
        "smollm3-stage3": [(512, 30.0), (2**15, 90.0)],
        "smollm3": [(512, 55.0), (2**13, 80.0)],
    }.items():
        for size, score in programs:
            points.append(published(len(points), size, score, model=model))
    return points


def test_last_checkpoint_of_each_stage_is_bold_and_marked() -> None:
    axes = panels_of(checkpoint_figures(tables_of(course()))[""])[0]
    lines = {part.get_alpha(): 0 for part in levels(axes)}
    for part in levels(axes):
        lines[part.get_alpha()] += 1
    assert lines == {0.55: 2, 1.0: 3}
    for stage, expected in (("random", [512]), ("pre-training", [512, 2**15]), ("post-training", [512, 2**13])):
        (line,) = marked(axes, color=STAGE_STYLES[stage].color)
        assert list(line.get_xdata()) == expected
    said = texts(checkpoint_figures(tables_of(course()))[""])
    assert {"random: smollm3-step0", "pre-training: smollm3-stage3", "post-training: smollm3"} <= set(said)


def test_reference_lengths_are_labelled_ticks_of_the_axis() -> None:
    figure = checkpoint_figures(tables_of(course()))[""]
    axes = panels_of(figure)[0]
    (top,) = axes.child_axes
    expected = {reference.label: reference.length_bytes for reference in REFERENCES}
    expected["the model\nitself"] = 2 * CHECKPOINTS["smollm3"].parameters
    labels = [label.get_text() for label in top.get_xticklabels()]
    assert dict(zip(labels, top.get_xticks(), strict=True)) == expected
    assert {line for label in expected for line in label.split("\n")} <= set(texts(figure))
    low, high = axes.get_xlim()
    assert low < min(expected.values()) and max(expected.values()) < high
    assert all(reference.source for reference in REFERENCES)


def test_model_of_unknown_size_has_no_length_of_its_own() -> None:
    family = families_of(["./mine", "./mine@random-1"])["./mine"]
    assert references_of(family) == list(REFERENCES)
    assert [it.model for it in last_of_stages(family).values()] == ["./mine@random-1", "./mine"]


def test_savings_are_the_known_ones() -> None:
    found = {row.reference.model: row for row in savings(tables_of(course()))}
    assert {name: (row.target, row.factor) for name, row in found.items()} == {
        "smollm3-stage1": (50.0, 2048.0),
        "smollm3-stage2": (60.0, 4.0),
        "smollm3-stage3": (90.0, None),
    }
    assert {row.model.model for row in found.values()} == {"smollm3"}
    assert [factor_label(row) for row in found.values()] == ["2,050× (50.0)", "4× (60.0)", "not reached (90.0)"]


def test_dumbbells_reach_from_one_length_to_the_other() -> None:
    axes = panels_of(reduction_figure(tables_of(course())))[0]
    bars = [line for line in axes.lines if line.get_marker() in ("None", None) and len(line.get_xdata()) == 2]
    assert [list(line.get_xdata()) for line in bars] == [[512, 2**20], [2**13, 2**15]]
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"smollm3-stage{number}" for number in (1, 2, 3)]
    assert {"2,050× (50.0)", "not reached (90.0)"} <= set(texts(reduction_figure(tables_of(course()))))


def test_ours_and_the_published_are_compared_among_themselves() -> None:
    found = savings(tables_of(mixed_points()))
    assert {(row.task, row.is_imported) for row in found} == {
        (task, imported) for task in ("sums", "words") for imported in (True, False)
    }
    for row in found:
        theirs = 370 * 8**5
        assert row.reference_bytes == (theirs if row.is_imported else theirs / 2)
    rows = texts(reduction_figure(tables_of(mixed_points())))
    assert {"smollm3-stage1", "smollm3-stage1, published"} <= set(rows)


def test_lower_scores_may_be_better() -> None:
    points = [
        published(0, 1024, 5.0, model="smollm3-stage1", metric="errors", higher_is_better=False),
        published(1, 256, 4.0, model="smollm3", metric="errors", higher_is_better=False),
    ]
    (row,) = savings(tables_of(points))
    assert (row.target, row.factor) == (5.0, 4.0)


def test_scores_within_lengths_along_the_training() -> None:
    tables = tables_of(course())
    family = families_of(tables.models)["smollm3"]
    assert [it.short_name for it in family] == ["step0", "stage1", "stage2", "stage3", "smollm3"]
    scores = {
        size: [row and row["test_performance"] for row in best_scores(tables, "sums", family, size, imported=True)]
        for size in (256, 512, 2**13, 2**15, 2**20)
    }
    assert scores == {
        256: [None] * 5,
        512: [1.0, 10.0, 20.0, 30.0, 55.0],
        2**13: [1.0, 10.0, 20.0, 30.0, 80.0],
        2**15: [1.0, 10.0, 60.0, 90.0, 80.0],
        2**20: [1.0, 50.0, 60.0, 90.0, 80.0],
    }
    # At 4 KiB and at 256 KiB no checkpoint is better than at the length before.
    assert told_apart(tables, [family]) == [512, 2**15, 2**21]


def test_lines_of_a_trajectory() -> None:
    figure = trajectory_figures(tables_of(course()))[""]
    axes = panels_of(figure)[0]
    assert [list(line.get_ydata()) for line in marked(axes)] == [
        [1.0, 10.0, 20.0, 30.0, 55.0],
        [1.0, 10.0, 60.0, 90.0, 80.0],
        [1.0, 50.0, 60.0, 90.0, 80.0],
    ]
    said = texts(figure)
    assert {"up to 512 B", "up to 32 KiB", "up to 2 MiB", "random", "pre", "post", "stage2"} <= set(said)
    own = trajectory_figures(tables_of(mixed_points()))[""]
    assert any(axes.containers for axes in panels_of(own))
    assert not any(axes.containers for axes in panels_of(figure))


@pytest.mark.parametrize("draw", [checkpoint_figures, reduction_figure, trajectory_figures])
def test_what_a_study_lacks_is_said(draw: object) -> None:
    with pytest.raises(LeftOut, match="no model family has"):
        draw(tables_of([point(0, 500, 5.0), point(1, 500, 5.0, model="other")]))  # type: ignore[operator]


def test_every_family_of_the_paper_has_a_panel() -> None:
    tables = tables_of(paper_points())
    titles = {axes.get_title(loc="left") for axes in panels_of(checkpoint_figures(tables)[""])}
    assert titles == {"olmo3-7b", "smollm3", ""}
    assert {row.model.model for row in savings(tables)} == {"smollm3", "olmo3-7b-instruct-step400"}
