"""Answers behind a prompt that is a text, by the pipeline of transformers: the shortest way, where it is enough."""

from __future__ import annotations

import json
import sys
from typing import Any


def answer_prompt(base: Any, prompt: str, stop: str, max_new_tokens: int) -> None:
    """Reads all items, answers them greedily in batches of consecutive lines and prints the answers.

    The prompt is read anew for every item, and a batch goes on until its last row has ended: `answer` does neither,
    for some 370 bytes more. Any token may pad, for padding is masked. Nothing ends a row at the stop text, which takes
    longer; it changes nothing that stands before it, but where beams are chosen by all tokens that they have.

    Args:
        base: of `text_pipeline`; its model may have been changed since.
        prompt: a `str.format` string over the input fields.
        stop: an answer ends before this text, or at the end-of-text token.
        max_new_tokens: or after this many tokens.
    """
    base.tokenizer.pad_token_id = 0
    items = [*map(json.loads, sys.stdin)]
    for item, [answer] in zip(
        items,
        base(
            (prompt.format(**item.pop("input")) for item in items),
            batch_size=128,
            return_full_text=0,
            max_new_tokens=max_new_tokens,
            do_sample=0,
        ),
    ):
        # What is left of an item is its id, and all that there is of an answer is its text.
        print(json.dumps(item | {"output": answer.popitem()[1].split(stop)[0]}))
