"""Answers behind a prompt that is a text, by the pipeline of transformers: the shortest way, where it is enough."""

from __future__ import annotations

import json
import sys
from typing import Any


def answer_prompt(base: Any, prompt: str, stop: str, max_new_tokens: int) -> None:
    """Reads all items, answers them greedily in batches of consecutive lines and prints the answers.

    The prompt is read anew for every item, and a batch goes on until its last row has ended: `answer` does neither,
    for 380 bytes more. The end-of-text token pads, for padding is masked, and no answer holds it.

    Args:
        base: of `text_pipeline`; its model may have been changed since.
        prompt: a `str.format` string over the input fields.
        stop: an answer ends before this text, or at the end-of-text token.
        max_new_tokens: or after this many tokens.
    """
    base.tokenizer.pad_token = base.tokenizer.eos_token
    items = [*map(json.loads, sys.stdin)]
    for item, (answer,) in zip(
        items,
        base(
            (prompt.format(**item["input"]) for item in items),
            batch_size=128,
            return_full_text=False,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            stop_sequence=stop,
        ),
    ):
        print(json.dumps({"id": item["id"], "output": answer["generated_text"].split(stop)[0]}))
