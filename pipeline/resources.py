"""What the adaptation of a cell may use. None of it is part of a cell: it changes how fast, not what is computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

DATA_PARALLEL = "ddp"
"""The strategy in which every process holds all of the model and of the optimiser."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Resources of one group of cells.

    Attributes:
        processes: processes that adapt one model together, each with its own GPU where there are GPUs.
        nodes: nodes that they are spread over evenly, None for as few as hold them.
        strategy: `ddp`, or the name of a file of `slurm/deepspeed/`.
        micro_batch: examples that one process takes at a time, None for its whole share of a batch; the rest of the
            batch is accumulated.
        gradient_checkpointing: compute activations again in the backward pass, in the place of keeping them.
        checkpoint_minutes: time between two checkpoints; 0 for one after every step.
    """

    processes: int = 1
    nodes: int | None = None
    strategy: str = DATA_PARALLEL
    micro_batch: int | None = None
    gradient_checkpointing: bool = False
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        for one in fields(self):
            check_value(one.name, getattr(self, one.name))
        if self.nodes is not None and self.processes % self.nodes:
            raise ValueError(f"{self.processes} processes cannot be spread evenly over {self.nodes} nodes")

    @property
    def needs_team(self) -> bool:
        """Whether adaptation wants processes of its own, which know of each other."""
        return self.processes > 1 or self.strategy != DATA_PARALLEL

    def micro_batch_of(self, batch: int, halvings: int) -> int:
        """Examples that a process takes at a time, after memory was short so many times."""
        return max(1, min(self.micro_batch or batch, batch // self.processes) >> halvings)


def check_value(name: str, value: Any) -> None:
    """Refuses a value of `Resources` that is wrong whatever the others are.

    Raises:
        ValueError: it is.
    """
    if name in ("processes", "nodes", "micro_batch") and value is not None and value < 1:
        raise ValueError(f"{name} is {value}; it must be at least 1")
    if name == "checkpoint_minutes" and value < 0:
        raise ValueError(f"checkpoint_minutes is {value}; it must be 0 or more")
    if name == "strategy" and value not in (known := strategy_names()):
        raise ValueError(f"strategy is {value!r}; allowed: {', '.join(known)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourceRule:
    """One entry of `resources` in a grid: values for the cells whose names agree. Empty patterns agree with all."""

    task: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    family: tuple[str, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)

    def hits(self, task: str, model: str, family: str) -> bool:
        """Whether a cell agrees."""
        return all(
            not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
            for name, patterns in ((task, self.task), (model, self.model), (family, self.family))
        )


def resources_of(rules: Iterable[ResourceRule], task: str, model: str, family: str) -> Resources:
    """Resources of a cell: later rules win, value by value.

    Raises:
        ValueError: the values do not go together.
    """
    values: dict[str, Any] = {}
    for rule in rules:
        if rule.hits(task, model, family):
            values |= rule.values
    return Resources(**values)


def strategy_names() -> Sequence[str]:
    """All strategies."""
    return [DATA_PARALLEL, *sorted(path.stem for path in _folder().glob("*.json"))]


def strategy_file(name: str) -> Path | None:
    """Configuration of DeepSpeed for a strategy, None for plain data parallelism."""
    return None if name == DATA_PARALLEL else _folder() / f"{name}.json"


def _folder() -> Path:
    # In an installed wheel, in a checkout and in the copy that jobs import, `slurm` lies inside of the package.
    package = Path(__file__).resolve().parent
    inside = package / "slurm"
    return (inside if inside.is_dir() else package.parent / "slurm") / "deepspeed"
