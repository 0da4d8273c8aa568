"""In-context learning: demonstrations in the prompt, coded under the model (GPT-3, arXiv 2005.14165)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.cell import Cell
from pipeline.coding.template import Template, tokens_of
from pipeline.families.common import answer_constants, head_ids, over_budget, shuffled_train, within
from pipeline.packing import pack
from pipeline.protocols import Encoded, EncodeContext, Program


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters of the family.

    Attributes:
        shots: number of demonstrations; sets the length of the program in the place of a budget.
    """

    shots: int | None = None

    def __post_init__(self) -> None:
        if self.shots is not None and self.shots < 1:
            raise ValueError(f"shots is {self.shots}; it must be at least 1")


class InContext:
    """The first demonstrations of a random order, each coded with those before it in context.

    One pass codes all the demonstrations that the largest cell holds; a smaller cell takes the beginning of it.
    """

    name = "icl"
    version = 1
    view = "inference"
    parameters = Parameters
    size = "shots"
    has_seed = True
    shared = ()

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`."""
        from pipeline.coding.examples import Coded, code_examples

        started = time.monotonic()
        task, template = context.task, Template.of(context.task)
        model, tokenizer = context.load()
        constants = answer_constants(task, tokenizer)
        head = head_ids(task, tokenizer)
        between = head[len(tokenizer("").input_ids) :]
        room = model.config.max_position_embeddings - task.max_new_tokens - longest_item(context, tokenizer)

        def program(shots: int, payload: bytes) -> Program:
            sizes = {"START": template.head, "HEAD": template.head, "STOPS": template.stops, "SHOTS": shots}
            return pack("pipeline.decoders.demonstrations", {**constants, **sizes}, payload)

        assert cells[0].seed is not None
        waiting = sorted(cells, key=lambda cell: (cell.budget_bytes or 0, cell.parameters["shots"] or 0))
        best: dict[str | None, Encoded] = {}
        coded, prefix, text = Coded([], 0.0), head, template.head
        for shots, example in enumerate(shuffled_train(task, cells[0].seed), start=1):
            context.report(f"code demonstration {shots}")
            row = tokens_of(tokenizer, template, example)
            prefix_after = prefix + row + between
            if len(prefix_after) > room:
                break
            coded += code_examples(model, prefix, [row])
            prefix, text = prefix_after, text + "".join(template.text(example)) + template.head
            payload = coded.payload(prefix)
            packed = program(shots, payload)
            now = time.monotonic()
            for cell in list(waiting):
                wanted = cell.parameters["shots"]
                encoded = Encoded(
                    cell=cell,
                    program=packed,
                    nll_bits=coded.nll_bits,
                    coded_bits=8 * len(payload),
                    payload_text=text,
                    settings={"shots": shots},
                    wall_seconds=now - started,
                )
                if wanted == shots:
                    yield encoded
                elif wanted is None and within(packed, cell.budget_bytes):
                    best[cell.cell_id] = encoded
                    continue
                elif wanted is None:
                    yield best.get(cell.cell_id) or over_budget(cell, packed, "one demonstration")
                else:
                    continue
                waiting.remove(cell)
                started = now
            if not waiting:
                return
        for cell in waiting:
            context_full = f"{cell.parameters['shots']} demonstrations do not fit: the context has room for {room} tokens"
            yield best.get(cell.cell_id) or Encoded(cell=cell, infeasible=context_full)


def longest_item(context: EncodeContext, tokenizer: object) -> int:
    """Tokens of the longest item of the validation and test splits, as a program meets it."""
    template = Template.of(context.task)
    texts = [
        template.tail.format(**example.input)
        for split in ("validation", "test")
        for example in context.task.split(split)  # type: ignore[arg-type]
    ]
    return max(len(ids) for ids in tokenizer(texts).input_ids)  # type: ignore[operator]


FAMILY = InContext()
