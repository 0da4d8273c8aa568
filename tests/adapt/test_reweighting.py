"""Factors of updates: 1 gives the trained adapter, 0 the first one, and they can be learned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.adapt.reweighting import check_reweightable, reweighted
from pipeline.decoder_parts.adapt import add_adapter, train
from pipeline.decoder_parts.base import load
from pipeline.errors import InfeasibleError
from pipeline.families.reweight import FAMILY
from tests.tiny_cells import tiny_cell, tiny_context


def test_factors_weigh_the_updates(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    ids = torch.tensor([[5, 9, 33, 60]])
    adapted, adapter = add_adapter(model, 1, 2, 8, "all-linear")
    first = adapted(ids).logits
    optimizer = torch.optim.AdamW(adapter, 0.01)
    states = [[weight.detach().clone() for weight in adapter]]
    for step in range(3):
        train(adapted, optimizer, [5, 9], [[30 + step, 40, 50 + place] for place in range(8)])
        states.append([weight.detach().clone() for weight in adapter])
    last = adapted(ids).logits
    assert not torch.allclose(first, last, atol=1e-3)

    with reweighted(adapted, adapter, states) as factors:
        assert factors.shape == (len(adapter) // 2, 3)
        torch.testing.assert_close(adapted(ids).logits, last, rtol=1e-4, atol=1e-5)
        adapted(ids).logits.sum().backward()
        assert factors.grad is not None
        assert factors.grad.abs().min() > 0
        with torch.no_grad():
            factors.zero_()
        torch.testing.assert_close(adapted(ids).logits, first)
        with torch.no_grad():
            factors[:, 0] = 1
        one_step = adapted(ids).logits
    with torch.no_grad():
        for weight, value in zip(adapter, states[1], strict=True):
            weight.copy_(value)
    torch.testing.assert_close(adapted(ids).logits, one_step, rtol=1e-4, atol=1e-5)


def test_an_embedding_is_refused_since_its_factors_cannot_be_learned(tiny_model: Path, tmp_path: Path) -> None:
    cell = tiny_cell(FAMILY, bits=4, updates=1, target_modules=".*(embed_tokens|q_proj)")
    context = tiny_context(tmp_path, tiny_model, load(str(tiny_model)))
    with pytest.raises(InfeasibleError, match=r"embed_tokens.* cannot be reweighted"):
        next(iter(FAMILY.encode(context, [cell])))
    check_reweightable(*add_adapter(load(str(tiny_model))[0], 1, 2, 8, "all-linear"))
