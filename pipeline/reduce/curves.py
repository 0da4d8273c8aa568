"""Frontiers, task complexities, and the ratio of task complexities between base models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import pyarrow as pa

from pipeline import schema
from pipeline.reduce.frontier import direction, is_candidate, pareto_frontier, shortest_reaching
from pipeline.reduce.merge import Row

TARGET_FRACTIONS = (0.25, 0.5, 0.75, 0.9, 1.0)
"""Default targets: these parts of the way from the best floor to the best score on a task."""

ALL_SCOPE = "all"

_PROGRAM_COLUMNS = [
    ("cell_id", pa.string()),
    ("family", pa.string()),
    ("view", pa.string()),
    ("parameters", pa.string()),
    ("budget_bytes", pa.int64()),
    ("seed", pa.int64()),
    ("settings", pa.string()),
    ("program_sha256", pa.string()),
    ("validation_performance", pa.float64()),
    ("validation_num_items", pa.int64()),
    ("test_performance", pa.float64()),
    ("test_low", pa.float64()),
    ("test_high", pa.float64()),
    ("test_num_items", pa.int64()),
]
_SCOPE_COLUMNS = [
    ("task", pa.string()),
    ("model", pa.string()),
    ("scope", pa.string()),
    ("is_imported", pa.bool_()),  # of rows that others published, which are never on one curve with ours
    ("select", pa.string()),
]
_TARGET_COLUMNS = ("task", "scope", "is_imported", "select", "target_performance", "target_fraction")
_METRIC_COLUMNS = [("metric", pa.string()), ("higher_is_better", pa.bool_())]

FRONTIER = pa.schema(
    [
        *_SCOPE_COLUMNS,
        *_METRIC_COLUMNS,
        ("program_length_bits", pa.int64()),
        ("performance", pa.float64()),  # the score that the frontier was chosen by
        *_PROGRAM_COLUMNS,
    ]
)
"""One row a member, shortest first within task, model and scope."""

COMPLEXITY = pa.schema(
    [
        *_SCOPE_COLUMNS,
        *_METRIC_COLUMNS,
        ("target_performance", pa.float64()),
        ("target_fraction", pa.float64()),  # null for a target that was given as a number
        ("is_reached", pa.bool_()),
        ("task_complexity_bits", pa.int64()),  # null where no program of the scope reaches the target
        ("largest_program_bits", pa.int64()),  # the largest program tried in the scope, null where there is none
        ("num_programs", pa.int64()),
        *_PROGRAM_COLUMNS,
    ]
)
"""One row a target: the shortest member of the frontier that reaches it."""

REDUCTION = pa.schema(
    [
        ("task", pa.string()),
        ("scope", pa.string()),
        ("is_imported", pa.bool_()),
        ("select", pa.string()),
        ("target_performance", pa.float64()),
        ("target_fraction", pa.float64()),
        ("model", pa.string()),
        ("reference_model", pa.string()),
        ("task_complexity_bits", pa.int64()),
        ("reference_complexity_bits", pa.int64()),  # null where the reference model does not reach the target
        ("reference_largest_program_bits", pa.int64()),
        ("ratio", pa.float64()),  # reference / model: above 1 the model needs less
        ("is_lower_bound", pa.bool_()),
    ]
)
"""One row for each target that the model reaches, and each other model as the reference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Programs of one task, model and scope, and the frontier among them.

    Attributes:
        task: label of the task.
        model: label of the base model.
        scope: `all`, `view:NAME`, `family:NAME`, or `seed:N` (programs of that seed and those without a seed).
        is_imported: whether these are rows that others published.
        select: split that the frontier was chosen on.
        programs: points with a length.
        frontier: members, shortest first.
    """

    task: str
    model: str
    scope: str
    is_imported: bool
    select: str
    programs: Sequence[Row]
    frontier: Sequence[Row]

    @property
    def largest_program_bits(self) -> int | None:
        """Length of the largest program that was tried, None where there is none."""
        return max((row["program_length_bits"] for row in self.programs), default=None)


def score_column(select: str) -> str:
    """The column of points that frontiers are chosen by."""
    return f"{select}_performance"


def build_curves(points: Sequence[Row], select: str) -> list[Curve]:
    """Frontiers of every task, model and scope.

    A floor ignores the base model, so the floors of a task are candidates of every model of that task in scope `all`
    and in the scopes of seeds. A scope whose cells are all infeasible has a curve without programs.

    Imported rows have curves of their own, chosen on test: they have no other score.

    Args:
        points: what `point_rows` gave.
        select: `validation` or `test`: what the frontiers of our own programs are chosen on.
    """
    curves = []
    for (task, is_imported), task_rows in sorted(by_origin(points).items()):
        chosen_on = "test" if is_imported else select
        floors = [row for row in task_rows if row["is_floor"]]
        for model in sorted({row["model"] for row in task_rows}):
            own = [row for row in task_rows if row["model"] == model]
            digests = {row["program_sha256"] for row in own}
            shared_floors = [row for row in floors if row["program_sha256"] not in digests]
            for scope, rows in _scopes(own, shared_floors).items():
                programs = [row for row in rows if row["program_length_bits"] is not None]
                curves.append(
                    Curve(
                        task=task,
                        model=model,
                        scope=scope,
                        is_imported=is_imported,
                        select=chosen_on,
                        programs=programs,
                        frontier=pareto_frontier(programs, score_column(chosen_on)),
                    )
                )
    return curves


def by_origin(points: Sequence[Row]) -> dict[tuple[str, bool], list[Row]]:
    """Points by task and by whether they are imported: what is compared with each other."""
    groups: dict[tuple[str, bool], list[Row]] = defaultdict(list)
    for row in points:
        groups[row["task"], row["status"] == schema.IMPORTED].append(row)
    return groups


def frontier_rows(curves: Sequence[Curve]) -> list[Row]:
    """Members of all frontiers, with the columns of `FRONTIER`."""
    return [
        _scope_values(curve)
        | {name: member[name] for name in ("metric", "higher_is_better", "program_length_bits")}
        | {"performance": member[score_column(curve.select)]}
        | {name: member[name] for name, _ in _PROGRAM_COLUMNS}
        for curve in curves
        for member in curve.frontier
    ]


def default_targets(points: Sequence[Row], select: str) -> list[tuple[float | None, float]]:
    """Targets of one task: `TARGET_FRACTIONS` of the way from the best floor to the best score of any model.

    Without a floor the way starts at the worst score.

    Args:
        points: points of one task.
        select: `validation` or `test`.

    Returns:
        (fraction, target performance), from easy to hard; equal targets once.
    """
    score = score_column(select)
    candidates = [row for row in points if is_candidate(row, score)]
    if not candidates:
        return []
    sign = direction(candidates)
    floors = [sign * row[score] for row in candidates if row["is_floor"]]
    scores = [sign * row[score] for row in candidates]
    start, best = max(floors) if floors else min(scores), max(scores)
    targets: dict[float, float] = {}
    for fraction in reversed(TARGET_FRACTIONS):
        # Not computed at the end of the way: rounding could put the target above the best score.
        value = best if fraction == 1 else start + fraction * (best - start)
        targets.setdefault(sign * value, fraction)
    return [(fraction, target) for target, fraction in reversed(targets.items())]


def complexity_rows(curves: Sequence[Curve], points: Sequence[Row], targets: Sequence[float] | None) -> list[Row]:
    """Task complexity of every task, model and scope at every target, with the columns of `COMPLEXITY`.

    Args:
        curves: what `build_curves` gave.
        points: what `point_rows` gave.
        targets: performances, None for `default_targets` of each task, those of imported rows apart.
    """
    groups = by_origin(points)
    select_of = {(curve.task, curve.is_imported): curve.select for curve in curves}
    targets_of = {
        key: default_targets(groups[key], select) if targets is None else [(None, target) for target in targets]
        for key, select in select_of.items()
    }
    metric_of = {
        key: next((row for row in group if row["metric"] is not None), group[0]) for key, group in groups.items()
    }
    rows = []
    for curve in curves:
        key = curve.task, curve.is_imported
        for fraction, target in targets_of[key]:
            member = shortest_reaching(curve.frontier, score_column(curve.select), target)
            rows.append(
                _scope_values(curve)
                | {name: metric_of[key][name] for name, _ in _METRIC_COLUMNS}
                | {
                    "target_performance": target,
                    "target_fraction": fraction,
                    "is_reached": member is not None,
                    "task_complexity_bits": member["program_length_bits"] if member else None,
                    "largest_program_bits": curve.largest_program_bits,
                    "num_programs": len(curve.programs),
                }
                | {name: member[name] if member else None for name, _ in _PROGRAM_COLUMNS}
            )
    return rows


def reduction_rows(complexities: Sequence[Row]) -> list[Row]:
    """How many times shorter a model's program is than that of another model at the same target.

    The ratio is C(reference) / C(model). Where the reference does not reach the target, its shortest program that does
    is longer than the largest one that was tried, so the ratio is at least largest / C(model): a lower bound. Where the
    model itself does not reach the target there is no row (the pair in the other order has it, if the other reaches).

    Args:
        complexities: what `complexity_rows` gave.
    """
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in complexities:
        groups[row["task"], row["scope"], row["is_imported"], row["target_performance"]].append(row)
    rows = []
    for group in groups.values():
        for own, reference in permutations(group, 2):
            numerator = reference["task_complexity_bits"] or reference["largest_program_bits"]
            if own["is_reached"] and numerator is not None:
                rows.append(
                    {name: own[name] for name in _TARGET_COLUMNS}
                    | {
                        "model": own["model"],
                        "reference_model": reference["model"],
                        "task_complexity_bits": own["task_complexity_bits"],
                        "reference_complexity_bits": reference["task_complexity_bits"],
                        "reference_largest_program_bits": reference["largest_program_bits"],
                        "ratio": numerator / own["task_complexity_bits"],
                        "is_lower_bound": not reference["is_reached"],
                    }
                )
    return rows


def _scopes(own: Sequence[Row], shared_floors: Sequence[Row]) -> dict[str, list[Row]]:
    scopes: dict[str, list[Row]] = {ALL_SCOPE: [*own, *shared_floors]}
    for row in own:
        scopes.setdefault(f"view:{row['view']}", []).append(row)
        scopes.setdefault(f"family:{row['family']}", []).append(row)
    seeds = sorted({row["seed"] for row in own if row["seed"] is not None})
    if len(seeds) > 1:
        for seed in seeds:
            scopes[f"seed:{seed}"] = [row for row in scopes[ALL_SCOPE] if row["seed"] in (None, seed)]
    return dict(sorted(scopes.items()))


def _scope_values(curve: Curve) -> Row:
    return {name: getattr(curve, name) for name, _ in _SCOPE_COLUMNS}
