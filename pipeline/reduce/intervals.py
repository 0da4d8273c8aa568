"""95% intervals for the score of a fixed program, and for the difference of two, over the items of a test split.

They say how far the score would move with other items of the same distribution. They are valid for a program that was
chosen without looking at these items; a program chosen on the test split itself gets none.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.metrics import Metric

Floats = NDArray[np.float64]
Interval = tuple[float | None, float | None]
NO_INTERVAL: Interval = (None, None)

NUM_RESAMPLES = 2000
RESAMPLING_SEED = 20260101
"""Fixed, so that reducing twice gives the same bytes."""

_PERCENTILES = (2.5, 97.5)
NORMAL_QUANTILE = 1.959963984540054
"""A standard normal variable lies between this and its negative with probability 95%."""
_RESAMPLES_AT_ONCE = 100


def wilson_interval(performance: float, num_items: int) -> Interval:
    """Wilson's interval of a proportion; unlike the normal approximation it has a width at 0 and at 100.

    Args:
        performance: percentage of items that count 1, in 0..100.
        num_items: number of items.

    Returns:
        Lower and upper end, in 0..100; none without items.
    """
    if num_items == 0:
        return NO_INTERVAL
    low, high = wilson_intervals(np.array([performance]), np.array([num_items]))
    return float(low[0]), float(high[0])


def wilson_intervals(performances: Floats, num_items: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Wilson's intervals of many proportions.

    Args:
        performances: percentages of items that count 1, in 0..100, shape [n].
        num_items: numbers of items, above 0, shape [n].

    Returns:
        Lower and upper ends, in 0..100, shape [n].
    """
    proportion = performances / 100
    spread = NORMAL_QUANTILE**2 / num_items
    center = (proportion + spread / 2) / (1 + spread)
    half_width = (
        NORMAL_QUANTILE * np.sqrt(proportion * (1 - proportion) / num_items + spread / (4 * num_items)) / (1 + spread)
    )
    # At 0 and at 100 one end is the score itself; rounding must not put it on the other side.
    low = np.minimum(np.maximum(0.0, center - half_width), proportion)
    high = np.maximum(np.minimum(1.0, center + half_width), proportion)
    return 100 * low, 100 * high


def resampled_performances(metric: Metric, statistics: Sequence[NDArray[Any]]) -> list[Floats | None]:
    """Performance of programs on resampled sets of items: the same resamples for every program (hence paired).

    Args:
        metric: how sums of statistics become a performance.
        statistics: for each program the statistics of its items, shape [n_items, n_statistics]; the items of all
            programs are the same and in the same order.

    Returns:
        For each program its performance on every resample, shape [NUM_RESAMPLES]; None where it has no items or a
        resample has nothing to score.
    """
    if not statistics or len(statistics[0]) == 0:
        return [None] * len(statistics)
    items = np.concatenate([np.asarray(values, dtype=np.float64) for values in statistics], axis=1)
    num_items = len(items)
    # The number of items is part of the seed: programs of one task share their resamples in every call.
    generator = np.random.default_rng([RESAMPLING_SEED, num_items])
    sums = np.empty((NUM_RESAMPLES, items.shape[1]))
    for start in range(0, NUM_RESAMPLES, _RESAMPLES_AT_ONCE):
        drawn = generator.integers(0, num_items, size=(min(_RESAMPLES_AT_ONCE, NUM_RESAMPLES - start), num_items))
        counts = np.stack([np.bincount(row, minlength=num_items) for row in drawn]).astype(np.float64)
        sums[start : start + _RESAMPLES_AT_ONCE] = counts @ items
    results: list[Floats | None] = []
    ends = np.cumsum([values.shape[1] for values in statistics])
    for program_sums in np.split(sums, ends[:-1], axis=1):
        try:
            results.append(np.asarray(metric.aggregate(program_sums), dtype=np.float64))
        except UserError:
            results.append(None)
    return results


def percentile_interval(resampled: Floats | None) -> Interval:
    """Percentile bootstrap interval of one program, or of a difference of two.

    Args:
        resampled: values on the resamples, shape [NUM_RESAMPLES]; None gives no interval. NaN stands for a resample
            without a value, and counts as beyond either end.

    Returns:
        Lower and upper end; None for an end that resamples without a value reach. None at all where every resample
        has the same value, as with one item, or items that agree: that says nothing of other items.
    """
    if resampled is None or (resampled == resampled[0]).all():
        return NO_INTERVAL
    if not np.isnan(resampled).any():
        low, high = np.percentile(resampled, _PERCENTILES)
        return float(low), float(high)
    # Between a number and infinity there is nothing to interpolate.
    low = np.percentile(np.nan_to_num(resampled, nan=-np.inf), _PERCENTILES[0], method="lower")
    high = np.percentile(np.nan_to_num(resampled, nan=np.inf), _PERCENTILES[1], method="higher")
    return (float(low) if np.isfinite(low) else None), (float(high) if np.isfinite(high) else None)


def proportion_score(performance: float, num_items: int, target: float) -> float:
    """Standard score of a proportion against a target: above `NORMAL_QUANTILE` where Wilson's interval lies above it.

    Args:
        performance: percentage of items that count 1, in 0..100.
        num_items: number of items.
        target: performance in 0..100.

    Returns:
        Positive where the performance is above the target; 0 where they are equal, infinite where no chance could be
        between them.
    """
    difference = performance - target
    variance = max(0.0, target * (100 - target)) / num_items
    if variance == 0:
        return 0.0 if difference == 0 else float(np.copysign(np.inf, difference))
    return float(difference / np.sqrt(variance))


def resampled_score(resampled: Floats, target: float) -> float:
    """Standard score of any performance against a target: above `NORMAL_QUANTILE` where its percentile interval is.

    Args:
        resampled: performance on the resamples, shape [NUM_RESAMPLES].
        target: in the units of the metric.
    """
    share = (np.count_nonzero(resampled > target) + 0.5 * np.count_nonzero(resampled == target)) / len(resampled)
    # Of some thousand resamples none beyond the target is no proof that none could be.
    least = 0.5 / len(resampled)
    return NormalDist().inv_cdf(float(np.clip(share, least, 1 - least)))
