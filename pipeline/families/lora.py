"""LoRA as a program: the updates of a low-rank adapter, rounded and entropy-coded (arXiv 2106.09685).

What is coded is the difference to the adapter that a seed draws, so an update that rounds to nothing costs next to
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.families.common import check_modules, told_by_peft
from pipeline.families.parametric import Parametric, Start, TrainingParameters
from pipeline.protocols import EncodeContext


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """Parameters of the family, beside those of all that train.

    Attributes:
        rank: rank of the adapter.
        alpha: LoRA's alpha: the update is scaled by alpha / rank.
        target_modules: as in peft: `all-linear`, or a regular expression over module names.
    """

    rank: int = 1
    alpha: int = 8
    target_modules: str = "all-linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_modules(self.target_modules)
        for name in ("rank", "alpha"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


class Lora(Parametric):
    """A low-rank adapter."""

    name = "lora"
    parameters = Parameters
    decoder = "pipeline.decoders.adapter"

    @contextmanager
    def prepare(self, context: EncodeContext, settings: Any, seed: int) -> Iterator[Start]:
        """See `Parametric.prepare`."""
        from pipeline.decoder_parts.adapt import add_adapter

        model, _ = context.load()
        constants = {
            "RANK": settings.rank,
            "ALPHA": settings.alpha,
            "TARGET_MODULES": settings.target_modules,
            "SEED": seed,
        }
        with told_by_peft(model, settings.target_modules):
            adapted, weights = add_adapter(model, seed, settings.rank, settings.alpha, settings.target_modules)
        try:
            yield Start(adapted, weights, constants)
        finally:
            adapted.unload()


FAMILY = Lora()
