"""How long cells will take: a guess by what they compute, set right by the cells that are done."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from pipeline import catalog
from pipeline.cell import Cell
from pipeline.errors import InvalidShardError
from pipeline.shards import read_shard_columns
from pipeline.status import DONE, State
from pipeline.store import Study

USUAL_PARAMETERS = 135e6
"""Weights of the model that the times below are of, on one core."""
ANSWER_SECONDS = 30.0
"""Answers to the items, and what is coded; not for programs that ignore the model."""
EXAMPLE_SECONDS = 0.3
"""One train example, once."""
USUAL_EXAMPLES, ALL_EXAMPLES = 64, 10_000
"""Examples of a program that takes as many as fit, and of one that takes all: a plan does not read the data."""
OVERHEAD_SECONDS = 5.0
"""Start of a program's process and its imports."""
SAMPLED_SHARDS = 16
"""Shards of one family and task whose times are looked at: reading all of them would take longer than planning."""

LEARNS_ANEW = ("data", "combined")
"""Views whose programs train on their examples themselves, after the encoder has."""


def guessed_seconds(cell: Cell, view: str, num_parameters: float) -> float:
    """Seconds of a cell of which nothing is known, encoding and executing together.

    Args:
        cell: the cell.
        view: of its family.
        num_parameters: weights of its base model.
    """
    if view == "floor":
        return OVERHEAD_SECONDS
    examples = cell.parameters.get("examples", 0)
    number = USUAL_EXAMPLES if examples is None else ALL_EXAMPLES if isinstance(examples, str) else examples
    passes = int(cell.parameters.get("epochs") or 1) * (2 if view in LEARNS_ANEW else 1)
    seconds = ANSWER_SECONDS + EXAMPLE_SECONDS * float(number) * passes
    return OVERHEAD_SECONDS + seconds * num_parameters / USUAL_PARAMETERS


def expected_seconds(
    study: Study,
    cells: Sequence[Cell],
    cell_ids: Sequence[str | None],
    states: Sequence[State],
    num_parameters: Mapping[str, float],
) -> list[float]:
    """Seconds of each cell: its guess, times how far off the guesses of finished cells were.

    Args:
        study: where the finished cells are.
        cells: all cells of a grid.
        cell_ids: their ids.
        states: their states.
        num_parameters: weights of each base model, by its label.
    """
    views = {name: catalog.family(name).view for name in {cell.family for cell in cells}}
    guesses = [guessed_seconds(cell, views[cell.family], num_parameters[cell.model]) for cell in cells]
    kinds = [(cell.task, cell.model, cell.family) for cell in cells]
    ratios: dict[tuple[str, str, str], list[float]] = {kind: [] for kind in kinds}
    for kind, cell_id, state, guess in zip(kinds, cell_ids, states, guesses, strict=True):
        known = ratios[kind]
        if state.name == DONE and cell_id is not None and len(known) < SAMPLED_SHARDS:
            known += [seconds / guess for seconds in _seconds_of(study, cell_id)]
    factors = {kind: statistics.median(known) if known else 1.0 for kind, known in ratios.items()}
    return [factors[kind] * guess for kind, guess in zip(kinds, guesses, strict=True)]


def _seconds_of(study: Study, cell_id: str) -> list[float]:
    try:
        shard = read_shard_columns(study.shard_path(cell_id), cell_id, ["cell_id", "wall_seconds"])
    except (InvalidShardError, OSError):
        return []  # for an estimate; the reducer is who reports damaged shards
    return [value for value in shard["wall_seconds"].to_pylist() if value is not None]
