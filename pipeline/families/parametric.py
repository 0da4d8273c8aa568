"""What the parametric families share: train weights once, then round and entropy-code their updates for every cell.

The step of the rounding fills a budget.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pipeline.cell import Cell
from pipeline.coding.template import Template
from pipeline.families.common import check_examples, head_ids, over_budget, prompt_constants, within, worked_examples
from pipeline.packing import pack
from pipeline.packing.link import Constant
from pipeline.protocols import EncodeContext, Encoded, Program

if TYPE_CHECKING:
    from pipeline.adapt.engines import Floats
    from pipeline.adapt.train import Training

PRECISIONS = ("fp32", "bf16")
RAW_BITS = 16
"""Bits of a number that is written as it is, in half precision, and neither rounded to a step nor coded."""
RAW_PARTS = {"add_numbers": "pipeline.decoder_parts.halves"}
"""What a decoder then reads numbers with."""


@dataclass(frozen=True, kw_only=True)
class Learning:
    """Parameters of every family whose encoder trains weights.

    Attributes:
        examples: number of train examples that the weights are trained on, or `all`.
        epochs: passes over them.
        batch: examples of one step of the optimiser, of all processes together.
        lr: peak learning rate of AdamW, with linear decay.
        precision: fp32, or bf16 for products in bfloat16 and sums in fp32; fp32 as well on a processor that has no
            such products.
    """

    examples: int | str = 256
    epochs: int = 2
    batch: int = 8
    lr: float = 3e-3
    precision: str = "fp32"

    def __post_init__(self) -> None:
        check_examples(self.examples)
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.lr <= 0:
            raise ValueError(f"lr is {self.lr}; it must be above 0")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; allowed: {', '.join(PRECISIONS)}")


@dataclass(frozen=True, kw_only=True)
class TrainingParameters(Learning):
    """Parameters of every family that writes the updates of weights.

    Attributes:
        bits: bits for each weight before entropy coding, or 16 for updates in half precision as they are; sets the
            length of the program in the place of a budget.
    """

    bits: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits is not None and not 2 <= self.bits <= 8 and self.bits != RAW_BITS:
            raise ValueError(f"bits is {self.bits}; allowed: 2 to 8, and {RAW_BITS} for numbers as they are")


def training_of(context: EncodeContext, tokenizer: Any, settings: Learning, seed: int, **more: float) -> Training:
    """What a model is trained on and how, by the parameters of a family and whatever it has more."""
    from pipeline.adapt.train import Training

    return Training(
        head=head_ids(context.task, tokenizer),
        examples=worked_examples(context.task, tokenizer, seed, settings.examples),
        lr=settings.lr,
        epochs=settings.epochs,
        batch=settings.batch,
        bf16=settings.precision == "bf16",
        seed=seed,
        **more,
    )


class Start(NamedTuple):
    """A model that is ready for training.

    Attributes:
        model: the model.
        weights: what is trained, in the order in which the decoder adds the updates.
        constants: what the decoder needs to make the same weights, beside the template of the task.
        payload: what the decoder reads before the updates.
        facts: of `Encoded`: what is to be told about that payload.
    """

    model: Any
    weights: list[Any]
    constants: Mapping[str, Constant]
    payload: bytes = b""
    facts: Mapping[str, Any] = MappingProxyType({})


class Parametric:
    """One training run for all budgets and bits a weight."""

    version = 8
    view = "parametric"
    size = "bits"
    has_seed = True
    shared = ()
    trains_in_team = True
    parameters: ClassVar[type]
    decoder: ClassVar[str]

    def prepare(self, context: EncodeContext, settings: Any, seed: int) -> AbstractContextManager[Start]:
        """The weights that are trained; takes away again what it has added to the model."""
        raise NotImplementedError

    def training(self, context: EncodeContext, tokenizer: Any, settings: Any, seed: int) -> tuple[str, Training]:
        """Text before every item, and what is learned behind it."""
        return Template.of(context.task).head, training_of(context, tokenizer, settings, seed)

    def answering(self, context: EncodeContext, tokenizer: Any, head: str) -> Mapping[str, Constant]:
        """What the decoder answers with, behind a text."""
        return prompt_constants(context.task, head)

    def pieces(self, updates: list[Floats]) -> list[Floats]:
        """The updates in the tensors that the decoder adds to; each is coded with a width of its own."""
        return updates

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`."""
        from pipeline.adapt.train import adapt

        settings, seed = self.parameters(**cells[0].parameters), cells[0].seed or 0
        _, tokenizer = context.load()
        head, training = self.training(context, tokenizer, settings, seed)
        with self.prepare(context, settings, seed) as start:
            before = [weight.detach().cpu().numpy().copy() for weight in start.weights]
            adapted = adapt(start.model, start.weights, training, context)
        if adapted is None:
            return  # the first process of the team makes the programs
        updates = [weight - first for weight, first in zip(adapted.weights, before, strict=True)]
        del before, adapted.weights[:]
        constants = {**self.answering(context, tokenizer, head), **start.constants}
        start = start._replace(constants=constants, weights=[])
        yield from self._programs(context, cells, self.pieces(updates), start, training, adapted.seconds, adapted.facts)

    def _programs(
        self,
        context: EncodeContext,
        cells: Sequence[Cell],
        updates: list[Floats],
        start: Start,
        training: Training,
        train_seconds: float,
        facts: Mapping[str, Any],
    ) -> Iterator[Encoded]:
        """A program for each cell around updates that are as fine as it may be long."""
        from pipeline.coding.numbers import (
            encode_halves,
            encode_numbers,
            nearest_scale,
            step_for_bits,
            steps,
            to_integers,
        )

        def program(step: float, largest: int) -> tuple[Program, float]:
            integers = to_integers(updates, step, largest)
            scale = nearest_scale(updates, integers)
            payload = start.payload + encode_numbers(integers)
            return pack(self.decoder, {**start.constants, "STEP": scale}, payload), scale

        def fixed(bits: int) -> tuple[Program, float]:
            if bits == RAW_BITS:
                payload = start.payload + encode_halves(updates)
                return pack(self.decoder, {**start.constants, "STEP": 1.0}, payload, RAW_PARTS), 1.0
            largest = 2 ** (bits - 1) - 1
            return program(step_for_bits(updates, largest), largest)

        def finest(cell: Cell) -> tuple[Program, float] | Encoded:
            """The program with the finest step that keeps the budget: its length falls as the step grows."""
            ladder = steps(updates)
            low, high = 0, len(ladder) - 1
            smallest, _ = program(ladder[high], 127)
            if not within(smallest, cell.budget_bytes):
                return over_budget(cell, smallest, "every update rounded to nothing")
            while low < high:
                middle = (low + high) // 2
                if within(program(ladder[middle], 127)[0], cell.budget_bytes):
                    high = middle
                else:
                    low = middle + 1
            return program(ladder[high], 127)

        started = time.monotonic() - train_seconds
        trained_tokens = training.tokens_per_epoch * training.epochs
        for cell in cells:
            context.report("round and code the updates")
            bits = cell.parameters["bits"]
            result = fixed(bits) if isinstance(bits, int) else finest(cell)
            if isinstance(result, Encoded):
                yield result
                continue
            packed, step = result
            now = time.monotonic()
            yield Encoded(
                cell=cell,
                program=packed,
                settings={"step": step, "numbers": sum(update.size for update in updates), **facts},
                **start.facts,
                train_tokens=trained_tokens,
                wall_seconds=now - started,
            )
            started, trained_tokens = now, 0
