"""Which cells of a plan are handed to Slurm: those that are neither done, nor in the queue, nor held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from typing import NamedTuple

from pipeline.cluster.batches import Group, groups_of, part_of
from pipeline.plan import Plan, PlanRow
from pipeline.status import DONE, FAILED

HELD_AFTER_ATTEMPTS = {
    "cancelled": 1,
    "stuck": 1,
    "data": 1,
    "environment": 2,
    "code": 2,
    "program-crash": 2,
    "program-output": 2,
    "program-payload": 2,
    "program-timeout": 2,
}
"""Cause of the last attempt -> attempts after which a cell waits for `--retry`: it would fail again in the same way."""


class Selection(NamedTuple):
    """Cells of a plan, or of a part of it, by what becomes of them.

    Attributes:
        cells: all of them that have an id.
        done: those with a shard.
        queued: those in the queue.
        held: those that wait for `--retry`, by cause.
        wanted: groups with the cells that are to be submitted.
    """

    cells: int
    done: int
    queued: int
    held: dict[str, int]
    wanted: list[Group]

    @property
    def num_wanted(self) -> int:
        """Cells that are to be submitted."""
        return sum(len(group.rows) for group in self.wanted)


def select(
    plan: Plan,
    *,
    queued: Container[str | None],
    attempts: Counter[str],
    part: tuple[int, int] = (1, 1),
    retry: str | None = None,
) -> Selection:
    """Sorts the cells of a plan.

    Args:
        plan: the plan.
        queued: ids of the cells that are in the queue.
        attempts: number of failed attempts of each cell.
        part: part i of n of the plan.
        retry: only cells that failed with this cause, or `failed` for any; also those that are held. None for all but
            those that are held.
    """
    groups = part_of(groups_of(row for row in plan.rows if row.group_id is not None), *part)
    rows = [row for group in groups for row in group.rows]
    not_done = [row for row in rows if row.state.name != DONE]
    left = [row for row in not_done if row.cell_id not in queued]
    held: Counter[str] = Counter()
    wanted: list[PlanRow] = []
    for row in left:
        if retry is None and _is_held(row, attempts):
            held[str(row.state.cause)] += 1
        elif retry is None or _is_asked(row, retry):
            wanted.append(row)
    return Selection(
        cells=len(rows),
        done=len(rows) - len(not_done),
        queued=len(not_done) - len(left),
        held=dict(held),
        wanted=groups_of(wanted),
    )


def _is_held(row: PlanRow, attempts: Counter[str]) -> bool:
    if row.state.name != FAILED or row.cell_id is None:
        return False
    limit = HELD_AFTER_ATTEMPTS.get(row.state.cause or "")
    return limit is not None and attempts[row.cell_id] >= limit


def _is_asked(row: PlanRow, retry: str) -> bool:
    return row.state.name == FAILED and retry in ("failed", row.state.cause)
