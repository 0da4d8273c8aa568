"""Floors: programs that ignore the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.cell import Cell
from pipeline.families.common import one_program
from pipeline.packing.link import Constant
from pipeline.protocols import EncodeContext, Encoded, Task

REPLIES = ("copy", "constant")


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters of the family.

    Attributes:
        reply: `copy` repeats an input field, `constant` always gives the most common answer of the train split.
    """

    reply: str = "copy"

    def __post_init__(self) -> None:
        if self.reply not in REPLIES:
            raise ValueError(f"reply is {self.reply!r}; allowed: {', '.join(REPLIES)}")


class Trivial:
    """Copies the input, or gives one constant reply."""

    name = "trivial"
    version = 4
    view = "floor"
    parameters = Parameters
    size = None
    has_seed = False
    shared = ()
    trains_in_team = False

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`."""
        decoder, constants = _DECODERS[str(cells[0].parameters["reply"])]
        yield one_program(context, cells, decoder, constants(context.task))


def _copy(task: Task) -> dict[str, Constant]:
    return {"FIELD": task.copy_field}


def _constant(task: Task) -> dict[str, Constant]:
    counts = Counter(example.target for example in task.split("train"))
    return {"REPLY": min(counts, key=lambda target: (-counts[target], len(target), target))}


_DECODERS = {"copy": ("pipeline.decoders.copy", _copy), "constant": ("pipeline.decoders.constant", _constant)}

FAMILY = Trivial()
