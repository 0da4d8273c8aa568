"""Gains as programs: a few trained numbers, shared at random among all gains and biases of the base model.

That the gains of the norms adapt a model well for how few they are is known (arXiv 2302.07937); that weights may share
numbers by chance, too (arXiv 1504.04788).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.families.parametric import Parametric, Start, TrainingParameters
from pipeline.packing.link import Constant
from pipeline.protocols import EncodeContext

if TYPE_CHECKING:
    from pipeline.coding.numbers import Integers


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """Parameters of the family, beside those of all that train.

    Attributes:
        numbers: trained numbers. Each gain and each bias is multiplied by 1 plus one of them, drawn for it.
        lr: of numbers that many weights share.
    """

    numbers: int = 1024
    lr: float = 3e-2

    bits_of_integers = range(2, 8)
    may_be_raw = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.numbers < 1:
            raise ValueError(f"numbers is {self.numbers}; it must be at least 1")


class Gains(Parametric):
    """Numbers in the source, a letter each, so that the program needs no entropy decoder of its own."""

    name = "gains"
    version = 1
    parameters = Parameters
    decoder = "pipeline.decoders.gains"

    def coded(self, integers: Sequence[Integers]) -> tuple[Mapping[str, Constant], bytes]:
        """See `Parametric.coded`."""
        from pipeline.coding.numbers import letters

        (numbers,) = integers
        return {"NUMBERS": letters(numbers), "HOW_MANY": len(numbers)}, b""

    @contextmanager
    def prepare(self, context: EncodeContext, settings: Parameters, seed: int) -> Iterator[Start]:
        """See `Parametric.prepare`."""
        from pipeline.adapt.shared_gains import shared_gains

        model, _ = context.load()
        with shared_gains(model, settings.numbers, seed) as numbers:
            yield Start(model, [numbers], {"SEED": seed})


FAMILY = Gains()
