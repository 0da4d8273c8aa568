"""Small tuners of peft inside a program: few trained numbers, and a frozen part that peft draws, always alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from peft import get_peft_config, get_peft_model


def add_tuner(model: Any, seed: int, config: str) -> tuple[Any, list[Any]]:
    """Tuner by the JSON of its peft configuration; where training starts is drawn from `seed`.

    Returns:
        The model with its tuner, and what is trained in a fixed order.
    """
    torch.manual_seed(seed)
    model = get_peft_model(model, get_peft_config(json.loads(config)))
    return model, [weight for weight in model.parameters() if weight.requires_grad]


def pieces(weights: Sequence[Any]) -> list[Any]:
    """Views of 64 numbers each: a width that follows the last piece suits a tuner of one long vector, too."""
    return [piece for weight in weights for piece in weight.data.view(-1).split(64)]
