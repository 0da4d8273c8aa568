"""One fixed prompt a task: an instruction and two worked examples (after URIAL, arXiv 2312.01552)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.cell import Cell
from pipeline.coding.template import Template, tokens_of
from pipeline.families.common import answer_constants, head_ids
from pipeline.packing import pack
from pipeline.packing.link import Constant
from pipeline.protocols import EncodeContext, Encoded

SHOTS = 2


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The family has none."""


class Urial:
    """Instruction and the first two train examples, written in the source or coded under the model.

    A short prompt costs less as text, where no code is needed to read it; a long one costs less coded. The shorter
    of the two programs counts.
    """

    name = "urial"
    version = 1
    view = "inference"
    parameters = Parameters
    size = None
    has_seed = False
    shared = ()
    trains_in_team = False

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`."""
        from pipeline.coding.examples import code_examples

        started = time.monotonic()
        (cell,) = cells
        task, template = context.task, Template.of(context.task)
        examples = task.split("train")[:SHOTS]
        start = task.instruction + template.head
        text = start + "".join("".join(template.text(example)) + template.head for example in examples)

        context.report("code the prompt")
        model, tokenizer = context.load()
        constants = answer_constants(task, tokenizer)
        written = Encoded(
            cell=cell, program=pack("pipeline.decoders.prompt", {**constants, "PREFIX": text}), payload_text=text
        )
        between = head_ids(task, tokenizer)[len(tokenizer("").input_ids) :]
        first, second = (tokens_of(tokenizer, template, example) for example in examples)
        rows = [*first, *between, *second]
        coded = code_examples(model, tokenizer(start).input_ids, [rows])
        payload = coded.payload(rows)
        demonstrations: dict[str, Constant] = {"START": start, "HEAD": template.head, "STOPS": template.stops * SHOTS}
        shorter = Encoded(
            cell=cell,
            program=pack("pipeline.decoders.demonstrations", {**constants, **demonstrations}, payload),
            nll_bits=coded.nll_bits,
            coded_bits=8 * len(payload),
            payload_text=text,
            wall_seconds=time.monotonic() - started,
        )
        assert written.program is not None and shorter.program is not None
        yield min(written, shorter, key=lambda encoded: encoded.program.length_bits if encoded.program else 0)


FAMILY = Urial()
