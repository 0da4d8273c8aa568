"""Rounding updates to integers, and coding these with the decoder's own law."""

from __future__ import annotations

from collections.abc import Sequence

import constriction
import numpy as np
import numpy.typing as npt

from pipeline.decoder_parts.numbers import laplace
from pipeline.errors import InfeasibleError

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]

LARGEST = 127
"""The law of the decoder knows no integer beyond."""
LARGEST_HALF = 65504
"""Of half precision."""


def to_integers(updates: Sequence[Floats], step: float, largest: int = LARGEST) -> list[Integers]:
    """Nearest multiples of `step`, clipped to -largest ... largest."""
    return [np.clip(np.rint(update / step), -largest, largest).astype(np.int32) for update in updates]


def steps(updates: Sequence[Floats]) -> list[float]:
    """Steps to choose from, each two significant digits: from one that clips nothing to one that rounds all away."""
    largest = max(float(np.abs(update).max()) for update in updates) or 1.0
    finest, ratio, number = largest / LARGEST, 1.05, 120
    return sorted({float(f"{finest * ratio**place:.2g}") for place in range(number)})


def step_for_bits(updates: Sequence[Floats], largest: int) -> float:
    """Step with the least squared error when the integers are clipped to -largest ... largest."""
    flat = np.concatenate([update.ravel() for update in updates])

    def error(step: float) -> float:
        return float(np.square(np.clip(np.rint(flat / step), -largest, largest) * step - flat).sum())

    return min(steps(updates), key=error)


def nearest_scale(updates: Sequence[Floats], integers: Sequence[Integers]) -> float:
    """Multiple of the integers that is nearest to the updates in squared error, to two significant digits.

    The step they were rounded with is too large where most of them are 0 (centroid condition: Lloyd 1982). 1 where
    all of them are.
    """
    pairs = [(update.ravel(), numbers.ravel()) for update, numbers in zip(updates, integers, strict=True)]
    squares = sum(float(np.square(numbers, dtype=np.float64).sum()) for _, numbers in pairs)
    products = sum(float((update * numbers).sum(dtype=np.float64)) for update, numbers in pairs)
    return float(f"{products / squares:.2g}") if squares else 1.0


def encode_halves(updates: Sequence[Floats]) -> bytes:
    """Numbers in half precision as `decoder_parts.halves.add_numbers` reads them.

    Raises:
        InfeasibleError: one of them is beyond what half precision holds.
    """
    largest = max(float(np.abs(update).max()) for update in updates)
    if largest > LARGEST_HALF:
        raise InfeasibleError(
            f"an update of {largest:,.6g} is beyond {LARGEST_HALF:,}, the largest number of half precision; take a "
            "smaller learning rate, or other bits"
        )
    return b"".join(update.astype("<f2").tobytes() for update in updates)


def encode_numbers(tensors: Sequence[Integers]) -> bytes:
    """Range-codes tensors of integers in -127 ... 127 as `decoder_parts.numbers.add_numbers` reads them."""
    encoder = constriction.stream.queue.RangeEncoder()
    means: dict[tuple[int, ...], float] = {}
    for numbers in tensors:
        encoder.encode(numbers.ravel(), laplace(means.get(numbers.shape, 1), LARGEST))
        means[numbers.shape] = abs(numbers).mean() + 0.01
    return bytes(encoder.get_compressed().tobytes())
