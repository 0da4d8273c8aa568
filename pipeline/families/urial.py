"""One fixed prompt a task: an instruction and two worked examples (after URIAL, arXiv 2312.01552)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.cell import Cell
from pipeline.errors import InfeasibleError
from pipeline.families.common import longest_sequence
from pipeline.families.icl import longest_item
from pipeline.families.prompts import prompt_program, prompt_tokens
from pipeline.protocols import EncodeContext, Encoded

SHOTS = 2


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The family has none."""


class Urial:
    """Instruction and the first two train examples, written in the source or coded under the model."""

    name = "urial"
    version = 7
    view = "inference"
    parameters = Parameters
    size = None
    has_seed = False
    shared = ()
    trains_in_team = False

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`."""
        started = time.monotonic()
        (cell,) = cells
        task = context.task
        context.report("code the prompt")
        model, tokenizer = context.load()
        examples = task.split("train")[:SHOTS]
        longest = longest_item(context, tokenizer, ("validation",)) + task.max_new_tokens
        room = longest_sequence(model) - longest
        prompt = len(prompt_tokens(task, tokenizer, task.instruction, examples))
        if prompt > room:
            raise InfeasibleError(
                f"a prompt of {prompt:,} tokens does not fit: the context has room for {max(0, room):,}"
            )
        encoded = prompt_program(cell, task, model, tokenizer, task.instruction, examples)
        yield replace(encoded, wall_seconds=time.monotonic() - started)


FAMILY = Urial()
