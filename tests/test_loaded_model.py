"""The model that a worker keeps between groups: loaded once, and again after a family has changed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.decoder_parts.adapt import add_adapter
from pipeline.decoder_parts.base import load
from pipeline.loaded_model import LoadedModel


@pytest.mark.parametrize("fused", [False, True])
def test_a_model_that_was_trained_is_loaded_anew(tiny_model: Path, fused: bool) -> None:
    events: list[dict[str, Any]] = []
    kept = LoadedModel(events.append)
    model, _ = kept.load(tiny_model)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=fused)
    model(torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()
    optimizer.step()
    again, _ = kept.load(tiny_model)
    assert len(events) == 2
    for weight, expected in zip(again.parameters(), load(str(tiny_model))[0].parameters(), strict=True):
        assert torch.equal(weight, expected)


def test_a_model_that_is_given_back_as_it_was_stays(tiny_model: Path) -> None:
    events: list[dict[str, Any]] = []
    kept = LoadedModel(events.append)
    model, _ = kept.load(tiny_model)
    adapted, _ = add_adapter(model, 1, 2, 8, "all-linear")
    adapted(torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()
    adapted.unload()
    assert kept.load(tiny_model)[0] is model
    assert len(events) == 1
