"""Answers behind tokens that a program has decoded, by the loop that it decoded them with."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from pipeline.decoder_parts.stream import extend


def answer(
    model: Any, tokenizer: Any, prefix: Sequence[int], tail: str, stop: str, max_new_tokens: int, skip: int
) -> None:
    """Reads all items, answers them greedily and prints the answers.

    Args:
        model: causal language model.
        tokenizer: its tokenizer.
        prefix: token ids that stand before every item: the head of the template, after whatever the program adds.
        tail: rest of the template, a `str.format` string over the input fields.
        stop: an answer ends before this text, or at the end-of-text token.
        max_new_tokens: or after this many tokens.
        skip: number of special tokens that the tokenizer puts before a text.
    """
    items = [*map(json.loads, sys.stdin)]
    rows = extend(
        model,
        prefix,
        [tokenizer(tail.format(**item.pop("input"))).input_ids[skip:] for item in items],
        lambda _, logits: int(logits.argmax()),
        lambda row: stop in tokenizer.decode(row) or row[-1] == tokenizer.eos_token_id or len(row) == max_new_tokens,
    )
    for item, row in zip(items, rows):
        # What is left of an item is its id. True: without special tokens.
        print(json.dumps(item | {"output": tokenizer.decode(row, True).split(stop)[0]}))
