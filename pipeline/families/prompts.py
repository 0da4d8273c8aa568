"""Programs that answer behind a fixed prompt: a start text and worked examples. Imports no heavy library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipeline.cell import Cell
from pipeline.coding.template import Template, worked
from pipeline.families.common import answer_constants, head_ids, prompt_constants
from pipeline.packing import pack
from pipeline.packing.link import Constant
from pipeline.protocols import Encoded, Example, Task

DOUBT_BYTES = 16
"""How much longer than written a coded prompt may be expected to be, and is coded all the same."""


def prompt_tokens(task: Task, tokenizer: Any, start: str, examples: Sequence[Example]) -> list[int]:
    """Token ids of a prompt as `decoders.demonstrations` puts it together: start, head, examples, head.

    Args:
        task: gives the template.
        tokenizer: of the base model.
        start: text before everything, may be empty.
        examples: worked examples.
    """
    template = Template.of(task)
    head = head_ids(task, tokenizer)
    between = head[len(tokenizer("").input_ids) :]
    ids: list[int] = list(tokenizer(start + template.head).input_ids)
    for example in examples:
        ids += [*worked(tokenizer, template, example).tokens, *between]
    return ids


def prompt_program(
    cell: Cell, task: Task, model: Any, tokenizer: Any, start: str, examples: Sequence[Example]
) -> Encoded:
    """The shorter of two programs of one prompt: written in the source, or coded under the model.

    A short prompt costs less as text, where no code is needed to read it; a long one costs less coded, which not every
    model can (`coding.examples.heeds_mask`). The two may differ in tokens where the stop of an example and the head of
    the next one are one token together.

    Args:
        cell: of the program.
        task: gives the template.
        model: the base model, which codes.
        tokenizer: its tokenizer.
        start: text before everything, may be empty.
        examples: worked examples.
    """
    from pipeline.coding.examples import code_examples, heeds_mask, token_bits

    template = Template.of(task)
    text = start + template.head + "".join("".join(template.text(example)) + template.head for example in examples)
    written = pack("pipeline.decoders.prompt", prompt_constants(task, text))
    if not examples:
        return Encoded(cell=cell, program=written, payload_text=text)

    placed: dict[str, Constant] = {
        **answer_constants(task, tokenizer),
        "START": start + template.head,
        "HEAD": template.head,
        "STOPS": template.stops * len(examples),
    }
    first = tokenizer(start + template.head).input_ids
    # The head behind the last example stands in the source.
    rows = prompt_tokens(task, tokenizer, start, examples)[len(first) :]
    rows = rows[: len(rows) - len(head_ids(task, tokenizer)) + len(tokenizer("").input_ids)]
    reader_bytes = len(pack("pipeline.decoders.demonstrations", placed).content)
    ideal_bits = math.fsum(token_bits(model, first, rows))
    expected = reader_bytes + ideal_bits / 8
    if heeds_mask(model) and expected <= len(written.content) + DOUBT_BYTES:
        coded = code_examples(model, first, [rows])
        payload = coded.payload(rows)
        shorter = pack("pipeline.decoders.demonstrations", placed, payload)
        if len(shorter.content) < len(written.content):
            return Encoded(
                cell=cell,
                program=shorter,
                nll_bits=coded.nll_bits,
                coded_bits=8 * len(payload),
                payload_text=text,
            )
    return Encoded(cell=cell, program=written, payload_text=text, settings={"prompt_bits": ideal_bits})
