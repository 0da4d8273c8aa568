"""Worked examples out of a payload that was coded under the model."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import torch

from pipeline.decoder_parts.arithmetic import weights
from pipeline.decoder_parts.stream import extend


def decode_examples(
    model: Any,
    tokenizer: Any,
    read: Callable[[torch.Tensor], int],
    prefix: Sequence[int],
    number: int,
    stop: str,
    stops: int,
) -> list[list[int]]:
    """Decodes `number` examples in lock-step, each behind the same prefix.

    Args:
        model: the model that the payload was coded under.
        tokenizer: its tokenizer.
        read: function of `arithmetic.reader`.
        prefix: token ids before each example, at least two.
        number: how many examples to decode side by side.
        stop: text that ends an example.
        stops: how often it occurs in a whole example.

    Returns:
        Token ids of each example [number][tokens].
    """
    return extend(
        model,
        prefix[:-1],
        [prefix[-1:]] * number,
        lambda _, logits: read(weights(logits)),
        lambda row: tokenizer.decode(row).count(stop) == stops,
    )


def check(read: Callable[[torch.Tensor], int], rows: object) -> None:
    """Ends the program with 65 unless the next 16 bits of the payload are the checksum of the decoded examples."""
    if read(torch.arange(1, 65537)) != zlib.crc32(str(rows).encode()) % 65536:
        sys.exit(65)
