"""Along the training of a model: the best score within some lengths, checkpoint by checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from pipeline.cell import format_bytes
from pipeline.reduce.frontier import best_within
from pipeline.report.curves import THIN, common_handles, constant, draw_intervals, line_handle
from pipeline.report.layout import add_legend, drawable, pages, set_axes
from pipeline.report.palette import LineStyle, length_styles
from pipeline.report.standing import Standing, families_of
from pipeline.report.style import fitted, house_style
from pipeline.report.tables import ORIGINS, LeftOut, Row, Tables

LENGTHS_BYTES = tuple(2**exponent for exponent in range(9, 37, 3))
"""Lengths at which checkpoints are compared: 512 B, 4 KiB, 32 KiB ..."""

_FEWEST = 3
_NAME_INCHES = 1.2
_STAGE_NAMES = {"pre-training": "pre", "mid-training": "mid", "post-training": "post"}
_SHADES = ("#FFFFFF", "#F1F1F1")


def trajectory_figures(tables: Tables) -> dict[str, Figure]:
    """Best test score within fixed lengths against the checkpoints of a model family, in the order of training.

    Returns:
        Suffix of the file name -> figure.

    Raises:
        LeftOut: no model family has three checkpoints whose order is known.
    """
    tables = drawable(tables)
    families = ordered_families(tables)
    lengths = told_apart(tables, list(families.values()))
    figures = {}
    with house_style():
        for page in pages(tables, list(families), across=2, height=1.9):
            set_axes(page, tables, has_lengths=False)
            for (task, name), axes in page.panels.items():
                handles = draw_trajectory(
                    axes,
                    tables,
                    task,
                    families[name],
                    lengths,
                    names_checkpoints=page.is_lowest(axes),
                    names_stages=page.is_highest(axes),
                )
            add_legend(page, [*handles, *common_handles(tables)])
            figures[page.suffix] = page.figure
    return figures


def ordered_families(tables: Tables) -> dict[str, list[Standing]]:
    """Model families with enough checkpoints whose order is known, by name.

    Raises:
        LeftOut: there is none.
    """
    families = {
        name: family
        for name, family in families_of(tables.models).items()
        if len({standing.order for standing in family}) >= _FEWEST
    }
    if not families:
        raise LeftOut(f"no model family has {_FEWEST} checkpoints whose order in training is known")
    return families


def draw_trajectory(
    axes: Axes,
    tables: Tables,
    task: str,
    family: Sequence[Standing],
    lengths: Sequence[int],
    *,
    names_checkpoints: bool = True,
    names_stages: bool = True,
) -> list[Line2D]:
    """Best test score of one task within some lengths, checkpoint by checkpoint, all but the axis of scores.

    Args:
        axes: where to draw.
        tables: of the study.
        task: label of the task.
        family: checkpoints in the order of training.
        lengths: in bytes, ascending.
        names_checkpoints: whether checkpoints are labelled below.
        names_stages: whether stages of training are labelled above.

    Returns:
        Entries of a legend.
    """
    styles = dict(zip(lengths, length_styles(len(lengths)), strict=True))
    _set_checkpoints(axes, family, is_lowest=names_checkpoints)
    if names_stages:
        _name_stages(axes, family)
    for imported in ORIGINS:
        _draw(axes, tables, task, family, styles, imported=imported)
    return [
        line_handle(f"up to {format_bytes(size)}", style, marker=True, hollow=not tables.has_own)
        for size, style in styles.items()
    ]


def best_scores(
    tables: Tables, task: str, family: Sequence[Standing], size_bytes: int, *, imported: bool
) -> list[Row | None]:
    """The best member of each checkpoint's frontier that is no longer than this, None where there is none."""
    return [best_within(tables.members(task, standing.model, imported=imported), 8 * size_bytes) for standing in family]


def told_apart(tables: Tables, families: Sequence[Sequence[Standing]]) -> list[int]:
    """Those of `LENGTHS_BYTES` at which any checkpoint is better than at the one before."""
    kept: list[int] = []
    before = None
    for size in LENGTHS_BYTES:
        now = [
            row and row["cell_id"]
            for task in tables.tasks
            for family in families
            for imported in ORIGINS
            for row in best_scores(tables, task, family, size, imported=imported)
        ]
        if any(now) and now != before:
            kept.append(size)
        before = now
    return kept


def _draw(
    axes: Axes, tables: Tables, task: str, family: Sequence[Standing], styles: dict[int, LineStyle], *, imported: bool
) -> None:
    for number, (length, style) in enumerate(styles.items()):
        found = [
            (place, row)
            for place, row in enumerate(best_scores(tables, task, family, length, imported=imported))
            if row is not None
        ]
        if not found:
            continue
        places, rows = [place for place, _ in found], [row for _, row in found]
        # A longer program is often no better: the longest is drawn largest and first, so that a rim of it shows.
        size = number / max(1, len(styles) - 1)
        axes.plot(
            places,
            [row["test_performance"] for row in rows],
            color=style.color,
            linestyle=style.line,
            linewidth=(0.9 + 1.3 * size) * (THIN if imported and tables.has_own else 1),
            marker=style.marker,
            markersize=3.2 + 3.6 * size,
            markeredgewidth=0.8,
            markeredgecolor=style.color,
            markerfacecolor="white" if imported else style.color,
            zorder=4 - 0.5 * size,
        )
        draw_intervals(axes, rows, constant(style.color), zorder=3, at=places)


def _set_checkpoints(axes: Axes, family: Sequence[Standing], *, is_lowest: bool) -> None:
    axes.set_xlim(-0.5, len(family) - 0.5)
    axes.xaxis.set_major_locator(FixedLocator(range(len(family))))
    axes.set_xticklabels([fitted(standing.short_name, 6.5, _NAME_INCHES) for standing in family] if is_lowest else [])
    axes.tick_params(axis="x", labelrotation=90, labelsize=6.5)
    axes.spines["top"].set_visible(False)
    for number, (_, start, end) in enumerate(_stages(family)):
        axes.axvspan(start - 0.5, end + 0.5, color=_SHADES[number % 2], linewidth=0, zorder=0)


def _name_stages(axes: Axes, family: Sequence[Standing]) -> None:
    stages = _stages(family)
    top = axes.secondary_xaxis("top")
    top.set_xticks([(start + end) / 2 for _, start, end in stages])
    top.set_xticklabels([_STAGE_NAMES.get(stage, stage) for stage, _, _ in stages])
    top.tick_params(axis="x", length=0, labelsize=6, colors="#6B6B6B", pad=1)
    top.spines["top"].set_visible(False)


def _stages(family: Sequence[Standing]) -> list[tuple[str, int, int]]:
    """Stages of training with the places of their first and last checkpoint."""
    stages = []
    start = 0
    for stage, of_stage in groupby(family, key=lambda standing: standing.stage):
        number = len(list(of_stage))
        stages.append((stage, start, start + number - 1))
        start += number
    return stages
