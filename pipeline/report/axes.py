"""Axes of figures: program length in bytes, scores, and what stands beside them."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from pipeline.cell import format_bytes
from pipeline.report.palette import GRID_COLOR
from pipeline.report.style import text_inches

METRIC_LABELS = {
    "accuracy": "accuracy (%)",
    "instructions-loose": "instructions, loose (%)",
    "instructions-strict": "instructions, strict (%)",
    "prompts-loose": "prompts, loose (%)",
    "prompts-strict": "prompts, strict (%)",
    "bleu": "BLEU",
    "chrf++": "chrF++",
}
"""Metric -> what its axis says."""

_PERCENT_METRICS = {name for name, label in METRIC_LABELS.items() if "%" in label}
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_TICK_STEPS = (1, 2, 3, 4, 5, 10, 20)
_BETWEEN_INCHES = 0.08


def metric_label(metric: str | None, higher_is_better: bool | None, select: str) -> str:
    """Label of the score axis: split, metric, and the direction where lower is better."""
    unit = METRIC_LABELS.get(metric or "", metric or "performance")
    direction = " (lower is better)" if higher_is_better is False else ""
    chosen = ", chosen on test" if select == "test" else ""
    return f"test {unit}{direction}{chosen}"


def set_length_axis(axes: Axes, low_bytes: float, high_bytes: float, *, inches: float) -> None:
    """Logarithmic axis of program length in bytes, ticks at powers of 2, as many of them labelled as fit.

    Args:
        axes: where the data are drawn, x in bytes.
        low_bytes: shortest length that must fit.
        high_bytes: largest length that must fit.
        inches: width of the axes.
    """
    axes.set_xscale("log", base=2)
    # Markers of the shortest and the largest program stay clear of the ends.
    margin = max(1.25, (high_bytes / low_bytes) ** 0.03)
    low, high = low_bytes / margin, high_bytes * margin
    if high / low < 4:
        low, high = low / 2, high * 2
    axes.set_xlim(low, high)
    axes.spines["top"].set_visible(False)
    set_length_ticks(axes, inches=inches)


def set_length_ticks(axes: Axes, *, inches: float) -> None:
    """Ticks of an axis of program length between its limits, as many of them labelled as fit.

    Args:
        axes: what `set_length_axis` was called for.
        inches: width of the axes.
    """
    low, high = axes.get_xlim()
    exponents = [exponent for exponent in range(64) if low <= 2**exponent <= high]
    octave = inches / math.log2(high / low)
    points = float(axes.xaxis.get_major_ticks(1)[0].label1.get_fontsize())
    step = next(
        (step for step in _TICK_STEPS if step * octave >= _widest(_multiples(exponents, step), points)),
        _TICK_STEPS[-1],
    )
    axes.xaxis.set_major_locator(FixedLocator([2**exponent for exponent in _multiples(exponents, step)]))
    minor = 1 if len(exponents) <= 8 * inches or step % 2 else step // 2
    axes.xaxis.set_minor_locator(FixedLocator([2**exponent for exponent in _multiples(exponents, minor)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: format_bytes(size)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def add_bits_axis(axes: Axes) -> None:
    """The axis of length once more along the top, in bits."""
    low, high = axes.get_xlim()
    axes.spines["top"].set_visible(True)
    top = axes.secondary_xaxis("top", functions=(_bits_of, _bytes_of))
    top.set_xscale("log", base=10)
    exponents = [exponent for exponent in range(20) if 8 * low <= 10**exponent <= 8 * high]
    top.xaxis.set_major_locator(FixedLocator([10**exponent for exponent in exponents]))
    top.xaxis.set_major_formatter(FixedFormatter([f"10{str(exponent).translate(_RAISED)}" for exponent in exponents]))
    top.xaxis.set_minor_locator(NullLocator())
    top.set_xlabel("program length in bits", labelpad=3)


def set_score_axis(axes: Axes, low: float, high: float, *, metric: str | None) -> None:
    """Axis of scores: starts at 0 where 0 is near, never leaves 0..100 for a percentage by more than a margin.

    Args:
        axes: where the data are drawn.
        low: lowest score or end of an interval.
        high: highest one.
        metric: metric of the scores.
    """
    span = max(high - low, 0.02 * abs(high), 1e-9)
    bottom = 0.0 if 0 <= low <= span else low - 0.08 * span
    top = high + 0.08 * span if high > 0 or low < 0 else 1.0
    if metric in _PERCENT_METRICS:
        top = min(top, 102.0)
    # A little room below 0, where programs without any success lie.
    axes.set_ylim(bottom - 0.03 * (top - bottom) if bottom == 0 else bottom, top)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color=GRID_COLOR, linewidth=0.5)


def _multiples(exponents: list[int], step: int) -> list[int]:
    """Exponents in steps of which 1 KiB is one, so that steps of 2 fall on 1, 4, 16, 64."""
    return [exponent for exponent in exponents if (exponent - 10) % step == 0]


def _widest(exponents: list[int], points: float) -> float:
    """Room that the label of each of these powers of 2 needs at a size of type, in inches."""
    labels = [text_inches(format_bytes(2**exponent), points) for exponent in exponents]
    return max(labels, default=0.0) + _BETWEEN_INCHES


def _bits_of(size_bytes: Any) -> Any:
    return size_bytes * 8


def _bytes_of(size_bits: Any) -> Any:
    return size_bits / 8
