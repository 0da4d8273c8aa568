"""The ratio of task complexities between base models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.metrics import METRICS
from pipeline.reduce.complexity import TARGET_COLUMNS
from pipeline.reduce.curves import Curve
from pipeline.reduce.frontier import direction
from pipeline.reduce.intervals import (
    NO_INTERVAL,
    NORMAL_QUANTILE,
    Floats,
    Interval,
    proportion_score,
    resampled_score,
)
from pipeline.reduce.merge import Row
from pipeline.reduce.resamples import Resamples

REDUCTION = pa.schema(
    [
        ("task", pa.string()),
        ("scope", pa.string()),
        ("is_imported", pa.bool_()),
        ("select", pa.string()),
        *TARGET_COLUMNS,
        ("model", pa.string()),
        ("reference_model", pa.string()),
        ("task_complexity_bits", pa.int64()),
        ("reference_complexity_bits", pa.int64()),  # null where the reference model does not reach the target
        ("reference_largest_program_bits", pa.int64()),
        ("ratio", pa.float64()),  # reference / model: above 1 the model needs less
        ("is_lower_bound", pa.bool_()),
        ("ratio_low", pa.float64()),  # null where there is no interval, or no bound on this side
        ("ratio_high", pa.float64()),
    ]
)
"""One row for each target that the model reaches, and each other model as the reference."""

_COPIED_COLUMNS = ("task", "scope", "is_imported", "select", *(name for name, _ in TARGET_COLUMNS))

_FARTHEST_SCORE = 12.0
_CLOSEST_CORRELATION = 0.99


@dataclass(frozen=True, kw_only=True, slots=True)
class _Side:
    """A frontier with what its test items say of it.

    Attributes:
        lengths: program lengths of the members, and behind them the largest that was tried, shape [n_members + 1].
        frontier: the members.
        resampled: their test performance on resampled items, shape [n_members, NUM_RESAMPLES].
        deviations: of `resampled` from the mean, each row of length 1 (or 0).
    """

    lengths: Floats
    frontier: Sequence[Row]
    resampled: Floats
    deviations: Floats

    def scores(self, target: float) -> Floats:
        """Standard score of each member, positive where the target is reached, shape [n_members]."""
        sign = direction(self.frontier)
        is_proportion = METRICS[self.frontier[0]["metric"]].is_proportion
        scores = [
            proportion_score(row["test_performance"], row["test_num_items"], target)
            if is_proportion
            else resampled_score(values, target)
            for row, values in zip(self.frontier, self.resampled, strict=True)
        ]
        return sign * np.clip(scores, -_FARTHEST_SCORE, _FARTHEST_SCORE)


def reduction_rows(complexities: Sequence[Row], curves: Sequence[Curve], resamples: Resamples) -> list[Row]:
    """How many times shorter a model's program is than that of another model at the same target.

    The ratio is C(reference) / C(model). Where the reference does not reach the target, its shortest program that does
    is longer than the largest one that was tried, so the ratio is at least largest / C(model): a lower bound. Where the
    model itself does not reach the target there is no row (the pair in the other order has it, if the other reaches).

    Args:
        complexities: what `complexity_rows` gave for the curves.
        curves: what `build_curves` gave.
        resamples: what `resampled_members` gave for them.
    """
    sides = {(it.task, it.scope, it.is_imported, it.model): _side(it, resamples) for it in curves}
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in complexities:
        groups[row["task"], row["scope"], row["is_imported"], row["target_name"]].append(row)
    rows = []
    for key, group in groups.items():
        target = group[0]["target_performance"]
        scored = {}
        for row in group:
            side = sides[(*key[:3], row["model"])]
            scored[row["model"]] = None if side is None else (side, side.scores(target))
        for own, reference in permutations(group, 2):
            numerator = reference["task_complexity_bits"] or reference["largest_program_bits"]
            if own["is_reached"] and numerator is not None:
                low, high = _ratio_interval(scored[reference["model"]], scored[own["model"]])
                rows.append(
                    {name: own[name] for name in _COPIED_COLUMNS}
                    | {
                        "model": own["model"],
                        "reference_model": reference["model"],
                        "task_complexity_bits": own["task_complexity_bits"],
                        "reference_complexity_bits": reference["task_complexity_bits"],
                        "reference_largest_program_bits": reference["largest_program_bits"],
                        "ratio": numerator / own["task_complexity_bits"],
                        "is_lower_bound": not reference["is_reached"],
                        "ratio_low": low,
                        "ratio_high": high,
                    }
                )
    return rows


def _side(curve: Curve, resamples: Resamples) -> _Side | None:
    """What is needed of a frontier, None where it has no members or the items of one are unknown."""
    if not curve.frontier or any(row["cell_id"] not in resamples for row in curve.frontier):
        return None
    resampled = np.stack([resamples[row["cell_id"]] for row in curve.frontier])
    deviations = resampled - resampled.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(deviations, axis=1, keepdims=True)
    return _Side(
        lengths=np.array(
            [*(row["program_length_bits"] for row in curve.frontier), curve.largest_program_bits], dtype=np.float64
        ),
        frontier=curve.frontier,
        resampled=resampled,
        deviations=np.divide(deviations, norms, out=np.zeros_like(deviations), where=norms > 0),
    )


def _ratio_interval(numerator: tuple[_Side, Floats] | None, denominator: tuple[_Side, Floats] | None) -> Interval:
    """95% interval for the ratio of two lengths: of the shortest members whose true performance reaches the target.

    Every pair of lengths that the test items leave possible has a ratio, and the interval is the range of these. What
    speaks against a pair is measured for both lengths at once: against the length of the numerator being so short (all
    members up to it are below the target) and against that of the denominator being so long (the members just before it
    reach the target), as the distance of their two standard scores from where both hold, with the correlation that the
    shared items give them. A distance beyond `NORMAL_QUANTILE` rules a pair out.

    Where programs are dense an end is wrong with a probability of at most 2.5%. Where they are far apart a pair stands
    alone: if one program of each side has its true performance at the target itself, which is the worst that can be, an
    end is wrong with 6.2% for unrelated performances, and with 7.4% for a correlation of 0.5.

    Args:
        numerator: frontier, and the standard scores of its members at the target.
        denominator: likewise.

    Returns:
        Lower and upper end, None for an end that has no bound: where it is not established that a side reaches the
        target at all.
    """
    if numerator is None or denominator is None:
        return NO_INTERVAL
    low, inverse_high = _lowest_ratio(numerator, denominator), _lowest_ratio(denominator, numerator)
    return low, None if inverse_high is None else 1 / inverse_high


def _lowest_ratio(numerator: tuple[_Side, Floats], denominator: tuple[_Side, Floats]) -> float | None:
    (short, short_scores), (long, long_scores) = numerator, denominator
    # Against the numerator being no longer than each of its lengths: that of its members up to there which comes
    # nearest to the target speaks. Nothing speaks against its being the longest.
    against_short, short_members = _running_least(-short_scores)
    against_short = np.append(against_short, -_FARTHEST_SCORE)
    short_members = np.append(short_members, short_members[-1])
    # Against the denominator being no shorter than each of its lengths: the least sure of the members from the one just
    # before it to the last. Nothing speaks against its being the first.
    reversed_scores, reversed_members = _running_least(long_scores[::-1])
    against_long = np.concatenate([[-_FARTHEST_SCORE], reversed_scores[::-1]])
    long_members = np.concatenate([[0], len(long_scores) - 1 - reversed_members[::-1]])
    correlation = short.deviations[short_members] @ long.deviations[long_members].T
    distances = _distances(against_short[:, None], against_long[None, :], correlation)
    is_possible = distances <= NORMAL_QUANTILE
    if is_possible[:, -1].any():
        return None  # the denominator may reach the target nowhere
    ratios = short.lengths[:, None] / long.lengths[None, :]
    return float(ratios[is_possible].min())


def _running_least(values: Floats) -> tuple[Floats, np.ndarray[Any, np.dtype[np.intp]]]:
    """Smallest of the values up to each place, and the place where it stands."""
    least = np.minimum.accumulate(values)
    places = np.maximum.accumulate(np.where(values == least, np.arange(len(values)), 0))
    return least, places


def _distances(first: Floats, second: Floats, correlation: Floats) -> Floats:
    """Distance of two standard scores from the quadrant in which neither is above 0, in their own metric.

    Args:
        first: standard scores, shape [n, 1].
        second: standard scores, shape [1, m].
        correlation: of the performances, shape [n, m]; the scores ask for opposite things, so theirs is its negative.
    """
    correlation = np.clip(correlation, -_CLOSEST_CORRELATION, _CLOSEST_CORRELATION)
    to_corner = (first**2 + second**2 + 2 * correlation * first * second) / (1 - correlation**2)
    # On an edge of the quadrant one score is 0 and the other goes along by its correlation.
    to_first_edge = (first > 0) & (second + correlation * first <= 0)
    to_second_edge = (second > 0) & (first + correlation * second <= 0)
    squared = np.select(
        [(first <= 0) & (second <= 0), to_first_edge, to_second_edge],
        [np.zeros_like(to_corner), first**2 + 0 * to_corner, second**2 + 0 * to_corner],
        to_corner,
    )
    distances: Floats = np.sqrt(squared)
    return distances
