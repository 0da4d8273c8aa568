"""Complexity curves of a study as figures, from its reduced tables only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipeline.files import write_atomically
from pipeline.report.style import (
    FLOOR_COLOR,
    ModelStyle,
    family_markers,
    figure_bytes,
    house_style,
    metric_label,
    model_styles,
    set_length_axis,
    set_score_axis,
)
from pipeline.store import Study

Row = dict[str, Any]

_ALL_SCOPE = "all"
_SEED_SCOPE = "seed:"
_OVERVIEW = "overview"
_INTERVAL_MARKER = "$\\mathrm{I}$"
_PERCENT_METRICS = {"accuracy"}


def draw_figures(study: Study) -> list[Path]:
    """Draw one figure a task and an overview of all tasks into the `figures` folder of a study.

    Args:
        study: a reduced study.

    Returns:
        Paths of the files.

    Raises:
        UserError: the study has not been reduced.
    """
    points = study.read_table("points").to_pylist()
    frontier = study.read_table("frontier").to_pylist()
    tasks = sorted({row["task"] for row in points})
    figures = {_file_name(task): task_figure(task, points, frontier) for task in tasks}
    if tasks:
        figures[_OVERVIEW] = overview_figure(points, frontier)
    paths = []
    for name, figure in figures.items():
        for suffix, content in figure_bytes(figure).items():
            paths.append(study.figure_path(name, suffix))
            write_atomically(paths[-1], content, replace=True)
    return paths


def task_figure(task: str, points: Sequence[Row], frontier: Sequence[Row]) -> Figure:
    """Complexity curves of one task: all programs, the frontier of each base model, the floor, the spread of seeds.

    Args:
        task: label of the task.
        points: rows of the table `points`; those of other tasks only fix colours and markers.
        frontier: rows of the table `frontier`.
    """
    styles, markers = model_styles([row["model"] for row in points]), family_markers([row["family"] for row in points])
    with house_style():
        figure = Figure(figsize=(6.3, 3.5), layout="constrained")
        axes = figure.subplots()
        has_bands = _draw_task(axes, _of(points, task), _of(frontier, task), styles, markers, has_bits=True)
        axes.set_xlabel("program length")
        axes.set_title(task, loc="left", fontweight="bold")
        handles = _legend_handles(_of(points, task), styles, markers, has_bands)
        figure.legend(handles=handles, loc="outside right center", frameon=False, handlelength=2.6)
    return figure


def overview_figure(points: Sequence[Row], frontier: Sequence[Row]) -> Figure:
    """All tasks side by side, at most four in a row.

    Args:
        points: rows of the table `points`.
        frontier: rows of the table `frontier`.
    """
    styles, markers = model_styles([row["model"] for row in points]), family_markers([row["family"] for row in points])
    tasks = sorted({row["task"] for row in points})
    num_columns = min(4, len(tasks))
    num_rows = -(-len(tasks) // num_columns)
    with house_style():
        figure = Figure(figsize=(max(4.0, 2.7 * num_columns), 2.35 * num_rows + 0.55), layout="constrained")
        grid = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
        has_bands = False
        for axes, task in zip(grid, tasks, strict=False):
            has_bands |= _draw_task(axes, _of(points, task), _of(frontier, task), styles, markers, has_bits=False)
            axes.set_title(task, loc="left", fontweight="bold")
            axes.set_xlabel("program length")
        for axes in grid[len(tasks) :]:
            axes.set_axis_off()
        handles = _legend_handles(points, styles, markers, has_bands)
        figure.legend(handles=handles, loc="outside lower center", ncols=min(5, len(handles)), frameon=False)
    return figure


def _draw_task(
    axes: Axes,
    points: Sequence[Row],
    frontier: Sequence[Row],
    styles: Mapping[str, ModelStyle],
    markers: Mapping[str, str],
    *,
    has_bits: bool,
) -> bool:
    """Draw one task; returns whether there are bands of seeds."""
    programs = [row for row in points if row["program_length_bits"] is not None and row["test_performance"] is not None]
    first: Row = programs[0] if programs else {"metric": None, "higher_is_better": None, "select": "validation"}
    axes.set_ylabel(metric_label(first["metric"], first["higher_is_better"], first["select"]))
    if not programs:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no program:\nall cells are infeasible", ha="center", transform=axes.transAxes)
        return False
    lengths = [row["program_length_bits"] / 8 for row in programs]
    set_length_axis(axes, min(lengths), max(lengths), has_bits=has_bits)
    scores = [row["test_performance"] for row in programs]
    members = [row for row in frontier if row["scope"] == _ALL_SCOPE]
    ends = [row[end] for row in members for end in ("test_low", "test_high") if row[end] is not None]
    set_score_axis(axes, min([*scores, *ends]), max([*scores, *ends]), is_percent=first["metric"] in _PERCENT_METRICS)

    has_bands = False
    # Twins with random weights first, so that trained models lie on top.
    for model in sorted(styles, key=lambda name: (not styles[name].is_twin, name)):
        style = styles[model]
        of_model = [row for row in programs if row["model"] == model]
        if not of_model:
            continue
        largest = max(row["program_length_bits"] / 8 for row in of_model)
        has_bands |= _draw_seed_band(axes, [row for row in frontier if row["model"] == model], style, largest)
        _draw_programs(axes, of_model, style, markers)
        _draw_frontier(axes, [row for row in members if row["model"] == model], style, markers, largest)
    _draw_floor(axes, programs)
    return has_bands


def _draw_programs(axes: Axes, programs: Sequence[Row], style: ModelStyle, markers: Mapping[str, str]) -> None:
    for family, marker in markers.items():
        rows = [row for row in programs if row["family"] == family]
        axes.plot(
            [row["program_length_bits"] / 8 for row in rows],
            [row["test_performance"] for row in rows],
            linestyle="none",
            marker=marker,
            markersize=3.2,
            markeredgewidth=0.6,
            markeredgecolor=style.color,
            markerfacecolor="white" if style.is_twin else style.color,
            alpha=0.4,
            zorder=2 if style.is_twin else 3,
        )


def _draw_frontier(
    axes: Axes, members: Sequence[Row], style: ModelStyle, markers: Mapping[str, str], largest_bytes: float
) -> None:
    """Steps through the members, level up to the largest program that was tried; error bars are item intervals."""
    if not members:
        return
    zorder = 4 if style.is_twin else 6
    x = [row["program_length_bits"] / 8 for row in members]
    y = [row["test_performance"] for row in members]
    ends = [*x[1:], max(largest_bytes, x[-1])]
    # Programs of one budget pile up at one length: thin risers leave their markers and error bars readable.
    axes.vlines(x[1:], y[:-1], y[1:], color=style.color, linewidth=0.6, zorder=zorder)
    axes.hlines(
        y, x, ends, color=style.color, linestyle=style.line, linewidth=1.1 if style.is_twin else 1.6, zorder=zorder
    )
    for row, length_bytes, score in zip(members, x, y, strict=True):
        if row["test_low"] is not None:
            axes.errorbar(
                [length_bytes],
                [score],
                # The ends of a percentile interval may both lie on one side of the score.
                yerr=[[max(0.0, score - row["test_low"])], [max(0.0, row["test_high"] - score)]],
                fmt="none",
                ecolor=style.color,
                elinewidth=0.8,
                capsize=1.8,
                capthick=0.8,
                zorder=zorder,
            )
        marker = markers[row["family"]]
        axes.plot(
            [length_bytes],
            [score],
            linestyle="none",
            marker=marker,
            markersize=5,
            markeredgewidth=1.3 if marker == "x" else 0.8,
            # Outlines keep neighbours apart; a cross is all outline.
            markeredgecolor=style.color if style.is_twin or marker == "x" else "white",
            markerfacecolor="white" if style.is_twin else style.color,
            zorder=zorder + 1,
        )


def _draw_seed_band(axes: Axes, frontier: Sequence[Row], style: ModelStyle, largest_bytes: float) -> bool:
    """Lowest to highest test score over the frontiers of single seeds, where every seed has a program."""
    scopes = sorted({row["scope"] for row in frontier if row["scope"].startswith(_SEED_SCOPE)})
    curves = [[row for row in frontier if row["scope"] == scope] for scope in scopes]
    if len(curves) < 2:
        return False
    start = max(curve[0]["program_length_bits"] for curve in curves)
    lengths = sorted(
        {row["program_length_bits"] for curve in curves for row in curve if row["program_length_bits"] >= start}
    )
    scores = np.array(
        [
            [[row for row in curve if row["program_length_bits"] <= bits][-1]["test_performance"] for bits in lengths]
            for curve in curves
        ]
    )
    x = [bits / 8 for bits in lengths]
    axes.fill_between(
        [*x, max(largest_bytes, x[-1])],
        [*scores.min(axis=0), scores[:, -1].min()],
        [*scores.max(axis=0), scores[:, -1].max()],
        step="post",
        color=style.color,
        alpha=0.16,
        linewidth=0,
        zorder=1,
    )
    return True


def _draw_floor(axes: Axes, programs: Sequence[Row]) -> None:
    """Line at the test score of the best program that ignores the model, chosen like every other program."""
    floors = [row for row in programs if row["is_floor"]]
    if not floors:
        return
    chosen_by = f"{floors[0]['select']}_performance"
    sign = 1 if floors[0]["higher_is_better"] else -1
    best = max(floors, key=lambda row: (sign * row[chosen_by], -row["program_length_bits"], row["program_sha256"]))
    score = best["test_performance"]
    axes.axhline(score, color=FLOOR_COLOR, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1.5)
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


def _legend_handles(
    points: Sequence[Row], styles: Mapping[str, ModelStyle], markers: Mapping[str, str], has_bands: bool
) -> list[Line2D | Patch]:
    models, families = {row["model"] for row in points}, {row["family"] for row in points}
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=style.color, linestyle=style.line, linewidth=1.1 if style.is_twin else 1.6, label=model)
        for model, style in styles.items()
        if model in models
    ]
    handles += [
        Line2D([], [], linestyle="none", marker=marker, markersize=4.5, color="#444444", label=family)
        for family, marker in markers.items()
        if family in families
    ]
    if any(row["test_low"] is not None for row in points):
        bar = Line2D([], [], linestyle="none", marker=_INTERVAL_MARKER, markersize=9, color="#444444")
        bar.set_label("95% over test items")
        handles.append(bar)
    if has_bands:
        handles.append(Patch(color="#444444", alpha=0.16, linewidth=0, label="range of seeds"))
    return handles


def _of(rows: Sequence[Row], task: str) -> list[Row]:
    return [row for row in rows if row["task"] == task]


def _file_name(task: str) -> str:
    """Name of a file for a task label, which may be a path; never that of the overview."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", task).strip("-.") or "task"
    return f"task-{name}" if name == _OVERVIEW else name
