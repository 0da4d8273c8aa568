"""YAML as plain values with the line of each, and readers of single values that say what is wrong with them.

The only module that touches YAML text. It knows nothing of grids.
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import yaml

from pipeline.cell import Scalar
from pipeline.errors import GridError, UserError, unknown_name

Value = TypeVar("Value")
Place = tuple[str | int, ...]
"""Keys and list positions that lead to a part of the file."""

UNITS = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]*)")
EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
"""`1e-4` is text in YAML 1.1, which wants a dot and a sign: everybody means the number."""
TYPE_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
DEEPEST = 8
"""No file of ours nests deeper; an alias that contains itself does."""


class Document:
    """Plain values of one YAML file. Collects mistakes instead of stopping at the first.

    Attributes:
        content: dictionaries (with text keys), lists and scalars; None for an empty file.
    """

    def __init__(self, path: str, text: str) -> None:
        """Parses the text.

        Raises:
            GridError: this is no YAML; with line and column.
        """
        self.path = path
        self._lines: dict[Place, int] = {}
        self._mistakes: list[tuple[int, str]] = []
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            self.content = None if node is None else self._plain(loader, node, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
            reason = " ".join(part for part in (error.context, error.problem) if part)
            raise GridError(path, [f"{where}this cannot be read as YAML: {reason}"]) from error
        except RecursionError as error:
            raise GridError(path, ["this cannot be read as YAML: nested too deeply"]) from error
        except (yaml.YAMLError, ValueError) as error:
            raise GridError(path, [f"this cannot be read as YAML: {' '.join(str(error).split())}"]) from error

    def wrong(self, place: Place, mistake: str) -> None:
        """Notes a mistake at a part of the file."""
        while place and place not in self._lines:
            place = place[:-1]
        self._mistakes.append((self._lines.get(place, 1), mistake))

    def known_keys(self, place: Place, content: Mapping[str, Any], kind: str, known: Sequence[str]) -> None:
        """Notes every key that is not known, with near matches."""
        for key in content:
            if key not in known:
                self.wrong((*place, key), unknown_name(kind, key, known))

    def list_of(
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

    @property
    def mistakes(self) -> list[str]:
        """Every mistake so far with its line, in the order of the file."""
        return [f"line {line}: {mistake}" for line, mistake in sorted(self._mistakes, key=lambda found: found[0])]

    def _plain(self, loader: yaml.SafeLoader, node: yaml.Node, place: Place) -> Any:
        self._lines[place] = node.start_mark.line + 1
        if len(place) > DEEPEST:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=node.start_mark)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(loader, item, (*place, index)) for index, item in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            try:
                return loader.construct_object(node)
            except (ValueError, LookupError, AttributeError) as error:  # a date or number that is none
                reason = f": {error}" if isinstance(error, ValueError) else ""
                problem = f"{node.value[:80]!r} is no {node.tag.rpartition(':')[2]}{reason}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key_node.start_mark)
            key = str(key_node.value)
            value = self._plain(loader, value_node, (*place, key))
            self._lines[*place, key] = key_node.start_mark.line + 1
            if key in content:
                self.wrong((*place, key), f"{key!r} is given twice; YAML would silently keep the last")
            content[key] = value
        return content


def dumped(content: object) -> str:
    """Plain values as YAML, in their order."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def text_of(value: Any) -> str:
    """Text, refused where YAML made something else of it."""
    if not isinstance(value, str):
        raise UserError(f"text is wanted (in quotes where YAML reads it as something else); {shown(value)} given")
    return value


def seed_of(value: Any) -> int:
    """A seed."""
    if not is_whole(value) or value < 0:
        raise UserError(f"a seed is a whole number of at least 0; {shown(value)} given")
    return int(value)


def budget_of(value: Any) -> int:
    """Size in bytes of `16KiB`, `1.5 MiB` or `2000`."""
    match = SIZE.fullmatch(str(value)) if isinstance(value, str) or is_whole(value) else None
    size = float(match[1]) * UNITS[match[2]] if match and match[2] in UNITS else 0.0
    if size < 1 or not size.is_integer():
        raise UserError(
            f"a budget is a whole number of bytes, or one with a unit of B, KiB, MiB or GiB, such as 16KiB "
            f"(of 1024 bytes each); {shown(value)} given"
        )
    return int(size)


def is_whole(value: Any) -> bool:
    """Whether this is a whole number; `true` is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def allowed_types(hint: Any) -> tuple[type, ...]:
    """The types that an annotation such as `float | None` allows."""
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def value_as(value: Any, allowed: Sequence[type]) -> Scalar:
    """The value as one of the types; whole numbers and `1e-4` become floats where a float is wanted."""
    if float in allowed and (is_whole(value) or (isinstance(value, str) and EXPONENT.fullmatch(value))):
        value = float(str(value))  # of a whole number, too: one without an end becomes infinite, and is refused
    if type(value) in allowed and not (isinstance(value, float) and not math.isfinite(value)):
        return typing.cast(Scalar, value)
    names = " or ".join(TYPE_NAMES[kind] for kind in allowed)
    raise UserError(f"must be {names}; {shown(value)} given")


def shown(value: Any) -> str:
    """What was given, for a message."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, list | dict):
        kind = "list" if isinstance(value, list) else "mapping"
        return f"a {kind}" if value else f"an empty {kind}"
    return str(value)
