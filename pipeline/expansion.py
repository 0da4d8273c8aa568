"""A grid as frozen values, and its expansion to cells."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline import catalog
from pipeline.cell import Cell, Evaluation, Scalar
from pipeline.lock import Lock
from pipeline.models import ModelSpec, parse_model
from pipeline.protocols import Family
from pipeline.resources import ResourceRule
from pipeline.runner.reference_machine import REFERENCE_MACHINE


@dataclass(frozen=True, kw_only=True, slots=True)
class GridTask:
    """One entry of `tasks`.

    Attributes:
        name: name of the task, as in its cells.
        version: its version.
        source: what `catalog.task` finds it by, from any working folder: the name, or the path of its file.
    """

    name: str
    version: int
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgramEntry:
    """One entry of `programs`, with what it inherits from the rest of the grid filled in.

    Attributes:
        family: name of the program family.
        parameter_sets: every combination of the values given, each with all parameters of the family.
        budgets: in bytes; `(None,)` where the family's own size stands in their place or the family has no size.
        seeds: `(None,)` for a family without chance.
    """

    family: str
    parameter_sets: tuple[Mapping[str, Scalar], ...]
    budgets: tuple[int | None, ...]
    seeds: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exclusion:
    """Cells to leave out: those that agree with everything given here. An empty tuple agrees with every value.

    A parameter agrees where the family has it, with one of the values.
    """

    task: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    family: tuple[str, ...] = ()
    budget: tuple[int, ...] = ()
    seed: tuple[int, ...] = ()
    parameters: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)

    def hits_names(self, task: str, model: str, family: str) -> bool:
        """Whether the name patterns agree."""
        return all(
            not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
            for name, patterns in ((task, self.task), (model, self.model), (family, self.family))
        )

    def hits_values(self, parameters: Mapping[str, Scalar], budget: int | None, seed: int | None) -> bool:
        """Whether parameters, budget and seed agree."""
        return (
            (not self.budget or budget in self.budget)
            and (not self.seed or seed in self.seed)
            and all(name in parameters and parameters[name] in values for name, values in self.parameters.items())
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """A grid file without mistakes, and its lock.

    `candidates` are entries among which `family: auto` searches (`pipeline.search`); `rung` is the number of a rung of
    that search, None for what the file itself describes. `search_budgets` are those that it searches for.
    """

    path: Path
    study: str
    tasks: tuple[GridTask, ...]
    models: tuple[str, ...]
    programs: tuple[ProgramEntry, ...]
    evaluation: Evaluation
    exclude: tuple[Exclusion, ...]
    resources: tuple[ResourceRule, ...] = ()
    lock: Lock | None = None
    candidates: tuple[ProgramEntry, ...] = ()
    search_budgets: tuple[int, ...] = ()
    rung: int | None = None

    @property
    def with_candidates(self) -> Grid:
        """The grid in which every candidate is an entry like any other."""
        return replace(self, programs=(*self.programs, *self.candidates), candidates=())

    def spec(self, model: str) -> ModelSpec:
        """The base model of a label, at the commit of the lock."""
        spec = parse_model(model, self.path.parent)
        locked = self.lock.models.get(model) if self.lock is not None else None
        return spec if locked is None or locked.commit is None else spec.at_commit(locked.commit)


def unchangeable(grid: Grid) -> list[tuple[str, str]]:
    """Label and family of all cells that would change weights which their base model has rounded to 4 bits."""
    rounded = {model for model in grid.models if grid.spec(model).loading is not None}
    found: dict[tuple[str, str], None] = {}
    for _, model, entry, parameters, _, _ in points(grid) if rounded else ():
        changes_base = getattr(catalog.family(entry.family), "changes_base", None)
        if model in rounded and changes_base is not None and changes_base(parameters):
            found[model, entry.family] = None
    return list(found)


def cells(grid: Grid, identities: Mapping[str, str | None]) -> list[Cell]:
    """Every cell of the grid, in the order of the file.

    Args:
        grid: the grid.
        identities: digest of the staged folder of each model label; a label that is missing has none yet.
    """
    families = {entry.family: catalog.family(entry.family) for entry in grid.programs}
    return [
        Cell(
            task=task.name,
            task_version=task.version,
            model=model,
            model_identity=identities.get(model),
            family=entry.family,
            family_version=families[entry.family].version,
            parameters=_identifying(families[entry.family], parameters),
            budget_bytes=budget,
            seed=seed,
            evaluation=grid.evaluation,
            reference_machine=REFERENCE_MACHINE,
        )
        for task, model, entry, parameters, budget, seed in points(grid)
    ]


def all_parameters(cell: Cell) -> dict[str, Scalar]:
    """Parameters of a cell with those that are no part of its identity."""
    whole = catalog.family(cell.family).parameters(**cell.parameters)
    return {it.name: getattr(whole, it.name) for it in fields(whole)}


def _identifying(family: Family, parameters: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
    """Without those that were added to the family and have their defaults."""
    defaults = {name: getattr(family.parameters, name) for name in getattr(family, "added", ())}
    return {name: value for name, value in parameters.items() if name not in defaults or value != defaults[name]}


def points(
    grid: Grid,
) -> Iterator[tuple[GridTask, str, ProgramEntry, Mapping[str, Scalar], int | None, int | None]]:
    """Axis values of every cell, in the order of the file: task, model, entry, parameters, budget, seed."""
    for task, model, entry in itertools.product(grid.tasks, grid.models, grid.programs):
        exclude = [exclusion for exclusion in grid.exclude if exclusion.hits_names(task.name, model, entry.family)]
        for parameters, budget, seed in itertools.product(entry.parameter_sets, entry.budgets, entry.seeds):
            if not any(exclusion.hits_values(parameters, budget, seed) for exclusion in exclude):
                yield task, model, entry, parameters, budget, seed
