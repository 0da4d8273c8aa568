"""Arithmetic coding with exact integers (Rissanen 1976; the integer form of Witten, Neal and Cleary 1987).

The encoder of a model pass leaves a list of intervals; a payload is made of them afterwards. So one pass serves every
program whose payload is a prefix of the same stream.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

GUARD_BITS = 64


class Interval(NamedTuple):
    """The part [low, high) of `total` that a symbol owns."""

    low: int
    high: int
    total: int


def ideal_bits(intervals: Sequence[Interval]) -> float:
    """Sum of -log2 of the interval widths: the length that no code of these symbols can beat."""
    return math.fsum(math.log2(total / (high - low)) for low, high, total in intervals)


def encode(intervals: Sequence[Interval]) -> bytes:
    """Shortest whole number of bytes from which `decoder_parts.arithmetic.reader` reads these symbols."""
    num_bytes = max(0, math.ceil(ideal_bits(intervals) / 8) - 1)
    while True:
        low, width = 0, 1 << 8 * num_bytes + GUARD_BITS
        for symbol_low, symbol_high, total in intervals:
            width //= total
            low += symbol_low * width
            width *= symbol_high - symbol_low
        number = -(-low >> GUARD_BITS)
        if width >> GUARD_BITS and number << GUARD_BITS < low + width:
            return number.to_bytes(num_bytes)
        num_bytes += 1
