"""Coding rank-one terms as `decoder_parts.terms.add_terms` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import constriction
import numpy as np

from pipeline.decoder_parts.numbers import laplace

if TYPE_CHECKING:
    from pipeline.adapt.bayesian_bits import Term


def encode_terms(terms: Sequence[Term]) -> bytes:
    """Payload of the terms of a model, in the order of its modules."""
    encoder = constriction.stream.queue.RangeEncoder()
    uniform = constriction.stream.model.Uniform
    means: dict[int, float] = {}
    for term in terms:
        if term.outputs is None or term.inputs is None:
            encoder.encode(0, uniform(5))
            continue
        vectors = [(numbers, int(bits).bit_length() - 1) for numbers, bits in (term.outputs, term.inputs)]
        for _, width in vectors:
            encoder.encode(width, uniform(5))
        encoder.encode(scale_symbol(term.scale), uniform(65536))
        for numbers, width in vectors:
            encoder.encode(numbers, laplace(means.get(width, 1), 2 ** (2**width - 1) - 1))
            means[width] = abs(numbers).mean() + 0.01
    return bytes(encoder.get_compressed().tobytes())


def scale_symbol(scale: float) -> int:
    """The upper 16 bits of the nearest number of 32 bits whose lower 16 are 0."""
    return (int(np.float32(scale).view(np.uint32)) + 0x8000) >> 16
