"""What is drawn of programs: points, steps, intervals, bands. Published results are thin and hollow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.patches import Patch
from matplotlib.path import Path

from pipeline.reduce.seeds import seed_spread
from pipeline.report.palette import FLOOR_COLOR, NEUTRAL_COLOR, LineStyle
from pipeline.report.tables import Row, Tables, is_imported, size_bytes

PUBLISHED = "thin, hollow: published\n(chosen on test, no intervals)"
INTERVALS = "95% over test items"
SEEDS = "range of seeds"

_BAR_ENDS = [(-1, 2), (1, 2), (0, 2), (0, -2), (-1, -2), (1, -2)]
_INTERVAL_MARKER = Path(_BAR_ENDS, [Path.MOVETO, Path.LINETO] * 3)
THIN = 0.6
"""Width of a published line, as a part of that of ours."""


def draw_points(axes: Axes, points: Sequence[Row], style_of: Callable[[Row], LineStyle], *, zorder: float = 2) -> None:
    """Small pale markers, one a program.

    Args:
        axes: where to draw.
        points: rows of the table `points` with a length and a score.
        style_of: colour and marker of a program.
        zorder: of the markers.
    """
    groups: dict[tuple[LineStyle, bool], list[Row]] = {}
    for row in points:
        groups.setdefault((style_of(row), is_imported(row)), []).append(row)
    for (style, imported), rows in groups.items():
        axes.plot(
            [size_bytes(row) for row in rows],
            [row["test_performance"] for row in rows],
            linestyle="none",
            marker=style.marker,
            markersize=3.2,
            markeredgewidth=0.6,
            markeredgecolor=style.color,
            markerfacecolor="white" if imported else style.color,
            alpha=0.4,
            zorder=zorder,
        )


def draw_steps(
    axes: Axes,
    members: Sequence[Row],
    style_of: Callable[[Row], LineStyle],
    *,
    end_bytes: float,
    width: float,
    imported: bool,
    zorder: float,
    alpha: float = 1.0,
) -> None:
    """Steps through the members of a frontier, level up to a length.

    Args:
        axes: where to draw.
        members: rows of the table `frontier`, shortest first.
        style_of: colour and dash of the level that starts at a member.
        end_bytes: the largest program that was tried.
        width: of the line, in points.
        imported: whether the members are what others published; their line is thin.
        zorder: of the line.
        alpha: of the line.
    """
    if not members:
        return
    styles = [style_of(row) for row in members]
    x = [size_bytes(row) for row in members]
    y = [row["test_performance"] for row in members]
    ends = [*x[1:], max(end_bytes, x[-1])]
    # Programs of one budget pile up at one length: thin risers leave their markers and error bars readable.
    axes.vlines(x[1:], y[:-1], y[1:], colors=[it.color for it in styles[1:]], linewidth=0.6, alpha=alpha, zorder=zorder)
    axes.hlines(
        y,
        x,
        ends,
        colors=[it.color for it in styles],
        linestyles=[it.line for it in styles],
        linewidth=THIN * width if imported else width,
        alpha=alpha,
        zorder=zorder,
    )


def draw_members(
    axes: Axes,
    members: Sequence[Row],
    style_of: Callable[[Row], LineStyle],
    *,
    zorder: float,
    size: float = 5,
    alpha: float = 1.0,
    face_of: Callable[[Row], str] | None = None,
) -> None:
    """A marker for each member of a frontier; those that others published are hollow.

    Args:
        axes: where to draw.
        members: rows of the table `frontier`.
        style_of: colour and marker of a member.
        zorder: of the markers.
        size: of the markers, in points.
        alpha: of the markers.
        face_of: colour of the inside, None for that of the outline.
    """
    groups: dict[tuple[LineStyle, bool, str | None], list[Row]] = {}
    for row in members:
        face = None if face_of is None else face_of(row)
        groups.setdefault((style_of(row), row["is_imported"], face), []).append(row)
    for (style, imported, face), rows in groups.items():
        is_cross = not MarkerStyle(style.marker).is_filled()
        axes.plot(
            [size_bytes(row) for row in rows],
            [row["test_performance"] for row in rows],
            linestyle="none",
            marker=style.marker,
            markersize=size,
            markeredgewidth=1.3 if is_cross else 0.8,
            # Outlines keep neighbours apart.
            markeredgecolor=style.color if imported or is_cross or face is not None else "white",
            markerfacecolor="white" if imported else face or style.color,
            alpha=alpha,
            zorder=zorder,
        )


def draw_intervals(
    axes: Axes, rows: Sequence[Row], color_of: Callable[[Row], str], *, zorder: float, at: Sequence[float] | None = None
) -> None:
    """Intervals over test items, where a row has one.

    Args:
        axes: where to draw.
        rows: rows with `test_performance`, `test_low` and `test_high`.
        color_of: colour of a row.
        zorder: of the bars.
        at: x of each row, None for the program length.
    """
    places = [size_bytes(row) for row in rows] if at is None else at
    bars: dict[str, list[tuple[float, Row]]] = {}
    for place, row in zip(places, rows, strict=True):
        if row["test_low"] is not None:
            bars.setdefault(color_of(row), []).append((place, row))
    for color, of_color in bars.items():
        scores = [row["test_performance"] for _, row in of_color]
        axes.errorbar(
            [place for place, _ in of_color],
            scores,
            # The ends of a percentile interval may both lie on one side of the score.
            yerr=[
                [max(0.0, score - row["test_low"]) for score, (_, row) in zip(scores, of_color, strict=True)],
                [max(0.0, row["test_high"] - score) for score, (_, row) in zip(scores, of_color, strict=True)],
            ],
            fmt="none",
            ecolor=color,
            elinewidth=0.8,
            capsize=1.8,
            capthick=0.8,
            zorder=zorder,
        )


def draw_seed_band(axes: Axes, curves: Sequence[Sequence[Row]], *, color: str, end_bytes: float) -> bool:
    """Lowest to highest test score over the frontiers of single seeds, where every seed has a program.

    Args:
        axes: where to draw.
        curves: frontier of each seed.
        color: of the band.
        end_bytes: the largest program that was tried.

    Returns:
        Whether there are seeds to compare.
    """
    spread = seed_spread(curves)
    if not spread:
        return False
    x = [size_bytes(row) for row in spread]
    lowest, highest = [row["test_min"] for row in spread], [row["test_max"] for row in spread]
    axes.fill_between(
        [*x, max(end_bytes, x[-1])],
        [*lowest, lowest[-1]],
        [*highest, highest[-1]],
        step="post",
        color=color,
        alpha=0.16,
        linewidth=0,
        zorder=1,
    )
    return True


def draw_floor(axes: Axes, programs: Sequence[Row], *, is_named: bool = True) -> None:
    """Line at the test score of the best program that ignores the model, chosen like every other program.

    Args:
        axes: where to draw.
        programs: of one task.
        is_named: whether the score is written beside the line.
    """
    floors = [row for row in programs if row["is_floor"]]
    if not floors:
        return
    chosen_by = f"{floors[0]['select']}_performance"
    sign = 1 if floors[0]["higher_is_better"] else -1
    best = max(floors, key=lambda row: (sign * row[chosen_by], -row["program_length_bits"], row["program_sha256"]))
    score = best["test_performance"]
    axes.axhline(score, color=FLOOR_COLOR, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1.5)
    if not is_named:
        return
    axes.annotate(
        f"floor {score:.1f}",
        xy=(1, score),
        xycoords=("axes fraction", "data"),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        fontsize=6,
        color=FLOOR_COLOR,
        zorder=8,
    )


def line_handle(
    label: str, style: LineStyle, *, width: float = 1.6, marker: bool = False, hollow: bool = False, alpha: float = 1.0
) -> Line2D:
    """Entry of a legend for a line, thin and hollow as for published results where nothing else is drawn."""
    return Line2D(
        [],
        [],
        color=style.color,
        linestyle=style.line,
        linewidth=THIN * width if hollow else width,
        marker=style.marker if marker else None,
        markersize=4.5,
        markerfacecolor="white" if hollow else style.color,
        alpha=alpha,
        label=label,
    )


def marker_handle(label: str, style: LineStyle, *, hollow: bool = False) -> Line2D:
    """Entry of a legend for a marker, hollow where only published results are drawn."""
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=style.marker,
        markersize=4.5,
        color=style.color,
        markerfacecolor="white" if hollow else style.color,
        label=label,
    )


def common_handles(tables: Tables, *, has_bands: bool = False) -> list[Line2D | Patch]:
    """Entries for what is drawn alike in all figures: intervals, ranges of seeds, published results."""
    handles: list[Line2D | Patch] = []
    if any(row["test_low"] is not None for row in tables.points):
        bar = Line2D([], [], linestyle="none", marker=_INTERVAL_MARKER, markersize=9, color=NEUTRAL_COLOR)
        bar.set_label(INTERVALS)
        handles.append(bar)
    if has_bands:
        handles.append(Patch(color=NEUTRAL_COLOR, alpha=0.16, linewidth=0, label=SEEDS))
    return [*handles, *published_handles(tables)]


def published_handles(tables: Tables) -> list[Line2D]:
    """Entry for published results, where there are any."""
    handle = line_handle(PUBLISHED, LineStyle(color=NEUTRAL_COLOR), marker=True, hollow=True)
    return [handle] if tables.has_imported else []


def largest_bytes(programs: Sequence[Row]) -> float:
    """Length of the largest of some programs, 0 without any."""
    return max((size_bytes(row) for row in programs), default=0.0)


def constant(style: Any) -> Callable[[Row], Any]:
    """The same style for every row."""
    return lambda row: style
