"""Adaptation of the base model inside a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import peft
import torch


def add_adapter(model: Any, seed: int, rank: int, alpha: int, target_modules: str) -> tuple[Any, list[Any]]:
    """Low-rank adapter (LoRA, arXiv 2106.09685) drawn from `seed`.

    Returns:
        The model with its adapter, and the adapter's weights in a fixed order.
    """
    torch.manual_seed(seed)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=target_modules))
    return adapted, [weight for weight in adapted.parameters() if weight.requires_grad]


def train(model: Any, optimizer: Any, prefix: Sequence[int], rows: Sequence[Sequence[int]]) -> None:
    """One step of the optimizer for each batch of eight consecutive rows.

    The loss is the mean over the tokens of the rows; prefix and padding do not count.
    """
    for start in range(0, len(rows), 8):
        batch = rows[start : start + 8]
        longest = max(map(len, batch))
        model(
            torch.tensor([[*prefix, *row, *[0] * (longest - len(row))] for row in batch]),
            labels=torch.tensor([[-100] * len(prefix) + [*row, *[-100] * (longest - len(row))] for row in batch]),
        ).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
