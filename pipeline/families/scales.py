"""Scales as programs: as `gains`, with the columns of all matrices beside gains and biases.

A model of 135 million weights has 35,000 gains and biases, and five times as many places where one number scales what
a matrix takes in (as (IA)^3 scales activations, arXiv 2205.05638): room for tasks that gains alone cannot hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.cell import Scalar
from pipeline.families import gains


@dataclass(frozen=True, kw_only=True)
class Parameters(gains.Parameters):
    """Parameters of the family.

    Attributes:
        numbers: trained numbers. Each gain, each bias and each column of a matrix is multiplied by 1 plus one of them,
            drawn for it.
        lr: peak learning rate of AdamW.
        rounded_lr: learning rate of the passes with rounded numbers.
        rounded_decay: their weight decay: what keeps numbers at 0 that do not pay.
    """

    numbers: int = 65536
    lr: float = 1e-2
    rounded_lr: float = 5e-3
    rounded_decay: float = 0.05


class Scales(gains.Gains):
    """Numbers that all weights share."""

    name = "scales"
    version = 1
    parameters = Parameters
    decoder = "pipeline.decoders.scales"
    with_matrices = True

    def changes_base(self, parameters: Mapping[str, Scalar]) -> bool:
        """See `Family`."""
        return True


FAMILY = Scales()
