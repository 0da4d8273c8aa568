"""What a frontier is made of: programs and frontier of each task and base model, by family and by view."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.report.curves import (
    common_handles,
    constant,
    draw_floor,
    draw_intervals,
    draw_members,
    draw_points,
    draw_steps,
    largest_bytes,
    line_handle,
    marker_handle,
)
from pipeline.report.layout import add_legend, drawable, pages, set_axes
from pipeline.report.palette import NEUTRAL_COLOR, SOLID, LineStyle, family_styles, view_styles
from pipeline.report.style import house_style
from pipeline.report.tables import ORIGINS, Row, Tables, is_imported

_VIEW_SCOPE = "view:"
_PALE = 0.5
_FRONTIER = LineStyle(color=NEUTRAL_COLOR, line=SOLID)


def family_figures(tables: Tables) -> dict[str, Figure]:
    """Every program and the frontier of each task and base model, coloured by program family.

    Returns:
        Suffix of the file name -> figure.

    Raises:
        LeftOut: no task has a program.
    """
    return _figures(drawable(tables), draw_families)


def view_figures(tables: Tables) -> dict[str, Figure]:
    """The frontier of each task and base model, coloured by view, over the frontier of each view alone.

    Returns:
        Suffix of the file name -> figure.

    Raises:
        LeftOut: no task has a program.
    """
    return _figures(drawable(tables), draw_views)


def draw_families(axes: Axes, tables: Tables, task: str, model: str) -> list[Line2D]:
    """Programs and frontier of one task and base model, coloured by program family.

    Args:
        axes: where to draw.
        tables: of the study; what else is in it fixes colours and markers.
        task: label of the task.
        model: label of the base model.

    Returns:
        Entries of a legend.
    """
    styles = family_styles([row["family"] for row in tables.points])

    def style_of(row: Row) -> LineStyle:
        return styles[row["family"]]

    for imported in ORIGINS:
        programs = [row for row in tables.programs(task, [model]) if is_imported(row) == imported]
        members = tables.members(task, model, imported=imported)
        draw_points(axes, programs, style_of)
        draw_steps(
            axes,
            members,
            constant(_FRONTIER),
            end_bytes=largest_bytes(programs),
            width=1.3,
            imported=imported,
            zorder=3,
        )
        draw_intervals(axes, members, lambda row: style_of(row).color, zorder=4)
        draw_members(axes, members, style_of, zorder=5, size=4.5)
    handles = [marker_handle(family, style, hollow=not tables.has_own) for family, style in styles.items()]
    return [*handles, line_handle("frontier", _FRONTIER, width=1.3, hollow=not tables.has_own)]


def draw_views(axes: Axes, tables: Tables, task: str, model: str) -> list[Line2D]:
    """The frontier of one task and base model, coloured by view, over the frontier of each view alone.

    Args:
        axes: where to draw.
        tables: of the study; what else is in it fixes colours.
        task: label of the task.
        model: label of the base model.

    Returns:
        Entries of a legend.
    """
    styles = view_styles(row["view"] for row in tables.points)

    def style_of(row: Row) -> LineStyle:
        return styles[row["view"]]

    for imported in ORIGINS:
        programs = [row for row in tables.programs(task, [model]) if is_imported(row) == imported]
        for scope in tables.scopes(task, model, imported=imported, prefix=_VIEW_SCOPE):
            view = scope.removeprefix(_VIEW_SCOPE)
            alone = tables.members(task, model, imported=imported, scope=scope)
            end = largest_bytes([row for row in programs if row["view"] == view])
            draw_steps(axes, alone, style_of, end_bytes=end, width=0.9, imported=imported, zorder=2, alpha=_PALE)
            draw_members(axes, alone, style_of, zorder=2.5, size=2.6, alpha=_PALE)
        members = tables.members(task, model, imported=imported)
        draw_steps(axes, members, style_of, end_bytes=largest_bytes(programs), width=2.0, imported=imported, zorder=3)
        draw_intervals(axes, members, lambda row: style_of(row).color, zorder=4)
        draw_members(axes, members, style_of, zorder=5, size=4)
    handles = [
        line_handle(view, style, width=2.0, marker=True, hollow=not tables.has_own) for view, style in styles.items()
    ]
    return [*handles, line_handle("pale: that view alone", _FRONTIER, width=0.9, alpha=_PALE)]


def _figures(tables: Tables, draw: Callable[[Axes, Tables, str, str], list[Line2D]]) -> dict[str, Figure]:
    figures = {}
    with house_style():
        for page in pages(tables, tables.models):
            set_axes(page, tables)
            for (task, model), axes in page.panels.items():
                handles = draw(axes, tables, task, model)
                draw_floor(axes, tables.programs(task), is_named=page.names_floor(axes))
            add_legend(page, [*handles, *common_handles(tables)])
            figures[page.suffix] = page.figure
    return figures
