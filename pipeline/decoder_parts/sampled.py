"""Answers for the lines of standard input: of several samples an item, the one that the others are most like.

That is the choice of least Bayes risk (arXiv 2310.01387). With answers that are alike or not it is a vote.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import torch

from pipeline.decoder_parts.stream import extend
from pipeline.decoder_parts.vote import alike

SAMPLES = 5
TEMPERATURE = 0.5
SEED = 1


def answer(
    model: Any, tokenizer: Any, prefix: Sequence[int], tail: str, stop: str, max_new_tokens: int, skip: int
) -> None:
    """Stands in the place of `answer.answer`, with the same arguments.

    Every item is sampled with the same random numbers, so that its answer depends on no other item.
    """
    items = [*map(json.loads, sys.stdin)]
    draws = [torch.Generator().manual_seed(SEED * SAMPLES + row % SAMPLES) for row in range(len(items) * SAMPLES)]
    rows = extend(
        model,
        prefix,
        [tokenizer(tail.format(**item["input"])).input_ids[skip:] for item in items for _ in range(SAMPLES)],
        lambda row, logits: int((logits / TEMPERATURE).softmax(0).multinomial(1, generator=draws[row])),
        lambda row: stop in tokenizer.decode(row) or row[-1] == tokenizer.eos_token_id or len(row) == max_new_tokens,
    )
    for item in items:
        texts = [tokenizer.decode(rows.pop(0), True).split(stop)[0] for _ in range(SAMPLES)]
        print(json.dumps({"id": item["id"], "output": typical(texts)}))


def typical(texts: Sequence[str]) -> str:
    """The first of those texts that are most like all of them together."""
    return max(texts, key=lambda text: sum(alike(text, other) for other in texts))
