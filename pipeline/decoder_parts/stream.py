"""The loop of programs that decode under the model: rows of tokens grow in lock-step behind a common prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


@torch.no_grad()
def extend(
    model: Any,
    prefix: Sequence[int],
    contexts: Sequence[Sequence[int]],
    choose: Callable[[int, torch.Tensor], int],
    ended: Callable[[list[int]], bool],
) -> list[list[int]]:
    """Runs the model over all rows, one token a step, until each of them has ended.

    The keys and values of the prefix are computed once. A row that has ended leaves the batch. Padding stands
    between prefix and context and is masked; positions do not count it, so a row does not depend on its neighbours.

    Args:
        model: causal language model.
        prefix: token ids before all rows, at least one.
        contexts: token ids of each row [rows][tokens], at least one each.
        choose: next token, given the number of the row and its logits [vocabulary].
        ended: whether the tokens of a row are complete.

    Returns:
        New tokens of each row [rows][tokens].
    """
    pad = torch.nn.functional.pad
    cache = model(torch.tensor([prefix])).past_key_values
    cache.batch_repeat_interleave(len(contexts))
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(context) for context in contexts], True, -1, "left")
    mask = pad((ids >= 0).long(), (len(prefix), 0), value=1)
    ids = ids.clamp(0)
    rows: list[list[int]] = [[] for _ in contexts]
    live = [*range(len(rows))]
    while live:
        logits = model(
            ids,
            attention_mask=mask,
            position_ids=mask.cumsum(1)[:, -ids.shape[1] :] - 1,
            past_key_values=cache,
            logits_to_keep=1,
        ).logits
        for place, row in enumerate(live):
            rows[row].append(choose(row, logits[place, 0]))
        going = [place for place, row in enumerate(live) if not ended(rows[row])]
        live = [live[place] for place in going]
        ids = torch.tensor([rows[row][-1:] for row in live])
        cache.batch_select_indices(going)
        mask = pad(mask[going], (0, 1), value=1)
    return rows
