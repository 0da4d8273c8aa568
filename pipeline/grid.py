"""The grid file: finds and reads `jobs/NAME.yaml`; every mistake of a file in one message."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pipeline import catalog
from pipeline.cell import Evaluation, Scalar, canonical_json, format_bytes
from pipeline.errors import GridError, UserError, unknown_name
from pipeline.expansion import Grid, GridTask, ProgramEntry, cells, points, unchangeable
from pipeline.files import placed
from pipeline.grid_rules import exclusions, resource_rules
from pipeline.lock import lock_path, read_lock
from pipeline.models import LARGEST_SEED, parse_model
from pipeline.program_file import CONTAINER_BYTES
from pipeline.protocols import Family
from pipeline.search_space import AUTO, CANDIDATES
from pipeline.yaml_values import Document, Place, allowed_types, budget_of, is_whole, seed_of, shown, text_of, value_as

__all__ = ["Grid", "cells", "find_grid", "read_grid"]

Number = TypeVar("Number", bound=Scalar)

LARGEST = 2**63 - 1
"""Of every whole number in a grid: plans and shards have 64 bits for it."""
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
KEYS = ("study", "tasks", "models", "programs", "budgets", "seeds", "evaluation", "exclude", "resources")
NEEDED_KEYS = ("study", "tasks", "models", "programs")
SEARCH_KEYS = ("family", "budgets", "among")
EVALUATION_KEYS = ("validation_items", "test_items", "time_limit_seconds", "execute")


def find_grid(name: str) -> Path:
    """The grid file of this path, or of this bare name among the grids in `jobs/` and those shipped with the package.

    Raises:
        UserError: there is no such file; near matches are named.
    """
    if Path(name).is_file():
        return Path(name)
    # `jobs/` lies beside the package in a checkout and inside of it in an installed wheel.
    package = Path(__file__).resolve().parent
    folders = [Path("jobs"), package / "jobs", package.parent / "jobs"]
    known: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            known.setdefault(path.stem, path)
    stem = name.removesuffix(".yaml")
    if stem in known:
        return known[stem]
    if Path(name).is_dir():
        raise UserError(f"{name} is a folder; give a grid file")
    near = difflib.get_close_matches(Path(stem).name, known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    listed = ", ".join(sorted(known)) or "none"
    raise UserError(f"no grid file {name!r}.{hint} Give a path, or a name among the grids of jobs/: {listed}")


def read_grid(path: Path) -> Grid:
    """Reads and checks a grid file, and its lock where there is one. Needs neither network nor GPU.

    Raises:
        GridError: every mistake of the file, in the order of the file.
        UserError: the file cannot be read at all, or its lock has a mistake.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the grid {path}: {error}") from error
    document = Document(str(path), text)
    grid = _Reader(path, document).grid()
    if document.mistakes or grid is None:
        raise GridError(str(path), document.mistakes)
    return dataclasses.replace(grid, lock=read_lock(lock_path(path)))


class _Reader:
    """Makes the grid of one document; notes in the document what is wrong with it."""

    def __init__(self, path: Path, document: Document) -> None:
        self.path = path
        self.document = document
        self.wrong = document.wrong

    def grid(self) -> Grid | None:
        """The grid, without the parts that have mistakes; None where nothing can be made of the document."""
        content = self.document.content
        if not isinstance(content, dict):
            self.wrong((), f"a grid is a mapping with the keys {', '.join(KEYS)}; {shown(content)} given")
            return None
        self.document.known_keys((), content, "key", KEYS)
        for key in NEEDED_KEYS:
            if key not in content:
                self.wrong((), f"the key {key!r} is missing")
        budgets = self._budgets(content, ()) if "budgets" in content else None
        seeds = (
            self.document.list_of(content, "seeds", "1", _bounded(seed_of, LARGEST_SEED))
            if "seeds" in content
            else (1,)
        )
        programs = self._programs(content["programs"], ("programs",), budgets, seeds) if "programs" in content else ()
        candidates, search_budgets = self._search(content.get("programs"), budgets, seeds)
        grid = Grid(
            path=self.path,
            study=self._study(content["study"]) if "study" in content else "",
            tasks=self.document.list_of(content, "tasks", "gsm8k", self._task) if "tasks" in content else (),
            models=self.document.list_of(content, "models", "smollm2-135m", self._model) if "models" in content else (),
            programs=programs,
            candidates=_unlike(candidates, programs),
            search_budgets=search_budgets,
            evaluation=self._evaluation(content["evaluation"]) if "evaluation" in content else Evaluation(),
            exclude=(),
        )
        for task, other in itertools.combinations(grid.tasks, 2):
            if task.name == other.name and task != other:
                self.wrong(("tasks",), f"tasks: {task.source!r} and {other.source!r} are both named {task.name!r}")
        if "exclude" in content:
            grid = dataclasses.replace(grid, exclude=exclusions(self.document, content, grid.with_candidates))
        if "resources" in content:
            grid = dataclasses.replace(grid, resources=resource_rules(self.document, content, grid.with_candidates))
        if not self.document.mistakes and next(points(grid.with_candidates), None) is None:
            self.wrong(("exclude",), "'exclude' leaves no cell")
        for model, family in unchangeable(grid.with_candidates):
            self.wrong(
                ("programs",),
                f"{family} changes the weights of the base model, and those of {model!r} are rounded to 4 bits; "
                f"exclude it ({{model: {model}, family: {family}}}, or one value of tuner or weights "
                "where others leave the weights alone), or let it train an adapter",
            )
        return grid

    def _study(self, value: Any) -> str:
        if isinstance(value, str) and STUDY_NAME.fullmatch(value):
            return value
        self.wrong(
            ("study",),
            f"'study' names a folder: 1 to 100 letters, digits, '.', '_' and '-', the first a letter or digit "
            f"(quote a name that is a number); {shown(value)} given",
        )
        return ""

    def _budgets(self, content: Mapping[str, Any], place: Place) -> tuple[int, ...]:
        return self.document.list_of(content, "budgets", "16KiB", _bounded(_budget_of), place)

    def _task(self, value: Any) -> GridTask:
        source = text_of(value)
        if source.endswith((".yaml", ".yml")):
            source = str(placed(self.path.parent, source).resolve())
        task = catalog.task(source)
        return GridTask(name=task.name, version=task.version, source=source)

    def _model(self, value: Any) -> str:
        return parse_model(text_of(value), self.path.parent).label

    def _evaluation(self, content: Any) -> Evaluation:
        if not isinstance(content, dict):
            self.wrong(("evaluation",), f"'evaluation' must be a mapping; {shown(content)} given")
            return Evaluation()
        self.document.known_keys(("evaluation",), content, "key of 'evaluation'", EVALUATION_KEYS)
        if content.get("execute", "all") != "all":
            self.wrong(
                ("evaluation", "execute"),
                f"'execute' can only be 'all' (every program is executed); {shown(content['execute'])} given",
            )
        values: dict[str, Any] = {}
        for key in ("validation_items", "test_items", "time_limit_seconds"):
            value = content.get(key, "all")
            if is_whole(value) and 1 <= value <= LARGEST:
                values[key] = value
            elif key in content and (value != "all" or key == "time_limit_seconds"):
                least = "a whole number of at least 1" + ("" if key == "time_limit_seconds" else " or 'all'")
                allowed = f"at most {LARGEST}" if is_whole(value) and value > LARGEST else least
                self.wrong(("evaluation", key), f"{key!r} must be {allowed}; {shown(value)} given")
        return Evaluation(**values)

    # programs

    def _search(
        self, programs: Any, budgets: tuple[int, ...] | None, seeds: tuple[int, ...]
    ) -> tuple[tuple[ProgramEntry, ...], tuple[int, ...]]:
        """Entries among which `family: auto` searches, and the budgets that it searches for."""
        listed = programs if isinstance(programs, list) else []
        searches = [index for index, item in enumerate(listed) if _is_search(item)]
        for index in searches[1:]:
            self.wrong(("programs", index), f"{_title(('programs', index))}: 'family: {AUTO}' can stand in a grid once")
        if not searches:
            return (), ()
        place, item = ("programs", searches[0]), listed[searches[0]]
        self.document.known_keys(place, item, f"key of 'family: {AUTO}'", SEARCH_KEYS)
        if "budgets" in item:
            budgets = self._budgets(item, place)
        if budgets is None:
            self.wrong(place, f"{_title(place)} ({AUTO}): give 'budgets', here or for the grid")
            return (), ()
        return self._programs(item.get("among", CANDIDATES), (*place, "among"), budgets, seeds), budgets

    def _programs(
        self, content: Any, within: Place, budgets: tuple[int, ...] | None, seeds: tuple[int, ...]
    ) -> tuple[ProgramEntry, ...]:
        if not isinstance(content, list) or not content:
            self.wrong(within, f"{within[-1]!r} must be a list such as [{{family: baseline}}]; {shown(content)} given")
            return ()
        entries: list[ProgramEntry] = []
        first_named: dict[tuple[str, str, int | None], int] = {}
        for index, item in enumerate(content):
            place = (*within, index)
            if within == ("programs",) and _is_search(item):
                continue
            entry = self._program(place, item, budgets, seeds)
            if entry is None:
                continue
            twice: dict[int, list[str]] = {}
            for parameters, budget in itertools.product(entry.parameter_sets, entry.budgets):
                key = (entry.family, canonical_json(parameters), budget)
                first = first_named.setdefault(key, index)
                if first != index:
                    twice.setdefault(first, []).append(_described(parameters, budget))
            for first, described in twice.items():
                more = f" and {len(described) - 1} more" if len(described) > 1 else ""
                self.wrong(
                    place,
                    f"{_title(place)} repeats cells of {_title((*within, first))} "
                    f"({entry.family}: {described[0]}{more})",
                )
            entries.append(entry)
        return tuple(entries)

    def _program(
        self, place: Place, content: Any, budgets: tuple[int, ...] | None, seeds: tuple[int, ...]
    ) -> ProgramEntry | None:
        title = _title(place)
        if not isinstance(content, dict) or "family" not in content:
            found = f"its keys are {', '.join(content)}" if isinstance(content, dict) else f"{shown(content)} given"
            self.wrong(place, f"{title} must be a mapping with the key 'family'; {found}")
            return None
        try:
            family = catalog.family(text_of(content["family"]))
        except UserError as error:
            self.wrong((*place, "family"), f"{title}: {error}")
            return None
        title += f" ({family.name})"
        own_budgets = self._budgets(content, place) if "budgets" in content else None
        axis: tuple[int | None, ...] = (None,)
        if family.size is None:
            if own_budgets is not None:
                self.wrong((*place, "budgets"), f"{title}: its programs have one size; 'budgets' does nothing here")
        elif family.size not in content:
            if own_budgets is None and budgets is None:
                self.wrong(
                    place, f"{title}: nothing sets its size: give 'budgets', here or for the grid, or {family.size!r}"
                )
            axis = own_budgets if own_budgets is not None else budgets or ()
        elif own_budgets is not None:
            self.wrong((*place, "budgets"), f"{title}: 'budgets' and {family.size!r} both set the size; give one")
        return ProgramEntry(
            family=family.name,
            parameter_sets=self._parameter_sets(place, title, family, content),
            budgets=axis,
            seeds=seeds if family.has_seed else (None,),
        )

    def _parameter_sets(
        self, place: Place, title: str, family: Family, content: Mapping[str, Any]
    ) -> tuple[Mapping[str, Scalar], ...]:
        hints = typing.get_type_hints(family.parameters)
        axes: dict[str, tuple[Scalar, ...]] = {}
        for name, given in content.items():
            if name in ("family", "budgets"):
                continue
            if name not in hints:
                self.wrong((*place, name), f"{title}: {unknown_name('parameter', name, hints)}")
                continue
            allowed = allowed_types(hints[name])
            if name == family.size:
                allowed = tuple(kind for kind in allowed if kind is not type(None))
            values: list[Scalar] = []
            for value in given if isinstance(given, list) else [given]:
                try:
                    coerced = _within_largest(value_as(value, allowed))
                except ValueError as error:
                    self.wrong((*place, name), f"{title}: {name!r} {error}")
                    continue
                if coerced in values:
                    self.wrong((*place, name), f"{title}: {name!r} lists {value!r} twice")
                values.append(coerced)
            if given == []:
                self.wrong((*place, name), f"{title}: {name!r} is an empty list: the entry would have no cell")
            axes[name] = tuple(values)
        sets: list[Mapping[str, Scalar]] = []
        refused: dict[str, Mapping[str, Scalar]] = {}
        for combination in itertools.product(*axes.values()):
            chosen = dict(zip(axes, combination, strict=True))
            try:
                built = family.parameters(**chosen)
            except ValueError as error:
                refused.setdefault(str(error), chosen)
                continue
            sets.append({field.name: getattr(built, field.name) for field in dataclasses.fields(built)})
        for reason, given in refused.items():
            self.wrong(place, f"{title}: {reason} (given: {_described(given, None)})")
        return tuple(sets)


def _is_search(item: Any) -> bool:
    return isinstance(item, dict) and item.get("family") == AUTO


def _title(place: Place) -> str:
    """`program 3`, or `program 3, candidate 2`, counted from 1."""
    numbers = [part + 1 for part in place if isinstance(part, int)]
    return ", ".join(f"{kind} {number}" for kind, number in zip(("program", "candidate"), numbers, strict=False))


def _unlike(candidates: Sequence[ProgramEntry], programs: Sequence[ProgramEntry]) -> tuple[ProgramEntry, ...]:
    """Candidates without those that are made anyway, each an entry of its own."""

    def single(entry: ProgramEntry) -> Iterator[ProgramEntry]:
        for parameters, budget in itertools.product(entry.parameter_sets, entry.budgets):
            yield dataclasses.replace(entry, parameter_sets=(parameters,), budgets=(budget,))

    made = [one for entry in programs for one in single(entry)] if candidates else []
    return tuple(one for entry in candidates for one in single(entry) if one not in made)


def _budget_of(value: Any) -> int:
    size = budget_of(value)
    if size <= CONTAINER_BYTES:
        raise UserError(f"{format_bytes(size)} holds no program: the container alone has {CONTAINER_BYTES} bytes")
    return size


def _bounded(read: Callable[[Any], int], largest: int = LARGEST) -> Callable[[Any], int]:
    """The same reader, which refuses larger numbers, as those that no table has room for."""
    return lambda value: _within_largest(read(value), largest)


def _within_largest(value: Number, largest: int = LARGEST) -> Number:
    if is_whole(value) and abs(typing.cast(int, value)) > largest:
        raise UserError(f"must be at most {largest}; {value} given")
    return value


def _described(parameters: Mapping[str, Scalar], budget: int | None) -> str:
    parts = [f"{name}={value}" for name, value in parameters.items() if value is not None]
    if budget is not None:
        parts.append(f"budget={format_bytes(budget)}")
    return ", ".join(parts) or "no parameters"
