"""Reads the parts of a grid that are rules over its cells: `exclude` and `resources`."""

from __future__ import annotations

import functools
import itertools
import typing
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from pipeline import catalog
from pipeline.cell import Scalar
from pipeline.expansion import Exclusion, Grid
from pipeline.resources import DATA_PARALLEL, ResourceRule, Resources, check_value, resources_of
from pipeline.yaml_values import Document, Place, allowed_types, budget_of, seed_of, shown, text_of, value_as

NAME_KEYS = ("task", "model", "family")
EXCLUDE_KEYS = (*NAME_KEYS, "budget", "seed")


def exclusions(document: Document, content: Mapping[str, Any], grid: Grid) -> tuple[Exclusion, ...]:
    """What `exclude` of a grid says, mistakes noted in its document."""
    items = content["exclude"]
    if not isinstance(items, list) or not items:
        document.wrong(("exclude",), f"'exclude' must be a list such as [{{family: lora}}]; {shown(items)} given")
        return ()
    named = _named(content, grid)
    return tuple(_exclusion(document, ("exclude", index), item, named, grid) for index, item in enumerate(items))


def _exclusion(document: Document, place: Place, content: Any, named: Mapping[str, list[str]], grid: Grid) -> Exclusion:
    title = f"exclude {int(place[-1]) + 1}"
    if not isinstance(content, dict) or not content:
        document.wrong(place, f"{title} must be a mapping with keys of {', '.join(EXCLUDE_KEYS)}")
        return Exclusion()
    types = _parameter_types(grid)
    document.known_keys(place, content, f"key of {title}", (*EXCLUDE_KEYS, *types))
    readers = {"budget": budget_of, "seed": seed_of}
    fields: dict[str, tuple[Any, ...]] = {}
    for key in EXCLUDE_KEYS:
        if key in content:
            listed = content[key] if isinstance(content[key], list) else [content[key]]
            fields[key] = document.list_of({key: listed}, key, "", readers.get(key, text_of), place)
    _check_patterns(document, place, title, fields, named)
    parameters: dict[str, tuple[Scalar, ...]] = {}
    for key in types.keys() & content.keys():
        listed = content[key] if isinstance(content[key], list) else [content[key]]
        parameters[key] = document.list_of(
            {key: listed}, key, "", functools.partial(value_as, allowed=types[key]), place
        )
    exclusion = Exclusion(**fields, parameters=parameters)
    if not document.mistakes and not _hits_any(exclusion, grid):
        document.wrong(place, f"{title} matches no cell of the grid")
    return exclusion


def _check_patterns(
    document: Document, place: Place, title: str, fields: Mapping[str, tuple[Any, ...]], named: Mapping[str, list[str]]
) -> None:
    for key, names in named.items():
        for pattern in fields.get(key, ()):
            if not any(fnmatchcase(name, pattern) for name in names):
                document.wrong((*place, key), f"{title}: no {key} of this grid matches {pattern!r}: {', '.join(names)}")


def resource_rules(document: Document, content: Mapping[str, Any], grid: Grid) -> tuple[ResourceRule, ...]:
    """What `resources` of a grid says, mistakes noted in its document."""
    items = content["resources"]
    if not isinstance(items, list) or not items:
        example = "[{family: lora, processes: 2}]"
        document.wrong(("resources",), f"'resources' must be a list such as {example}; {shown(items)} given")
        return ()
    named = _named(content, grid)
    rules = [_resource_rule(document, ("resources", index), item, named) for index, item in enumerate(items)]
    if not document.mistakes:
        _check_resources(document, rules, grid)
    return tuple(rules)


def _resource_rule(document: Document, place: Place, content: Any, named: Mapping[str, list[str]]) -> ResourceRule:
    title = f"resources {int(place[-1]) + 1}"
    hints = typing.get_type_hints(Resources)
    if not isinstance(content, dict) or not content:
        document.wrong(place, f"{title} must be a mapping with keys of {', '.join((*NAME_KEYS, *hints))}")
        return ResourceRule()
    document.known_keys(place, content, f"key of {title}", (*NAME_KEYS, *hints))
    fields: dict[str, tuple[Any, ...]] = {}
    values: dict[str, Any] = {}
    for key, given in content.items():
        if key in NAME_KEYS:
            fields[key] = document.list_of(
                {key: given if isinstance(given, list) else [given]}, key, "", text_of, place
            )
        elif key in hints:
            try:
                values[key] = value_as(given, allowed_types(hints[key]))
            except ValueError as error:
                document.wrong((*place, key), f"{title}: {key!r} {error}")
    _check_patterns(document, place, title, fields, named)
    for key, value in values.items():
        try:
            check_value(key, value)
        except ValueError as error:
            document.wrong((*place, key), f"{title}: {error}")
    return ResourceRule(**fields, values=values)


def _check_resources(document: Document, rules: Sequence[ResourceRule], grid: Grid) -> None:
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
        document.wrong(("resources",), mistake)


def _named(content: Mapping[str, Any], grid: Grid) -> dict[str, list[str]]:
    """What the file names, wrong names too: a mistake elsewhere must not bring a second one in a pattern."""
    return {
        "task": sorted({*_strings(content.get("tasks")), *(task.name for task in grid.tasks)}),
        "model": _strings(content.get("models")),
        "family": sorted(
            {
                *(name for entry in _dicts(content.get("programs")) for name in _strings([entry.get("family")])),
                *(entry.family for entry in grid.programs),
            }
        ),
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
