"""The search of `family: auto`: candidates compete by successive halving, rung after rung.

Candidates for one task, base model, seed and budget are one competition. A rung is a plan of ordinary cells in a study
of its own, on more validation items than the rung before, and the better third of each competition goes on (successive
halving, Jamieson and Talwalkar, arXiv 1502.07943). The last few are cells of the study that the grid names, so the
choice among them is made like every other: on the whole of validation, reported on test. A program is made once: later
rungs execute it on more items (`pipeline.earlier`). Nothing remembers where a
search stands: the rows of its rungs say so, and a rung whose cells are not done is what is to be made next.
"""

from __future__ import annotations

import dataclasses
import glob
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.cell import Cell, format_bytes
from pipeline.errors import HELD_AFTER_ATTEMPTS, InvalidShardError, NewerShardError
from pipeline.expansion import Exclusion, Grid, all_parameters, cells
from pipeline.groups import group_ids
from pipeline.leases import leased
from pipeline.rows import read_row
from pipeline.store import Study, results_folder

RUNG = ".rung-"
"""Between the name of the study that a search belongs to and the number of a rung."""
KEPT_SHARE = 3
"""Of so many candidates one goes on to the next rung, which has as many times more validation items."""
FINALISTS = 3
"""Candidates of a competition that are made in the study itself."""
FIRST_ITEMS = 32
"""Validation items of the first rung."""
TEST_ITEMS = 1
"""Of every rung: no choice looks at them, and a row has a score on test."""
LOST_AFTER_ATTEMPTS = {
    cause: attempts
    for cause, attempts in HELD_AFTER_ATTEMPTS.items()
    if cause not in ("cancelled", "data", "environment")
}
"""Cause of the last attempt -> attempts with it after which a candidate has lost.

Another cause, such as a job that was cancelled or missing data, says nothing of a candidate: its rung waits."""

COLUMNS = (
    "status",
    "program_length_bits",
    "higher_is_better",
    "program_sha256",
    "encode_seconds",
    "execute_seconds",
    "validation.performance",
    "test.performance",
)

Competition = tuple[str, str, int, int | None]
"""Task, base model, budget, seed."""


class Entrant(NamedTuple):
    """A candidate whose program exists, ordered from the best.

    Attributes:
        rank: what it is sorted by: validation score, the best first, then length.
        cell: its cell.
        row: of `COLUMNS`.
    """

    rank: tuple[float, int, str]
    cell: Cell
    row: Mapping[str, Any]


class Stage(NamedTuple):
    """A rung of a search, or its end.

    Attributes:
        grid: what is made; `rung` of it is None at the end.
        candidates: cells that compete in it.
        entrants: those of them that have a program; None while some are still to be made.
        failed: those that have none because they failed again and again.
    """

    grid: Grid
    candidates: Sequence[Cell]
    entrants: Sequence[Entrant] | None
    failed: Sequence[Cell] = ()


class Outcome(NamedTuple):
    """What a competition came to.

    Attributes:
        competition: the competition.
        winner: the best on validation, None where no candidate keeps the budget.
        num_candidates: cells of the first rung.
        num_failed: those of them that have lost because they failed again and again.
        hours: for encoding each program once and executing it in all stages. The time of an encoder that made programs
            for several budgets counts where it was first needed.
    """

    competition: Competition
    winner: Entrant | None
    num_candidates: int
    num_failed: int
    hours: float

    def __str__(self) -> str:
        task, model, budget_bytes, seed = self.competition
        told = [task, model, format_bytes(budget_bytes)]
        told += [] if seed is None else [f"seed {seed}"]
        failed = f"; {self.num_failed} of them failed: `tcx status` of the rungs says why" if self.num_failed else ""
        if self.winner is None:
            return f"{' / '.join(told)}: none of {self.num_candidates} candidates keeps the budget{failed}"
        row, cell = self.winner.row, self.winner.cell
        return (
            f"{' / '.join(told)}: {cell.label.split(' / ')[-1]}, {row['program_length_bits'] // 8:,} bytes, "
            f"validation {row['validation']['performance']:.2f}, test {row['test']['performance']:.2f}; "
            f"searched among {self.num_candidates} in {self.hours:.2g} h{failed}"
        )


def current_grid(grid: Grid, results: str | None, identities: Mapping[str, str | None]) -> Grid:
    """The grid whose cells are to be made next: a rung of the search, or the grid itself with the finalists.

    Args:
        grid: as its file has it.
        results: folder of the studies, None for the default.
        identities: digest of the staged folder of each model label.
    """
    return _stages(grid, results, identities)[-1].grid if grid.candidates else grid


def outcomes(grid: Grid, results: str | None, identities: Mapping[str, str | None]) -> list[Outcome]:
    """What every competition came to, once all are over; the arguments are those of `current_grid`."""
    stages = _stages(grid, results, identities) if grid.candidates else []
    if not stages or stages[-1].entrants is None:
        return []
    found = []
    for competition in _competitions(stages[0].candidates, grid.search_budgets):
        rows = [it.row for stage in stages for it in stage.entrants or () if _competes(it.cell, competition)]
        encoding = {row["program_sha256"]: row["encode_seconds"] for row in rows}
        seconds = sum(encoding.values()) + sum(row["execute_seconds"] for row in rows)
        finalists = _fitting(stages[-1].entrants, competition)
        entered = sum(_competes(cell, competition) for cell in stages[0].candidates)
        num_failed = sum(_competes(cell, competition) for stage in stages for cell in stage.failed)
        winner = finalists[0] if finalists else None
        found.append(Outcome(competition, winner, entered, num_failed, seconds / 3600))
    return found


def rungs_before(study: Study) -> list[Study]:
    """Studies of the rungs that came before a rung, or before the end of the search, from the last."""
    name, _, number = study.name.partition(RUNG)
    numbers = range(1, int(number)) if number.isdecimal() else itertools.count(1)
    folders = (study.folder.parent / f"{name}{RUNG}{it}" for it in numbers)
    return [Study(folder) for folder in itertools.takewhile(Path.is_dir, folders)][::-1]


def _stages(grid: Grid, results: str | None, identities: Mapping[str, str | None]) -> list[Stage]:
    """Rungs up to the first that has cells to be made, or all and the end."""
    found: list[Stage] = []
    losers: tuple[Exclusion, ...] = ()
    competitions: list[Competition] = []
    for number, (items, is_last) in enumerate(_items_of_rungs(grid.evaluation.validation_items), start=1):
        evaluation = dataclasses.replace(grid.evaluation, validation_items=items, test_items=TEST_ITEMS)
        rung = dataclasses.replace(
            grid,
            study=f"{grid.study}{RUNG}{number}",
            programs=grid.candidates,
            candidates=(),
            evaluation=evaluation,
            exclude=(*grid.exclude, *losers),
            rung=number,
        )
        candidates = cells(rung, identities)
        # Those of the first rung, to the end: when a budget's last own cell has lost, others still compete for it.
        competitions = competitions or _competitions(candidates, grid.search_budgets)
        if all(sum(_competes(cell, one) for cell in candidates) <= FINALISTS for one in competitions):
            break
        found.append(_stage(rung, results, candidates))
        entrants = found[-1].entrants
        if entrants is None:
            return found
        kept = {it.cell.cell_id for one in competitions for it in _survivors(entrants, one, is_last=is_last)}
        lost = tuple(_without(cell) for cell in candidates if cell.cell_id not in kept)
        losers += lost
        if is_last or not lost:
            break
    end = dataclasses.replace(grid.with_candidates, exclude=(*grid.exclude, *losers))
    candidates = cells(dataclasses.replace(end, programs=grid.candidates), identities)
    return [*found, _stage(end, results, candidates)]


def _items_of_rungs(most: int | None) -> Iterator[tuple[int, bool]]:
    """Validation items of each rung, and whether another one would have no more of them."""
    items = FIRST_ITEMS
    while most is None or items < most:
        yield items, False
        items *= KEPT_SHARE
    yield most, True


def _competitions(candidates: Sequence[Cell], budgets: Sequence[int]) -> list[Competition]:
    """All of them; a cell without a seed makes none of its own where others have one."""
    seeds = dict.fromkeys(cell.seed for cell in candidates if cell.seed is not None) or [None]
    kinds = dict.fromkeys((cell.task, cell.model) for cell in candidates)
    return [(*kind, budget, seed) for kind, budget, seed in itertools.product(kinds, budgets, seeds)]


def _competes(cell: Cell, competition: Competition) -> bool:
    """Whether a cell is a candidate there: one without budget or seed is so for all of them."""
    task, model, budget, seed = competition
    return (
        (cell.task, cell.model) == (task, model) and cell.budget_bytes in (None, budget) and cell.seed in (None, seed)
    )


def _stage(grid: Grid, results: str | None, candidates: Sequence[Cell]) -> Stage:
    """A rung, or the end, with the candidates that have a program once each has one or has lost without."""
    study = Study(results_folder(results) / grid.study)
    ids = [cell.cell_id for cell in candidates if cell.cell_id is not None]
    done = study.valid_cells(ids)
    failed = _failed(study, [cell for cell in candidates if cell.cell_id not in done])
    if len(done) + len(failed) < len(candidates):
        return Stage(grid, candidates, None)
    rows = [(cell, _row(study, str(cell.cell_id))) for cell in candidates if cell.cell_id in done]
    if any(row is None for _, row in rows):
        return Stage(grid, candidates, None)
    entrants = sorted(Entrant(_rank(row), cell, row) for cell, row in rows if row and row["status"] == "ok")
    return Stage(grid, candidates, entrants, failed)


def _row(study: Study, cell_id: str) -> dict[str, Any] | None:
    """The row of a cell; None where its shard is damaged: it goes to quarantine, and the cell is to be made again."""
    try:
        return read_row(study, cell_id, COLUMNS)
    except NewerShardError:
        raise  # sound, and done: the search goes on with the version that can read it
    except InvalidShardError as error:
        if not study.shard_path(cell_id).exists():
            raise  # a compacted file: other cells are in it
        study.quarantine_shard(study.shard_path(cell_id), str(error))
        return None


def _failed(study: Study, candidates: Sequence[Cell]) -> list[Cell]:
    """Those that have lost by their attempts; none that is worked on, for its next attempt may be the good one."""
    attempts = study.read_attempts(cell.cell_id for cell in candidates if cell.cell_id is not None)
    pairs = list(zip(attempts["cell_id"].to_pylist(), attempts["cause"].to_pylist(), strict=True))
    tries, last_cause = Counter(pairs), dict(pairs)  # ordered by attempt: the last of a cell stays
    lost = [
        cell
        for cell in candidates
        if (cause := last_cause.get(str(cell.cell_id))) in LOST_AFTER_ATTEMPTS
        and tries[str(cell.cell_id), cause] >= LOST_AFTER_ATTEMPTS[str(cause)]
    ]
    busy = leased(study) if lost else {}
    return [cell for cell, group in zip(lost, group_ids(lost), strict=True) if group not in busy]


def _rank(row: Mapping[str, Any]) -> tuple[float, int, str]:
    score = float(row["validation"]["performance"])
    return -score if row["higher_is_better"] else score, row["program_length_bits"], row["cell_id"]


def _fitting(entrants: Sequence[Entrant], competition: Competition) -> list[Entrant]:
    """Those that compete there and whose program keeps the budget, from the best."""
    budget_bytes = competition[2]
    return [
        it for it in entrants if _competes(it.cell, competition) and it.row["program_length_bits"] <= 8 * budget_bytes
    ]


def _survivors(entrants: Sequence[Entrant], competition: Competition, *, is_last: bool) -> list[Entrant]:
    fitting = _fitting(entrants, competition)
    return fitting[: FINALISTS if is_last else max(FINALISTS, math.ceil(len(fitting) / KEPT_SHARE))]


def _without(cell: Cell) -> Exclusion:
    """Leaves out what a cell came from."""
    return Exclusion(
        task=(glob.escape(cell.task),),
        model=(glob.escape(cell.model),),
        family=(cell.family,),
        budget=() if cell.budget_bytes is None else (cell.budget_bytes,),
        seed=() if cell.seed is None else (cell.seed,),
        parameters={name: (value,) for name, value in all_parameters(cell).items()},
    )
