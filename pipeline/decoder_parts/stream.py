"""The loop of programs that decode under the model: rows of tokens grow in lock-step behind a common prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers


@torch.no_grad()
def extend(
    model: Any,
    prefix: Sequence[int],
    contexts: Sequence[Sequence[int]],
    choose: Callable[[int, torch.Tensor], int],
    ended: Callable[[list[int]], bool],
) -> list[list[int]]:
    """Runs the model over all rows, 64 side by side, one token a step, until each of them has ended.

    Rows lie in one sequence behind one prefix, whose keys and values are there once: a token attends to the prefix and
    to its own row, by the mask. So nothing is padded, and a row that has ended costs no more than its keys.

    Args:
        model: causal language model.
        prefix: token ids before all rows.
        contexts: token ids of each row [rows][tokens], at least one each.
        choose: next token, given the number of the row and its logits [vocabulary].
        ended: whether the tokens of a row are complete.

    Returns:
        New tokens of each row [rows][tokens].
    """
    rows: list[list[int]] = [[] for _ in contexts]
    for first in range(0, len(rows), 64):
        cache = transformers.DynamicCache()  # keeps the whole sequence, in layers with a sliding window, too
        # Of tokens: id, row, position.
        step = [(token, -1, place) for place, token in enumerate(prefix)]
        for row, context in [*enumerate(contexts)][first : first + 64]:
            step += [(token, row, place) for place, token in enumerate(context, len(prefix))]
        seen: list[tuple[int, int, int]] = []
        while step:
            seen += step
            ids, row_of, place_of = torch.tensor(step).T[..., None]
            _, rows_seen, places_seen = torch.tensor(seen).T
            last = {row: index for index, (_, row, _) in enumerate(step) if row >= 0}
            logits = model(
                ids.T,
                attention_mask=(((rows_seen == row_of) | (rows_seen < 0)) & (places_seen <= place_of))[None, None],
                position_ids=place_of.T,
                past_key_values=cache,
                logits_to_keep=torch.tensor([*last.values()]),
            ).logits[0]
            step = [(choose(row, of_row), row, step[last[row]][2] + 1) for row, of_row in zip(last, logits)]
            for token, row, _ in step:
                rows[row].append(token)
            step = [entry for entry in step if not ended(rows[entry[1]])]
    return rows
