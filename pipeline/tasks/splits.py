"""Orders that depend on the items alone: not on the order of a file or on a random generator."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import TypeVar

from pipeline.cell import canonical_json
from pipeline.protocols import SPLITS, Task

T = TypeVar("T")


def fair_order(items: Iterable[T], key: Callable[[T], str], salt: str) -> list[T]:
    """Items in the order of the SHA-256 of their key: fixed, and as good as shuffled.

    Every prefix is a fair sample, and an item that is added or dropped moves no other.

    Args:
        items: in any order.
        key: text that identifies an item.
        salt: another salt gives another order.
    """
    return sorted(items, key=lambda item: hashlib.sha256(f"{salt}\n{key(item)}".encode()).digest())


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
