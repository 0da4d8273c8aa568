"""How a figure looks: one marker per family, one colour and line per base model, axes in bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from pipeline.cell import format_bytes

FORMATS = ("svg", "png", "pdf")
"""Every figure is written in each of these."""

FAMILY_MARKERS = {"trivial": "x", "baseline": "P", "urial": "D", "icl": "o", "subset": "s", "lora": "^"}
"""Marker of each family that comes with this package; the same in every figure."""
_OTHER_MARKERS = ("v", "*", "h", "<", ">", "p", "X", "d")

RANDOM_MARK = "@random"
"""In the label of a base model: a twin of the model whose weights were drawn at random."""

# Okabe and Ito's colours, told apart with every kind of colour vision, without the two that are faint on white.
_MODEL_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
_MODEL_LINES: tuple[Any, ...] = ("-", (0, (7, 1.5)), (0, (7, 1.5, 1, 1.5)), (0, (3, 1)), (0, (1, 1)))
_TWIN_COLORS = ("#767676", "#9C9C9C", "#4F4F4F")
_TWIN_LINES: tuple[Any, ...] = ((0, (4, 2)), (0, (1.5, 1.5)), (0, (4, 2, 1, 2)))

FLOOR_COLOR = "#333333"
GRID_COLOR = "#E4E4E4"

_RC_PARAMS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    # Text as outlines looks the same on every machine; the same salt gives the same bytes on every run.
    "svg.fonttype": "path",
    "svg.hashsalt": "task-complexity",
    "pdf.fonttype": 42,
}

_METADATA: Mapping[str, Mapping[str, Any]] = {
    "svg": {"Date": None, "Creator": "task-complexity"},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": "task-complexity"},
}
_PNG_DOTS_PER_INCH = 220


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelStyle:
    """How one base model is drawn.

    Attributes:
        color: of its line and markers.
        line: matplotlib line style.
        is_twin: whether its weights are random: drawn grey, dashed and behind, with open markers.
    """

    color: str
    line: Any
    is_twin: bool


def model_styles(models: Sequence[str]) -> dict[str, ModelStyle]:
    """A style for each base model; trained ones first, each kind in the order of its names."""
    ordered = sorted(set(models))
    styles: dict[str, ModelStyle] = {}
    for is_twin, colors, lines in ((False, _MODEL_COLORS, _MODEL_LINES), (True, _TWIN_COLORS, _TWIN_LINES)):
        of_kind = [model for model in ordered if (RANDOM_MARK in model) == is_twin]
        for number, model in enumerate(of_kind):
            styles[model] = ModelStyle(
                color=colors[number % len(colors)], line=lines[number % len(lines)], is_twin=is_twin
            )
    return styles


def family_markers(families: Sequence[str]) -> dict[str, str]:
    """A marker for each family, in a fixed order: the families of this package, then others by name."""
    others = sorted(set(families) - FAMILY_MARKERS.keys())
    markers = {name: marker for name, marker in FAMILY_MARKERS.items() if name in families}
    return markers | {name: _OTHER_MARKERS[number % len(_OTHER_MARKERS)] for number, name in enumerate(others)}


def metric_label(metric: str | None, higher_is_better: bool | None, select: str) -> str:
    """Label of the score axis: split, metric, and the direction where lower is better."""
    unit = {"accuracy": "accuracy (%)", "bleu": "BLEU", "chrf++": "chrF++"}.get(metric or "", metric or "performance")
    direction = " (lower is better)" if higher_is_better is False else ""
    chosen = ", chosen on test" if select == "test" else ""
    return f"test {unit}{direction}{chosen}"


def set_length_axis(axes: Axes, low_bytes: float, high_bytes: float, *, has_bits: bool) -> None:
    """Logarithmic axis of program length in bytes, ticks at powers of 2; the same in bits along the top.

    Args:
        axes: where the data are drawn, x in bytes.
        low_bytes: shortest length that must fit.
        high_bytes: largest length that must fit.
        has_bits: whether to draw the axis of bits.
    """
    axes.set_xscale("log", base=2)
    low, high = low_bytes / 1.25, high_bytes * 1.25
    if high / low < 4:
        low, high = low / 2, high * 2
    axes.set_xlim(low, high)
    exponents = [exponent for exponent in range(64) if low <= 2**exponent <= high]
    step = 1 + len(exponents) // 9
    # 1 KiB is always a tick, so that steps of 2 fall on 1, 4, 16, 64.
    ticks = [2**exponent for exponent in exponents if (exponent - 10) % step == 0]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(FixedLocator([2**exponent for exponent in exponents]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: format_bytes(size)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if has_bits:
        top = axes.secondary_xaxis("top", functions=(_bits_of, _bytes_of))
        top.set_xscale("log", base=10)
        powers = [10**exponent for exponent in range(20) if 8 * low <= 10**exponent <= 8 * high]
        top.xaxis.set_major_locator(FixedLocator(powers))
        top.xaxis.set_minor_locator(NullLocator())
        top.set_xlabel("program length in bits", labelpad=3)
    else:
        axes.spines["top"].set_visible(False)


def set_score_axis(axes: Axes, low: float, high: float, *, is_percent: bool) -> None:
    """Axis of scores: starts at 0 where 0 is near, never leaves 0..100 for a percentage by more than a margin.

    Args:
        axes: where the data are drawn.
        low: lowest score or end of an interval.
        high: highest one.
        is_percent: whether scores lie in 0..100.
    """
    span = max(high - low, 0.02 * abs(high), 1e-9)
    bottom = 0.0 if 0 <= low <= span else low - 0.08 * span
    top = high + 0.08 * span if high > 0 or low < 0 else 1.0
    if is_percent:
        top = min(top, 102.0)
    # A little room below 0, where programs without any success lie.
    axes.set_ylim(bottom - 0.03 * (top - bottom) if bottom == 0 else bottom, top)
    axes.grid(axis="y", color=GRID_COLOR, linewidth=0.5)


def _bits_of(size_bytes: Any) -> Any:
    return size_bytes * 8


def _bytes_of(size_bits: Any) -> Any:
    return size_bits / 8


def house_style() -> AbstractContextManager[None]:
    """Context in which figures are made and written."""
    return matplotlib.rc_context(_RC_PARAMS)


def figure_bytes(figure: Figure) -> dict[str, bytes]:
    """The figure in each of `FORMATS`; the same figure always gives the same bytes."""
    contents = {}
    for suffix in FORMATS:
        buffer = io.BytesIO()
        with house_style():
            figure.savefig(
                buffer, format=suffix, metadata=dict(_METADATA[suffix]), dpi=_PNG_DOTS_PER_INCH, facecolor="white"
            )
        contents[suffix] = buffer.getvalue()
    return contents
