"""Groups of cells to batches: what one array task works through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from pipeline.plan import PlanRow
from pipeline.resources import Resources

STARTUP_SECONDS = 60.0
"""Queue prologue, imports and the load of the model, once a batch."""
SAFETY = 2.0
"""Costs are guesses before the first cells are done: a job asks for this many times as much."""
FEWEST_MINUTES = 10

Kind = tuple[Resources, int]


class Need(NamedTuple):
    """How many times what is expected a group gets, after jobs in which it came short.

    Attributes:
        time: of the time.
        memory: of the memory of the profile.
    """

    time: int = 1
    memory: int = 1


class Group(NamedTuple):
    """Cells whose encoders share work; never split.

    Attributes:
        group_id: id of the group.
        rows: its cells that are to be made.
        need: what earlier jobs have taught.
    """

    group_id: str
    rows: tuple[PlanRow, ...]
    need: Need = Need()

    @property
    def cost_seconds(self) -> float:
        """Expected time of the whole group."""
        return self.need.time * sum(row.cost_seconds for row in self.rows)

    @property
    def kind(self) -> Kind:
        """What all jobs of one array agree in."""
        return self.rows[0].resources, self.need.memory


class Batch(NamedTuple):
    """What one array task works through, group by group.

    Attributes:
        groups: groups with one base model, so that it is loaded once, and of one kind.
        lanes: groups that are worked on at the same time, one for each process.
    """

    groups: tuple[Group, ...]
    lanes: int = 1

    @property
    def kind(self) -> Kind:
        """Resources of each group, and how many times the memory of the profile it gets; the same for all of them."""
        return self.groups[0].kind

    @property
    def cost_seconds(self) -> float:
        """Expected time, one group after the other."""
        return STARTUP_SECONDS + sum(group.cost_seconds for group in self.groups)

    @property
    def expected_seconds(self) -> float:
        """Expected time from start to end; the longest group sets a bound."""
        return max(self.cost_seconds / self.lanes, *(group.cost_seconds for group in self.groups))

    @property
    def cell_ids(self) -> list[str | None]:
        """Cells that are to be made."""
        return [row.cell_id for group in self.groups for row in group.rows]

    @property
    def num_cells(self) -> int:
        """Number of these cells."""
        return len(self.cell_ids)


def groups_of(rows: Iterable[PlanRow], needs: Mapping[str | None, Need] | None = None) -> list[Group]:
    """The rows by group, in the order in which the groups come.

    Args:
        rows: cells.
        needs: cells that came short -> what they get; a group gets the most that a cell of it needs.
    """
    needs = needs or {}
    found: dict[str, list[PlanRow]] = {}
    for row in rows:
        assert row.group_id is not None
        found.setdefault(row.group_id, []).append(row)
    return [
        Group(group_id, tuple(members), _most(needs[row.cell_id] for row in members if row.cell_id in needs))
        for group_id, members in found.items()
    ]


def _most(needs: Iterable[Need]) -> Need:
    return Need(*map(max, zip(Need(), *needs, strict=True)))


def part_of(groups: Iterable[Group], part: int, num_parts: int) -> list[Group]:
    """Part 1 to n of a grid, for several clusters: by the id of the group, so that work that is shared stays shared."""
    return [group for group in groups if int(group.group_id, 16) % num_parts == part - 1]


def pack(groups: Iterable[Group], ideal_seconds: float, lanes_of: Callable[[Resources], int]) -> list[Batch]:
    """Batches of about the ideal length, each with one base model, of one kind and, as far as that goes, one task.

    Args:
        groups: what is to be done.
        ideal_seconds: length of a job that the site is happiest with.
        lanes_of: groups that a job with such resources works on at the same time.
    """
    alike: dict[tuple[Kind, str], list[Group]] = {}
    for group in groups:
        alike.setdefault((group.kind, group.rows[0].cell.model), []).append(group)
    batches: list[Batch] = []
    for ((resources, _), _), members_alike in alike.items():
        lanes = lanes_of(resources)
        room = max(ideal_seconds - STARTUP_SECONDS, 0.0) * lanes
        members_alike.sort(key=lambda group: group.rows[0].cell.task)
        members: list[Group] = []
        filled = 0.0
        for group in members_alike:
            if members and filled + group.cost_seconds > room:
                batches.append(Batch(tuple(members), lanes))
                members, filled = [], 0.0
            members.append(group)
            filled += group.cost_seconds
        batches.append(Batch(tuple(members), lanes))
    # Tasks of one array have one shape, so what is alike comes together.
    first = {kind: place for place, (kind, _) in reversed(list(enumerate(alike)))}
    return sorted(batches, key=lambda batch: first[batch.kind])


def waves_of(
    batches: Sequence[Batch], queued: int, most_jobs: int | None, most_tasks: int | None
) -> list[list[Sequence[Batch]]]:
    """Arrays of batches, by when there is room for them in the queue; the first wave is what fits now.

    Args:
        batches: each of them one job.
        queued: jobs that are in the queue already.
        most_jobs: jobs that may be in the queue, None for no limit.
        most_tasks: jobs that may be in one array, None for no limit.
    """
    waves: list[list[Sequence[Batch]]] = []
    room = len(batches) if most_jobs is None else max(most_jobs - queued, 0)
    rest = batches
    while rest:
        wave, rest = rest[:room], rest[room:]
        arrays: list[Sequence[Batch]] = []
        for _, shaped in groupby(wave, lambda batch: batch.kind):
            alike = list(shaped)
            size = most_tasks or len(alike)
            arrays += [alike[start : start + size] for start in range(0, len(alike), size)]
        waves.append(arrays)
        room = most_jobs or len(rest)
    return waves


def walltime_minutes(batches: Sequence[Batch], longest_minutes: int | None) -> int:
    """Time limit for an array of these batches: all tasks of an array have one."""
    seconds = max(batch.expected_seconds for batch in batches)
    fewest = FEWEST_MINUTES * max(group.need.time for batch in batches for group in batch.groups)
    minutes = max(fewest, round(SAFETY * (seconds + STARTUP_SECONDS) / 60))
    return minutes if longest_minutes is None else min(minutes, longest_minutes)
