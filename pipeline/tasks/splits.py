"""Orders and parts that depend on the items alone, not on the order of a file or on a random generator; clean texts."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import TypeVar

from pipeline.cell import canonical_json
from pipeline.protocols import SPLITS, Example, Task

T = TypeVar("T")

CARVED_SHARE = 5
"""No more than one in so many groups is carved out of a train split."""

_EMPTY_LINES = re.compile(r"[^\S\n]*\n\s*")


def fair_order(items: Iterable[T], key: Callable[[T], str], salt: str) -> list[T]:
    """Items in the order of the SHA-256 of their key: fixed, and as good as shuffled.

    Every prefix is a fair sample, and an item that is added or dropped moves no other.

    Args:
        items: in any order.
        key: text that identifies an item.
        salt: another salt gives another order.
    """
    return sorted(items, key=lambda item: hashlib.sha256(f"{salt}\n{key(item)}".encode()).digest())


def carve(
    examples: Iterable[Example], group: Callable[[Example], str], salt: str, size: int
) -> tuple[list[Example], list[Example]]:
    """Takes whole groups out of items, until they are `size` items or a fifth of the groups.

    Args:
        examples: in any order.
        group: what they must not share with the rest, such as the source question of a variant.
        salt: another salt takes others.
        size: items that are wanted.

    Returns:
        The items taken and the rest, each in the order of `fair_order`.
    """
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(group(example), []).append(example)
    order = fair_order(groups, str, salt)
    taken: set[str] = set()
    num_items = 0
    for name in order[: len(order) // CARVED_SHARE]:
        if num_items >= size:
            break
        taken.add(name)
        num_items += len(groups[name])
    parts: tuple[list[Example], list[Example]] = ([], [])
    for name, found in groups.items():
        parts[name not in taken].extend(found)
    return fair_order(parts[0], example_text, salt), fair_order(parts[1], example_text, salt)


def without_shared(
    examples: Iterable[Example], group: Callable[[Example], str], scored: Iterable[Example]
) -> list[Example]:
    """The items whose group has no scored item."""
    groups = {group(example) for example in scored}
    return [example for example in examples if group(example) not in groups]


def example_text(example: Example) -> str:
    """Text that identifies an item: its fields in the order of their names, and its target."""
    return canonical_json([dict(example.input), example.target])


def without_empty_lines(text: str) -> str:
    """Lines with text in them, without blanks around them: nothing in it ends an answer whose stop is an empty line."""
    return _EMPTY_LINES.sub("\n", text.strip())


def one_line(text: str) -> str:
    """All in one line, with single blanks."""
    return " ".join(text.split())


def normalised(text: str) -> str:
    """Letters and digits only, without case: texts that agree in it count as the same item."""
    return " ".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold()))


def items_sha256(task: Task) -> str:
    """SHA-256 of all items of a task's three splits in their order.

    Raises:
        UserError: the data is not there.
    """
    items = {split: [[dict(item.input), item.target] for item in task.split(split)] for split in SPLITS}
    return hashlib.sha256(canonical_json(items).encode()).hexdigest()
