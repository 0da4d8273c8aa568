"""A few numbers that all gains and biases of a model share, as they are trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.utils import parametrize

from pipeline.coding.ternary import Floats


class Rounding(NamedTuple):
    """How numbers are rounded while they are trained.

    Attributes:
        least: what is smaller in magnitude becomes 0.
        step: the magnitude of what is not.
    """

    least: float
    step: float

    def __call__(self, numbers: torch.Tensor) -> torch.Tensor:
        """The rounded numbers, with the gradient of no rounding at all (straight-through, arXiv 1308.3432)."""
        rounded = self.step * numbers.sign() * (numbers.abs() >= self.least)
        return numbers + (rounded - numbers).detach()


class Scaled(nn.Module):
    """A vector of weights, each multiplied by 1 plus the number drawn for it."""

    drawn: torch.Tensor

    def __init__(self, numbers: nn.Parameter, drawn: torch.Tensor, rounding: Rounding | None) -> None:
        """Take part in `numbers` at the places `drawn`, one for each weight."""
        super().__init__()
        self.numbers, self.rounding = numbers, rounding
        self.register_buffer("drawn", drawn, persistent=False)

    def forward(self, weights: torch.Tensor) -> torch.Tensor:
        """The weights as they now are: [size]."""
        numbers = self.rounding(self.numbers) if self.rounding else self.numbers
        return weights * (1 + numbers[self.drawn]).to(weights.dtype)


@contextmanager
def shared_gains(model: Any, first: Floats, seed: int, rounding: Rounding | None = None) -> Iterator[nn.Parameter]:
    """The model with numbers that scale its gains and biases, until the block ends; nothing else is trained.

    Args:
        model: the model.
        first: the numbers in the beginning [numbers].
        seed: of the draw: which number scales which weight.
        rounding: what the model sees of the numbers, None for all of them.

    Yields:
        The numbers: [numbers].
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    numbers = nn.Parameter(torch.tensor(first, device=model.device))
    # A vector that two modules share has one draw, as in the decoder `gains`, which meets it once.
    vectors = [(name, weight) for name, weight in model.named_parameters(remove_duplicate=False) if weight.dim() < 2]
    torch.manual_seed(seed)
    draws: dict[int, torch.Tensor] = {}
    for _, weight in vectors:
        if id(weight) not in draws:
            draws[id(weight)] = torch.randint(len(first), weight.shape).to(model.device)
    owners = [(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name, _ in vectors]
    for (owner, name), (_, weight) in zip(owners, vectors, strict=True):
        parametrize.register_parametrization(owner, name, Scaled(numbers, draws[id(weight)], rounding))
    try:
        yield numbers
    finally:
        for owner, name in owners:
            parametrize.remove_parametrizations(owner, name, leave_parametrized=False)
        for weight in trained:
            weight.requires_grad_(True)
