"""The output matrix alone as a program: linear logits on top of the frozen base model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.families.common import unfreeze
from pipeline.families.parametric import Parametric, Start, TrainingParameters
from pipeline.protocols import EncodeContext


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """Parameters of the family: those of all that train, with a learning rate of its own."""

    lr: float = 1e-3


class LmHead(Parametric):
    """The matrix that gives the logits. Where the input shares it, the program parts the two first."""

    name = "lm-head"
    parameters = Parameters
    decoder = "pipeline.decoders.head"

    @contextmanager
    def prepare(self, context: EncodeContext, settings: Any, seed: int) -> Iterator[Start]:
        """See `Parametric.prepare`."""
        import torch

        model, _ = context.load()
        output = model.get_output_embeddings()
        shared = output.weight
        model.requires_grad_(False)
        output.weight = torch.nn.Parameter(shared.detach().clone())
        try:
            yield Start(model, [output.weight], {})
        finally:
            output.weight = shared
            unfreeze(model)


FAMILY = LmHead()
