"""A few numbers that many weights of a model share as their scales, as they are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
    """A tensor, multiplied along its last dimension by 1 plus the numbers drawn for it."""

    drawn: torch.Tensor

    def __init__(self, numbers: nn.Parameter, drawn: torch.Tensor, rounding: Rounding | None) -> None:
        """Take part in `numbers` at the places `drawn`, one for each place of the last dimension."""
        super().__init__()
        self.numbers, self.rounding = numbers, rounding
        self.register_buffer("drawn", drawn, persistent=False)

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor as it now is: [..., size]."""
        numbers = self.rounding(self.numbers) if self.rounding else self.numbers
        # In fp32, also what is in bfloat16: there 1 plus a small number has few digits of it left.
        return (tensor * (1 + numbers[self.drawn])).to(tensor.dtype)


@contextmanager
def shared_scales(
    model: Any, first: Floats, seed: int, rounding: Rounding | None = None, *, with_matrices: bool
) -> Iterator[nn.Parameter]:
    """The model with numbers that scale its weights, until the block ends; nothing else is trained.

    Args:
        model: the model.
        first: the numbers in the beginning [numbers].
        seed: of the draw: which number scales which weight.
        rounding: what the model sees of the numbers, None for all of them.
        with_matrices: whether columns of matrices are scaled, too, or gains and biases alone.

    Yields:
        The numbers: [numbers].
    """
    numbers = nn.Parameter(torch.tensor(first, device=model.device))
    # A weight that two modules share has one draw, as in the decoders, which meet it once.
    torch.manual_seed(seed)
    scales = {
        id(weight): Scaled(numbers, torch.randint(len(first), weight.shape[-1:]).to(model.device), rounding)
        for weight in model.parameters()
        if with_matrices or weight.dim() < 2
    }
    frozen = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(False)
    ends = []
    for path, weight in [*model.named_parameters(remove_duplicate=False)]:
        if id(weight) in scales:
            module, _, name = path.rpartition(".")
            ends.append(_scale(model.get_submodule(module), name, scales[id(weight)]))
    try:
        yield numbers
    finally:
        # The first one first: a weight goes behind the others of its module, and their order must stay.
        for end in ends:
            end()
        for weight in frozen:
            weight.requires_grad_(True)


def _scale(owner: nn.Module, name: str, scale: Scaled) -> Callable[[], object]:
    """Lets a module work with a scaled weight; returns what ends that.

    Columns of a matrix are scaled by what they are multiplied with: a weight that is made anew in every step would have
    a gradient of its own size.
    """
    if isinstance(owner, nn.Linear) and name == "weight":
        return owner.register_forward_pre_hook(lambda _, inputs: (scale(inputs[0]), *inputs[1:])).remove
    if isinstance(owner, nn.Embedding):
        return owner.register_forward_hook(lambda _, inputs, output: scale(output)).remove
    parametrize.register_parametrization(owner, name, scale)
    return lambda: parametrize.remove_parametrizations(owner, name, leave_parametrized=False)
