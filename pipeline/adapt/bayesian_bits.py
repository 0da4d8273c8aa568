"""Low-rank updates that learn how many bits each of their vectors has (Bayesian Bits, arXiv 2005.07093).

The update of a linear module is a sum of rank-one terms, scale times the outer product of two vectors. A vector is
rounded to 2 bits, and each finer rounding (4, 8, 16 bits) is a correction behind a gate that is open or shut by chance
while it is learned; a gate before all of them takes the term away. A penalty on the bits shuts gates that do not pay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pipeline.decoder_parts.terms import inner_linears

WIDTHS = (2, 4, 8, 16)
"""Bits of a vector, each reached from the one before by a gate; the first gate leaves the term out."""
TEMPERATURE, LOW, HIGH = 2 / 3, -0.1, 1.1
"""Of the hard concrete law of a gate (arXiv 1712.01312): its stretch puts mass on exactly 0 and 1."""
SHUT_ABOVE = 0.34
"""A gate is shut in the end where it is 0 with more than this probability (Bayesian Bits, section 2.4)."""
OPEN = 6.0
"""Where the logit of a gate begins: open."""
RANGE_DEVIATIONS = 3.0
"""Where the clipping of a vector begins, in standard deviations of its numbers."""


class Term(NamedTuple):
    """A rank-one term as a program has it.

    Attributes:
        scale: factor of the outer product.
        outputs: integers of the vector over outputs, and its bits; None where the term is left out.
        inputs: integers of the vector over inputs, and its bits.
    """

    scale: float
    outputs: tuple[npt.NDArray[np.int32], int] | None
    inputs: tuple[npt.NDArray[np.int32], int] | None


class QuantisedVectors(nn.Module):
    """Some vectors, each with a range that clips it and gates that say how finely it is rounded."""

    def __init__(self, number: int, size: int, learns_pruning: bool) -> None:
        """Draw the vectors: [number, size] normal numbers of variance 1 / size."""
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(number, size) / math.sqrt(size))
        self.log_range = nn.Parameter(torch.full((number, 1), math.log(RANGE_DEVIATIONS / math.sqrt(size))))
        self.gates = nn.Parameter(torch.full((number, len(WIDTHS)), OPEN))
        self.learns_pruning = learns_pruning

    def forward(self) -> torch.Tensor:
        """The vectors as rounded with the gates of this draw: [number, size]."""
        gates = self._drawn() if self.training else self.is_open().float()
        corrections, gate = [], torch.ones_like(gates[:, :1])
        for place, part in enumerate(self._parts()):
            gate = gate * gates[:, place : place + 1]
            corrections.append(gate * part)
        return torch.stack(corrections).sum(0)

    def is_open(self) -> torch.Tensor:
        """Which gates are open in the end, each only where all before it are: bool [number, gates]."""
        is_zero = torch.sigmoid(TEMPERATURE * math.log(-LOW / HIGH) - self.gates)
        shut = is_zero > SHUT_ABOVE
        shut[:, 0] &= self.learns_pruning
        return (~shut).cumprod(1).bool()

    def expected_bits(self) -> torch.Tensor:
        """Bits for each number that are to be expected of the gates, summed over the vectors."""
        is_on = torch.sigmoid(self.gates - TEMPERATURE * math.log(-LOW / HIGH))
        if not self.learns_pruning:
            is_on = torch.cat([torch.ones_like(is_on[:, :1]), is_on[:, 1:]], 1)
        added = torch.tensor([WIDTHS[0], *np.diff(WIDTHS)], dtype=is_on.dtype, device=is_on.device)
        bits: torch.Tensor = (is_on.cumprod(1) * added).sum()
        return bits

    @torch.no_grad()
    def integers(self) -> list[tuple[npt.NDArray[np.int32], int, float]]:
        """For each vector its integers, its bits (0 for none) and the step that they are multiples of."""
        found = []
        numbers = self.eval()()
        for row, open_gates, extent in zip(numbers, self.is_open(), self.log_range.exp()[:, 0], strict=True):
            bits = WIDTHS[int(open_gates.sum()) - 1] if open_gates.any() else 0
            step = float(_step(extent, bits)) if bits else 1.0
            largest = largest_integer(bits) if bits else 0
            rounded = (row / step).round().clamp(-largest, largest)
            found.append((rounded.int().cpu().numpy(), bits, step))
        return found

    def _parts(self) -> list[torch.Tensor]:
        """The rounding to 2 bits and what each finer one adds: [number, size] each."""
        extent = self.log_range.exp()
        clipped = torch.minimum(torch.maximum(self.vectors, -extent), extent)
        parts: list[torch.Tensor] = []
        sum_so_far = torch.zeros_like(clipped)
        for bits in WIDTHS:
            step, largest = _step(extent, bits), largest_integer(bits)
            wanted = _rounded((clipped - sum_so_far) / step)
            # A sum of roundings may pass the last integer of its width, and what a program has no number for is lost.
            count = torch.clamp(sum_so_far / step + wanted, -largest, largest) - sum_so_far / step
            parts.append(count * step)
            sum_so_far = sum_so_far + parts[-1]
        return parts

    def _drawn(self) -> torch.Tensor:
        """Gates of one draw of the hard concrete law: [number, gates] in 0 ... 1."""
        chance = torch.rand_like(self.gates).clamp(1e-6, 1 - 1e-6)
        soft = torch.sigmoid((chance.logit() + self.gates) / TEMPERATURE)
        gates = (soft * (HIGH - LOW) + LOW).clamp(0, 1)
        if self.learns_pruning:
            return gates
        return torch.cat([torch.ones_like(gates[:, :1]), gates[:, 1:]], 1)


class QuantisedUpdate(nn.Module):
    """Update of one linear module: rank-one terms with quantised vectors."""

    def __init__(self, linear: Any, rank: int, alpha: int, prunes_ranks: bool) -> None:
        """Terms that sum to 0 at first, since their scales are 0."""
        super().__init__()
        self.outputs = QuantisedVectors(rank, linear.out_features, prunes_ranks)
        self.inputs = QuantisedVectors(rank, linear.in_features, False)
        self.scales = nn.Parameter(torch.zeros(rank))
        self.factor = alpha / rank

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """What the update adds to the outputs [..., out] for inputs [..., in]."""
        inputs, outputs = self.inputs().to(values.dtype), self.outputs().to(values.dtype)
        change: torch.Tensor = ((values @ inputs.T) * (self.factor * self.scales)) @ outputs
        return change

    def terms(self) -> list[Term]:
        """The terms with the gates as they are in the end."""
        terms = []
        vectors = zip(self.outputs.integers(), self.inputs.integers(), self.scales.tolist(), strict=True)
        for (outputs, bits, step), (inputs, other_bits, other_step), scale in vectors:
            is_there = bits and np.any(outputs) and np.any(inputs)
            factor = self.factor * scale * step * other_step
            terms.append(Term(factor, (outputs, bits), (inputs, other_bits)) if is_there else Term(0.0, None, None))
        return terms


@contextmanager
def quantised_updates(
    model: Any, rank: int, alpha: int, prunes_ranks: bool, seed: int
) -> Iterator[list[QuantisedUpdate]]:
    """The model with an update beside every inner linear module, until the block ends.

    Yields:
        The updates, in the order in which programs add them.
    """
    torch.manual_seed(seed)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    linears = list(inner_linears(model))
    for linear in linears:
        linear.add_module("quantised_update", QuantisedUpdate(linear, rank, alpha, prunes_ranks))
    hooks = [linear.register_forward_hook(_add_update) for linear in linears]
    try:
        yield [linear.quantised_update for linear in linears]
    finally:
        for linear, hook in zip(linears, hooks, strict=True):
            del linear.quantised_update
            hook.remove()
        for weight in trained:
            weight.requires_grad_(True)


def _add_update(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
    change: torch.Tensor = module.quantised_update(inputs[0])
    return output + change


def penalty_of(updates: Sequence[QuantisedUpdate], quantisation: float, pruning: float) -> torch.Tensor:
    """Penalty on the expected bits for each number of all vectors, and on the terms that are not left out."""
    bits = torch.stack([update.outputs.expected_bits() + update.inputs.expected_bits() for update in updates]).sum()
    kept = torch.stack([torch.sigmoid(update.outputs.gates[:, 0]).sum() for update in updates]).sum()
    penalty: torch.Tensor = quantisation * bits + pruning * kept
    return penalty


def largest_integer(bits: int) -> int:
    """Of a symmetric signed number of so many bits."""
    return int(2 ** (bits - 1)) - 1


def _step(extent: torch.Tensor, bits: int) -> torch.Tensor:
    """Distance of neighbouring values when -extent ... extent is shared out over the values of so many bits."""
    return extent * (2 / int(2**bits - 1))


def _rounded(values: torch.Tensor) -> torch.Tensor:
    """Nearest whole numbers, with the gradient of no rounding at all (straight-through)."""
    rounded: torch.Tensor = values + (values.round() - values).detach()
    return rounded
