"""Adaptation of all weights inside a program, where others add an adapter."""

from __future__ import annotations

from typing import Any


def add_adapter(model: Any, seed: int, rank: int, alpha: int, target_modules: str) -> tuple[Any, list[Any]]:
    """The model as it is, and all its weights in a fixed order."""
    return model, [*model.parameters()]
