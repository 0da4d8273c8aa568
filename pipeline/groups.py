"""Groups: cells that share the work of their encoder, and so are encoded in one call."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pipeline import catalog
from pipeline.cell import Cell, canonical_json


def group_id(cell: Cell, shared: Sequence[str]) -> str | None:
    """Id of the cells that can be encoded in one call; None while the base model is not staged.

    Args:
        cell: the cell.
        shared: parameters of its family in which the cells of a group may differ. Budgets always may.
    """
    if cell.model_identity is None:
        return None
    content = cell.to_json()
    del content["model"], content["budget_bytes"]
    content["parameters"] = {name: value for name, value in cell.parameters.items() if name not in shared}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


def group_ids(planned: Sequence[Cell]) -> list[str | None]:
    """Group of each cell; cells that differ in their budget alone are looked up, which is most of them."""
    families = {name: catalog.family(name) for name in {cell.family for cell in planned}}
    shared = {
        name: family.shared if family.size is None else (*family.shared, family.size)
        for name, family in families.items()
    }
    known: dict[tuple[object, ...], str | None] = {}
    groups: list[str | None] = []
    for cell in planned:
        key = (cell.task, cell.model, cell.family, cell.seed, *cell.parameters.items())
        if key not in known:
            known[key] = group_id(cell, shared[cell.family])
        groups.append(known[key])
    return groups
