"""Subset training on examples that stand in the program as plain text.

What `subset` codes under the model needs a decoder of 250 to 300 bytes. Deflated with the rest of the source, a few
short examples are shorter than that, and nothing is left for the encoder to compute.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.cell import Cell, Scalar
from pipeline.coding.template import Template
from pipeline.families import subset
from pipeline.families.common import ALL, answer_constants, over_budget, shuffled_train, within
from pipeline.packing import pack
from pipeline.protocols import EncodeContext, Encoded, Program


@dataclass(frozen=True, kw_only=True)
class Parameters(subset.Parameters):
    """Parameters of `subset`; training all weights needs the shortest decoder."""

    weights: str = "all"
    lr: float = 1e-4


class PlainSubset:
    """The first examples of a random order."""

    name = "plain-subset"
    version = 1
    view = "data"
    parameters = Parameters
    size = "examples"
    has_seed = True
    shared = ("epochs", "lr")
    trains_in_team = False

    def changes_base(self, parameters: Mapping[str, Scalar]) -> bool:
        """See `protocols.Family`."""
        return parameters["weights"] == "all"

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`."""
        template, tokenizer = Template.of(context.task), context.tokenizer()
        constants = {**answer_constants(context.task, tokenizer), "HEAD": template.head}
        # Examples are told apart by the head of the template, which therefore none may hold.
        texts = ["".join(template.text(example)) for example in shuffled_train(context.task, cells[0].seed or 0)]
        texts = [text for text in texts if template.head not in text]

        def program(cell: Cell, number: int) -> Program:
            own = {name.upper(): value for name, value in cell.parameters.items() if name != "weights"}
            values = {**constants, **own, "EXAMPLES": template.head.join(texts[:number]), "SEED": cell.seed}
            parts = {"add_adapter": subset.ADAPTERS[str(cell.parameters["weights"])]}
            return pack("pipeline.decoders.lines", values, b"", parts)  # type: ignore[arg-type]

        for cell in cells:
            started = time.monotonic()
            context.report("pack the examples")
            wanted = cell.parameters["examples"]
            if wanted is None:
                # A text is never shorter for one example more, so halving finds the most that the budget holds.
                held = range(1, len(texts) + 1)
                number = max(
                    1, bisect_left(held, True, key=lambda it: not within(program(cell, it), cell.budget_bytes))
                )
            else:
                number = len(texts) if wanted == ALL else min(int(wanted), len(texts))
            packed = program(cell, number)
            if not within(packed, cell.budget_bytes):
                yield over_budget(cell, packed, "one example")
                continue
            yield Encoded(
                cell=cell,
                program=packed,
                payload_text="".join(texts[:number]),
                settings={"examples": number},
                wall_seconds=time.monotonic() - started,
            )


FAMILY = PlainSubset()
