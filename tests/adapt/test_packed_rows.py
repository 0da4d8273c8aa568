"""Examples that are trained on one behind the other, without padding, give the loss of each answer by itself."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from pipeline.adapt.attention import attends_by_text, attention_by_text, tells_texts_apart
from pipeline.adapt.engines import make_engine
from pipeline.adapt.train import LINE_TOKENS, Training, _lines, _nll_nats, _num_tokens, adapt
from pipeline.coding.template import Worked
from tests.tiny_cells import tiny_context

LONG = [*range(20, 250)]
HEAD = [5, 6]


def window_model(_: Path) -> Any:
    """A model of random weights that looks back over eight tokens."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return MistralForCausalLM(MistralConfig(vocab_size=256, num_key_value_heads=2, sliding_window=8, **sizes))


def packaged_model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32")


def learned_positions_model(_: Path) -> Any:
    """A model of random weights whose attention does not look at positions."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    table = {"word_embed_proj_dim": 32, "max_position_embeddings": 64}
    return OPTForCausalLM(OPTConfig(vocab_size=256, dropout=0.0, **sizes, **table))


def biased_attention_model(_: Path) -> Any:
    """A model of random weights that is not told positions at all."""
    torch.manual_seed(0)
    return BloomForCausalLM(BloomConfig(vocab_size=256, hidden_size=32, n_layer=2, n_head=4))


@pytest.mark.parametrize("make_model", [packaged_model, window_model], ids=["all", "window"])
@pytest.mark.parametrize("attention", [attention_by_text, nullcontext], ids=["by text", "by line"])
@pytest.mark.parametrize(
    "examples",
    [
        [Worked([7, 8], [9, 10, 11, 12])],
        [Worked([], [7]), Worked([8, 9], [10, 11]), Worked([200], [3, 40, 41, 42, 43, 44, 45]), Worked([7], [8])],
        # By line: two lines of several texts.
        [Worked([7], [8]), Worked(LONG, [9]), Worked([9, 10], [11]), Worked([3], LONG[::-1]), Worked([], LONG[:100])],
    ],
    ids=["one", "short", "long"],
)
def test_examples_do_not_see_each_other(
    tiny_model: Path, make_model: Any, attention: Any, examples: list[Worked]
) -> None:
    model = make_model(tiny_model)
    weights = [*model.parameters()]
    alone = sum(
        cross_entropy(
            model(torch.tensor([HEAD + example.tokens])).logits[0, 1 + len(example.question) : -1],
            torch.tensor(example.answer),
            reduction="sum",
        )
        for example in examples
    )
    alone.backward()
    wanted = [weight.grad.clone() for weight in weights]
    model.zero_grad()
    with attention(model):
        engine = make_engine(
            model,
            weights,
            [1e-3] * len(weights),
            weight_decay=0.0,
            accumulation=1,
            bf16=False,
            micro_batch=1,
            strategy="ddp",
        )
        packed = _nll_nats(engine, HEAD, examples)
        packed.backward()
    torch.testing.assert_close(packed, alone, rtol=1e-6, atol=1e-4)
    for gradient, weight in zip(wanted, weights, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make_model", "is_packed"),
    [(packaged_model, True), (window_model, True), (learned_positions_model, False), (biased_attention_model, False)],
)
@pytest.mark.parametrize("attention", [attention_by_text, nullcontext], ids=["by text", "by line"])
def test_models_that_do_not_tell_texts_apart_are_found(
    tiny_model: Path, make_model: Any, is_packed: bool, attention: Any
) -> None:
    model = make_model(tiny_model)
    with attention(model):
        assert tells_texts_apart(model, [*HEAD, *LONG[:10]]) == is_packed


@pytest.mark.parametrize("make_model", [packaged_model, learned_positions_model, biased_attention_model])
def test_what_is_learned_does_not_depend_on_the_micro_batch(tiny_model: Path, tmp_path: Path, make_model: Any) -> None:
    examples = [Worked([number + 7, number + 8][: number % 3], [*range(number + 20, 30)]) for number in range(8)]
    training = Training(head=HEAD, examples=examples, lr=1e-3, epochs=4, batch=8, bf16=False, seed=1)
    learned = []
    for micro_batch in (1, 8):
        model = make_model(tiny_model)
        before = [weight.detach().clone() for weight in model.parameters()]
        context = replace(tiny_context(tmp_path / str(micro_batch), tiny_model, (model, None)), micro_batch=micro_batch)
        adapted = adapt(model, [*model.parameters()], training, context)
        assert adapted is not None
        updates = [torch.from_numpy(weight) - first for weight, first in zip(adapted.weights, before, strict=True)]
        learned.append(torch.cat([update.flatten() for update in updates]))
    alone, together = learned
    assert (together - alone).norm() < 1e-3 * alone.norm()


def test_attention_by_text_computes_no_product_of_two_texts(tiny_model: Path) -> None:
    model = packaged_model(tiny_model)
    with attention_by_text(model), torch.profiler.profile(record_shapes=True) as profile:
        assert attends_by_text(model)
        model(torch.tensor([[7, 8, 9, 7, 8]]), position_ids=torch.tensor([[0, 1, 2, 0, 1]]), use_cache=False)
    assert not attends_by_text(model)
    calls = [event for event in profile.events() if event.name == "aten::scaled_dot_product_attention"]
    lengths = [tuple(shape[2] for shape in call.input_shapes[:3]) for call in calls]
    assert lengths == [(3, 3, 3), (2, 2, 2)] * model.config.num_hidden_layers


def test_lines_are_of_about_equal_length_and_hold_every_text() -> None:
    texts = [
        Worked([number] * (length - 1), [number]) for number, length in enumerate([3, 200, 50, 5, 250, 60, 400, 1])
    ]
    lines = _lines(texts, LINE_TOKENS)
    assert sorted(text for line in lines for text in line) == sorted(texts)
    assert sorted(map(_num_tokens, lines)) == [469, 500]  # 969 tokens
    alike = [Worked([number] * 200, [number] * length) for number, length in enumerate([100, 99, 98])]
    assert [*map(_num_tokens, _lines(alike, LINE_TOKENS))] == [300, 597]
    assert len(_lines([alike[0], Worked([], [2] * 100)], LINE_TOKENS)) == 1
    assert LINE_TOKENS == 512
    assert len(_lines(texts, math.inf)) == 1
