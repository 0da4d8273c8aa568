"""How long a text may be that a model is trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from pipeline.errors import InfeasibleError


def longest_text(model: Any) -> float:
    """Tokens that a text may have: the context, where the model has a table of positions.

    Models that compute their positions can be trained on longer texts, too.
    """
    context = getattr(model.config, "max_position_embeddings", math.inf)
    words = model.get_input_embeddings()
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding) and module is not words]
    return context if any(table.num_embeddings >= context for table in tables) else math.inf


def check_lengths(model: Any, head: Sequence[int], texts: Iterable[Sequence[int]]) -> None:
    """Refuses texts that a model has no positions for.

    Raises:
        InfeasibleError: head and text together are longer than `longest_text`.
    """
    longest = len(head) + max(map(len, texts))
    if longest > (room := longest_text(model)):
        raise InfeasibleError(f"a train example needs {longest:,} tokens; the model has {room:,} positions")
