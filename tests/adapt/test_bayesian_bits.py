"""Quantised rank-one terms: what is trained, what is coded and what a program adds are the same numbers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.adapt.bayesian_bits import (
    QuantisedVectors,
    largest_integer,
    penalty_of,
    quantised_updates,
)
from pipeline.coding.terms import encode_terms, scale_symbol
from pipeline.decoder_parts.terms import add_terms, inner_linears


@pytest.fixture
def model(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")


def shaken(updates: list[Any], gates: tuple[float, ...]) -> None:
    """Scales that are not 0, and gates that are open or shut."""
    torch.manual_seed(3)
    with torch.no_grad():
        for update in updates:
            update.scales.copy_(torch.randn_like(update.scales))
            update.outputs.gates[:] = torch.tensor(gates)
            update.inputs.gates[:] = torch.tensor(gates)


@pytest.mark.parametrize(
    ("gates", "bits"),
    [((6, -6, 6, 6), 2), ((6, 6, -6, 6), 4), ((6, 6, 6, -6), 8), ((6, 6, 6, 6), 16), ((-6, 6, 6, 6), 0)],
)
def test_integers_keep_their_width_and_are_what_the_model_computes_with(gates: tuple[float, ...], bits: int) -> None:
    torch.manual_seed(1)
    vectors = QuantisedVectors(3, 500, learns_pruning=True)
    with torch.no_grad():
        vectors.vectors *= 4  # far over the range: what does not fit is clipped
        vectors.gates[:] = torch.tensor(gates)
    used = vectors.eval()()
    for row, (numbers, width, step) in zip(used, vectors.integers(), strict=True):
        assert width == bits
        limit = largest_integer(bits) if bits else 0
        assert np.abs(numbers).max() == limit
        torch.testing.assert_close(torch.tensor(numbers) * step, row.detach(), rtol=1e-5, atol=1e-7)


def test_a_program_adds_what_was_trained(model: Any) -> None:
    plain = copy.deepcopy(model)
    ids = torch.tensor([[5, 9, 33, 60, 2]])
    with quantised_updates(model, 2, 8, prunes_ranks=True, seed=5) as updates:
        shaken(updates, (6, 6, -6, 6))
        with torch.no_grad():
            updates[0].outputs.gates[1, 0] = -6  # one term is left out
        terms = [term for update in updates for term in update.terms()]
        # A program has 16 bits of a scale; with these in the model, too, both are the same.
        for update in updates:
            factors = update.factor * update.scales.detach()
            pairs = zip(update.outputs.integers(), update.inputs.integers(), strict=True)
            steps = [outputs[2] * inputs[2] for outputs, inputs in pairs]
            kept = [
                np.uint32(scale_symbol(float(factor) * step) << 16).view(np.float32) / step
                for factor, step in zip(factors, steps, strict=True)
            ]
            with torch.no_grad():
                update.scales.copy_(torch.tensor(kept) / update.factor)
        trained = model.eval()(ids).logits
    assert sum(term.outputs is None for term in terms) == 1
    add_terms(encode_terms(terms), plain, 2)
    torch.testing.assert_close(plain(ids).logits, trained, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model(ids).logits, trained, atol=1e-3)


def test_the_model_is_afterwards_as_it_was(model: Any) -> None:
    ids = torch.tensor([[5, 9, 33]])
    before, names = model(ids).logits, [name for name, _ in model.named_parameters()]
    with quantised_updates(model, 1, 8, prunes_ranks=False, seed=5) as updates:
        shaken(updates, (6, 6, 6, 6))
        assert not torch.equal(model.eval()(ids).logits, before)
        assert [weight for weight in model.parameters() if weight.requires_grad] == [
            weight for update in updates for weight in update.parameters()
        ]
    assert torch.equal(model(ids).logits, before)
    assert [name for name, _ in model.named_parameters()] == names
    assert all(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize(("prunes", "bits"), [(True, 0), (False, 2)])
def test_a_penalty_takes_all_bits_that_it_may(model: Any, prunes: bool, bits: int) -> None:
    with quantised_updates(model, 1, 8, prunes_ranks=prunes, seed=5) as updates:
        optimizer = torch.optim.Adam([weight for update in updates for weight in update.parameters()], 0.5)
        first = penalty_of(updates, 1.0, 0.0).item()
        for _ in range(60):
            penalty_of(updates, 1.0, 0.0).backward()
            optimizer.step()
            optimizer.zero_grad()
        assert first == pytest.approx(16 * 2 * len(updates), rel=0.01)
        assert [update.outputs.integers()[0][1] for update in updates] == [bits] * len(updates)
        assert {update.inputs.integers()[0][1] for update in updates} == {2}


def test_the_output_matrix_has_no_terms(model: Any) -> None:
    inner = list(inner_linears(model))
    assert model.get_output_embeddings() not in inner
    assert len(inner) == 2 * 7
