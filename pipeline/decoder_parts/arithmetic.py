"""Arithmetic decoding with exact integers: the inverse of `pipeline.coding.arithmetic`."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch


def reader(payload: bytes) -> Callable[[torch.Tensor], int]:
    """Function that decodes one symbol after another from `payload`.

    It is given the cumulative integer weights of the alphabet, int64 of shape [symbols], strictly increasing, and
    returns the index of the symbol. The number is kept whole, with 64 guard bits, so that there is nothing to
    renormalise and no precision to lose; a payload that runs out (another base model) ends the program with 65.
    """
    width = 1 << 8 * len(payload) + 64
    value = int.from_bytes(payload) << 64

    def read(cumulative: torch.Tensor) -> int:
        nonlocal width, value
        width //= int(cumulative[-1])
        symbol = int(torch.searchsorted(cumulative, value // width, right=True))
        low = int(cumulative[symbol - 1]) if symbol else 0
        value -= low * width
        width *= int(cumulative[symbol]) - low
        if width >> 64:
            return symbol
        sys.exit(65)

    return read


def weights(logits: torch.Tensor) -> torch.Tensor:
    """Cumulative integer weights of a softmax: int64 of the shape of `logits` [symbols], strictly increasing.

    32 bits of precision and at least one count for every symbol cost less than 0.0001 bit a token.
    """
    return (logits.double().softmax(0).cumsum(0) * 2**32).long() + torch.arange(1, len(logits) + 1)
