"""Two frontiers as staircases of performance over length: the area between them, in either reading.

The area between two rate-distortion curves is the Bjontegaard delta rate of video coding (ITU-T VCEG-M33, 2001), which
fits polynomials through a few points. Here only programs that exist count, so the curves are the staircases themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.reduce.intervals import Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Staircase:
    """Members of a frontier, shortest first.

    Attributes:
        log_lengths: natural logarithm of the program lengths, shape [n_members], increasing.
        performances: higher is better, never falling from member to member, shape [..., n_members]; leading axes are
            resamples of the items.
    """

    log_lengths: Floats
    performances: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A stretch of the common range on which nothing changes.

    Attributes:
        start: where it starts.
        end: where it ends.
        value: the difference of the staircases on it.
    """

    start: float
    end: float
    value: float


def increasing(values: Floats) -> Floats:
    """Isotonic regression with equal weights: the closest values, in squares, that never fall.

    What falls is averaged with its neighbours (`pool adjacent violators`). A running maximum would never fall either,
    but it keeps the luckiest of nearly equal programs and is biased upward.

    Args:
        values: shape [..., n]; each row along the last axis by itself.
    """
    # Members lie along the first axis here: what is done to all resamples of a member is then one pass over memory.
    columns = np.ascontiguousarray(np.moveaxis(values, -1, 0))
    num_values = len(columns)
    sums = np.concatenate([np.zeros_like(columns[:1]), np.cumsum(columns, axis=0)])
    result = np.full(columns.shape, -np.inf)
    # The regression at a place is the highest, over starts before it, of the lowest mean up to an end behind it.
    for start in range(num_values):
        counts = np.arange(1, num_values - start + 1).reshape(-1, *[1] * (columns.ndim - 1))
        means = (sums[start + 1 :] - sums[start]) / counts
        lowest = np.minimum.accumulate(means[::-1], axis=0)[::-1]
        np.maximum(result[start:], lowest, out=result[start:])
    return np.moveaxis(result, 0, -1)


def mean_log_ratio(own: Staircase, reference: Staircase) -> Floats:
    """Logarithm of length(reference) / length(own) at equal performance, mean over the performances that both know.

    The range starts at the higher of the two first members, since below its first member a frontier knows no shorter
    program, and ends at the lower of the two last ones.

    Returns:
        Shape [...], NaN where there is no such range.
    """
    low = np.maximum(own.performances[..., :1], reference.performances[..., :1])
    high = np.minimum(own.performances[..., -1:], reference.performances[..., -1:])

    def integral(side: Staircase) -> Floats:
        within = np.diff(np.clip(side.performances, low, np.maximum(low, high)), axis=-1)
        area: Floats = within @ side.log_lengths[1:]
        return area

    width = (high - low)[..., 0]
    areas = integral(reference) - integral(own)
    mean: Floats = np.divide(areas, width, out=np.full(np.shape(areas), np.nan), where=width > 0)
    return mean


def mean_difference(own: Staircase, reference: Staircase, log_end: float) -> Floats:
    """Performance of `own` less that of `reference` within equal length, mean over the logarithm of the length.

    The range starts where both have a program.

    Args:
        own: performances.
        reference: those they are held against.
        log_end: logarithm of the largest length that both were tried at.

    Returns:
        Shape [...], NaN where there is no such range.
    """
    log_start = max(own.log_lengths[0], reference.log_lengths[0])

    def integral(side: Staircase) -> Floats:
        widths = np.diff(np.clip(np.append(side.log_lengths, log_end), log_start, max(log_start, log_end)))
        area: Floats = side.performances @ widths
        return area

    if log_end <= log_start:
        return np.full(own.performances.shape[:-1], np.nan)
    mean: Floats = (integral(own) - integral(reference)) / (log_end - log_start)
    return mean


def log_ratio_steps(own: Staircase, reference: Staircase) -> list[Step]:
    """What `mean_log_ratio` is the mean of, over performance; of staircases without leading axes."""

    def log_length(side: Staircase, performance: float) -> float:
        return float(side.log_lengths[np.searchsorted(side.performances, performance)])

    return _steps(
        own.performances,
        reference.performances,
        max(own.performances[0], reference.performances[0]),
        min(own.performances[-1], reference.performances[-1]),
        lambda performance: log_length(reference, performance) - log_length(own, performance),
    )


def difference_steps(own: Staircase, reference: Staircase, log_end: float) -> list[Step]:
    """What `mean_difference` is the mean of, over the logarithm of the length; of staircases without leading axes."""

    def performance(side: Staircase, log_length: float) -> float:
        return float(side.performances[np.searchsorted(side.log_lengths, log_length) - 1])

    return _steps(
        own.log_lengths,
        reference.log_lengths,
        max(own.log_lengths[0], reference.log_lengths[0]),
        log_end,
        lambda log_length: performance(own, log_length) - performance(reference, log_length),
    )


def _steps(first: Floats, second: Floats, start: float, end: float, value: Callable[[float], float]) -> list[Step]:
    if end <= start:
        return []
    places = np.unique(np.clip(np.concatenate([first, second, [start, end]]), start, end)).tolist()
    return [Step(start=one, end=two, value=value((one + two) / 2)) for one, two in pairwise(places)]
