"""Which cells of a plan are handed to Slurm: those that are neither done, nor in the queue, nor held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

import pyarrow as pa

from pipeline.cluster.batches import Group, Need, groups_of, part_of
from pipeline.errors import CAUSES, HELD_AFTER_ATTEMPTS, HOST_MEMORY, OUT_OF_MEMORY
from pipeline.plan import Plan, PlanRow
from pipeline.states import DONE, FAILED

RETRY_GROUPS = {"failed": frozenset(CAUSES), "oom": OUT_OF_MEMORY | HOST_MEMORY}
"""Words for several causes that `--retry` takes."""
TOO_SHORT = frozenset({"timeout", "stuck"})
MOST_DOUBLINGS = 6
"""Time and memory of a job are doubled no more often, whatever the profile allows."""


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
    attempts: pa.Table,
    part: tuple[int, int] = (1, 1),
    retry: str | None = None,
) -> Selection:
    """Sorts the cells of a plan.

    Args:
        plan: the plan.
        queued: ids of the cells that are in the queue.
        attempts: those that failed, of the columns of `schema.ATTEMPT`.
        part: part i of n of the plan.
        retry: only cells that failed with this cause, or with one of `RETRY_GROUPS`; also those that are held. None
            for all but those that are held.
    """
    groups = part_of(groups_of(row for row in plan.rows if row.group_id is not None), *part)
    rows = [row for group in groups for row in group.rows]
    not_done = [row for row in rows if row.state.name != DONE]
    left = [row for row in not_done if row.cell_id not in queued]
    tries = Counter(zip(attempts["cell_id"].to_pylist(), attempts["cause"].to_pylist(), strict=True))
    needs = _needs(attempts)
    held: Counter[str] = Counter()
    wanted: list[PlanRow] = []
    for row in left:
        if retry is None and _is_held(row, tries):
            held[str(row.state.cause)] += 1
        elif retry is None or _is_asked(row, retry):
            wanted.append(row)
    return Selection(
        cells=len(rows),
        done=len(rows) - len(not_done),
        queued=len(not_done) - len(left),
        held=dict(held),
        wanted=groups_of(wanted, needs),
    )


def _needs(attempts: pa.Table) -> Mapping[str | None, Need]:
    """Twice the time for each job that ended before the cell did, twice the memory for each that had too little."""
    columns = (attempts[name].to_pylist() for name in ("cell_id", "slurm_job_id", "restarts", "cause"))
    starts = set(zip(*columns, strict=True))
    time = _doubled(cell for cell, *_, cause in starts if cause in TOO_SHORT)
    memory = _doubled(cell for cell, *_, cause in starts if cause in HOST_MEMORY)
    return {cell: Need(time.get(cell, 1), memory.get(cell, 1)) for cell in time.keys() | memory.keys()}


def _doubled(cells: Iterable[str]) -> dict[str, int]:
    return {cell: 2 ** min(count, MOST_DOUBLINGS) for cell, count in Counter(cells).items()}


def _is_held(row: PlanRow, tries: Counter[tuple[str, str]]) -> bool:
    if row.state.name != FAILED or row.state.cause is None or row.cell_id is None:
        return False
    limit = HELD_AFTER_ATTEMPTS.get(row.state.cause)
    return limit is not None and tries[row.cell_id, row.state.cause] >= limit


def _is_asked(row: PlanRow, retry: str) -> bool:
    return row.state.name == FAILED and row.state.cause in RETRY_GROUPS.get(retry, {retry})
