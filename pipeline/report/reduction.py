"""What post-training saves: length that reaches the best score of an earlier checkpoint, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.reduce.frontier import shortest_reaching
from pipeline.report.axes import set_length_axis
from pipeline.report.curves import marker_handle, published_handles
from pipeline.report.layout import PAGE_INCHES, legend_below
from pipeline.report.palette import GRID_COLOR, STAGE_STYLES, LineStyle
from pipeline.report.standing import MID_TRAINING, POST_TRAINING, PRE_TRAINING, Standing, families_of
from pipeline.report.style import fitted, house_style, text_inches
from pipeline.report.tables import ORIGINS, LeftOut, Tables, size_bytes

_BEFORE = (PRE_TRAINING, MID_TRAINING)
_MOST_ACROSS = 3
_ROW_INCHES = 0.17
_GAP = 0.7
_NAME_INCHES = 1.7
_NAME_POINTS = 6.5
_FACTOR_POINTS = 6
_BESIDE_INCHES = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class Saving:
    """Lengths that reach one score with two checkpoints of a model family.

    Attributes:
        task: label of the task.
        reference: checkpoint before post-training.
        model: the post-trained checkpoint.
        is_imported: whether others published both.
        target: best score of the reference, in the units of the metric.
        reference_bytes: shortest program of the reference that reaches it.
        model_bytes: shortest one of the post-trained checkpoint, None where none reaches it.
    """

    task: str
    reference: Standing
    model: Standing
    is_imported: bool
    target: float
    reference_bytes: float
    model_bytes: float | None

    @property
    def factor(self) -> float | None:
        """How many times shorter the program of the post-trained checkpoint is, None where it does not get there."""
        return None if self.model_bytes is None else self.reference_bytes / self.model_bytes


def savings(tables: Tables) -> list[Saving]:
    """Savings of the last post-trained checkpoint of each model family against every checkpoint before it.

    The score is that which the frontiers were chosen by. Rows that others published are compared with one another only.
    """
    found = []
    for task in tables.tasks:
        for family in families_of(tables.models).values():
            for imported in ORIGINS:
                after = [
                    standing
                    for standing in family
                    if standing.stage == POST_TRAINING and tables.members(task, standing.model, imported=imported)
                ]
                if after:
                    found += _savings(tables, task, family, after[-1], imported)
    return found


def reduction_figure(tables: Tables) -> Figure:
    """Dumbbells: a row for each checkpoint before post-training, from its length to that of the post-trained one.

    Raises:
        LeftOut: no model family has a post-trained checkpoint and one before it.
    """
    rows = savings(tables)
    if not rows:
        raise LeftOut("no model family has a post-trained checkpoint and one of pre- or mid-training on the same task")
    tasks = list(dict.fromkeys(row.task for row in rows))
    places = row_places(rows)
    sizes = [size for row in rows for size in (row.reference_bytes, row.model_bytes) if size is not None]
    across = min(_MOST_ACROSS, len(tasks))
    down = -(-len(tasks) // across)
    height = _ROW_INCHES * (max(places.values()) + 1.5)
    with house_style():
        width = min(PAGE_INCHES, 1.8 + 2.1 * across)
        figure = Figure(figsize=(width, down * (height + 0.6) + 0.1), layout="constrained")
        names = max(text_inches(name, _NAME_POINTS) for name in _row_names(places))
        factors = max(text_inches(factor_label(row), _FACTOR_POINTS) for row in rows)
        inches = (width - names) / across - factors - _BESIDE_INCHES
        grid = figure.subplots(down, across, squeeze=False)
        for number, axes in enumerate(grid.flatten()):
            if number >= len(tasks):
                axes.remove()
                continue
            task = tasks[number]
            set_length_axis(axes, min(sizes), max(sizes), inches=inches)
            axes.set_title(fitted(task, 8.5, inches + factors, is_bold=True), loc="left", fontweight="bold")
            axes.set_xlabel("program length")
            of_task = [row for row in rows if row.task == task]
            draw_savings(axes, of_task, places, is_named=number % across == 0)
        legend_below(figure, saving_handles(rows, tables))
    return figure


def _savings(tables: Tables, task: str, family: Sequence[Standing], after: Standing, imported: bool) -> list[Saving]:
    found = []
    reached = tables.members(task, after.model, imported=imported)
    for before in family:
        members = tables.members(task, before.model, imported=imported)
        if before.stage not in _BEFORE or not members:
            continue
        best = members[-1]
        match = shortest_reaching(reached, "performance", best["performance"])
        found.append(
            Saving(
                task=task,
                reference=before,
                model=after,
                is_imported=imported,
                target=best["performance"],
                reference_bytes=size_bytes(best),
                model_bytes=None if match is None else size_bytes(match),
            )
        )
    return found


def draw_savings(
    axes: Axes, rows: Sequence[Saving], places: Mapping[tuple[str, bool], float], *, is_named: bool = True
) -> None:
    """Dumbbells of one task, all but the axis of length.

    Args:
        axes: where to draw.
        rows: savings of that task.
        places: what `row_places` gave.
        is_named: whether the rows are labelled.
    """
    for row in rows:
        _draw_saving(axes, row, places[row.reference.model, row.is_imported])
    axes.set_ylim(max(places.values()) + 0.7, -0.7)
    _label_rows(axes, places, is_named=is_named)


def row_places(rows: Sequence[Saving]) -> dict[tuple[str, bool], float]:
    """Row of each checkpoint, ours and the published apart: in training order, with a gap between model families."""
    ordered = sorted(rows, key=lambda row: (row.reference.family, row.reference.order, row.reference.model))
    places: dict[tuple[str, bool], float] = {}
    last, place = ordered[0].reference.family, -1.0
    for row in ordered:
        key = row.reference.model, row.is_imported
        if key not in places:
            place += 1.0 if row.reference.family == last else 1.0 + _GAP
            places[key] = place
            last = row.reference.family
    return places


def _draw_saving(axes: Axes, row: Saving, place: float) -> None:
    before, after = STAGE_STYLES[row.reference.stage], STAGE_STYLES[POST_TRAINING]
    if row.model_bytes is not None:
        axes.plot(
            [row.model_bytes, row.reference_bytes],
            [place, place],
            color="#B5B5B5",
            linewidth=1.4,
            clip_on=False,
            zorder=2,
        )
        _mark(axes, row.model_bytes, place, after, row.is_imported, zorder=5)
    _mark(axes, row.reference_bytes, place, before, row.is_imported, zorder=4)
    axes.annotate(
        factor_label(row),
        xy=(1, place),
        xycoords=("axes fraction", "data"),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=_FACTOR_POINTS,
        color="#222222",
        zorder=6,
    )


def factor_label(row: Saving) -> str:
    """`1,190× (67.6)`: factor with three digits, and the score; that it is not reached, where it is not."""
    if row.factor is None:
        return f"not reached ({row.target:.1f})"
    if row.factor >= 1e6:
        return f"{float(f'{row.factor / 1e6:.3g}'):g} million× ({row.target:.1f})"
    return f"{float(f'{row.factor:.3g}'):,.7g}× ({row.target:.1f})"


def _mark(axes: Axes, size: float, place: float, style: LineStyle, imported: bool, *, zorder: float) -> None:
    axes.plot(
        [size],
        [place],
        linestyle="none",
        marker=style.marker,
        markersize=5,
        markeredgewidth=1.0,
        markeredgecolor=style.color,
        markerfacecolor="white" if imported else style.color,
        clip_on=False,
        zorder=zorder,
    )


def _label_rows(axes: Axes, places: Mapping[tuple[str, bool], float], *, is_named: bool) -> None:
    axes.set_yticks(list(places.values()))
    axes.set_yticklabels(_row_names(places) if is_named else [])
    axes.tick_params(axis="y", length=0, labelsize=_NAME_POINTS)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=GRID_COLOR, linewidth=0.5)


def _row_names(places: Mapping[tuple[str, bool], float]) -> list[str]:
    is_mixed = len({is_imported for _, is_imported in places}) > 1
    return [
        fitted(model, _NAME_POINTS, _NAME_INCHES) + (", published" if is_mixed and is_imported else "")
        for model, is_imported in places
    ]


def saving_handles(rows: Sequence[Saving], tables: Tables) -> list[Line2D]:
    """Entries of a legend: the stages, the post-trained models, and what stands at the right."""
    hollow = not tables.has_own
    stages = [stage for stage in _BEFORE if any(row.reference.stage == stage for row in rows)]
    handles = [
        marker_handle(f"{stage}: reaches its best score", STAGE_STYLES[stage], hollow=hollow) for stage in stages
    ]
    models = " or ".join(dict.fromkeys(row.model.model for row in rows))
    handles.append(marker_handle(f"{models}: reaches the same", STAGE_STYLES[POST_TRAINING], hollow=hollow))
    factor = Line2D([], [], linestyle="none", label="at the right: how many times shorter (score)")
    return [*handles, factor, *published_handles(tables)]
