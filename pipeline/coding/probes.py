"""How well a prompt serves: bits of known answers under the model behind it, and the answers that it gives itself."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch

from pipeline.coding.examples import check_attention
from pipeline.coding.template import Worked
from pipeline.decoder_parts.stream import extend

BATCH_TOKENS = 1024
"""Of probes that go through the model together, padding included: their logits have the width of the vocabulary."""


@torch.no_grad()
def answer_bits(model: Any, prefix: Sequence[int], probes: Sequence[Worked]) -> float:
    """Mean ideal length of the answers behind a prefix, in bits an answer; its stop text is part of an answer.

    Teacher forcing: one pass over the prefix and one over each batch of probes, no generation.

    Args:
        model: causal language model.
        prefix: token ids before every probe, at least one.
        probes: at least one.
    """
    shared = model(torch.tensor([prefix]), logits_to_keep=1).past_key_values
    # Rows of like lengths have little padding, which stands behind them, where nothing looks at it.
    left = sorted(probes, key=lambda probe: len(probe.tokens))
    nats = 0.0
    while left:
        size = max(1, BATCH_TOKENS // len(left[-1].tokens))
        batch, left = left[-size:], left[:-size]
        cache = copy.deepcopy(shared)
        cache.batch_repeat_interleave(len(batch))
        rows = [torch.tensor(probe.tokens) for probe in batch]
        answers = [torch.tensor([-100] * len(probe.question) + probe.answer) for probe in batch]
        ids = torch.nn.utils.rnn.pad_sequence(rows, True, 0)
        labels = torch.nn.utils.rnn.pad_sequence(answers, True, -100)
        first = min(len(probe.question) for probe in batch)
        logits = model(ids, past_key_values=cache, logits_to_keep=ids.shape[1] - first + 1).logits[:, :-1]
        nats += float(torch.nn.functional.cross_entropy(logits.mT, labels[:, first:], reduction="sum"))
    return nats / math.log(2) / len(probes)


def greedy_answers(
    model: Any, tokenizer: Any, prefix: Sequence[int], probes: Sequence[Worked], stop: str, max_new_tokens: int
) -> list[str]:
    """Answers to the questions of probes behind a prefix, as `decoder_parts.answer` gives them.

    Args:
        model: causal language model.
        tokenizer: its tokenizer.
        prefix: token ids before every question, at least one.
        probes: at least one.
        stop: an answer ends before this text, or at the end-of-text token.
        max_new_tokens: or after this many tokens.

    Raises:
        InfeasibleError: the model's attention would not heed the mask of the loop.
    """
    check_attention(model)

    def ended(row: list[int]) -> bool:
        return stop in tokenizer.decode(row) or row[-1] == tokenizer.eos_token_id or len(row) == max_new_tokens

    contexts = [probe.question for probe in probes]
    rows = extend(model, prefix, contexts, lambda _, logits: int(logits.argmax()), ended)
    return [tokenizer.decode(row, skip_special_tokens=True).split(stop)[0] for row in rows]
