"""Weights that are a first state and a weighted sum of the updates after it, so that the factors can be learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from pipeline.errors import InfeasibleError


class _WeightedSum(nn.Module):
    """In the place of a weight: itself, and each update times its factor."""

    def __init__(self, factors: nn.Parameter, module: int, updates: torch.Tensor) -> None:
        super().__init__()
        self.factors, self.module = factors, module
        self.register_buffer("updates", updates, persistent=False)

    def forward(self, first: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = torch.tensordot(self.factors[self.module], self.updates, 1)
        return first + change


def check_reweightable(model: nn.Module, adapter: Sequence[nn.Parameter]) -> None:
    """Refuses an adapter with weights that are no weight of a module: LoRA keeps those of an embedding in a list.

    Raises:
        InfeasibleError: a factor would be in the program that nothing has learned.
    """
    owned = {id(module._parameters.get("weight")) for module in model.modules()}
    others = [name for name, weight in model.named_parameters() if id(weight) in set(map(id, adapter)) - owned]
    if others:
        raise InfeasibleError(
            f"updates of {others[0]} cannot be reweighted, as those of an embedding; leave it out of target_modules"
        )


@contextmanager
def reweighted(
    model: nn.Module, adapter: Sequence[nn.Parameter], states: Sequence[Sequence[torch.Tensor]]
) -> Iterator[nn.Parameter]:
    """The model with its adapter made of factors times updates, until the block ends.

    Args:
        model: the model that holds the adapter.
        adapter: weights of the adapter, two for each module.
        states: values of all of these before the first update and after each one [updates + 1][weights].

    Yields:
        Factors [modules, updates], all 1: the adapter is in its last state.
    """
    factors = nn.Parameter(torch.ones(len(adapter) // 2, len(states) - 1))
    places = {id(weight): place for place, weight in enumerate(adapter)}
    owners = [(module, places[id(module.weight)]) for module in model.modules() if _owns(module, places)]
    for module, place in owners:
        values = torch.stack([state[place] for state in states])
        weight: Any = module.weight
        weight.data = values[0].clone()
        weight.requires_grad_(False)
        parametrize.register_parametrization(module, "weight", _WeightedSum(factors, place // 2, values.diff(dim=0)))
    try:
        yield factors
    finally:
        for module, _ in owners:
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


def _owns(module: nn.Module, places: dict[int, int]) -> bool:
    return id(module._parameters.get("weight")) in places
