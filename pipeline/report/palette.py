"""Colours, markers and dashes. A family, a view, a stage looks the same in every figure, and is told apart in grey."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import colormaps
from matplotlib.colors import to_hex

from pipeline.report.standing import MID_TRAINING, POST_TRAINING, PRE_TRAINING, RANDOM, TRAINED, families_of

SOLID = "-"
_DASHED = (0, (4.5, 1.6))
_DASH_DOT = (0, (5, 1.4, 1.2, 1.4))
_DOTTED = (0, (1.2, 1.2))

NEUTRAL_COLOR = "#444444"
FLOOR_COLOR = "#333333"
GRID_COLOR = "#E4E4E4"


@dataclass(frozen=True, kw_only=True, slots=True)
class LineStyle:
    """How a line and its markers are drawn.

    Attributes:
        color: of both.
        line: matplotlib line style.
        marker: matplotlib marker.
    """

    color: str
    line: Any = SOLID
    marker: str = "o"


# Okabe and Ito's colours, told apart with every kind of colour vision.
VIEW_STYLES = {
    "floor": LineStyle(color="#555555", line=_DOTTED, marker="x"),
    "inference": LineStyle(color="#0072B2", line=SOLID, marker="o"),
    "data": LineStyle(color="#D55E00", line=_DASHED, marker="s"),
    "parametric": LineStyle(color="#009E73", line=_DASH_DOT, marker="^"),
    "combined": LineStyle(color="#CC79A7", line=_DOTTED, marker="<"),
}

FAMILY_STYLES = {
    "trivial": LineStyle(color="#555555", marker="x"),
    "baseline": LineStyle(color="#56B4E9", marker="P"),
    "urial": LineStyle(color="#0072B2", marker="D"),
    "icl": LineStyle(color="#003F66", marker="o"),
    "sampled": LineStyle(color="#2E86AB", marker=">"),
    "prompt-search": LineStyle(color="#4A7FC1", marker="X"),
    "subset": LineStyle(color="#D55E00", marker="s"),
    "taught": LineStyle(color="#F0A070", marker="d"),
    "plain-subset": LineStyle(color="#A33F00", marker="8"),
    "lora": LineStyle(color="#009E73", marker="^"),
    "blora": LineStyle(color="#00573F", marker="v"),
    "tuner": LineStyle(color="#2FD39B", marker="p"),
    "gains": LineStyle(color="#7BC8A4", marker="H"),
    "scales": LineStyle(color="#1B7F5C", marker="+"),
    "lm-head": LineStyle(color="#62CDAB", marker="h"),
    "full": LineStyle(color="#7D8B00", marker="*"),
    "reweight": LineStyle(color="#CC79A7", marker="<"),
}
"""Families that come with this package: shades of the colour of their view."""

_OTHER_COLORS = ("#882255", "#332288", "#999933", "#AA4499", "#661100")
_OTHER_MARKERS = (">", "p", "X", "d", "8")

STAGE_STYLES = {
    RANDOM: LineStyle(color="#767676", line=_DOTTED, marker="v"),
    PRE_TRAINING: LineStyle(color="#0072B2", line=_DASHED, marker="o"),
    MID_TRAINING: LineStyle(color="#E69F00", line=_DASH_DOT, marker="s"),
    TRAINED: LineStyle(color="#009E73", line=SOLID, marker="D"),
    POST_TRAINING: LineStyle(color="#D55E00", line=SOLID, marker="^"),
}

_MODEL_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_MODEL_LINES: tuple[Any, ...] = (SOLID, (0, (7, 1.5)), (0, (7, 1.5, 1, 1.5)), (0, (3, 1)), (0, (1, 1)))
_TWIN_COLORS = ("#767676", "#9C9C9C", "#4F4F4F")
_TWIN_LINES: tuple[Any, ...] = ((0, (4, 2)), (0, (1.5, 1.5)), (0, (4, 2, 1, 2)))
MANY_MODELS = len(_MODEL_COLORS)
"""With more trained models than this a panel holds one model family only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelStyle:
    """How one base model is drawn.

    Attributes:
        color: of its line and markers.
        line: matplotlib line style.
        is_twin: whether its weights are random: drawn grey, thin, dashed and behind, its markers pale.
    """

    color: str
    line: Any
    is_twin: bool


def model_groups(models: Iterable[str]) -> dict[str, list[str]]:
    """Models that may share a panel, by a name of the group: all of them where they are few, else by model family."""
    families = families_of(models)
    ordered = [standing for family in families.values() for standing in family]
    if sum(standing.stage != RANDOM for standing in ordered) <= MANY_MODELS:
        return {"": [standing.model for standing in ordered]} if ordered else {}
    return {name: [standing.model for standing in family] for name, family in families.items()}


def model_styles(models: Iterable[str]) -> dict[str, ModelStyle]:
    """A style for each base model, all different within a group; trained ones first, each kind in training order.

    Few models have colours far apart; of many, the colour of a model goes from dark to light along the training.
    """
    models = list(models)
    groups = model_groups(models)
    random = {it.model for family in families_of(models).values() for it in family if it.stage == RANDOM}
    styles: dict[str, ModelStyle] = {}
    for is_twin in (False, True):
        for group in groups.values():
            of_kind = [model for model in group if (model in random) == is_twin]
            lines = _TWIN_LINES if is_twin else _MODEL_LINES
            colors = _TWIN_COLORS if is_twin else _MODEL_COLORS if len(groups) == 1 else _ramp(len(of_kind))
            for number, model in enumerate(of_kind):
                styles[model] = ModelStyle(
                    color=colors[number % len(colors)], line=lines[number % len(lines)], is_twin=is_twin
                )
    return styles


def length_styles(number: int) -> list[LineStyle]:
    """Styles of an ordered row of lengths, the longest darkest."""
    markers, lines = ("o", "s", "^", "D", "v", "P"), (SOLID, _DASHED, _DASH_DOT)
    return [
        LineStyle(color=color, line=lines[place % len(lines)], marker=markers[place % len(markers)])
        for place, color in enumerate(reversed(_ramp(number)))
    ]


def family_styles(families: Sequence[str]) -> dict[str, LineStyle]:
    """A style for each program family, in a fixed order: the families of this package, then others by name."""
    others = sorted(set(families) - FAMILY_STYLES.keys())
    styles = {name: style for name, style in FAMILY_STYLES.items() if name in families}
    return styles | {name: _other_style(number) for number, name in enumerate(others)}


def view_styles(views: Iterable[str]) -> dict[str, LineStyle]:
    """A style for each view, those of this package first."""
    views = set(views)
    others = sorted(views - VIEW_STYLES.keys())
    styles = {name: style for name, style in VIEW_STYLES.items() if name in views}
    return styles | {name: _other_style(number) for number, name in enumerate(others)}


def _other_style(number: int) -> LineStyle:
    """All colours with all markers, before one comes again."""
    shift = number // len(_OTHER_COLORS)
    return LineStyle(
        color=_OTHER_COLORS[number % len(_OTHER_COLORS)], marker=_OTHER_MARKERS[(number + shift) % len(_OTHER_MARKERS)]
    )


def _ramp(number: int) -> tuple[str, ...]:
    """Colours from dark to light, in even steps to every eye and in grey; the faint end is left out."""
    return tuple(to_hex(colormaps["viridis"](0.86 * place / max(1, number - 1))) for place in range(number))
