"""A figure a task, and an overview of all: every program, the frontier of each base model, intervals, floors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipeline.reduce.seeds import SEED_SCOPE
from pipeline.report.axes import add_bits_axis, set_length_axis, set_score_axis
from pipeline.report.curves import (
    common_handles,
    constant,
    draw_floor,
    draw_intervals,
    draw_members,
    draw_points,
    draw_seed_band,
    draw_steps,
    largest_bytes,
    line_handle,
    marker_handle,
)
from pipeline.report.layout import (
    MOST_ACROSS,
    Page,
    add_key_legend,
    add_legend,
    drawable,
    pages,
    score_label,
    score_range,
    set_axes,
)
from pipeline.report.palette import (
    NEUTRAL_COLOR,
    LineStyle,
    ModelStyle,
    family_styles,
    model_groups,
    model_styles,
)
from pipeline.report.style import fitted, house_style, text_inches
from pipeline.report.tables import ORIGINS, Row, Tables, is_imported, size_bytes

_TWIN_FACE = "#D8D8D8"
_INCHES = 6.3
_LABEL_INCHES = 2.2
_AROUND_INCHES = 1.7
"""What stands beside a panel, less the labels of its legend."""


def task_figure(tables: Tables, task: str) -> Figure:
    """Complexity curves of one task; side by side by model family where there are many models.

    Args:
        tables: of the study; other tasks only fix colours and markers.
        task: label of the task.
    """
    of_task = tables.only(task)
    groups = model_groups(tables.models)
    with house_style():
        if not of_task.programs(task):
            return _empty_figure(task)
        if len(groups) > 1:
            lines = max(len(group) for group in groups.values())
            page = pages(of_task, list(groups), height=2.3, across=min(MOST_ACROSS, len(groups)), lines_below=lines)[0]
            _draw_groups(page, of_task, tables, groups)
            return page.figure
        figure = Figure(figsize=(_INCHES, 3.5), layout="constrained")
        axes = figure.subplots()
        handles = draw_curves(axes, of_task, tables, task, model_styles(tables.models))
        figure.set_size_inches(_INCHES, max(3.5, 0.16 * len(handles) + 0.5))
        figure.legend(handles=handles, loc="outside right center", frameon=False, handlelength=2.6)
        inches = _INCHES - _AROUND_INCHES - max(text_inches(str(handle.get_label()), 7) for handle in handles)
        axes.set_title(fitted(task, 8.5, inches, is_bold=True), loc="left", fontweight="bold")
        sizes = [size_bytes(row) for row in of_task.programs(task)]
        set_length_axis(axes, min(sizes), max(sizes), inches=inches)
        add_bits_axis(axes)
    return figure


def draw_curves(
    axes: Axes, of_task: Tables, tables: Tables, task: str, styles: Mapping[str, ModelStyle]
) -> list[Line2D | Patch]:
    """Every program, the frontiers and the floor of one task, all but the axis of length.

    Args:
        axes: where to draw.
        of_task: the rows that are drawn, all of one task; at least one is a program.
        tables: of the study; they fix markers.
        task: label of the task.
        styles: of each base model.

    Returns:
        Entries of a legend.
    """
    axes.set_xlabel("program length")
    axes.set_ylabel(score_label(of_task, task))
    low, high = score_range(of_task, task)
    set_score_axis(axes, low, high, metric=of_task.programs(task)[0]["metric"])
    has_bands = _draw(axes, of_task, task, of_task.models, styles)
    draw_floor(axes, of_task.programs(task))
    return [*_model_handles(of_task, of_task.models, styles), *_handles(of_task, tables, has_bands)]


def overview_figure(tables: Tables) -> Figure:
    """All tasks that have a program: side by side, or tasks down and model families across where models are many.

    Raises:
        LeftOut: no task has a program.
    """
    left = drawable(tables)
    groups = model_groups(tables.models)
    lines = 0 if len(groups) == 1 else max(len(group) for group in groups.values())
    with house_style():
        across = max(len(groups), min(MOST_ACROSS, len(left.tasks)))
        page = pages(left, list(groups), height=1.8, across=across, lines_below=lines)[0]
        _draw_groups(page, left, tables, groups)
    return page.figure


def _draw_groups(page: Page, tables: Tables, all_tables: Tables, groups: Mapping[str, Sequence[str]]) -> None:
    styles = model_styles(all_tables.models)
    set_axes(page, tables)
    has_bands = False
    for (task, group), axes in page.panels.items():
        has_bands |= _draw(axes, tables, task, groups[group], styles)
        draw_floor(axes, tables.programs(task), is_named=page.names_floor(axes))
    handles = _handles(tables, all_tables, has_bands)
    if len(groups) == 1:
        handles = [*_model_handles(tables, tables.models, styles), *handles]
    else:
        for (_, group), axes in page.panels.items():
            if page.is_lowest(axes):
                add_key_legend(axes, _model_handles(tables, groups[group], styles))
    add_legend(page, handles)


def _draw(axes: Axes, tables: Tables, task: str, models: Iterable[str], styles: Mapping[str, ModelStyle]) -> bool:
    """Draw some models of a task; returns whether there are bands of seeds."""
    looks = family_styles([row["family"] for row in tables.points])
    has_bands = False
    for model in models:
        style = styles[model]
        programs = tables.programs(task, [model])
        # Twins with random weights first, so that trained models lie on top.
        base = 2 if style.is_twin else 4

        def style_of(row: Row, style: ModelStyle = style) -> LineStyle:
            return LineStyle(color=style.color, line=style.line, marker=looks[row["family"]].marker)

        for imported in ORIGINS:
            own = [row for row in programs if is_imported(row) == imported]
            members = tables.members(task, model, imported=imported)
            scopes = tables.scopes(task, model, imported=imported, prefix=SEED_SCOPE)
            curves = [tables.members(task, model, imported=imported, scope=scope) for scope in scopes]
            end = largest_bytes(own)
            has_bands |= draw_seed_band(axes, curves, color=style.color, end_bytes=end)
            draw_points(axes, own, style_of, zorder=base - 0.5)
            draw_steps(
                axes,
                members,
                style_of,
                end_bytes=end,
                width=1.1 if style.is_twin else 1.6,
                imported=imported,
                zorder=base,
            )
            draw_intervals(axes, members, constant(style.color), zorder=base)
            face_of = constant(_TWIN_FACE) if style.is_twin else None
            draw_members(axes, members, style_of, zorder=base + 1, face_of=face_of)
    return has_bands


def _model_handles(tables: Tables, models: Iterable[str], styles: Mapping[str, ModelStyle]) -> list[Line2D]:
    ordered = sorted(models, key=lambda model: styles[model].is_twin)
    return [
        line_handle(
            fitted(model, 7, _LABEL_INCHES),
            LineStyle(color=styles[model].color, line=styles[model].line),
            width=1.1 if styles[model].is_twin else 1.6,
            hollow=not tables.has_own,
        )
        for model in ordered
    ]


def _handles(tables: Tables, all_tables: Tables, has_bands: bool) -> list[Line2D | Patch]:
    families = {row["family"] for row in tables.points}
    markers = family_styles([row["family"] for row in all_tables.points])
    handles: list[Line2D | Patch] = [
        marker_handle(family, LineStyle(color=NEUTRAL_COLOR, marker=style.marker), hollow=not tables.has_own)
        for family, style in markers.items()
        if family in families
    ]
    return handles + common_handles(tables, has_bands=has_bands)


def _empty_figure(task: str) -> Figure:
    figure = Figure(figsize=(6.3, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title(fitted(task, 8.5, 6, is_bold=True), loc="left", fontweight="bold")
    axes.text(0.5, 0.5, "no program:\nall cells are infeasible", ha="center", transform=axes.transAxes)
    return figure
