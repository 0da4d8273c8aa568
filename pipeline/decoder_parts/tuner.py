"""Small tuners of peft inside a program: few trained numbers, and a frozen part that peft draws, always alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import peft
import torch


def add_tuner(model: Any, seed: int, config: str) -> tuple[Any, list[Any]]:
    """Tuner by the JSON of its peft configuration; where training starts is drawn from `seed`.

    Returns:
        The model with its tuner, and what is trained in a fixed order.
    """
    torch.manual_seed(seed)
    tuned = peft.get_peft_model(model, peft.get_peft_config(json.loads(config)))
    return tuned, [weight for weight in tuned.parameters() if weight.requires_grad]


def pieces(weights: Sequence[Any]) -> list[Any]:
    """Views of 64 numbers each: a width that follows the last piece suits a tuner of one long vector, too."""
    return [piece for weight in weights for piece in weight.data.view(-1).split(64)]
