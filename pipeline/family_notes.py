"""What program families are and what their parameters mean, from their own docstrings, for those who write grids."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline import catalog
from pipeline.protocols import Family

_ENTRY = re.compile(r"^(\w+): ", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyList:
    """The families that a grid may name.

    Attributes:
        about: name -> what it is.
    """

    about: dict[str, str]

    def render(self, console: Console) -> None:
        """Print for people."""
        table = Table("family", "what it is")
        for name, about in self.about.items():
            table.add_row(name, about)
        console.print(table)
        console.print("tcx families NAME    its parameters, with their defaults", highlight=False)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {"families": self.about}


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyNote:
    """One family.

    Attributes:
        name: as grids name it.
        about: what it is.
        size: parameter that can stand in the place of a budget, None for a family whose programs have one length.
        has_seed: whether `seeds` of a grid give it several cells.
        parameters: name, default, and meaning of each.
    """

    name: str
    about: str
    size: str | None
    has_seed: bool
    parameters: tuple[tuple[str, Any, str], ...]

    def render(self, console: Console) -> None:
        """Print for people."""
        console.print(f"{self.name}: {self.about}", highlight=False, markup=False)
        told = f"a budget, or {self.size} in its place" if self.size else "nothing: budgets do nothing here"
        console.print(f"length set by {told}; {'has' if self.has_seed else 'needs no'} seeds", highlight=False)
        table = Table("parameter", "default", "what it is")
        for name, default, about in self.parameters:
            # As grids write it: `false`, and nothing for what is not given.
            table.add_row(name, "" if default is None else json.dumps(default).strip('"'), about)
        if self.parameters:
            console.print(table)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        keys = ("name", "default", "about")
        return {
            "name": self.name,
            "about": self.about,
            "size": self.size,
            "has_seed": self.has_seed,
            "parameters": [dict(zip(keys, parameter, strict=True)) for parameter in self.parameters],
        }


def list_families() -> FamilyList:
    """All families, those of installed plug-ins included, in the order of the catalogue."""
    names = dict.fromkeys([*catalog.FAMILIES, *catalog.family_names()])
    return FamilyList(about={name: _about(catalog.family(name)) for name in names})


def note_of_family(name: str) -> FamilyNote:
    """What one family takes.

    Raises:
        UserError: there is no such family; near names are told.
    """
    family = catalog.family(name)
    meanings: dict[str, str] = {}
    for kind in reversed(family.parameters.__mro__):  # a family's own words win over those of what it builds on
        meanings |= _meanings(kind)
    parameters = [(field.name, field.default, meanings.get(field.name, "")) for field in _fields(family)]
    return FamilyNote(
        name=name,
        about=_about(family),
        size=family.size,
        has_seed=family.has_seed,
        parameters=tuple(parameters),
    )


def _about(family: Family) -> str:
    """First line of the module that the family is written in."""
    return (inspect.getdoc(import_module(type(family).__module__)) or "").partition("\n")[0]


def _fields(family: Family) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(family.parameters)


def _meanings(kind: type) -> dict[str, str]:
    """Attribute -> its text in the docstring of a class."""
    text = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
    pieces = _ENTRY.split(inspect.cleandoc(text))[1:]
    return {name: " ".join(about.split()) for name, about in zip(pieces[::2], pieces[1::2], strict=True)}
