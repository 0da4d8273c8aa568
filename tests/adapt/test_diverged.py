"""Training that leaves no finite weights makes no program, and the reason is told; the model is left as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalog import family
from pipeline.decoder_parts.base import load
from pipeline.resources import Resources
from pipeline.worker import _encode
from tests.tiny_cells import tiny_cell, tiny_context

SIZES: dict[str, dict[str, Any]] = {"lora": {"bits": 4}, "gains": {"kept": 9, "numbers": 30}, "blora": {}}


@pytest.mark.parametrize("name", SIZES)
def test_a_diverged_training_makes_no_program(name: str, tmp_path: Path, tiny_model: Path) -> None:
    loaded = load(str(tiny_model))
    before = [weight.clone() for weight in loaded[0].parameters()]
    cell = tiny_cell(family(name), lr=1e30, examples=24, epochs=1, **SIZES[name])
    (encoded,) = _encode(family(name), tiny_context(tmp_path, tiny_model, loaded), [cell])
    assert encoded.program is None
    assert encoded.infeasible == "training at the learning rate 1e+30 left no finite weights; take a smaller one"
    assert all(bool((weight == first).all()) for weight, first in zip(loaded[0].parameters(), before, strict=True))


def test_training_with_checkpointed_gradients_leaves_the_model_as_it_was(tmp_path: Path, tiny_model: Path) -> None:
    loaded = load(str(tiny_model))
    context = replace(tiny_context(tmp_path, tiny_model, loaded), resources=Resources(gradient_checkpointing=True))
    (encoded,) = _encode(family("lora"), context, [tiny_cell(family("lora"), bits=4, examples=8, epochs=1)])
    assert encoded.program is not None
    assert not loaded[0].get_input_embeddings()._forward_hooks


def test_the_first_process_of_a_team_alone_tells_the_reason(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.worker.RANK", 1)
    cell = tiny_cell(family("lora"), target_modules="q_proj", bits=4)
    assert [*_encode(family("lora"), tiny_context(tmp_path, tiny_model, load(str(tiny_model))), [cell])] == []
