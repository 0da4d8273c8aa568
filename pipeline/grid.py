"""The grid file: finds and reads `jobs/NAME.yaml`; every mistake of a file in one message."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import itertools
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from pipeline import catalog
from pipeline.cell import Evaluation, Scalar, canonical_json, format_bytes
from pipeline.errors import GridError, UserError
from pipeline.expansion import Exclusion, Grid, GridTask, ProgramEntry, cells, points, unchangeable
from pipeline.lock import lock_path, read_lock
from pipeline.models import parse_model
from pipeline.protocols import Family
from pipeline.resources import DATA_PARALLEL, ResourceRule, Resources, resources_of
from pipeline.yaml_values import Document, Place, allowed_types, budget_of, is_whole, seed_of, shown, text_of, value_as

__all__ = ["Grid", "cells", "find_grid", "read_grid"]

Value = TypeVar("Value")

STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
KEYS = ("study", "tasks", "models", "programs", "budgets", "seeds", "evaluation", "exclude", "resources")
NEEDED_KEYS = ("study", "tasks", "models", "programs")
EVALUATION_KEYS = ("validation_items", "test_items", "time_limit_seconds", "execute")
NAME_KEYS = ("task", "model", "family")
EXCLUDE_KEYS = (*NAME_KEYS, "budget", "seed")


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
        self._known_keys((), content, "key", KEYS)
        for key in NEEDED_KEYS:
            if key not in content:
                self.wrong((), f"the key {key!r} is missing")
        budgets = self._list(content, "budgets", "16KiB", budget_of) if "budgets" in content else None
        seeds = self._list(content, "seeds", "1", seed_of) if "seeds" in content else (1,)
        grid = Grid(
            path=self.path,
            study=self._study(content["study"]) if "study" in content else "",
            tasks=self._list(content, "tasks", "gsm8k", self._task) if "tasks" in content else (),
            models=self._list(content, "models", "smollm2-135m", self._model) if "models" in content else (),
            programs=self._programs(content["programs"], budgets, seeds) if "programs" in content else (),
            evaluation=self._evaluation(content["evaluation"]) if "evaluation" in content else Evaluation(),
            exclude=(),
        )
        for task, other in itertools.combinations(grid.tasks, 2):
            if task.name == other.name and task != other:
                self.wrong(("tasks",), f"tasks: {task.source!r} and {other.source!r} are both named {task.name!r}")
        if "exclude" in content:
            grid = dataclasses.replace(grid, exclude=self._exclusions(content, grid))
        if "resources" in content:
            grid = dataclasses.replace(grid, resources=self._resource_rules(content, grid))
        if not self.document.mistakes and next(points(grid), None) is None:
            self.wrong(("exclude",), "'exclude' leaves no cell")
        for model, family in unchangeable(grid):
            self.wrong(
                ("programs",),
                f"{family} changes the weights of the base model, and those of {model!r} are rounded to 4 bits; "
                f"exclude it ({{model: {model}, family: {family}}}), or let it train an adapter",
            )
        return grid

    def _known_keys(self, place: Place, content: Mapping[str, Any], kind: str, known: Sequence[str]) -> None:
        for key in content:
            if key not in known:
                self.wrong((*place, key), catalog.unknown_name(kind, key, known))

    def _list(
        self, content: Mapping[str, Any], key: str, example: str, read: Callable[[Any], Value], place: Place = ()
    ) -> tuple[Value, ...]:
        """The items of a list, those with a mistake left out."""
        place, items = (*place, key), content[key]
        values: dict[Value, None] = {}  # in their order; a list would be searched for every item of thousands
        if not isinstance(items, list):
            self.wrong(place, f"{key!r} must be a list such as [{example}]; {shown(items)} given")
            return ()
        if not items:
            self.wrong(place, f"{key!r} is an empty list: nothing would run; leave the key out or list something")
        for index, item in enumerate(items):
            try:
                value = read(item)
            except ValueError as error:
                self.wrong((*place, index), f"{key}: {error}")
                continue
            if value in values:
                self.wrong((*place, index), f"{key}: {item!r} is listed twice (in this or another spelling)")
            values[value] = None
        return tuple(values)

    def _study(self, value: Any) -> str:
        if isinstance(value, str) and STUDY_NAME.fullmatch(value):
            return value
        self.wrong(
            ("study",),
            f"'study' names a folder: 1 to 100 letters, digits, '.', '_' and '-', the first a letter or digit "
            f"(quote a name that is a number); {shown(value)} given",
        )
        return ""

    def _task(self, value: Any) -> GridTask:
        source = text_of(value)
        if source.endswith((".yaml", ".yml")):
            source = str((self.path.parent / Path(source).expanduser()).resolve())
        task = catalog.task(source)
        return GridTask(name=task.name, version=task.version, source=source)

    def _model(self, value: Any) -> str:
        return parse_model(text_of(value), self.path.parent).label

    def _evaluation(self, content: Any) -> Evaluation:
        if not isinstance(content, dict):
            self.wrong(("evaluation",), f"'evaluation' must be a mapping; {shown(content)} given")
            return Evaluation()
        self._known_keys(("evaluation",), content, "key of 'evaluation'", EVALUATION_KEYS)
        if content.get("execute", "all") != "all":
            self.wrong(
                ("evaluation", "execute"),
                f"'execute' can only be 'all' (every program is executed); {shown(content['execute'])} given",
            )
        values: dict[str, Any] = {}
        for key in ("validation_items", "test_items", "time_limit_seconds"):
            value = content.get(key, "all")
            if is_whole(value) and value >= 1:
                values[key] = value
            elif key in content and (value != "all" or key == "time_limit_seconds"):
                allowed = "a whole number of at least 1" + ("" if key == "time_limit_seconds" else " or 'all'")
                self.wrong(("evaluation", key), f"{key!r} must be {allowed}; {shown(value)} given")
        return Evaluation(**values)

    # programs

    def _programs(
        self, content: Any, budgets: tuple[int, ...] | None, seeds: tuple[int, ...]
    ) -> tuple[ProgramEntry, ...]:
        if not isinstance(content, list) or not content:
            self.wrong(
                ("programs",), f"'programs' must be a list such as [{{family: baseline}}]; {shown(content)} given"
            )
            return ()
        entries: list[ProgramEntry] = []
        first_named: dict[tuple[str, str, int | None], int] = {}
        for index, item in enumerate(content):
            entry = self._program(("programs", index), item, budgets, seeds)
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
                    ("programs", index),
                    f"program {index + 1} repeats cells of program {first + 1} ({entry.family}: {described[0]}{more})",
                )
            entries.append(entry)
        return tuple(entries)

    def _program(
        self, place: Place, content: Any, budgets: tuple[int, ...] | None, seeds: tuple[int, ...]
    ) -> ProgramEntry | None:
        title = f"program {int(place[-1]) + 1}"
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
        own_budgets = self._list(content, "budgets", "16KiB", budget_of, place) if "budgets" in content else None
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
                self.wrong((*place, name), f"{title}: {catalog.unknown_name('parameter', name, hints)}")
                continue
            allowed = allowed_types(hints[name])
            if name == family.size:
                allowed = tuple(kind for kind in allowed if kind is not type(None))
            values: list[Scalar] = []
            for value in given if isinstance(given, list) else [given]:
                try:
                    coerced = value_as(value, allowed)
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

    # exclude

    def _exclusions(self, content: Mapping[str, Any], grid: Grid) -> tuple[Exclusion, ...]:
        items = content["exclude"]
        if not isinstance(items, list) or not items:
            self.wrong(("exclude",), f"'exclude' must be a list such as [{{family: lora}}]; {shown(items)} given")
            return ()
        named = _named(content, grid)
        return tuple(self._exclusion(("exclude", index), item, named, grid) for index, item in enumerate(items))

    def _exclusion(self, place: Place, content: Any, named: Mapping[str, list[str]], grid: Grid) -> Exclusion:
        title = f"exclude {int(place[-1]) + 1}"
        if not isinstance(content, dict) or not content:
            self.wrong(place, f"{title} must be a mapping with keys of {', '.join(EXCLUDE_KEYS)}")
            return Exclusion()
        types = _parameter_types(grid)
        self._known_keys(place, content, f"key of {title}", (*EXCLUDE_KEYS, *types))
        readers = {"budget": budget_of, "seed": seed_of}
        fields: dict[str, tuple[Any, ...]] = {}
        for key in EXCLUDE_KEYS:
            if key in content:
                listed = content[key] if isinstance(content[key], list) else [content[key]]
                fields[key] = self._list({key: listed}, key, "", readers.get(key, text_of), place)
        self._check_patterns(place, title, fields, named)
        parameters: dict[str, tuple[Scalar, ...]] = {}
        for key in types.keys() & content.keys():
            listed = content[key] if isinstance(content[key], list) else [content[key]]
            parameters[key] = self._list({key: listed}, key, "", functools.partial(value_as, allowed=types[key]), place)
        exclusion = Exclusion(**fields, parameters=parameters)
        if not self.document.mistakes and not _hits_any(exclusion, grid):
            self.wrong(place, f"{title} matches no cell of the grid")
        return exclusion

    def _check_patterns(
        self, place: Place, title: str, fields: Mapping[str, tuple[Any, ...]], named: Mapping[str, list[str]]
    ) -> None:
        for key, names in named.items():
            for pattern in fields.get(key, ()):
                if not any(fnmatchcase(name, pattern) for name in names):
                    self.wrong((*place, key), f"{title}: no {key} of this grid matches {pattern!r}: {', '.join(names)}")

    # resources

    def _resource_rules(self, content: Mapping[str, Any], grid: Grid) -> tuple[ResourceRule, ...]:
        items = content["resources"]
        if not isinstance(items, list) or not items:
            example = "[{family: lora, processes: 2}]"
            self.wrong(("resources",), f"'resources' must be a list such as {example}; {shown(items)} given")
            return ()
        named = _named(content, grid)
        rules = [self._resource_rule(("resources", index), item, named) for index, item in enumerate(items)]
        if not self.document.mistakes:
            self._check_resources(rules, grid)
        return tuple(rules)

    def _resource_rule(self, place: Place, content: Any, named: Mapping[str, list[str]]) -> ResourceRule:
        title = f"resources {int(place[-1]) + 1}"
        hints = typing.get_type_hints(Resources)
        if not isinstance(content, dict) or not content:
            self.wrong(place, f"{title} must be a mapping with keys of {', '.join((*NAME_KEYS, *hints))}")
            return ResourceRule()
        self._known_keys(place, content, f"key of {title}", (*NAME_KEYS, *hints))
        fields: dict[str, tuple[Any, ...]] = {}
        values: dict[str, Any] = {}
        for key, given in content.items():
            if key in NAME_KEYS:
                fields[key] = self._list({key: given if isinstance(given, list) else [given]}, key, "", text_of, place)
            elif key in hints:
                try:
                    values[key] = value_as(given, allowed_types(hints[key]))
                except ValueError as error:
                    self.wrong((*place, key), f"{title}: {key!r} {error}")
        self._check_patterns(place, title, fields, named)
        return ResourceRule(**fields, values=values)

    def _check_resources(self, rules: Sequence[ResourceRule], grid: Grid) -> None:
        """What the rules give together, for every kind of cell that they reach."""
        mistakes: list[str] = []
        for task, model, entry in itertools.product(grid.tasks, grid.models, grid.programs):
            try:
                resources = resources_of(rules, task.name, model, entry.family)
            except ValueError as error:
                mistakes.append(f"resources of {task.name} / {model} / {entry.family}: {error}")
                continue
            if resources.processes == 1 and resources.strategy == DATA_PARALLEL:
                continue
            if not catalog.family(entry.family).trains_in_team:
                mistakes.append(
                    f"resources: family {entry.family!r} is encoded by one process and trains without a strategy; "
                    "name the families that train, such as {family: lora, processes: 2}"
                )
            batches = {parameters["batch"] for parameters in entry.parameter_sets if "batch" in parameters}
            for batch in sorted(size for size in batches if isinstance(size, int) and size % resources.processes):
                mistakes.append(
                    f"resources: a batch of {batch} examples ({entry.family}) cannot be shared out evenly over "
                    f"{resources.processes} processes"
                )
        for mistake in dict.fromkeys(mistakes):
            self.wrong(("resources",), mistake)


def _named(content: Mapping[str, Any], grid: Grid) -> dict[str, list[str]]:
    """What the file names, wrong names too: a mistake elsewhere must not bring a second one in a pattern."""
    return {
        "task": sorted({*_strings(content.get("tasks")), *(task.name for task in grid.tasks)}),
        "model": _strings(content.get("models")),
        "family": [name for entry in _dicts(content.get("programs")) for name in _strings([entry.get("family")])],
    }


def _parameter_types(grid: Grid) -> dict[str, tuple[type, ...]]:
    """Parameters of the families of a grid, and what their values may be."""
    types: dict[str, tuple[type, ...]] = {}
    for entry in grid.programs:
        for name, hint in typing.get_type_hints(catalog.family(entry.family).parameters).items():
            types[name] = (*types.get(name, ()), *allowed_types(hint))
    return types


def _hits_any(exclusion: Exclusion, grid: Grid) -> bool:
    return any(
        exclusion.hits_names(task.name, model, entry.family)
        and any(
            exclusion.hits_values(*values)
            for values in itertools.product(entry.parameter_sets, entry.budgets, entry.seeds)
        )
        for task, model, entry in itertools.product(grid.tasks, grid.models, grid.programs)
    )


def _strings(items: Any) -> list[str]:
    return [item for item in items if isinstance(item, str)] if isinstance(items, list) else []


def _dicts(items: Any) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _described(parameters: Mapping[str, Scalar], budget: int | None) -> str:
    parts = [f"{name}={value}" for name, value in parameters.items() if value is not None]
    if budget is not None:
        parts.append(f"budget={format_bytes(budget)}")
    return ", ".join(parts) or "no parameters"
