"""The one Pareto frontier of this package, and the task complexity that is read off it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError

Row = TypeVar("Row", bound=Mapping[str, Any])


def pareto_frontier(programs: Sequence[Row], score: str) -> list[Row]:
    """Programs that no other program equals or beats in both length and score.

    Rules:
        1. A program without a length or without a score (null, NaN) is no candidate.
        2. Candidates are sorted by length; among equal lengths the better score comes first, then the smaller program
           digest, then the smaller cell id, so that the result does not depend on the order of the rows.
        3. A candidate is kept when its score is strictly better than that of every candidate before it. An equal score
           thus goes to the shorter program.
        4. Whether higher is better is read from the rows.

    Args:
        programs: rows with `program_length_bits`, `program_sha256`, `cell_id`, `higher_is_better` and the score; all of
            one task.
        score: name of the column to choose by.

    Returns:
        Members of the frontier, shortest first; their scores strictly improve.

    Raises:
        ValueError: the rows disagree on the direction of the metric.
    """
    candidates = [row for row in programs if is_candidate(row, score)]
    if not candidates:
        return []
    sign = direction(candidates)
    candidates.sort(
        key=lambda row: (row["program_length_bits"], -sign * row[score], row["program_sha256"], row["cell_id"])
    )
    members: list[Row] = []
    for row in candidates:
        if not members or sign * row[score] > sign * members[-1][score]:
            members.append(row)
    return members


def frontier_candidates(
    groups: NDArray[np.int64], lengths: NDArray[np.int64], scores: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Programs that `pareto_frontier` may keep, for many sets of programs at once.

    A program is left out if one of its group is shorter and at least as good, or as long and better. Equal programs all
    stay: which one is kept is for `pareto_frontier` to say. So the frontier of any union of groups is that of these
    programs: what is left out of one group is beaten in every set that holds the group.

    Args:
        groups: the group of each program, shape [n].
        lengths: shape [n].
        scores: higher is better here; none of them NaN; shape [n].

    Returns:
        Places of the programs, sorted by group, length and from better to worse, equal ones as they stood.
    """
    if not len(groups):
        return np.zeros(0, np.intp)
    order = np.lexsort((-scores, lengths, groups))
    groups, lengths = groups[order], lengths[order]
    # Ranks, and not scores, so that one running maximum serves all groups: a later group beats all earlier ones.
    _, ranks = np.unique(scores[order], return_inverse=True)
    standing = groups * (ranks.max() + 1) + ranks
    is_other = np.ones(len(order), np.bool_)
    is_other[1:] = (standing[1:] != standing[:-1]) | (lengths[1:] != lengths[:-1])
    best_before = np.maximum.accumulate(standing)
    is_better = np.ones(len(order), np.bool_)
    is_better[1:] = standing[1:] > best_before[:-1]
    # Of equal programs, which stand together, the first decides for all.
    return order[is_better[np.maximum.accumulate(np.where(is_other, np.arange(len(order)), 0))]]


def is_candidate(row: Mapping[str, Any], score: str) -> bool:
    """Whether a row is a program with a length and a score."""
    return row["program_length_bits"] is not None and row[score] is not None and not math.isnan(row[score])


def direction(rows: Sequence[Mapping[str, Any]]) -> int:
    """1 where a higher score is better, -1 where a lower one is.

    Raises:
        ValueError: the rows disagree, or there are none.
    """
    return sign_of({row["higher_is_better"] for row in rows})


def sign_of(directions: Collection[bool | None]) -> int:
    """1 where a higher score is better, -1 where a lower one is.

    Args:
        directions: what the programs of a task say of `higher_is_better`, each answer once.

    Raises:
        ValueError: they disagree, or there are none.
    """
    if len(directions) != 1:
        raise UserError(
            f"programs of one task disagree on whether higher is better: {sorted(map(str, directions))}; "
            "give the task another version when its metric changes"
        )
    return 1 if next(iter(directions)) else -1


def shortest_reaching(frontier: Sequence[Row], score: str, target: float) -> Row | None:
    """The shortest member whose score reaches the target, None where none does.

    Args:
        frontier: what `pareto_frontier` returned.
        score: the column that it was chosen by.
        target: performance to be reached.
    """
    sign = direction(frontier) if frontier else 1
    return next((row for row in frontier if sign * row[score] >= sign * target), None)


def best_within(frontier: Sequence[Row], length_bits: int) -> Row | None:
    """The best member that is no longer than this, None where all are longer."""
    within = [row for row in frontier if row["program_length_bits"] <= length_bits]
    return within[-1] if within else None
