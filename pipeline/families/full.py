"""Full fine-tuning as a program: the updates of all weights, rounded and entropy-coded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.cell import Scalar
from pipeline.families.parametric import Parametric, Start, TrainingParameters
from pipeline.protocols import EncodeContext


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """Parameters of the family: those of all that train, with the learning rate of a whole model."""

    lr: float = 1e-4


class Full(Parametric):
    """Every weight of the base model. The model is used up: the next group loads it again."""

    name = "full"
    parameters = Parameters
    decoder = "pipeline.decoders.weights"

    def changes_base(self, parameters: Mapping[str, Scalar]) -> bool:
        """See `protocols.Family`."""
        return True

    @contextmanager
    def prepare(self, context: EncodeContext, settings: Any, seed: int) -> Iterator[Start]:
        """See `Parametric.prepare`."""
        model, _ = context.load()
        weights = [*model.parameters()]
        for weight in weights:
            weight.requires_grad_(True)
        yield Start(model, weights, {})


FAMILY = Full()
