"""What the tests of all tasks share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

import pytest

from pipeline.protocols import Example


@pytest.fixture
def digest() -> Callable[[Sequence[Example]], str]:
    """First 16 hexadecimal digits of the SHA-256 of items in their order: a change of the data does not go unseen."""

    def digest_of(items: Sequence[Example]) -> str:
        content = json.dumps([[dict(item.input), item.target] for item in items], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    return digest_of
