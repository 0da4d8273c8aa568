"""Cells of `chain-sum` on a tiny model, for tests that call a family's encoder or run what it made in this process."""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline import catalog
from pipeline.cell import Cell, Evaluation
from pipeline.checkpoints import Checkpoints
from pipeline.program_file import unpack
from pipeline.protocols import EncodeContext, Example, Family, Split
from pipeline.resources import Resources

TASK = catalog.task("chain-sum")
SEED = 3


def tiny_cell(family: Family, budget: int | None = None, **parameters: Any) -> Cell:
    """A cell of the seed `SEED`; parameters that are not given have their defaults."""
    settings = family.parameters(**parameters)
    return Cell(
        task="chain-sum",
        task_version=1,
        model="tiny",
        model_identity="tiny",
        family=family.name,
        family_version=family.version,
        parameters={name: getattr(settings, name) for name in family.parameters.__dataclass_fields__},
        budget_bytes=budget,
        seed=SEED,
        evaluation=Evaluation(),
        reference_machine="test",
    )


class OtherSplits:
    """The task with some of its splits replaced."""

    def __init__(self, **splits: Sequence[Example]) -> None:
        self._splits = splits

    def split(self, name: Split) -> Sequence[Example]:
        return self._splits[name] if name in self._splits else TASK.split(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(TASK, name)


def long_example(example: Example) -> Example:
    """The same with a question that no tiny context holds."""
    return dataclasses.replace(example, input={name: text + " + 1" * 500 for name, text in example.input.items()})


def tiny_context(
    folder: Path, model: Path, loaded: tuple[Any, Any], task: Any = TASK, *, stops: bool = False
) -> EncodeContext:
    """What a worker hands to a family.

    Args:
        folder: where checkpoints go.
        model: folder of the base model.
        loaded: model and tokenizer.
        task: the task.
        stops: whether the encoder is asked to stop after its first step, behind a checkpoint.
    """
    return EncodeContext(
        task=task,
        model_folder=model,
        load=lambda: loaded,
        tokenizer=lambda: loaded[1],
        report=lambda line: None,
        resources=Resources(),
        micro_batch=None,
        checkpoints=Checkpoints(
            folder, facts={}, code="1", period_seconds=0, is_asked_to_stop=lambda: stops, report=lambda line: None
        ),
    )


def run_here(program: bytes, folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of a program that was run in this process and given nothing to answer."""
    (folder / "program").write_bytes(program)
    monkeypatch.setattr(sys, "argv", [str(folder / "program"), str(model)])
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(unpack(program)[0], names)
    return names
