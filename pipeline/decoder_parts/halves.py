"""Updates as they are, 16 bits each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def add_numbers(payload: bytes, tensors: Sequence[Any], step: float) -> None:
    """Adds the half-precision numbers of the payload to each tensor in turn; they have no step."""
    numbers = torch.frombuffer(bytearray(payload), dtype=torch.float16)
    for tensor, update in zip(tensors, numbers.split([*map(torch.numel, tensors)])):
        tensor.data += update.view_as(tensor)
