"""How long cells will take: a guess by what they compute, set right by the cells that are done."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from pipeline import catalog
from pipeline.cell import Cell
from pipeline.errors import InvalidShardError
from pipeline.grid import Grid
from pipeline.lock import Lock
from pipeline.models import staged
from pipeline.models.catalogue import checkpoint_of
from pipeline.rows import read_row
from pipeline.states import DONE, State
from pipeline.store import Study

USUAL_PARAMETERS = 135e6
"""Weights of the model that the times below are of, on one core."""
ANSWER_SECONDS = 30.0
"""Answers to the items, and what is coded; not for programs that ignore the model."""
EXAMPLE_SECONDS = 0.3
"""One train example, once."""
USUAL_EXAMPLES = 64
"""Examples of a program that takes as many as fit."""
USUAL_TRAIN_ITEMS = 10_000
"""Examples of a task without a lock that says how many it has: a plan does not read the data."""
OVERHEAD_SECONDS = 5.0
"""Start of a program's process and its imports."""
SAMPLED_SHARDS = 16
"""Shards of one family and task whose times are looked at: reading all of them would take longer than planning."""

USUAL_BYTES = 64 * 1024
"""A program without a budget, but for the numbers that it writes."""
WRITTEN_SHARE = {"full": 1.0, "lm-head": 0.07, "lora": 0.001}
"""Family -> numbers that its program writes, as a share of the weights of the base model; of an adapter of rank 1."""

LEARNS_ANEW = ("data", "combined")
"""Views whose programs train on their examples themselves, after the encoder has."""


class Scale(NamedTuple):
    """What the time of a cell grows with, beside its parameters.

    Attributes:
        num_parameters: weights of its base model.
        train_items: examples that its task has.
    """

    num_parameters: float = USUAL_PARAMETERS
    train_items: int = USUAL_TRAIN_ITEMS


def scales_of(grid: Grid) -> dict[tuple[str, str], Scale]:
    """What times grow with: as locked, a base model also as staged or published, else as usual."""
    lock = grid.lock or Lock(models={}, tasks={})
    found = {model: lock.models.get(model) or staged(grid.spec(model)) or checkpoint_of(model) for model in grid.models}
    sizes = {name: {"num_parameters": model.parameters} for name, model in found.items() if model is not None}
    items = {name: {"train_items": task.train_items} for name, task in lock.tasks.items() if task.train_items}
    return {
        (task.name, model): Scale(**sizes.get(model, {}), **items.get(task.name, {}))
        for task in grid.tasks
        for model in grid.models
    }


def guessed_seconds(cell: Cell, view: str, scale: Scale, shared_seconds: float = 0.0) -> float:
    """Seconds of a cell of which nothing is known, encoding and executing together.

    Args:
        cell: the cell.
        view: of its family.
        scale: of its base model and its task.
        shared_seconds: of what its encoder trains, what the encoder has trained for an earlier cell of its group.
    """
    if view == "floor":
        return OVERHEAD_SECONDS
    trained = _learning_seconds(cell, scale) - shared_seconds
    rounded = _passes_seconds(cell, int(cell.parameters.get("rounded_epochs") or 0), scale)
    return guessed_program_seconds(cell, view, scale) + max(trained, 0.0) + rounded


def guessed_program_seconds(cell: Cell, view: str, scale: Scale) -> float:
    """Seconds that the program of a cell takes of these, executed by one thread."""
    if view == "floor":
        return OVERHEAD_SECONDS
    answers_an_item = int(cell.parameters.get("samples") or 1) * int(cell.parameters.get("beams") or 1)
    answers = OVERHEAD_SECONDS + ANSWER_SECONDS * answers_an_item * scale.num_parameters / USUAL_PARAMETERS
    return answers + (_learning_seconds(cell, scale) if view in LEARNS_ANEW else 0)


def guessed_bytes(cell: Cell, num_parameters: float) -> float:
    """Size of the program file of a cell: its budget, or what the numbers take that it writes."""
    if cell.budget_bytes is not None:
        return cell.budget_bytes
    numbers = WRITTEN_SHARE.get(cell.family, 0.0) * num_parameters * int(cell.parameters.get("rank") or 1)
    return USUAL_BYTES + numbers * int(cell.parameters.get("bits") or 0) / 8


def _learning_seconds(cell: Cell, scale: Scale) -> float:
    """Training once on the examples, in all passes."""
    return _passes_seconds(cell, int(cell.parameters.get("epochs") or 1), scale)


def _passes_seconds(cell: Cell, passes: int, scale: Scale) -> float:
    examples = cell.parameters.get("examples", 0)
    number = USUAL_EXAMPLES if examples is None else scale.train_items if isinstance(examples, str) else examples
    return EXAMPLE_SECONDS * float(number) * passes * scale.num_parameters / USUAL_PARAMETERS


def expected_seconds(
    study: Study,
    cells: Sequence[Cell],
    group_ids: Sequence[str | None],
    states: Sequence[State],
    scales: Sequence[Scale],
) -> list[float]:
    """Seconds of each cell: its guess, times how far off the guesses of finished cells were.

    Args:
        study: where the finished cells are.
        cells: all cells of a grid.
        group_ids: group of each cell; cells of one share what their encoder trains.
        states: their states.
        scales: of each cell.
    """
    guesses = _guesses(cells, group_ids, states, scales)
    # Of all examples a guess may not know the number: how far off it is says nothing of cells with some.
    kinds = [(cell.task, cell.model, cell.family, isinstance(cell.parameters.get("examples"), str)) for cell in cells]
    ratios: dict[tuple[str, str, str, bool], list[float]] = {kind: [] for kind in kinds}
    for kind, cell, state, guess in zip(kinds, cells, states, guesses, strict=True):
        known = ratios[kind]
        if state.name == DONE and len(known) < SAMPLED_SHARDS and cell.cell_id is not None:
            known += [seconds / guess for seconds in _seconds_of(study, cell.cell_id)]
    factors = {kind: statistics.median(known) if known else 1.0 for kind, known in ratios.items()}
    return [factors[kind] * guess for kind, guess in zip(kinds, guesses, strict=True)]


def _guesses(
    cells: Sequence[Cell],
    group_ids: Sequence[str | None],
    states: Sequence[State],
    scales: Sequence[Scale],
) -> list[float]:
    """Guess of each cell; training that a group shares counts once for its done cells, and once for the others."""
    views = {name: catalog.family(name).view for name in {cell.family for cell in cells}}
    shared_seconds: dict[tuple[str | None, bool], float] = {}
    guesses = []
    for cell, group, state, scale in zip(cells, group_ids, states, scales, strict=True):
        sharers = (group, state.name == DONE)
        shared = shared_seconds.get(sharers, 0.0)
        guesses.append(guessed_seconds(cell, views[cell.family], scale, shared))
        if group is not None:
            shared_seconds[sharers] = max(shared, _learning_seconds(cell, scale))
    return guesses


def _seconds_of(study: Study, cell_id: str) -> list[float]:
    try:
        seconds = read_row(study, cell_id, ["wall_seconds"])["wall_seconds"]
    except (InvalidShardError, OSError):
        return []  # for an estimate; the reducer is who reports damaged shards
    return [] if seconds is None else [seconds]
