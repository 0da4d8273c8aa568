"""Demonstrations as `icl` has them, and several samples an item, of which the program gives the most typical one.

Its payload is that of `icl`; its decoder spends some hundred bytes and `samples` times the compute on answering.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.cell import Cell
from pipeline.families import icl
from pipeline.families.icl import Answering, InContext

LIKENESS = {"vote": "pipeline.decoder_parts.vote", "mbr": "pipeline.decoder_parts.mbr"}
"""How samples are compared -> the part that does it."""


@dataclass(frozen=True, kw_only=True)
class Parameters(icl.Parameters):
    """Parameters of the family, beside those of `icl`.

    Attributes:
        answers: `vote` gives an answer whose last word is the commonest (self-consistency, arXiv 2203.11171), `mbr`
            the answer that shares most character n-grams with the others (minimum Bayes risk, arXiv 2309.10966).
        samples: answers drawn for every item.
        temperature: that the logits are divided by before an answer is drawn.
    """

    answers: str = "vote"
    samples: int = 8
    temperature: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.answers not in LIKENESS:
            raise ValueError(f"answers is {self.answers!r}; allowed: {', '.join(LIKENESS)}")
        if self.samples < 2:
            raise ValueError(f"samples is {self.samples}; it must be at least 2: one has no others to be compared with")
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; it must be above 0: family icl answers greedily")


class Sampled(InContext):
    """The programs of `icl`, with another part to answer; cells of all ways to answer share the demonstrations."""

    name = "sampled"
    parameters: type = Parameters
    shared: tuple[str, ...] = ("answers", "samples", "temperature")

    def answering(self, cell: Cell) -> Answering:
        """Samples drawn with the seed of the cell."""
        settings = Parameters(**cell.parameters)  # type: ignore[arg-type]
        parts = {"answer": "pipeline.decoder_parts.sampled", "alike": LIKENESS[settings.answers]}
        constants = {"SAMPLES": settings.samples, "TEMPERATURE": settings.temperature, "SEED": cell.seed or 0}
        return Answering(parts, constants)


FAMILY = Sampled()
