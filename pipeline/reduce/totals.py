"""What scopes tell of all their programs: how many, how large, how good."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.reduce.groups import Codes

_NOTHING = -1
_DIRECTIONS = (True, False, None)


class Totals:
    """Counts and extremes of sets of points, numbered from 0, taken in a table at a time."""

    def __init__(self) -> None:
        self._num_cells = np.zeros(0, np.int64)
        self._num_programs = np.zeros(0, np.int64)
        self._largest = np.zeros(0, np.int64)
        self._tried = np.zeros(0, np.int64)
        self._lowest = np.zeros(0)
        self._highest = np.zeros(0)
        self._says = np.zeros((0, len(_DIRECTIONS)), np.bool_)
        self._described: dict[int, tuple[str, str, bool | None]] = {}

    def add(self, points: pa.Table, numbers: Codes, scores: NDArray[np.float64], num_sets: int) -> None:
        """Take in points whose cell ids are beyond those of earlier ones.

        Args:
            points: the columns `cell_id`, `program_length_bits`, `budget_bytes`, `metric`, `higher_is_better`.
            numbers: of the set of each point, shape [n].
            scores: that frontiers are chosen by, NaN where there is none, shape [n].
            num_sets: of all points so far.
        """
        self._grow(num_sets)
        self._num_cells += np.bincount(numbers, minlength=num_sets)
        lengths, has_length = _integers(points["program_length_bits"])
        budgets, has_budget = _integers(points["budget_bytes"])
        of = numbers[has_length]
        self._num_programs += np.bincount(of, minlength=num_sets)
        np.maximum.at(self._largest, of, lengths[has_length])
        np.maximum.at(self._tried, of, np.where(has_budget, 8 * budgets, lengths)[has_length])
        is_scored = has_length & ~np.isnan(scores)
        of = numbers[is_scored]
        np.minimum.at(self._lowest, of, scores[is_scored])
        np.maximum.at(self._highest, of, scores[is_scored])
        directions = pc.fill_null(points["higher_is_better"].cast(pa.int8()), -1).to_numpy()
        for place, value in enumerate((1, 0, -1)):
            self._says[numbers[is_scored & (directions == value)], place] = True
        self._describe(points, numbers)

    def num_cells(self, number: int) -> int:
        """Points of a set."""
        return int(self._num_cells[number])

    def num_programs(self, number: int) -> int:
        """Points of a set with a length."""
        return int(self._num_programs[number])

    def largest_bits(self, number: int) -> int | None:
        """Length of the largest program of a set."""
        return _number(self._largest[number])

    def tried_up_to_bits(self, number: int) -> int | None:
        """The largest length that was tried: of a program with a budget, the budget."""
        return _number(self._tried[number])

    def directions(self, number: int) -> frozenset[bool | None]:
        """What the programs of a set with a score say of whether higher is better."""
        return frozenset(it for it, is_said in zip(_DIRECTIONS, self._says[number], strict=True) if is_said)

    def worst_and_best(self, number: int) -> tuple[float | None, float | None]:
        """The range of the scores of a set, None where it has none."""
        directions = self.directions(number)
        if not directions:
            return None, None
        ends = float(self._lowest[number]), float(self._highest[number])
        return ends if True in directions else (ends[1], ends[0])

    def described_by(self, number: int) -> tuple[str, str, bool | None] | None:
        """The smallest cell id of a point with a metric, that metric and its direction."""
        return self._described.get(number)

    def _grow(self, num_sets: int) -> None:
        more = num_sets - len(self._num_programs)
        if more:
            self._num_cells, self._num_programs = (
                np.append(it, np.zeros(more, np.int64)) for it in (self._num_cells, self._num_programs)
            )
            self._largest, self._tried = (np.append(it, np.full(more, _NOTHING)) for it in (self._largest, self._tried))
            self._lowest = np.append(self._lowest, np.full(more, np.inf))
            self._highest = np.append(self._highest, np.full(more, -np.inf))
            self._says = np.concatenate([self._says, np.zeros((more, len(_DIRECTIONS)), np.bool_)])

    def _describe(self, points: pa.Table, numbers: Codes) -> None:
        if len(self._described) == len(self._num_programs):
            return
        places = np.flatnonzero(points["metric"].is_valid().to_numpy())
        found, first = np.unique(numbers[places], return_index=True)
        new = [(int(number), place) for number, place in zip(found, places[first], strict=True)]
        new = [(number, place) for number, place in new if number not in self._described]
        rows = points.select(["cell_id", "metric", "higher_is_better"]).take(
            pa.array([place for _, place in new], pa.int64())
        )
        for (number, _), row in zip(new, rows.to_pylist(), strict=True):
            self._described[number] = (row["cell_id"], row["metric"], row["higher_is_better"])


def _integers(column: pa.ChunkedArray) -> tuple[Codes, NDArray[np.bool_]]:
    """Values, 0 for a null, and which are no nulls."""
    return pc.fill_null(column, 0).to_numpy(), column.is_valid().to_numpy()


def _number(value: np.int64) -> int | None:
    return None if value == _NOTHING else int(value)
