"""Matrices that are not trained are rounded to bfloat16 once, where autocast would do it in every step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from pipeline.adapt.attention import attend_by_text
from pipeline.adapt.engines import has_fast_bf16, make_engine
from pipeline.decoder_parts.tuner import add_tuner
from pipeline.families.tuner import TUNERS, Parameters
from pipeline.machine import has_amx, machine_class

IDS, POSITIONS = torch.tensor([[7, 8, 9, 7, 8]]), torch.tensor([[0, 1, 2, 0, 1]])
PLACES = torch.tensor([1, 4])


def test_logits_and_gradients_are_those_of_autocast_and_the_weights_come_back(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    for weight in model.parameters():
        weight.requires_grad_(weight.dim() < 2)
    gains = [weight for weight in model.parameters() if weight.requires_grad]
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(IDS, position_ids=POSITIONS, use_cache=False, logits_to_keep=PLACES).logits
    logits.float().sum().backward()
    wanted = [gain.grad.clone() for gain in gains]
    model.zero_grad()
    engine = make_engine(
        model, gains, [1e-3] * len(gains), weight_decay=0.0, accumulation=1, bf16=True, micro_batch=1, strategy="ddp"
    )
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert {module.weight.dtype for module in linear} == {torch.bfloat16}
    found = engine.logits(IDS, POSITIONS, PLACES)
    torch.testing.assert_close(found, logits, rtol=0, atol=0)
    found.float().sum().backward()
    for gain, gradient in zip(gains, wanted, strict=True):
        torch.testing.assert_close(gain.grad, gradient, rtol=0, atol=0)
    engine.close()
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, rtol=0, atol=0)


def test_trained_matrices_stay_in_fp32(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    engine = make_engine(
        model,
        [*model.parameters()],
        [1e-3] * len([*model.parameters()]),
        weight_decay=0.0,
        accumulation=1,
        bf16=True,
        micro_batch=1,
        strategy="ddp",
    )
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    engine.close()


def test_attention_by_text_is_computed_in_fp32(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    module, config = model.model.layers[0].self_attn, model.config
    generator = torch.Generator().manual_seed(1)
    query, key, value = (
        torch.randn(1, heads, 5, module.head_dim, generator=generator)
        for heads in (config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads)
    )
    sees = (torch.ones(5, 5).tril() * (POSITIONS[0].unsqueeze(1) >= POSITIONS[0])).bool()[None, None]
    low = [tensor.to(torch.bfloat16) for tensor in (query, key, value)]
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = attend_by_text(module, *low, sees, POSITIONS)
    wanted, _ = attend_by_text(module, *(tensor.float() for tensor in low), sees, POSITIONS)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, wanted.to(torch.bfloat16), rtol=0, atol=0)


@pytest.mark.parametrize("tuner", TUNERS)
def test_every_tuner_computes_what_autocast_does(tuner: str, tiny_model: Path) -> None:
    """Some wrap a matrix in a linear layer that has the weights of what it wraps, and none of its own."""
    sizes = {"numbers": 100} if "numbers" in TUNERS[tuner].sizes else {}
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    tuned, weights = add_tuner(model, 1, Parameters(tuner=tuner, **sizes).config)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        wanted = tuned(IDS, position_ids=POSITIONS, use_cache=False, logits_to_keep=PLACES).logits
    rates = [1e-3] * len(weights)
    engine = make_engine(
        tuned, weights, rates, weight_decay=0.0, accumulation=1, bf16=True, micro_batch=1, strategy="ddp"
    )
    frozen = [weight for weight in model.parameters() if weight.dim() == 2 and not weight.requires_grad]
    assert torch.bfloat16 in {weight.dtype for weight in frozen}
    logits = engine.logits(IDS, POSITIONS, PLACES)
    torch.testing.assert_close(logits, wanted, rtol=0, atol=0)
    before = [weight.detach().clone() for weight in weights]
    engine.step(1.0, iter([logits.float().square().mean()]))
    assert any(not torch.equal(*pair) for pair in zip(weights, before, strict=True))
    engine.close()


def test_the_machine_class_tells_of_amx() -> None:
    """Virtual processors of one model have it or not, and training in bfloat16 gives other bits with it."""
    assert has_amx() == ("amx_bf16" in Path("/proc/cpuinfo").read_text().split())
    assert ("AMX" in machine_class().split()) == has_amx()
    if "GenuineIntel" in machine_class() and not torch.cuda.is_available():
        assert has_fast_bf16() == has_amx()
