"""Rank-one terms out of a payload: two vectors of integers of few bits each, and one scale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import constriction
import numpy
import torch

from pipeline.decoder_parts.numbers import laplace


def inner_linears(model: Any) -> Iterator[Any]:
    """All linear modules but the one that gives the logits, in the order of the model."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not model.get_output_embeddings():
            yield module


def add_term(module: Any, outputs: Any, inputs: Any) -> None:
    """Makes a module answer as if the outer product of two vectors were added to its weight, which may be of 4 bits."""
    module.register_forward_hook(lambda _, values, output: output + (values[0] @ inputs)[..., None] * outputs)


def add_terms(payload: bytes, model: Any, rank: int) -> None:
    """Adds `rank` terms, scale times the outer product of two integer vectors, to each inner linear module.

    The stream has for each term the widths of its vectors as 0 to 4 for 0, 2, 4, 8 or 16 bits, where a first 0 says
    that the term is left out; then the upper 16 bits of the scale, a number of 32 bits; then the vectors. The law of
    a vector takes its mean from the last vector of the same width.
    """
    decoder = constriction.stream.queue.RangeDecoder(numpy.frombuffer(payload, "uint32"))
    uniform = constriction.stream.model.Uniform
    means: dict[int, Any] = {}

    def vector(width: int, size: int) -> Any:
        numbers = decoder.decode(laplace(means.get(width, 1), 2 ** (2**width - 1) - 1), size)
        means[width] = abs(numbers).mean() + 0.01
        return torch.tensor(numbers)

    for module in inner_linears(model):
        for _ in range(rank):
            if width := decoder.decode(uniform(5)):
                other = decoder.decode(uniform(5))
                scale = float(numpy.uint32(decoder.decode(uniform(65536)) << 16).view("float32"))
                add_term(module, scale * vector(width, module.out_features), 1.0 * vector(other, module.in_features))
