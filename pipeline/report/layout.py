"""Where panels stand: tasks down and models across, a page for each task where there are many models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from pipeline.report.axes import metric_label, set_length_axis, set_score_axis
from pipeline.report.style import fitted, text_inches
from pipeline.report.tables import LeftOut, Row, Tables, is_imported, size_bytes

PAGE_INCHES = 7.2
"""Width of the text of a page."""

MOST_ACROSS = 4
_MOST_COLUMNS = 5
_PANEL_INCHES = 3.3
_LEGEND_POINTS = 7
_SCORE_POINTS = 7.2
_HANDLE_INCHES = 0.55
"""Room that a legend needs beside a label."""

_ENTRY_INCHES = 0.155
_KEY_ENTRY_INCHES = 0.135
_SIDE_INCHES = 0.4
"""Room beside a panel for tick labels, and once more for what they are."""
_FLOOR_INCHES = 0.45


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A figure with a panel for each of some tasks and keys (models, or groups of models).

    Attributes:
        suffix: what its file name has behind that of the figure; empty where one page holds all.
        figure: without any data.
        panels: (task, key) -> axes.
        across: panels side by side.
        free: place of the grid without a panel that can hold a legend, None where there is none.
    """

    suffix: str
    figure: Figure
    panels: dict[tuple[str, str], Axes]
    across: int
    free: Axes | None

    @property
    def panel_inches(self) -> float:
        """Width of a panel."""
        return (
            float(self.figure.get_size_inches()[0]) / self.across
            - _SIDE_INCHES
            - (0 if self.is_shared else _SIDE_INCHES)
        )

    @property
    def is_shared(self) -> bool:
        """Whether panels side by side have the axis of scores in common."""
        return len({task for task, _ in list(self.panels)[: self.across]}) == 1

    def names_floor(self, axes: Axes) -> bool:
        """Whether the floor is labelled beside this panel: once for panels that have it in common."""
        number = list(self.panels.values()).index(axes)
        return not self.is_shared or number % self.across == self.across - 1 or number == len(self.panels) - 1

    @property
    def has_own_keys(self) -> bool:
        """Whether every panel has a key of its own."""
        return bool(self.suffix)

    def is_highest(self, axes: Axes) -> bool:
        """Whether no panel of the same key stands above: what belongs to the key stands over it."""
        return self.has_own_keys or list(self.panels.values()).index(axes) < self.across

    def is_lowest(self, axes: Axes) -> bool:
        """Whether no panel of the same key stands below: what belongs to the key stands under it."""
        return self.has_own_keys or list(self.panels.values()).index(axes) + self.across >= len(self.panels)


def pages(
    tables: Tables,
    keys: Sequence[str],
    *,
    height: float = 1.6,
    across: int = MOST_ACROSS,
    lines_below: int = 0,
    above: float = 0.0,
) -> list[Page]:
    """Empty panels with titles and labels: their data share the axis of scores within a task.

    One key: a panel for each task, side by side. A few: tasks down, keys across. Many: a page for each task.

    Args:
        tables: their tasks are drawn; each has a program.
        keys: models, or groups of models; a single one without a name is not named.
        height: of a panel, in inches.
        across: how many panels fit side by side.
        lines_below: lines of the longest legend that stands under a panel.
        above: room for what stands between a panel and its title, in inches.
    """
    tasks = tables.tasks
    if len(keys) == 1:
        titled = {(task, keys[0]): task for task in tasks}
        page = _page("", titled, min(MOST_ACROSS, len(tasks)), height, keys[0], lines_below, above)
        for (task, _), axes in page.panels.items():
            axes.set_ylabel(score_label(tables, task), fontsize=_SCORE_POINTS)
        return [page]
    if len(keys) <= across:
        titled = {(task, key): key if task == tasks[0] else "" for task in tasks for key in keys}
        page = _page("", titled, len(keys), height, "", lines_below, above)
        for task in tasks:
            name = fitted(task, _SCORE_POINTS, height)
            page.panels[task, keys[0]].set_ylabel(f"{name}\n{score_label(tables, task)}", fontsize=_SCORE_POINTS)
        _share_scores(page)
        return [page]
    made = []
    for task in tasks:
        page = _page(task, {(task, key): key for key in keys}, across, height, task, lines_below, above)
        page.figure.supylabel(score_label(tables, task), fontsize=8)
        _share_scores(page)
        made.append(page)
    return made


def set_axes(page: Page, tables: Tables, *, high_bytes: float = 0.0, has_lengths: bool = True) -> None:
    """Limits and ticks of all panels; scores of a task lie at the same height in each of them.

    Args:
        page: its panels.
        tables: what is drawn.
        high_bytes: a length that must fit besides those of the programs.
        has_lengths: whether x is the program length.
    """
    has_floors = any(row["is_floor"] for row in tables.points)
    inches = page.panel_inches - (_FLOOR_INCHES if has_floors and not page.is_shared else 0)
    sizes = [size_bytes(row) for task in {task for task, _ in page.panels} for row in tables.programs(task)]
    places = list(page.panels)
    for number, ((task, _), axes) in enumerate(page.panels.items()):
        if has_lengths:
            set_length_axis(axes, min(sizes), max(*sizes, high_bytes), inches=inches)
            axes.tick_params(labelbottom=number + page.across >= len(places))
            axes.set_xlabel("program length" if number // page.across == (len(places) - 1) // page.across else "")
        low, high = score_range(tables, task)
        set_score_axis(axes, low, high, metric=tables.programs(task)[0]["metric"])


def score_range(tables: Tables, task: str) -> tuple[float, float]:
    """Lowest and highest test score of a task, ends of intervals included."""
    rows = [*tables.programs(task), *tables.all_members(task)]
    ends = [row[end] for row in rows for end in ("test_performance", "test_low", "test_high")]
    known = [end for end in ends if end is not None]
    return min(known), max(known)


def score_label(tables: Tables, task: str) -> str:
    """Label of the axis of scores of a task."""
    programs = tables.programs(task)
    row: Row = next((row for row in programs if not is_imported(row)), programs[0])
    # Published results say in the legend what they are chosen on.
    select = "validation" if is_imported(row) else row["select"]
    return metric_label(row["metric"], row["higher_is_better"], select)


def add_legend(page: Page, handles: Sequence[Any]) -> None:
    """A legend of the whole page: in the free place of the grid, else below all panels."""
    if not handles:
        return
    if page.free is not None:
        page.free.legend(handles=handles, loc="center", frameon=False, ncols=2 if len(handles) > 6 else 1)
        return
    legend_below(page.figure, handles)


def legend_below(figure: Figure, handles: Sequence[Any]) -> None:
    """A legend below all panels, for which the figure grows."""
    columns = legend_columns(figure, handles)
    lines = [1 + str(handle.get_label()).count("\n") for handle in handles]
    most = max(sum(part) for part in np.array_split(lines, columns))
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + _ENTRY_INCHES * most)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)


def legend_columns(figure: Figure, handles: Sequence[Any]) -> int:
    """As many columns of a legend below the panels as fit into the width of the figure."""
    widths = [text_inches(str(handle.get_label()), _LEGEND_POINTS) + _HANDLE_INCHES for handle in handles]
    for number in range(min(_MOST_COLUMNS, len(handles)), 1, -1):
        if sum(column.max() for column in np.array_split(widths, number)) < figure.get_size_inches()[0]:
            return number
    return 1


def add_key_legend(axes: Axes, handles: Sequence[Any]) -> None:
    """A legend under one panel."""
    # A distance in inches: one in parts of the panel would change while panels are being arranged.
    below = axes.transAxes + ScaledTranslation(-0.05, -0.38, axes.figure.dpi_scale_trans)
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=below,
        frameon=False,
        borderaxespad=0,
        handlelength=2.8,
        labelspacing=0.3,
        fontsize=6.5,
    )


def drawable(tables: Tables) -> Tables:
    """The tables less the tasks without any program.

    Raises:
        LeftOut: no task has one.
    """
    left = tables.without(task for task in tables.tasks if not tables.programs(task))
    if not left.tasks:
        raise LeftOut("no task has a program")
    return left


def _page(
    suffix: str,
    titled: dict[tuple[str, str], str],
    across: int,
    height: float,
    name: str,
    lines_below: int,
    above: float,
) -> Page:
    down = -(-len(titled) // across)
    inches = max(PAGE_INCHES * across / MOST_ACROSS, min(PAGE_INCHES, _PANEL_INCHES * across))
    around = (_KEY_ENTRY_INCHES * lines_below + above) * (down if suffix else 1)
    figure = Figure(figsize=(inches, height * down + around + 0.5), layout="constrained")
    grid = list(figure.subplots(down, across, squeeze=False).flatten())
    if name:
        figure.suptitle(fitted(name, 9, inches - 0.2, is_bold=True), x=0.01, ha="left", fontsize=9, fontweight="bold")
    panels = dict(zip(titled, grid, strict=False))
    unused = grid[len(titled) :]
    for axes in unused:
        axes.remove()
    free = None
    # One place alone is too narrow for a legend.
    if len(unused) > 1:
        free = figure.add_subplot(unused[0].get_gridspec()[down - 1, across - len(unused) :])
        free.set_axis_off()
    page = Page(suffix=suffix, figure=figure, panels=panels, across=across, free=free)
    for place, axes in panels.items():
        weight, size = ("normal", 7.5) if suffix else ("bold", 8.5)
        title = fitted(titled[place], size, page.panel_inches - (0 if suffix else 0.15), is_bold=weight == "bold")
        axes.set_title(title, loc="left", fontweight=weight, fontsize=size)
    return page


def _share_scores(page: Page) -> None:
    """Scores are labelled on the left only."""
    for number, axes in enumerate(page.panels.values()):
        axes.tick_params(labelleft=number % page.across == 0)
