"""The cell: one fully specified point of a grid, and its identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

CELL_FORMAT = 1
"""Version of the canonical form. Raise it when a field is added, dropped or changes its meaning."""

Scalar = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """How a program is scored.

    Attributes:
        validation_items: number of validation items, None for the whole split.
        test_items: number of test items, None for the whole split.
        time_limit_seconds: a program that runs longer fails with the cause `program-timeout`.
    """

    validation_items: int | None = None
    test_items: int | None = None
    time_limit_seconds: int = 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One point of the grid: it makes one program and one shard.

    Attributes:
        task: name of the task.
        task_version: changes when the scores of the task could.
        model: label of the base model in the grid (not part of the identity).
        model_identity: digest of the staged folder of the base model, None while it is not staged.
        family: name of the program family.
        family_version: changes when the program of the same parameters could.
        parameters: every parameter of the family with its value.
        budget_bytes: no program file longer than this, None where the family's own size is given or there is none.
        seed: seed of the program, None for families without chance.
        evaluation: how the program is scored.
        reference_machine: version of the list of packages that a program gets for free.
    """

    task: str
    task_version: int
    model: str
    model_identity: str | None
    family: str
    family_version: int
    parameters: Mapping[str, Scalar]
    budget_bytes: int | None
    seed: int | None
    evaluation: Evaluation
    reference_machine: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(sorted(self.parameters.items()))))

    @property
    def cell_id(self) -> str | None:
        """SHA-256 of the canonical JSON of everything that can change the program or its scores.

        None while the base model has no identity: nothing can be computed or found for such a cell.
        """
        if self.model_identity is None:
            return None
        content = {"format": CELL_FORMAT, **self.to_json()}
        del content["model"]
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    @property
    def label(self) -> str:
        """One line for people: task, model, family, budget, seed, parameters."""
        parts = [] if self.budget_bytes is None else [f"budget={format_bytes(self.budget_bytes)}"]
        parts += [] if self.seed is None else [f"seed={self.seed}"]
        parts += [f"{name}={value}" for name, value in self.parameters.items() if value is not None]
        return f"{self.task} / {self.model} / {self.family}" + (f" ({', '.join(parts)})" if parts else "")

    def __reduce__(self) -> tuple[Callable[[Mapping[str, Any]], Cell], tuple[dict[str, Any]]]:
        return Cell.from_json, (self.to_json(),)  # a MappingProxyType does not pickle

    def with_identity(self, model_identity: str) -> Cell:
        """The same cell of a base model whose staged folder is known."""
        return replace(self, model_identity=model_identity)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary, the inverse of `from_json`."""
        content = {name: getattr(self, name) for name in _CELL_FIELDS}
        content["parameters"] = dict(self.parameters)
        content["evaluation"] = {name: getattr(self.evaluation, name) for name in _EVALUATION_FIELDS}
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Cell:
        """Cell from the dictionary that `to_json` made."""
        return cls(**{**content, "evaluation": Evaluation(**content["evaluation"])})

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Cell:
        """Cell from the identity columns of a plan or of a shard."""
        content = {name: row[name] for name in _CELL_FIELDS if name != "evaluation"}
        content["parameters"] = json.loads(row["parameters"])
        return cls(**content, evaluation=Evaluation(**{name: row[name] for name in _EVALUATION_FIELDS}))


# Looked up once: plans have many cells, and `fields`, `asdict` and `json.dumps` take most of the time of an id.
_CELL_FIELDS = tuple(field.name for field in fields(Cell))
_EVALUATION_FIELDS = tuple(field.name for field in fields(Evaluation))
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical_json(content: object) -> str:
    """JSON with sorted keys, no spaces and ASCII only: equal values give equal text."""
    return _ENCODER.encode(content)


def format_bytes(size: float) -> str:
    """`1.5 KiB` for 1536; whole numbers without a fraction."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.4g} {unit}" if size != int(size) else f"{int(size)} {unit}"
