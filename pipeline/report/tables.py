"""The reduced tables of a study as figures read them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.reduce.curves import ALL_SCOPE
from pipeline.reduce.groups import grouped
from pipeline.reduce.points_file import ROWS_AT_ONCE, iter_points
from pipeline.report.standing import families_of
from pipeline.store import Study

Row = dict[str, Any]

DRAWN_POINTS = 20_000
"""About so many points are drawn of more, evenly over the digests that are their ids: others would lie under them."""

ORIGINS = (True, False)
"""Whether rows are imported: what others published is drawn first, so that ours lies on top."""


class LeftOut(Exception):
    """A study lacks what a figure needs; the message says what."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Points and frontiers of a study.

    Attributes:
        points: rows of the table `points`.
        frontier: rows of the table `frontier`.
    """

    points: list[Row]
    frontier: list[Row]

    @cached_property
    def tasks(self) -> list[str]:
        """Labels of the tasks, those without a program included."""
        return sorted({row["task"] for row in self.points})

    @cached_property
    def models(self) -> list[str]:
        """Labels of the base models: model families by name, each in the order of training."""
        return [it.model for family in families_of(row["model"] for row in self.points).values() for it in family]

    @cached_property
    def has_imported(self) -> bool:
        """Whether there are rows that others published."""
        return any(is_imported(row) for row in self.points)

    @cached_property
    def has_own(self) -> bool:
        """Whether there are rows that are not imported."""
        return not all(is_imported(row) for row in self.points)

    def programs(self, task: str, models: Iterable[str] | None = None) -> list[Row]:
        """Points of a task that have a length and a test score.

        Args:
            task: label of the task.
            models: labels of base models, None for all.
        """
        wanted = None if models is None else set(models)
        return [row for row in self._programs.get(task, []) if wanted is None or row["model"] in wanted]

    def members(self, task: str, model: str, *, imported: bool, scope: str = ALL_SCOPE) -> list[Row]:
        """Members of one frontier, shortest first."""
        return self._members.get((task, model, imported, scope), [])

    def scopes(self, task: str, model: str, *, imported: bool, prefix: str) -> list[str]:
        """Scopes with a frontier whose names start with the prefix, in the order of their names."""
        keys = self._members.keys()
        return sorted(scope for *key, scope in keys if key == [task, model, imported] and scope.startswith(prefix))

    def all_members(self, task: str) -> list[Row]:
        """Members of the frontiers of a task over all programs, of all base models."""
        return [
            row
            for (of_task, _, _, scope), rows in self._members.items()
            if of_task == task and scope == ALL_SCOPE
            for row in rows
        ]

    def only(self, task: str, models: Iterable[str] | None = None) -> Tables:
        """The tables of one task.

        Args:
            task: label of the task.
            models: labels of base models, None for all.
        """
        wanted = None if models is None else set(models)

        def of(rows: list[Row]) -> list[Row]:
            return [row for row in rows if row["task"] == task and (wanted is None or row["model"] in wanted)]

        return Tables(points=of(self.points), frontier=of(self.frontier))

    def without(self, tasks: Iterable[str]) -> Tables:
        """The tables less some tasks."""
        left_out = set(tasks)
        return Tables(
            points=[row for row in self.points if row["task"] not in left_out],
            frontier=[row for row in self.frontier if row["task"] not in left_out],
        )

    @cached_property
    def _programs(self) -> dict[str, list[Row]]:
        programs: dict[str, list[Row]] = {}
        for row in self.points:
            if row["program_length_bits"] is not None and row["test_performance"] is not None:
                programs.setdefault(row["task"], []).append(row)
        return programs

    @cached_property
    def _members(self) -> dict[tuple[str, str, bool, str], list[Row]]:
        members: dict[tuple[str, str, bool, str], list[Row]] = {}
        for row in self.frontier:
            if row["test_performance"] is not None:
                members.setdefault((row["task"], row["model"], row["is_imported"], row["scope"]), []).append(row)
        return members


def read_tables(study: Study) -> Tables:
    """The tables of a study, of more than `DRAWN_POINTS` points a part of them.

    Floors and members of frontiers are all there, and something of every task, base model, family and view.

    Raises:
        UserError: the study has not been reduced.
    """
    frontier = study.read_table("frontier").to_pylist()
    path = study.table_path("points", "parquet")
    num_points = study.read_table("points", ["is_floor"]).num_rows
    if num_points <= DRAWN_POINTS:
        return Tables(points=study.read_table("points").to_pylist(), frontier=frontier)
    members = pa.array({row["cell_id"] for row in frontier}, pa.string())
    every = -(-num_points // DRAWN_POINTS)
    points: list[Row] = []
    seen: set[tuple[Any, ...]] = set()
    for part, rows in enumerate(iter_points(path)):
        is_drawn = (part * ROWS_AT_ONCE + np.arange(rows.num_rows)) % every == 0
        codes, kinds = grouped(rows, ("task", "model", "family", "view", "status", "is_floor"))
        _, firsts = np.unique(codes, return_index=True)
        is_drawn[[first for first in firsts if kinds[codes[first]] not in seen]] = True
        seen.update(kinds)
        is_member = pc.is_in(rows["cell_id"], members)
        points += rows.filter(pc.or_(pc.or_(rows["is_floor"], is_member), pa.array(is_drawn))).to_pylist()
    return Tables(points=points, frontier=frontier)


def is_imported(point: Row) -> bool:
    """Whether a row of the table `points` is what others published."""
    return bool(point["status"] == schema.IMPORTED)


def size_bytes(row: Row) -> float:
    """Program length in bytes."""
    return float(row["program_length_bits"] / 8)
