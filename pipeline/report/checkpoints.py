"""Frontiers of the checkpoints of a training run over one another, beside lengths of familiar things."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from pipeline.report.curves import (
    common_handles,
    constant,
    draw_intervals,
    draw_members,
    draw_steps,
    largest_bytes,
    line_handle,
)
from pipeline.report.layout import add_key_legend, add_legend, drawable, pages, set_axes
from pipeline.report.palette import NEUTRAL_COLOR, STAGE_STYLES, LineStyle
from pipeline.report.standing import STAGE_ORDER, Standing, families_of
from pipeline.report.style import fitted, house_style
from pipeline.report.tables import ORIGINS, LeftOut, Tables, is_imported

_REFERENCE_COLOR = "#6B6B6B"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A length that readers have a feeling for.

    Attributes:
        label: on the axis, in two lines.
        length_bytes: the length.
        source: how the number comes about.
    """

    label: str
    length_bytes: int
    source: str


REFERENCES = (
    Reference(
        label="100 lines\nof Python",
        length_bytes=3_702,
        source="37.02 bytes a line: 12,118,641 bytes in 327,340 lines of the standard library of CPython 3.11.7, "
        "without its tests",
    ),
    Reference(
        label="ImageNet\nimage",
        length_bytes=150_528,
        source="224 x 224 pixels of 3 bytes, the input of most classifiers since arXiv 1409.1556; not compressed",
    ),
    Reference(
        label="BERT-base",
        length_bytes=440_000_000,
        source="110 million weights (arXiv 1810.04805) of 4 bytes",
    ),
)
"""Reference lengths that are the same for every model."""

_BYTES_PER_WEIGHT = 2
_ABOVE_INCHES = 0.6
_ENTRY_INCHES = 2.4
_LABEL_INCHES = 0.24
"""Two lines of a label of a reference length, side by side."""

_EARLIER = line_handle(
    "pale, unmarked: earlier checkpoints of the stage", LineStyle(color=NEUTRAL_COLOR), width=0.8, alpha=0.55
)


def references_of(family: Sequence[Standing]) -> list[Reference]:
    """Reference lengths of a model family: those of `REFERENCES`, and the model itself where its size is known."""
    parameters = next((it.parameters for it in family if it.parameters is not None), None)
    if parameters is None:
        return list(REFERENCES)
    itself = Reference(
        label="the model\nitself",
        length_bytes=_BYTES_PER_WEIGHT * parameters,
        source=f"{parameters:,} weights of 16 bits",
    )
    return sorted([*REFERENCES, itself], key=lambda reference: reference.length_bytes)


def checkpoint_figures(tables: Tables) -> dict[str, Figure]:
    """Frontiers of the checkpoints of each model family, by stage; the last checkpoint of a stage is drawn bold.

    Returns:
        Suffix of the file name -> figure.

    Raises:
        LeftOut: no model family has checkpoints of two stages.
    """
    tables = drawable(tables)
    families = staged_families(tables)
    references = {name: references_of(family) for name, family in families.items()}
    longest = max(reference.length_bytes for row in references.values() for reference in row)
    figures = {}
    lines = max(len(last_of_stages(family)) for family in families.values()) if len(families) > 1 else 0
    with house_style():
        for page in pages(tables, list(families), across=2, height=1.7, lines_below=lines, above=_ABOVE_INCHES):
            set_axes(page, tables, high_bytes=longest)
            for (task, name), axes in page.panels.items():
                draw_references(axes, references[name], inches=page.panel_inches if page.is_highest(axes) else None)
                stages = draw_checkpoints(axes, tables, task, families[name])
                if page.is_lowest(axes) and len(families) > 1:
                    add_key_legend(axes, stages)
            handles = [*earlier_handles(families.values()), *common_handles(tables)]
            add_legend(page, handles if len(families) > 1 else [*stages, *handles])
            figures[page.suffix] = page.figure
    return figures


def last_of_stages(family: Sequence[Standing]) -> dict[str, Standing]:
    """Stage -> the last checkpoint of it, in the order of training."""
    return {stage: last for stage in STAGE_ORDER for last in [it for it in family if it.stage == stage][-1:]}


def staged_families(tables: Tables) -> dict[str, list[Standing]]:
    """Model families with checkpoints of two stages, by name.

    Raises:
        LeftOut: there is none.
    """
    families = {
        name: family
        for name, family in families_of(tables.models).items()
        if len({standing.stage for standing in family}) > 1
    }
    if not families:
        raise LeftOut("no model family has checkpoints of two stages of training")
    return families


def draw_references(axes: Axes, references: Sequence[Reference], *, inches: float | None) -> None:
    """Lines at reference lengths, labelled over a panel of this width; None for no labels."""
    for reference in references:
        axes.axvline(reference.length_bytes, color=_REFERENCE_COLOR, linewidth=0.5, linestyle=(0, (1, 2)), zorder=0.5)
    if inches is None:
        return
    top = axes.secondary_xaxis("top")
    top.set_xticks([reference.length_bytes for reference in references], minor=False)
    top.set_xticklabels([reference.label for reference in references])
    top.xaxis.set_minor_locator(NullLocator())
    top.tick_params(axis="x", labelrotation=90, labelsize=6, colors=_REFERENCE_COLOR, pad=1.5)
    top.spines["top"].set_visible(False)
    low, high = np.log(axes.get_xlim())
    places = [float((np.log(reference.length_bytes) - low) / (high - low)) * inches for reference in references]
    labels = top.get_xticklabels()
    for left, right, distance in zip(labels, labels[1:], np.diff(places), strict=False):
        if distance < _LABEL_INCHES:
            left.set_horizontalalignment("right")
            right.set_horizontalalignment("left")


def draw_checkpoints(axes: Axes, tables: Tables, task: str, family: Sequence[Standing]) -> list[Line2D]:
    """Frontiers of the checkpoints of a model family on one task.

    Returns:
        Entries of a legend for the last checkpoint of each stage.
    """
    bold = {standing.model for standing in last_of_stages(family).values()}
    # Bold ones last, so that they lie on top.
    for standing in sorted(family, key=lambda it: (it.model in bold, it.order)):
        style = STAGE_STYLES[standing.stage]
        is_bold = standing.model in bold
        for imported in ORIGINS:
            programs = [row for row in tables.programs(task, [standing.model]) if is_imported(row) == imported]
            members = tables.members(task, standing.model, imported=imported)
            draw_steps(
                axes,
                members,
                constant(style),
                end_bytes=largest_bytes(programs),
                width=1.8 if is_bold else 1.0,
                imported=imported,
                zorder=4 if is_bold else 2,
                alpha=1.0 if is_bold else 0.55,
            )
            if is_bold:
                draw_intervals(axes, members, constant(style.color), zorder=4)
                draw_members(axes, members, constant(style), zorder=5, size=4.4)
    return _stage_handles(family, hollow=not tables.has_own)


def earlier_handles(families: Iterable[Sequence[Standing]]) -> list[Line2D]:
    """Entry of a legend for earlier checkpoints of a stage, where there are any."""
    has_earlier = any(len(family) > len(last_of_stages(family)) for family in families)
    return [_EARLIER] if has_earlier else []


def _stage_handles(family: Sequence[Standing], *, hollow: bool) -> list[Line2D]:
    handles = []
    for stage, last in last_of_stages(family).items():
        handles.append(
            line_handle(
                fitted(f"{stage}: {last.model}", 6.5, _ENTRY_INCHES),
                STAGE_STYLES[stage],
                width=1.8,
                marker=True,
                hollow=hollow,
            )
        )
    return handles
