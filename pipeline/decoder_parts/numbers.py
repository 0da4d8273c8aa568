"""Integers out of a range-coded payload, with a Laplace law whose width follows what came before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import constriction
import numpy
import torch


def laplace(mean: float, largest: int) -> Any:
    """Law of integers in -largest ... largest whose mean absolute value is `mean`.

    The width b of the quantised Laplace law is solved from mean = 1 / (2 sinh(1 / 2b)), which is also its maximum
    likelihood estimate.
    """
    return constriction.stream.model.QuantizedLaplace(-largest, largest, 0.0, 0.5 / numpy.arcsinh(0.5 / mean))


def add_numbers(payload: bytes, tensors: Sequence[Any], step: float) -> None:
    """Adds `step` times the decoded integers to each tensor in turn.

    The law of a tensor takes its mean from the last tensor of the same shape, so no width is sent.
    """
    decoder = constriction.stream.queue.RangeDecoder(numpy.frombuffer(payload, "uint32"))
    means: dict[Any, float] = {}
    for tensor in tensors:
        numbers = decoder.decode(laplace(means.get(tensor.shape, 1), 127), tensor.numel())
        means[tensor.shape] = abs(numbers).mean() + 0.01
        tensor.data += step * torch.tensor(numbers).view_as(tensor)
