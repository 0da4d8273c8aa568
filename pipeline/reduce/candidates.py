"""Of a stream of points what frontiers are made of: the programs that may be on one, and counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import schema
from pipeline.reduce.curves import Curve, ProgramSet, chosen_on, score_column
from pipeline.reduce.frontier import frontier_candidates
from pipeline.reduce.groups import Codes, grouped
from pipeline.reduce.labels import SETTING_COLUMNS, Setting
from pipeline.reduce.merge import Row
from pipeline.reduce.totals import Totals

_SET_COLUMNS = (*SETTING_COLUMNS, "is_floor", "family", "view", "seed")
"""Programs that agree in these are in the same scopes."""
_NEEDED = ("cell_id", "program_sha256", "program_length_bits", "budget_bytes", "seed", "higher_is_better")
_NUM_SETTING = len(SETTING_COLUMNS)
_FEW = 65_536


class Candidates:
    """Collects the programs that may be on a frontier; memory grows with the frontiers and not with the points.

    A frontier of a union is that of the frontiers of its parts, so of each set of programs that are in the same scopes
    only its frontier is kept. Floors are all kept: they are few, and stand on the curves of several models.

    Args:
        select: `validation` or `test`: what the frontiers of our own programs are chosen on.
    """

    def __init__(self, select: str) -> None:
        self._select = select
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._totals = Totals()
        self._floors: dict[tuple[int, str], Row] = {}
        self._kept: _Programs | None = None
        self._waiting: list[_Programs] = []

    def add(self, points: pa.Table) -> None:
        """Take in points, whose cell ids are beyond those of earlier ones: columns of `POINTS`, and `path`."""
        codes, values = grouped(points, _SET_COLUMNS)
        numbers = np.array([self._numbers.setdefault(it, len(self._numbers)) for it in values], np.int64)[codes]
        scores = _scores(points, self._select)
        self._totals.add(points, numbers, scores, len(self._numbers))
        has_length = points["program_length_bits"].is_valid().to_numpy()
        is_floor = points["is_floor"].to_numpy()
        self._add_floors(points, numbers, np.flatnonzero(is_floor & has_length))
        lengths = pc.fill_null(points["program_length_bits"], 0).to_numpy()
        scores = np.where(pc.fill_null(points["higher_is_better"], False).to_numpy(), scores, -scores)
        places = np.flatnonzero(has_length & ~is_floor & ~np.isnan(scores))
        if self._kept and self._kept.rows.num_rows:
            places = places[~self._kept.beat(numbers[places], lengths[places], scores[places])]
        places = places[frontier_candidates(numbers[places], lengths[places], scores[places])]
        found = _Programs(points.take(pa.array(places)), numbers[places], lengths[places], scores[places])
        self._waiting.append(found)
        num_kept = self._kept.rows.num_rows if self._kept else 0
        if not self._kept or sum(it.rows.num_rows for it in self._waiting) > max(_FEW, num_kept):
            self._unite()

    @property
    def settings(self) -> list[Setting]:
        """The values of `SETTING_COLUMNS` that points have."""
        return list({values[: len(SETTING_COLUMNS)] for values in self._numbers})

    def sets(self, labels: Mapping[Setting, tuple[str, str]]) -> list[ProgramSet]:
        """The points that were taken in, with the labels of their settings."""
        self._unite()
        candidates: dict[int, list[Row]] = {number: [] for number in self._numbers.values()}
        if self._kept:
            columns = [*_NEEDED, *map(score_column, ("validation", "test"))]
            for place, row in enumerate(self._kept.rows.select(columns).to_pylist()):
                candidates[int(self._kept.numbers[place])].append(row | {"place": place})
        for (number, _), row in self._floors.items():
            candidates[number].append(row)
        sets = []
        for values, number in self._numbers.items():
            it = dict(zip(_SET_COLUMNS, values, strict=True))
            task, model = labels[values[:_NUM_SETTING]]
            worst, best = self._totals.worst_and_best(number)
            sets.append(
                ProgramSet(
                    task=task,
                    model=model,
                    is_imported=it["status"] == schema.IMPORTED,
                    **{name: it[name] for name in ("is_floor", "family", "view", "seed")},
                    num_cells=self._totals.num_cells(number),
                    candidates=candidates[number],
                    num_programs=self._totals.num_programs(number),
                    largest_program_bits=self._totals.largest_bits(number),
                    tried_up_to_bits=self._totals.tried_up_to_bits(number),
                    worst=worst,
                    best=best,
                    directions=self._totals.directions(number),
                    described_by=self._totals.described_by(number),
                )
            )
        return sets

    def complete(self, curves: Sequence[Curve], labels: Mapping[Setting, tuple[str, str]]) -> list[Curve]:
        """Curves of `sets`, with the columns of `POINTS` and `path` in the members of their frontiers."""
        places = sorted({row["place"] for curve in curves for row in curve.frontier if "place" in row})
        rows = self._kept.rows.take(pa.array(places, pa.int64())).to_pylist() if self._kept else []
        full = dict(zip(places, rows, strict=True))

        def labelled(row: Row) -> Row:
            whole = full[row["place"]] if "place" in row else row
            task, model = labels[tuple(whole[name] for name in SETTING_COLUMNS)]
            return {**whole, "task": task, "model": model}

        return [replace(curve, frontier=list(map(labelled, curve.frontier))) for curve in curves]

    def _add_floors(self, points: pa.Table, numbers: Codes, places: NDArray[np.intp]) -> None:
        digests = points["program_sha256"].take(pa.array(places)).to_pylist()
        cell_ids = points["cell_id"].take(pa.array(places)).to_pylist()
        new: dict[tuple[int, str], np.intp] = {}
        for place, digest, cell_id in zip(places, digests, cell_ids, strict=True):
            key = int(numbers[place]), digest or cell_id
            if key not in self._floors:  # of one program the smallest cell id, which comes first
                new.setdefault(key, place)
        rows = points.take(pa.array(list(new.values()), pa.int64())).to_pylist() if new else []
        self._floors |= dict(zip(new, rows, strict=True))

    def _unite(self) -> None:
        parts = [*([self._kept] if self._kept else []), *self._waiting]
        if self._waiting:
            self._kept, self._waiting = _Programs.united(parts).candidates(), []


@dataclass(frozen=True, slots=True)
class _Programs:
    """Programs that are no floors.

    Attributes:
        rows: points with a length and a score.
        numbers: of the set of each, shape [n].
        lengths: in bits, shape [n].
        scores: higher is better here, shape [n].
    """

    rows: pa.Table
    numbers: Codes
    lengths: NDArray[np.int64]
    scores: NDArray[np.float64]

    @classmethod
    def united(cls, parts: Sequence[_Programs]) -> _Programs:
        rows = pa.concat_tables([it.rows for it in parts]).unify_dictionaries().combine_chunks()
        numbers = np.concatenate([it.numbers for it in parts])
        lengths = np.concatenate([it.lengths for it in parts])
        return cls(rows, numbers, lengths, np.concatenate([it.scores for it in parts]))

    def beat(self, numbers: Codes, lengths: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of other programs are beaten by one of these, which are the `candidates` of their sets.

        What sorting them together with these would tell is told by one search, since nearly all are beaten.
        """
        known, ranks = np.unique(self.lengths, return_inverse=True)
        keys = self.numbers * len(known) + ranks
        # The last of these that is in the same set and no longer is the best of them.
        rank = np.searchsorted(known, lengths, "right") - 1
        last = np.searchsorted(keys, numbers * len(known) + rank, "right") - 1
        is_there = (rank >= 0) & (last >= 0) & (self.numbers[last] == numbers)
        best, shortest = self.scores[last], self.lengths[last]
        is_beaten: NDArray[np.bool_] = is_there & ((best > scores) | ((best == scores) & (shortest < lengths)))
        return is_beaten

    def candidates(self) -> _Programs:
        """Those that may be on a frontier."""
        places = frontier_candidates(self.numbers, self.lengths, self.scores)
        return _Programs(
            self.rows.take(pa.array(places)), self.numbers[places], self.lengths[places], self.scores[places]
        )


def _scores(points: pa.Table, select: str) -> NDArray[np.float64]:
    """The scores that frontiers are chosen by, NaN where there is none."""
    is_imported = pc.fill_null(pc.equal(points["status"], schema.IMPORTED), False)
    own, imported = (points[score_column(chosen_on(it, select))] for it in (False, True))
    scores: NDArray[np.float64] = pc.fill_null(pc.if_else(is_imported, imported, own), math.nan).to_numpy()
    return scores
