"""Task complexity: the length of the shortest program that reaches a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline.reduce.curves import (
    METRIC_COLUMNS,
    PROGRAM_COLUMNS,
    SCOPE_COLUMNS,
    Curve,
    TaskScores,
    scope_values,
    score_column,
)
from pipeline.reduce.frontier import direction, shortest_reaching
from pipeline.reduce.intervals import NO_INTERVAL
from pipeline.reduce.merge import Row
from pipeline.reduce.targets import Origin, Target

TARGET_COLUMNS = [
    ("target_name", pa.string()),  # as it was given: `20`, `75%`, `smollm2-135m/icl`
    ("target_performance", pa.float64()),
    ("target_fraction", pa.float64()),  # null for a target that was given in another way
]

COMPLEXITY = pa.schema(
    [
        *SCOPE_COLUMNS,
        *METRIC_COLUMNS,
        *TARGET_COLUMNS,
        ("is_reached", pa.bool_()),
        ("task_complexity_bits", pa.int64()),  # null where no program of the scope reaches the target
        ("has_interval", pa.bool_()),
        ("complexity_low_bits", pa.int64()),  # null in an interval: no member of the frontier reaches the target
        ("complexity_high_bits", pa.int64()),  # null in an interval: it is not established that any member does
        ("largest_program_bits", pa.int64()),  # the largest program tried in the scope, null where there is none
        ("num_programs", pa.int64()),
        *PROGRAM_COLUMNS,
    ]
)
"""One row a target: the shortest member of the frontier that reaches it.

The interval is for the length of the shortest member of the same frontier whose true performance reaches the target.
"""


def complexity_rows(
    curves: Sequence[Curve], scores: Sequence[TaskScores], targets: Mapping[Origin, Sequence[Target]]
) -> list[Row]:
    """Task complexity of every task, model and scope at every target, with the columns of `COMPLEXITY`.

    Args:
        curves: what `build_curves` gave.
        scores: what `task_scores` gave, for the same points.
        targets: what `targets_by_origin` gave for both.
    """
    scores_of = {(it.task, it.is_imported): it for it in scores}
    rows = []
    for curve in curves:
        key = curve.task, curve.is_imported
        for target in targets[key]:
            member = shortest_reaching(curve.frontier, score_column(curve.select), target.performance)
            has_interval = bool(curve.frontier) and all(row["test_low"] is not None for row in curve.frontier)
            low, high = complexity_interval(curve.frontier, target.performance) if has_interval else NO_INTERVAL
            rows.append(
                scope_values(curve)
                | {name: getattr(scores_of[key], name) for name, _ in METRIC_COLUMNS}
                | target_values(target)
                | {
                    "is_reached": member is not None,
                    "task_complexity_bits": member["program_length_bits"] if member else None,
                    "has_interval": has_interval,
                    "complexity_low_bits": low,
                    "complexity_high_bits": high,
                    "largest_program_bits": curve.largest_program_bits,
                    "num_programs": curve.num_programs,
                }
                | {name: member[name] if member else None for name, _ in PROGRAM_COLUMNS}
            )
    return rows


def complexity_interval(frontier: Sequence[Row], target: float) -> tuple[int | None, int | None]:
    """95% interval for the length of the shortest member of a frontier whose true performance reaches a target.

    The frontier was chosen on validation, so the test items are new to all of its members, and each end is wrong with
    a probability of at most 2.5%, however many members there are and however nearly equal:

    * The true one is one program. The lower end lies above it only if its own interval lies below the target: the
      lower end is the shortest member whose interval ends at the target or above.
    * For the upper end members are tested from the last one, the best on validation, towards shorter ones, until the
      first whose interval does not lie above the target. An order that is fixed before the test items are seen needs
      no correction for many tests (Maurer, Hothorn and Lehmacher 1995; Westfall and Krishen 2001): the first false
      claim is about one program, too. The upper end is the last member that passed.

    Args:
        frontier: members, shortest first, with `test_low` and `test_high`.
        target: performance to be reached.

    Returns:
        Lower end, None where all members are below the target; upper end, None where the last member does not pass.
    """
    sign = direction(frontier)
    highest, lowest = ("test_high", "test_low") if sign > 0 else ("test_low", "test_high")
    low = next((row["program_length_bits"] for row in frontier if sign * row[highest] >= sign * target), None)
    high = None
    for row in reversed(frontier):
        if sign * row[lowest] < sign * target:
            break
        high = row["program_length_bits"]
    return low, high


def target_values(target: Target) -> Row:
    """The columns `TARGET_COLUMNS` of a target."""
    return {
        "target_name": target.name,
        "target_performance": target.performance,
        "target_fraction": target.fraction,
    }
