"""A few numbers that all gains and biases of a model share, as they are trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize


class Scaled(nn.Module):
    """A vector of weights, each multiplied by 1 plus the number drawn for it."""

    drawn: torch.Tensor

    def __init__(self, numbers: nn.Parameter, drawn: torch.Tensor) -> None:
        """Take part in `numbers` at the places `drawn`, one for each weight."""
        super().__init__()
        self.numbers = numbers
        self.register_buffer("drawn", drawn, persistent=False)

    def forward(self, weights: torch.Tensor) -> torch.Tensor:
        """The weights as they now are: [size]."""
        return weights * (1 + self.numbers[self.drawn]).to(weights.dtype)


@contextmanager
def shared_gains(model: Any, how_many: int, seed: int) -> Iterator[nn.Parameter]:
    """The model with numbers that scale its gains and biases, until the block ends; nothing else is trained.

    Yields:
        The numbers, all 0: [how_many].
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    numbers = nn.Parameter(torch.zeros(how_many, device=model.device))
    torch.manual_seed(seed)
    # Drawn as the decoder `gains` draws.
    draws = [
        (name, torch.randint(how_many, weight.shape)) for name, weight in model.named_parameters() if weight.dim() < 2
    ]
    owners = [(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name, _ in draws]
    for (owner, weight), (_, drawn) in zip(owners, draws, strict=True):
        parametrize.register_parametrization(owner, weight, Scaled(numbers, drawn.to(model.device)))
    try:
        yield numbers
    finally:
        for owner, weight in owners:
            parametrize.remove_parametrizations(owner, weight, leave_parametrized=False)
        for weight in trained:
            weight.requires_grad_(True)
