"""Frontiers of every task, base model and scope."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline import schema
from pipeline.reduce.frontier import direction, is_candidate, pareto_frontier
from pipeline.reduce.merge import Row

ALL_SCOPE = "all"

PROGRAM_COLUMNS = [
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
SCOPE_COLUMNS = [
    ("task", pa.string()),
    ("model", pa.string()),
    ("scope", pa.string()),
    ("is_imported", pa.bool_()),  # of rows that others published, which are never on one curve with ours
    ("select", pa.string()),
]
METRIC_COLUMNS = [("metric", pa.string()), ("higher_is_better", pa.bool_())]

FRONTIER = pa.schema(
    [
        *SCOPE_COLUMNS,
        *METRIC_COLUMNS,
        ("program_length_bits", pa.int64()),
        ("performance", pa.float64()),  # the score that the frontier was chosen by
        *PROGRAM_COLUMNS,
    ]
)
"""One row a member, shortest first within task, model and scope."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Programs of one task, model and scope, and the frontier among them.

    Attributes:
        task: label of the task.
        model: label of the base model.
        scope: `all`, `view:NAME`, `family:NAME`, or `seed:N` (programs of that seed and those without a seed).
        is_imported: whether these are rows that others published.
        select: split that the frontier was chosen on.
        num_programs: points with a length.
        largest_program_bits: length of the largest program that was tried, None where there is none.
        tried_up_to_bits: the largest length that was tried: the budget of a program where it has one, else its own
            length. Programs fill a budget to within some bytes; by their own lengths the larger of two equally
            budgeted programs would fall out of every comparison.
        frontier: members, shortest first.
    """

    task: str
    model: str
    scope: str
    is_imported: bool
    select: str
    num_programs: int
    largest_program_bits: int | None
    tried_up_to_bits: int | None
    frontier: Sequence[Row]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskScores:
    """What the programs of one task reach, on the split that frontiers are chosen on, over all base models.

    Attributes:
        task: label of the task.
        is_imported: whether these are rows that others published.
        select: the split.
        metric: name of the metric, None where no program has a score.
        higher_is_better: its direction, None likewise.
        floor: best score of a program that ignores the base model, None where there is none.
        worst: worst score of any program, None where none has one.
        best: best score of any program, None likewise.
    """

    task: str
    is_imported: bool
    select: str
    metric: str | None
    higher_is_better: bool | None
    floor: float | None
    worst: float | None
    best: float | None


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
                        num_programs=len(programs),
                        largest_program_bits=max((row["program_length_bits"] for row in programs), default=None),
                        tried_up_to_bits=max(map(_tried_bits, programs), default=None),
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
        scope_values(curve)
        | {name: member[name] for name in ("metric", "higher_is_better", "program_length_bits")}
        | {"performance": member[score_column(curve.select)]}
        | {name: member[name] for name, _ in PROGRAM_COLUMNS}
        for curve in curves
        for member in curve.frontier
    ]


def task_scores(points: Sequence[Row], select: str) -> list[TaskScores]:
    """Range of the scores of each task, imported rows apart.

    Args:
        points: what `point_rows` gave.
        select: `validation` or `test`: what the frontiers of our own programs are chosen on.
    """
    ranges = []
    for (task, is_imported), rows in sorted(by_origin(points).items()):
        chosen_on = "test" if is_imported else select
        score = score_column(chosen_on)
        candidates = [row for row in rows if is_candidate(row, score)]
        sign = direction(candidates) if candidates else 1
        scores = [sign * row[score] for row in candidates]
        floors = [sign * row[score] for row in candidates if row["is_floor"]]
        described = next((row for row in rows if row["metric"] is not None), rows[0])
        ranges.append(
            TaskScores(
                task=task,
                is_imported=is_imported,
                select=chosen_on,
                metric=described["metric"],
                higher_is_better=described["higher_is_better"],
                floor=sign * max(floors) if floors else None,
                worst=sign * min(scores) if scores else None,
                best=sign * max(scores) if scores else None,
            )
        )
    return ranges


def scope_values(curve: Curve) -> Row:
    """The columns `SCOPE_COLUMNS` of a curve."""
    return {name: getattr(curve, name) for name, _ in SCOPE_COLUMNS}


def _tried_bits(row: Row) -> int:
    bits: int = row["program_length_bits"] if row["budget_bytes"] is None else 8 * row["budget_bytes"]
    return bits


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
