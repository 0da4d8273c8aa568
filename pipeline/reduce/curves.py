"""Frontiers of every task, base model and scope."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline import schema
from pipeline.reduce.frontier import is_candidate, pareto_frontier, sign_of
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgramSet:
    """Points that are in the same scopes: they agree in task, model, origin, family, view and seed.

    Attributes:
        task: label of the task.
        model: label of the base model.
        is_imported: whether these are rows that others published.
        is_floor: whether the programs ignore the base model.
        family: name of the program family.
        view: of the family.
        seed: None where chance plays no part.
        num_cells: points, those without a length included.
        candidates: those programs that may be on a frontier, and all floors, with what `pareto_frontier` needs,
            `budget_bytes`, and the score that frontiers are chosen by.
        num_programs: points with a length.
        largest_program_bits: length of the largest program, None where there is none.
        tried_up_to_bits: as in `Curve`.
        worst: the worst score of any program, None where none has one.
        best: the best one, None likewise.
        directions: the values of `higher_is_better` of programs with a score.
        described_by: the smallest cell id of a point with a metric, that metric and its direction; None without one.
    """

    task: str
    model: str
    is_imported: bool
    is_floor: bool
    family: str
    view: str
    seed: int | None
    num_cells: int
    candidates: Sequence[Row]
    num_programs: int
    largest_program_bits: int | None
    tried_up_to_bits: int | None
    worst: float | None
    best: float | None
    directions: frozenset[bool | None]
    described_by: tuple[str, str, bool | None] | None


def build_curves(points: Sequence[Row], select: str) -> list[Curve]:
    """Frontiers of every task, model and scope.

    Args:
        points: rows with the columns of `points.POINTS`.
        select: `validation` or `test`: what the frontiers of our own programs are chosen on.
    """
    return curves_of(program_sets(points, select), select)


def task_scores(points: Sequence[Row], select: str) -> list[TaskScores]:
    """Range of the scores of each task, imported rows apart.

    Args:
        points: rows with the columns of `points.POINTS`.
        select: `validation` or `test`: what the frontiers of our own programs are chosen on.
    """
    return scores_of(program_sets(points, select), select)


def program_sets(points: Sequence[Row], select: str) -> list[ProgramSet]:
    """Points in sets, all programs candidates. `candidates.Candidates` makes the same of a stream, with few candidates.

    Args:
        points: rows with the columns of `points.POINTS`.
        select: `validation` or `test`: what the frontiers of our own programs are chosen on.
    """
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in points:
        names = (row[name] for name in ("task", "model", "is_floor", "family", "view", "seed"))
        groups[row["status"] == schema.IMPORTED, *names].append(row)
    sets = []
    for (is_imported, task, model, is_floor, family, view, seed), rows in groups.items():
        score = score_column(chosen_on(is_imported, select))
        programs = [row for row in rows if row["program_length_bits"] is not None]
        scored = [row for row in programs if is_candidate(row, score)]
        directions = frozenset(row["higher_is_better"] for row in scored)
        signed = [row[score] if True in directions else -row[score] for row in scored]
        described = [row for row in rows if row["metric"] is not None]
        first = min(described, key=lambda row: row["cell_id"], default=None)
        sign = 1 if True in directions else -1
        sets.append(
            ProgramSet(
                task=task,
                model=model,
                is_imported=is_imported,
                is_floor=bool(is_floor),
                family=family,
                view=view,
                seed=seed,
                num_cells=len(rows),
                candidates=programs,
                num_programs=len(programs),
                largest_program_bits=max((row["program_length_bits"] for row in programs), default=None),
                tried_up_to_bits=max(map(_tried_bits, programs), default=None),
                worst=sign * min(signed) if signed else None,
                best=sign * max(signed) if signed else None,
                directions=directions,
                described_by=None if first is None else (first["cell_id"], first["metric"], first["higher_is_better"]),
            )
        )
    return sets


def curves_of(sets: Sequence[ProgramSet], select: str) -> list[Curve]:
    """Frontiers of every task, model and scope.

    A floor ignores the base model, so the floors of a task are candidates of every model of that task in scope `all`
    and in the scopes of seeds; one program counts once. A scope whose cells are all infeasible has a curve without
    programs.

    Imported rows have curves of their own, chosen on test: they have no other score.

    Args:
        sets: all programs.
        select: `validation` or `test`: what the frontiers of our own programs are chosen on.
    """
    curves = []
    for (task, is_imported), of_task in _by_task(sets).items():
        floors = _distinct(row for it in of_task if it.is_floor for row in it.candidates)
        for model in sorted({it.model for it in of_task}):
            own = [it for it in of_task if it.model == model]
            own_floors = {_program(row) for it in own if it.is_floor for row in it.candidates}
            shared_floors = [row for row in floors if _program(row) not in own_floors]
            for scope, (members, others) in _scopes(own, shared_floors).items():
                lengths = [it.largest_program_bits for it in members if it.largest_program_bits is not None]
                tried = [it.tried_up_to_bits for it in members if it.tried_up_to_bits is not None]
                candidates = [row for it in members for row in it.candidates] + others
                curves.append(
                    Curve(
                        task=task,
                        model=model,
                        scope=scope,
                        is_imported=is_imported,
                        select=chosen_on(is_imported, select),
                        num_programs=sum(it.num_programs for it in members) + len(others),
                        largest_program_bits=max(
                            [*lengths, *(row["program_length_bits"] for row in others)], default=None
                        ),
                        tried_up_to_bits=max([*tried, *map(_tried_bits, others)], default=None),
                        frontier=pareto_frontier(candidates, score_column(chosen_on(is_imported, select))),
                    )
                )
    return curves


def scores_of(sets: Sequence[ProgramSet], select: str) -> list[TaskScores]:
    """Range of the scores of each task, imported rows apart.

    Args:
        sets: all programs.
        select: `validation` or `test`: what the frontiers of our own programs are chosen on.

    Raises:
        UserError: programs of one task disagree on whether higher is better.
    """
    ranges = []
    for (task, is_imported), of_task in _by_task(sets).items():
        directions = frozenset[bool | None]().union(*(it.directions for it in of_task))
        sign = sign_of(directions) if directions else 1
        best = [(sign * it.best, it.is_floor) for it in of_task if it.best is not None]
        worst = [sign * it.worst for it in of_task if it.worst is not None]
        floors = [score for score, is_floor in best if is_floor]
        _, metric, higher_is_better = min((it.described_by for it in of_task if it.described_by), default=_NO_METRIC)
        ranges.append(
            TaskScores(
                task=task,
                is_imported=is_imported,
                select=chosen_on(is_imported, select),
                metric=metric,
                higher_is_better=higher_is_better,
                floor=sign * max(floors) if floors else None,
                worst=sign * min(worst) if worst else None,
                best=sign * max(score for score, _ in best) if best else None,
            )
        )
    return ranges


def chosen_on(is_imported: bool, select: str) -> str:
    """The split that a frontier is chosen on: what others published has a test score only."""
    return "test" if is_imported else select


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


def scope_values(curve: Curve) -> Row:
    """The columns `SCOPE_COLUMNS` of a curve."""
    return {name: getattr(curve, name) for name, _ in SCOPE_COLUMNS}


def _tried_bits(row: Row) -> int:
    bits: int = row["program_length_bits"] if row["budget_bytes"] is None else 8 * row["budget_bytes"]
    return bits


def _by_task(sets: Sequence[ProgramSet]) -> dict[tuple[str, bool], list[ProgramSet]]:
    """What is compared with each other: by task, and by whether it is imported."""
    groups: dict[tuple[str, bool], list[ProgramSet]] = defaultdict(list)
    for it in sorted(sets, key=lambda it: (it.task, it.is_imported)):
        groups[it.task, it.is_imported].append(it)
    return groups


def _distinct(floors: Iterable[Row]) -> list[Row]:
    """One cell of each program."""
    cells: dict[str, Row] = {}
    for row in sorted(floors, key=lambda row: str(row["cell_id"])):
        cells.setdefault(_program(row), row)
    return list(cells.values())


def _program(row: Row) -> str:
    """What tells programs apart; one that others published has no digest."""
    return str(row["program_sha256"] or row["cell_id"])


def _scopes(own: Sequence[ProgramSet], shared_floors: Sequence[Row]) -> dict[str, tuple[list[ProgramSet], list[Row]]]:
    """The sets of each scope of a model, and the floors of other models in it.

    Seeds have scopes where all have as many cells: else what some of them lack would be taken for chance.
    """
    scopes: dict[str, tuple[list[ProgramSet], list[Row]]] = {ALL_SCOPE: (list(own), list(shared_floors))}
    for it in own:
        for scope in (f"view:{it.view}", f"family:{it.family}"):
            scopes.setdefault(scope, ([], []))[0].append(it)
    num_cells: Counter[int] = Counter()
    for it in own:
        if it.seed is not None:
            num_cells[it.seed] += it.num_cells
    if len(num_cells) > 1 and len(set(num_cells.values())) == 1:
        for seed in num_cells:
            scopes[f"seed:{seed}"] = (
                [it for it in own if it.seed in (None, seed)],
                [row for row in shared_floors if row["seed"] in (None, seed)],
            )
    return dict(sorted(scopes.items()))


_NO_METRIC: tuple[str, str | None, bool | None] = ("", None, None)
