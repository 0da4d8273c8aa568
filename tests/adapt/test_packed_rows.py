"""Rows that are trained on one behind the other, without padding, give the loss of each by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from pipeline.adapt.engines import make_engine
from pipeline.adapt.train import LINE_TOKENS, _lines, _nll_nats

LONG = [*range(20, 250)]


@pytest.mark.parametrize(
    "rows",
    [
        [[7, 8, 9, 10, 11, 12]],
        [[7], [8, 9, 10, 11], [200, 3, 40, 41, 42, 43, 44, 45], [7, 8]],
        [[7, 8], LONG, [9, 10, 11], LONG[::-1], LONG[:100]],  # two lines of several texts
    ],
    ids=["one", "one line", "two lines"],
)
def test_rows_do_not_see_each_other(tiny_model: Path, rows: list[list[int]]) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype="float32")
    head = [5, 6]
    weights = [*model.parameters()]
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
    alone = sum(
        cross_entropy(model(torch.tensor([head + row])).logits[0, 1:-1], torch.tensor(row), reduction="sum")
        for row in rows
    )
    packed = _nll_nats(engine, head, rows)
    torch.testing.assert_close(packed, alone, rtol=1e-6, atol=1e-4)

    packed.backward()
    gradients = [weight.grad.clone() for weight in weights]
    model.zero_grad()
    alone.backward()
    for gradient, weight in zip(gradients, weights, strict=True):
        torch.testing.assert_close(gradient, weight.grad, rtol=1e-4, atol=1e-6)


def test_lines_are_of_about_equal_length_and_hold_every_text() -> None:
    texts = [[number] * length for number, length in enumerate([3, 200, 50, 5, 250, 60, 400, 1])]
    lines = _lines(texts)
    assert sorted(text for line in lines for text in line) == texts
    assert sorted(sum(map(len, line)) for line in lines) == [469, 500]  # 969 tokens
    assert [sum(map(len, line)) for line in _lines([[1] * 300, [2] * 299, [3] * 298])] == [300, 597]
    assert len(_lines([[1] * 300, [2] * 100])) == 1
    assert LINE_TOKENS == 512
