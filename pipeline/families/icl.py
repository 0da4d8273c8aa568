"""In-context learning: demonstrations in the prompt, coded under the model (GPT-3, arXiv 2005.14165)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pipeline.cell import Cell
from pipeline.coding.template import Template, worked
from pipeline.families.common import (
    answer_constants,
    head_ids,
    longest_sequence,
    over_budget,
    shuffled_train,
    within,
)
from pipeline.packing import pack
from pipeline.packing.link import Constant
from pipeline.protocols import EncodeContext, Encoded, Split

if TYPE_CHECKING:
    from pipeline.coding.arithmetic import Interval

FIRST_SHOTS = 8
"""Demonstrations of the first estimate; each further one is of twice as many."""


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


class Answering(NamedTuple):
    """What stands in the place of the decoder's own way to answer.

    Attributes:
        parts: of `pack`.
        constants: of these parts.
    """

    parts: Mapping[str, str]
    constants: Mapping[str, Constant]


class InContext:
    """The first demonstrations of a random order, each coded with those before it in context.

    One pass codes all the demonstrations that the largest cell holds; a smaller cell takes the beginning of it.
    """

    name = "icl"
    version = 6
    view = "inference"
    parameters: type = Parameters
    size: str | None = "shots"
    has_seed = True
    shared: tuple[str, ...] = ()
    trains_in_team = False

    def answering(self, cell: Cell) -> Answering:
        """How a program answers behind the demonstrations: greedily, as the decoder says."""
        return Answering({}, {})

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`."""
        from pipeline.coding.arithmetic import ideal_bits
        from pipeline.coding.examples import Coded, code_examples, token_bits

        started = time.monotonic()
        task, template = context.task, Template.of(context.task)
        model, tokenizer = context.load()
        constants = answer_constants(task, tokenizer)
        head = head_ids(task, tokenizer)
        between = head[len(tokenizer("").input_ids) :]
        room = longest_sequence(model) - task.max_new_tokens - longest_item(context, tokenizer, ("validation",))

        assert cells[0].seed is not None
        sizes: dict[str, Constant] = {"START": template.head, "HEAD": template.head, "STOPS": template.stops}
        decoder_bytes = len(pack("pipeline.decoders.demonstrations", {**constants, **sizes}).content)
        examples = shuffled_train(task, cells[0].seed)[: _most_shots(cells, decoder_bytes)]
        rows = [worked(tokenizer, template, example).tokens for example in examples]
        # Demonstration n ends at token ends[n]; the head of the next one is coded with it, as text like any other.
        stream: list[int] = []
        ends = [0]
        for row in rows:
            stream += (between if stream else []) + row
            ends.append(len(stream))
        ends = [0, *(end for end in ends[1:] if len(head) + end + len(between) <= room)]
        stream = stream[: ends[-1]]

        def built(cell: Cell, shots: int, intervals: list[Interval], nll_bits: float) -> Encoded:
            payload = Coded(intervals[: ends[shots]], nll_bits).payload(stream[: ends[shots]])
            answering = self.answering(cell)
            placed = {**constants, **sizes, **answering.constants, "STOPS": template.stops * shots}
            return Encoded(
                cell=cell,
                program=pack("pipeline.decoders.demonstrations", placed, payload, answering.parts),
                nll_bits=nll_bits,
                coded_bits=8 * len(payload),
                payload_text=tokenizer.decode(head + stream[: ends[shots]]),
                settings={"shots": shots},
                wall_seconds=time.monotonic() - started,
            )

        rooms = {cell.cell_id: _room_bits(cell, built) for cell in cells if cell.parameters["shots"] is None}
        bits = [0.0]
        if rooms:
            context.report("estimate the length of the demonstrations")
            bits = _bits(lambda end: token_bits(model, head, stream[:end]), ends, max(rooms.values()))
        guesses = {cell.cell_id: _guess(cell, ends, bits, rooms) for cell in cells}
        context.report(f"code {max(guesses.values())} demonstrations")
        coded = code_examples(model, head, [stream[: ends[max(guesses.values())]]]) if max(guesses.values()) else None
        for cell in cells:
            shots, wanted = guesses[cell.cell_id], cell.parameters["shots"]
            encoded = None
            while shots and coded:
                encoded = built(cell, shots, coded.intervals, ideal_bits(coded.intervals[: ends[shots]]))
                if within(encoded.program, cell.budget_bytes):  # type: ignore[arg-type]
                    break
                shots -= 1
            if isinstance(wanted, int) and wanted != shots:
                reason = (
                    f"{wanted} demonstrations do not fit: the context has room for {max(0, room)} tokens, "
                    f"and there are {len(task.split('train')):,} train examples"
                )
                yield Encoded(cell=cell, infeasible=reason)
            elif shots and encoded:
                yield encoded
            elif len(ends) == 1:
                yield Encoded(
                    cell=cell, infeasible=f"no demonstration fits: the context has room for {max(0, room)} tokens"
                )
            else:
                one = code_examples(model, head, [stream[: ends[1]]])
                smallest = built(cell, 1, one.intervals, one.nll_bits).program
                assert smallest is not None
                yield over_budget(cell, smallest, "one demonstration")
            started = time.monotonic()


def _room_bits(cell: Cell, built: Callable[..., Encoded]) -> int:
    """What the budget of a cell leaves for demonstrations."""
    assert cell.budget_bytes is not None
    empty = built(cell, 0, [], 0.0).program
    assert empty is not None
    return 8 * (cell.budget_bytes - len(empty.content)) - 8


def _bits(token_bits: Callable[[int], list[float]], ends: list[int], room_bits: int) -> list[float]:
    """Bits of the stream up to each token, as far as some room reaches: small budgets need no pass over a context.

    Args:
        token_bits: of the stream up to a token.
        ends: where demonstrations end.
        room_bits: the largest room.
    """
    shots, most = min(FIRST_SHOTS, len(ends) - 1), len(ends) - 1
    bits = [0.0, *itertools.accumulate(token_bits(ends[shots]))]
    while shots < most and bits[-1] <= room_bits:
        shots = min(2 * shots, most)
        bits = [0.0, *itertools.accumulate(token_bits(ends[shots]))]
    return bits


def _guess(cell: Cell, ends: list[int], bits: list[float], rooms: Mapping[str | None, int]) -> int:
    """How many demonstrations the cell asks for, or its budget should hold; at most what the context holds."""
    wanted = cell.parameters["shots"]
    if isinstance(wanted, int):
        return min(wanted, len(ends) - 1)
    held = [shots for shots, end in enumerate(ends) if end < len(bits) and bits[end] <= rooms[cell.cell_id]]
    return max(held, default=0)


def _most_shots(cells: Sequence[Cell], decoder_bytes: int) -> int:
    """No more than the cells can use: explicit sizes, or one demonstration for each byte of payload."""
    return max(int(cell.parameters["shots"] or max(1, (cell.budget_bytes or 0) - decoder_bytes)) for cell in cells)


def longest_item(context: EncodeContext, tokenizer: object, splits: Sequence[Split]) -> int:
    """Tokens of the longest item of some splits, as a program meets it."""
    template = Template.of(context.task)
    texts = [template.tail.format(**example.input) for split in splits for example in context.task.split(split)]
    return max(len(ids) for ids in tokenizer(texts).input_ids)  # type: ignore[operator]


FAMILY = InContext()
