"""Answers behind a prompt that is a text, by the model's own loop: the shortest way, where no other loop is needed."""

from __future__ import annotations

import json
import sys
from typing import Any


def answer_prompt(model: Any, tokenizer: Any, prompt: str, stop: str, max_new_tokens: int) -> None:
    """Reads all items, answers them greedily in batches of consecutive lines and prints the answers.

    The prompt is read anew for every item, and a batch goes on until its last row has ended: `answer` does neither,
    for 300 bytes more. Any token may pad, for padding is masked; the first one is there in every vocabulary.

    Args:
        model: causal language model.
        tokenizer: its tokenizer.
        prompt: a `str.format` string over the input fields.
        stop: an answer ends before this text, or at the end-of-text token.
        max_new_tokens: or after this many tokens.
    """
    tokenizer.pad_token_id = 0
    items = [*map(json.loads, sys.stdin)]
    while items:
        texts = [prompt.format(**item["input"]) for item in items[:128]]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
        rows = model.generate(
            inputs.input_ids,
            attention_mask=inputs.attention_mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            stop_strings=stop,
            tokenizer=tokenizer,
        )
        # True: without special tokens.
        for item, text in zip(items, tokenizer.decode(rows[:, len(inputs.input_ids[0]) :], True)):
            print(json.dumps({"id": item["id"], "output": text.split(stop)[0]}))
        items = items[128:]
