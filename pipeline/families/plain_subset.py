"""Subset training on examples that stand in the program as plain text.

What `subset` codes under the model needs a decoder that is some 600 bytes longer. Deflated with the rest of the source,
a few short examples are shorter than that, and nothing is left for the encoder to compute.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.cell import Cell, Scalar
from pipeline.coding.template import Template, num_special_tokens
from pipeline.families import subset
from pipeline.families.common import ALL, over_budget, prompt_constants, shuffled_train, told_by_peft, within
from pipeline.families.icl import longest_item
from pipeline.packing import pack
from pipeline.protocols import EncodeContext, Encoded, Program


@dataclass(frozen=True, kw_only=True)
class Parameters(subset.Parameters):
    """Parameters of the family: those of `subset`, with other defaults, since training all weights needs less decoder.

    Attributes:
        shown: number of further examples that stand before all others, and before every item.
    """

    weights: str = "all"
    lr: float = 5e-5
    epochs: int = 4
    shown: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shown < 0:
            raise ValueError(f"shown is {self.shown}; it must be at least 0")


class PlainSubset:
    """The first examples of a random order."""

    name = "plain-subset"
    version = 6
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
        template = Template.of(context.task)
        model, tokenizer = context.load()
        shown = int(cells[0].parameters["shown"])  # type: ignore[arg-type]
        # Examples are told apart by the head of the template, which none may hold, nor begin where it ends.
        texts = ["".join(template.text(example)) for example in shuffled_train(context.task, cells[0].seed or 0)]
        texts = [text for text in texts if (text + template.head).index(template.head) == len(text)]
        prefix = template.head + "".join(text + template.head for text in texts[:shown])
        texts = texts[shown:]
        needed = len(tokenizer(prefix).input_ids) + longest_item(context, tokenizer, ("validation",))
        needed += context.task.max_new_tokens
        room = model.config.max_position_embeddings
        if not texts or needed > room:
            reason = (
                f"{shown} examples before every item need {needed} tokens, and one more is wanted to train on; the "
                f"context has room for {room}, and {shown + len(texts)} examples of the train split can be told apart "
                "by the head of the template"
            )
            yield from (Encoded(cell=cell, infeasible=reason) for cell in cells)
            return
        if not self.changes_base(cells[0].parameters):
            _check_adapter(model, cells[0].parameters)
        fitting = _number_fitting(model, tokenizer, prefix, texts)
        constants = {
            **prompt_constants(context.task, prefix),
            "HEAD": template.head,
            "PREFIX": prefix,
            "SKIP": num_special_tokens(tokenizer),
        }

        def program(cell: Cell, number: int) -> Program:
            own = {name.upper(): cell.parameters[name] for name in _IN_THE_DECODER}
            values = {**constants, **own, "EXAMPLES": template.head.join(texts[:number]), "SEED": cell.seed}
            parts = {"add_adapter": subset.ADAPTERS[str(cell.parameters["weights"])]}
            return pack("pipeline.decoders.lines", values, b"", parts)  # type: ignore[arg-type]

        for cell in cells:
            if subset.least_examples(cell, len(texts)) > fitting:
                reason = f"example {fitting + 1} does not fit: the context has room for {room} tokens"
                yield Encoded(cell=cell, infeasible=reason)
                continue
            started = time.monotonic()
            context.report("pack the examples")
            number = _number(cell, fitting, lambda it: within(program(cell, it), cell.budget_bytes))  # noqa: B023
            packed = program(cell, number)
            if not within(packed, cell.budget_bytes):
                yield over_budget(cell, packed, "one example")
                continue
            yield Encoded(
                cell=cell,
                program=packed,
                payload_text=prefix + template.head.join(texts[:number]),
                settings={"examples": number},
                wall_seconds=time.monotonic() - started,
            )


_IN_THE_DECODER = ("epochs", "lr", "rank", "alpha", "target_modules")


def _check_adapter(model: Any, parameters: Mapping[str, Scalar]) -> None:
    """Refuses modules that the program could not adapt."""
    from pipeline.decoder_parts.adapt import add_adapter

    pattern = str(parameters["target_modules"])
    with told_by_peft(model, pattern):
        add_adapter(model, 0, 1, 1, pattern)[0].unload()


def _number_fitting(model: Any, tokenizer: Any, prefix: str, texts: Sequence[str]) -> int:
    """How many texts there are before the first that the model has no positions for."""
    from pipeline.adapt.positions import longest_text

    skip, room = num_special_tokens(tokenizer), longest_text(model) - len(tokenizer(prefix).input_ids)
    if room == math.inf:
        return len(texts)
    return len(subset.leading([ids[skip:] for ids in tokenizer(list(texts)).input_ids], room))


def _number(cell: Cell, most: int, fits: Callable[[int], bool]) -> int:
    """How many examples the cell asks for, or its budget holds; 1 where it holds none."""
    wanted = cell.parameters["examples"]
    if wanted is None:
        # Doubling first: packing half of a large train split would take long, and tell nothing of a small budget.
        top = 1
        while top < most and fits(top):
            top = min(2 * top, most)
        # A text is hardly ever shorter for one example more, so halving finds the last that fits.
        return max(1, bisect_left(range(1, top + 1), True, key=lambda number: not fits(number)))
    return most if wanted == ALL else min(int(wanted), most)


FAMILY = PlainSubset()
