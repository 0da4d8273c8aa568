"""Family `taught`: programs hold the weights they were coded with, keep their budgets, and resume to the same bytes."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import catalog
from pipeline.cell import Cell, Evaluation
from pipeline.checkpoints import Checkpoints
from pipeline.coding.template import Template
from pipeline.decoder_parts.adapt import add_adapter, train
from pipeline.decoder_parts.base import load
from pipeline.errors import StoppedError
from pipeline.families.common import train_rows
from pipeline.families.taught import FAMILY, Parameters
from pipeline.packing import unpack
from pipeline.protocols import EncodeContext, Encoded
from pipeline.resources import Resources
from tests.tiny_models import save_tiny_llama

TASK = catalog.task("chain-sum")


def encode(folder: Path, model: Path, *budgets: int | None, stop: bool = False, **parameters: Any) -> list[Encoded]:
    """Programs of one group of cells on a tiny model."""
    loaded = load(str(model))
    settings = Parameters(**{"examples": None if budgets[0] else 20, "epochs": 2, "shown": 2, **parameters})
    cells = [
        Cell(
            task="chain-sum",
            task_version=1,
            model="tiny",
            model_identity="tiny",
            family="taught",
            family_version=1,
            parameters={name: getattr(settings, name) for name in Parameters.__dataclass_fields__},
            budget_bytes=budget,
            seed=3,
            evaluation=Evaluation(),
            reference_machine="test",
        )
        for budget in budgets
    ]
    context = EncodeContext(
        task=TASK,
        model_folder=model,
        load=lambda: loaded,
        tokenizer=lambda: loaded[1],
        report=lambda line: None,
        resources=Resources(),
        micro_batch=None,
        checkpoints=Checkpoints(
            folder, facts={}, code="1", period_seconds=0, is_asked_to_stop=lambda: stop, report=lambda line: None
        ),
    )
    return list(FAMILY.encode(context, cells))


def run(program: bytes, folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of a program that was given nothing to answer."""
    (folder / "program").write_bytes(program)
    monkeypatch.setattr(sys, "argv", [str(folder / "program"), str(model)])
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(unpack(program)[0], names)
    return names


def test_a_program_has_the_demonstrations_and_the_trained_weights(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the encoder meant: two examples shown, twenty trained on behind them in blocks of 8, 8 and 4."""
    import torch
    from peft import PeftModel

    (encoded,) = encode(tmp_path, tiny_model, None, epochs=1)
    assert encoded.program is not None
    names = run(encoded.program.content, tmp_path, tiny_model, monkeypatch)
    (program,) = (value for value in names.values() if isinstance(value, PeftModel))
    decoded = [weight for weight in program.parameters() if weight.requires_grad]

    model, tokenizer = load(str(tiny_model))
    rows = train_rows(TASK, tokenizer, 3, 22)
    head = tokenizer(Template.of(TASK).head).input_ids
    prefix = [*head, *rows[0], *head, *rows[1], *head]
    adapted, adapter = add_adapter(model, 3, 8, 8, "all-linear")
    optimizer = torch.optim.AdamW(adapter, 1e-3)
    for start, end in ((2, 10), (10, 18), (18, 22)):
        train(adapted, optimizer, prefix, rows[start:end])
    for weight, expected in zip(decoded, adapter, strict=True):
        assert torch.equal(weight, expected)


def test_budgets_are_kept_and_filled(tmp_path: Path, tiny_model: Path) -> None:
    programs = {encoded.cell.budget_bytes: encoded for encoded in encode(tmp_path, tiny_model, 2100, 2500, 300)}
    small, large, none = programs[2100], programs[2500], programs[300]
    assert none.program is None
    assert "one example" in str(none.infeasible)
    for encoded, budget in ((small, 2100), (large, 2500)):
        assert encoded.program is not None
        assert budget - 40 < len(encoded.program.content) <= budget
    assert small.settings["examples"] < large.settings["examples"]


def test_a_stopped_coding_goes_on_to_the_same_bytes(tmp_path: Path, tiny_model: Path) -> None:
    (whole,) = encode(tmp_path / "whole", tiny_model, None)
    with pytest.raises(StoppedError):
        encode(tmp_path / "stopped", tiny_model, None, stop=True)
    (resumed,) = encode(tmp_path / "stopped", tiny_model, None)
    assert whole.program is not None
    assert resumed.program == whole.program


def test_what_does_not_fit_into_the_context_is_infeasible(tmp_path: Path) -> None:
    model = save_tiny_llama(tmp_path / "model", max_position_embeddings=48)
    (encoded,) = encode(tmp_path, model, None)
    assert "the context has room for 48" in str(encoded.infeasible)


def test_no_demonstration_is_refused() -> None:
    with pytest.raises(ValueError, match="shown is 0; it must be at least 1"):
        Parameters(shown=0)
