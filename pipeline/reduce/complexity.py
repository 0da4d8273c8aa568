"""Task complexity: the length of the shortest program that reaches a target."""

from __future__ import annotations

from collections.abc import Sequence

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
from pipeline.reduce.frontier import shortest_reaching
from pipeline.reduce.merge import Row

TARGET_FRACTIONS = (0.25, 0.5, 0.75, 0.9, 1.0)
"""Default targets: these parts of the way from the best floor to the best score on a task."""

COMPLEXITY = pa.schema(
    [
        *SCOPE_COLUMNS,
        *METRIC_COLUMNS,
        ("target_performance", pa.float64()),
        ("target_fraction", pa.float64()),  # null for a target that was given as a number
        ("is_reached", pa.bool_()),
        ("task_complexity_bits", pa.int64()),  # null where no program of the scope reaches the target
        ("largest_program_bits", pa.int64()),  # the largest program tried in the scope, null where there is none
        ("num_programs", pa.int64()),
        *PROGRAM_COLUMNS,
    ]
)
"""One row a target: the shortest member of the frontier that reaches it."""


def default_targets(scores: TaskScores) -> list[tuple[float | None, float]]:
    """Targets of one task: `TARGET_FRACTIONS` of the way from the best floor to the best score of any model.

    Without a floor the way starts at the worst score.

    Args:
        scores: range of the scores of the task.

    Returns:
        (fraction, target performance), from easy to hard; equal targets once.
    """
    if scores.best is None or scores.worst is None:
        return []
    best, start = scores.best, scores.worst if scores.floor is None else scores.floor
    targets: dict[float, float] = {}
    for fraction in reversed(TARGET_FRACTIONS):
        # Not computed at the end of the way: rounding could put the target above the best score.
        targets.setdefault(best if fraction == 1 else start + fraction * (best - start), fraction)
    return [(fraction, target) for target, fraction in reversed(targets.items())]


def complexity_rows(
    curves: Sequence[Curve], scores: Sequence[TaskScores], targets: Sequence[float] | None
) -> list[Row]:
    """Task complexity of every task, model and scope at every target, with the columns of `COMPLEXITY`.

    Args:
        curves: what `build_curves` gave.
        scores: what `task_scores` gave, for the same points.
        targets: performances, None for `default_targets` of each task, those of imported rows apart.
    """
    scores_of = {(it.task, it.is_imported): it for it in scores}
    targets_of = {
        key: default_targets(it) if targets is None else [(None, target) for target in targets]
        for key, it in scores_of.items()
    }
    rows = []
    for curve in curves:
        key = curve.task, curve.is_imported
        for fraction, target in targets_of[key]:
            member = shortest_reaching(curve.frontier, score_column(curve.select), target)
            rows.append(
                scope_values(curve)
                | {name: getattr(scores_of[key], name) for name, _ in METRIC_COLUMNS}
                | {
                    "target_performance": target,
                    "target_fraction": fraction,
                    "is_reached": member is not None,
                    "task_complexity_bits": member["program_length_bits"] if member else None,
                    "largest_program_bits": curve.largest_program_bits,
                    "num_programs": curve.num_programs,
                }
                | {name: member[name] if member else None for name, _ in PROGRAM_COLUMNS}
            )
    return rows
