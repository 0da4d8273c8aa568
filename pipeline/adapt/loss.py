"""The loss of training, with one array of the size of the logits where PyTorch's cross-entropy keeps three."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

IGNORED = -100
"""Label of a place that does not count."""


def nll_nats(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of labels [places], those that are `IGNORED` left out, under logits [places][vocabulary].

    `backward` may be called once.
    """
    nll: torch.Tensor = _Nll.apply(logits, labels)  # type: ignore[no-untyped-call]
    return nll


class _Nll(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Sum over the places; logarithms of probabilities are kept."""
        log_probabilities = torch.log_softmax(logits, 1)
        counts = (labels != IGNORED).unsqueeze(1)
        places = labels.clamp(min=0).unsqueeze(1)
        context.save_for_backward(log_probabilities, counts, places)
        return -log_probabilities.gather(1, places).masked_select(counts).sum()

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Probabilities less one at the label, written over their logarithms."""
        log_probabilities, counts, places = context.saved_tensors
        weights = counts * gradient
        difference = log_probabilities.exp_().mul_(weights)
        return difference.scatter_add_(1, places, -weights), None
