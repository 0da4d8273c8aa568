"""One panel of a figure on axes that are given, with labels, limits and a legend of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from pipeline.errors import UserError, unknown_name
from pipeline.report.axes import add_bits_axis, set_length_axis, set_length_ticks, set_score_axis
from pipeline.report.breakdown import draw_families, draw_views
from pipeline.report.checkpoints import (
    draw_checkpoints,
    draw_references,
    earlier_handles,
    references_of,
    staged_families,
)
from pipeline.report.curves import common_handles, draw_floor
from pipeline.report.layout import score_label, score_range
from pipeline.report.palette import ModelStyle, model_groups, model_styles
from pipeline.report.reduction import draw_savings, row_places, saving_handles, savings
from pipeline.report.standing import Standing
from pipeline.report.style import fitted
from pipeline.report.tables import Row, Tables, size_bytes
from pipeline.report.tasks import draw_curves
from pipeline.report.trajectory import draw_trajectory, ordered_families, told_apart

Handles = list[Any]
"""Entries of a legend."""

_RIGHT = {"loc": "upper left", "bbox_to_anchor": (1.02, 1)}
_BELOW = {"loc": "upper left", "bbox_to_anchor": (0, -0.2)}
_TITLE_POINTS = 8.5


def curves_panel(axes: Axes, tables: Tables, task: str, models: Sequence[str]) -> Handles:
    """Every program and the frontier of each of some base models on one task.

    Args:
        axes: where to draw.
        tables: of the study; what else is in it fixes colours and markers.
        task: label of the task.
        models: labels of base models.

    Returns:
        Entries of a legend.

    Raises:
        UserError: no program, or more base models than one panel holds.
    """
    of_task = tables.only(task, models)
    programs = _programs(of_task, task)
    styles = _told_apart(tables.models, of_task.models)
    handles = draw_curves(axes, of_task, tables, task, styles)
    _set_lengths(axes, programs)
    add_bits_axis(axes)
    return handles


def families_panel(axes: Axes, tables: Tables, task: str, model: str) -> Handles:
    """Programs and frontier of one task and base model by program family; see `curves_panel`."""
    return _breakdown(axes, tables, task, model, draw_families)


def views_panel(axes: Axes, tables: Tables, task: str, model: str) -> Handles:
    """The frontier of one task and base model by view, over that of each view alone; see `curves_panel`."""
    return _breakdown(axes, tables, task, model, draw_views)


def checkpoints_panel(axes: Axes, tables: Tables, task: str, family: str | None) -> Handles:
    """Frontiers of the checkpoints of a model family on one task, beside familiar lengths.

    Args:
        axes: where to draw.
        tables: of the study.
        task: label of the task.
        family: name of the model family; None where the study has one only.

    Returns:
        Entries of a legend.

    Raises:
        LeftOut: no model family has checkpoints of two stages.
        UserError: no program, or no such model family.
    """
    checkpoints = _family(staged_families(tables), family)
    of_task = tables.only(task, [it.model for it in checkpoints])
    references = references_of(checkpoints)
    _set_scores(axes, of_task, task)
    _set_lengths(axes, of_task.programs(task), longest=max(it.length_bytes for it in references))
    draw_references(axes, references, inches=_inches(axes))
    stages = draw_checkpoints(axes, of_task, task, checkpoints)
    return [*stages, *earlier_handles([checkpoints]), *common_handles(of_task)]


def trajectory_panel(axes: Axes, tables: Tables, task: str, family: str | None) -> Handles:
    """Best test score within fixed lengths along the training of a model family; see `checkpoints_panel`."""
    checkpoints = _family(ordered_families(tables), family)
    of_task = tables.only(task, [it.model for it in checkpoints])
    _set_scores(axes, of_task, task)
    lengths = told_apart(of_task, [checkpoints])
    return [*draw_trajectory(axes, of_task, task, checkpoints, lengths), *common_handles(of_task)]


def reduction_panel(axes: Axes, tables: Tables, task: str) -> Handles:
    """Length that reaches the best score of earlier checkpoints on one task, before and after post-training.

    Raises:
        UserError: no model family has a post-trained checkpoint and one before it on this task.
    """
    of_task = tables.only(task)
    rows = savings(of_task)
    if not rows:
        raise UserError(
            f"no model family has a post-trained checkpoint and one of pre- or mid-training with programs of {task!r}"
        )
    sizes = [size for row in rows for size in (row.reference_bytes, row.model_bytes) if size is not None]
    set_length_axis(axes, min(sizes), max(sizes), inches=_inches(axes))
    axes.set_xlabel("program length")
    draw_savings(axes, rows, row_places(rows))
    return saving_handles(rows, of_task)


def finish(
    axes: Axes,
    handles: Handles,
    title: str,
    *,
    has_legend: bool,
    has_lengths: bool = True,
    has_notes: bool = False,
) -> None:
    """Give a panel a title, a legend, and as many labels on its axis of length as then fit.

    Args:
        axes: the panel.
        handles: what the panel returned.
        title: its middle is left out where it is wider than the panel.
        has_legend: whether to draw the legend: at the right, or below where rows are annotated at the right.
        has_lengths: whether x is the program length.
        has_notes: whether rows are annotated at the right.
    """
    _set_title(axes, title)
    if has_legend:
        axes.legend(handles=handles, frameon=False, handlelength=2.6, **(_BELOW if has_notes else _RIGHT))
    figure = axes.get_figure(root=True)
    assert figure is not None  # of axes that were not removed
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
    _set_title(axes, fitted(title, _TITLE_POINTS, _inches(axes), is_bold=True))
    if has_lengths:
        set_length_ticks(axes, inches=_inches(axes))


def _breakdown(axes: Axes, tables: Tables, task: str, model: str, draw: Any) -> Handles:
    programs = _programs(tables.only(task, [model]), task)
    of_task = tables.only(task)
    _set_scores(axes, of_task, task)
    _set_lengths(axes, programs)
    handles = draw(axes, of_task, task, model)
    draw_floor(axes, of_task.programs(task))
    return [*handles, *common_handles(of_task)]


def _programs(of_task: Tables, task: str) -> list[Row]:
    programs = of_task.programs(task)
    if not programs:
        raise UserError(f"no program to draw: all cells of task {task!r} and of the base models asked for have none")
    return programs


def _told_apart(all_models: Sequence[str], models: Sequence[str]) -> dict[str, ModelStyle]:
    """Styles of models: those of the figures, unless two of these look alike there."""
    groups = model_groups(models)
    if len(groups) > 1:
        listed = "; ".join(f"{name}: {', '.join(group)}" for name, group in groups.items())
        raise UserError(
            f"{len(models)} base models are too many for one panel, which holds those of one model family or five "
            f"trained ones; choose with model=[...] among {listed}"
        )
    styles = model_styles(all_models)
    if len({styles[model] for model in models}) < len(models):
        return model_styles(models)
    return styles


def _family(families: dict[str, list[Standing]], name: str | None) -> list[Standing]:
    if name is None:
        if len(families) > 1:
            raise UserError(f"the study has several model families: choose one with family=, of {', '.join(families)}")
        return next(iter(families.values()))
    if name not in families:
        raise UserError(unknown_name("model family", name, families))
    return families[name]


def _set_scores(axes: Axes, tables: Tables, task: str) -> None:
    programs = _programs(tables, task)
    low, high = score_range(tables, task)
    set_score_axis(axes, low, high, metric=programs[0]["metric"])
    axes.set_ylabel(score_label(tables, task))


def _set_lengths(axes: Axes, programs: Sequence[Row], *, longest: float = 0.0) -> None:
    sizes = [size_bytes(row) for row in programs]
    set_length_axis(axes, min(sizes), max(*sizes, longest), inches=_inches(axes))
    axes.set_xlabel("program length")


def _set_title(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=_TITLE_POINTS, fontweight="bold")


def _inches(axes: Axes) -> float:
    """Width of a panel."""
    return float(axes.get_window_extent().width / axes.figure.dpi)
