"""LoRA as a program: the updates of a low-rank adapter, rounded and entropy-coded (arXiv 2106.09685).

What is coded is the difference to the adapter that a seed draws, so an update that rounds to nothing costs next to
nothing. The step of the rounding fills a budget.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.cell import Cell
from pipeline.coding.template import Template
from pipeline.families.common import answer_constants, head_ids, over_budget, train_rows, within
from pipeline.packing import pack
from pipeline.protocols import EncodeContext, Encoded, Program

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters of the family.

    Attributes:
        bits: bits for each weight before entropy coding; sets the length of the program in the place of a budget.
        examples: number of train examples that the adapter is trained on.
        epochs: passes over them.
        lr: peak learning rate of AdamW, with linear decay.
        rank: rank of the adapter.
        alpha: LoRA's alpha: the update is scaled by alpha / rank.
        target_modules: as in peft: `all-linear`, or a regular expression over module names.
    """

    bits: int | None = None
    examples: int = 256
    epochs: int = 2
    lr: float = 3e-3
    rank: int = 1
    alpha: int = 8
    target_modules: str = "all-linear"

    def __post_init__(self) -> None:
        if self.bits is not None and not 2 <= self.bits <= 8:
            raise ValueError(f"bits is {self.bits}; allowed: 2 to 8")
        for name in ("examples", "epochs", "rank", "alpha"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.lr <= 0:
            raise ValueError(f"lr is {self.lr}; it must be above 0")


class Lora:
    """One training run for all budgets and bits a weight."""

    name = "lora"
    version = 1
    view = "parametric"
    parameters = Parameters
    size = "bits"
    has_seed = True
    shared = ()

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`."""
        from pipeline.adapt import adapt
        from pipeline.coding.numbers import encode_numbers, step_for_bits, steps, to_integers
        from pipeline.decoder_parts.adapt import add_adapter

        started = time.monotonic()
        task, settings, seed = context.task, Parameters(**cells[0].parameters), cells[0].seed or 0  # type: ignore[arg-type]
        model, tokenizer = context.load()
        rows = train_rows(task, tokenizer, seed, settings.examples)
        head = head_ids(task, tokenizer)
        model, adapter = add_adapter(model, seed, settings.rank, settings.alpha, settings.target_modules)
        drawn = [weight.detach().clone() for weight in adapter]
        adapt(model, adapter, head, rows, lr=settings.lr, epochs=settings.epochs, seed=seed, report=context.report)
        updates = [(weight.detach() - start).numpy() for weight, start in zip(adapter, drawn, strict=True)]
        template = Template.of(task)
        constants = {
            **answer_constants(task, tokenizer),
            "RANK": settings.rank,
            "ALPHA": settings.alpha,
            "TARGET_MODULES": settings.target_modules,
            "HEAD": template.head,
            "SEED": seed,
        }

        def program(step: float, largest: int) -> Program:
            payload = encode_numbers(to_integers(updates, step, largest))
            return pack("pipeline.decoders.adapter", {**constants, "STEP": step}, payload)

        def finest(cell: Cell) -> tuple[Program, float] | Encoded:
            """The program with the finest step that keeps the budget: its length falls as the step grows."""
            ladder = steps(updates)
            low, high = 0, len(ladder) - 1
            smallest = program(ladder[high], 127)
            if not within(smallest, cell.budget_bytes):
                return over_budget(cell, smallest, "every update rounded to nothing")
            while low < high:
                middle = (low + high) // 2
                if within(program(ladder[middle], 127), cell.budget_bytes):
                    high = middle
                else:
                    low = middle + 1
            return program(ladder[high], 127), ladder[high]

        trained_tokens = sum(map(len, rows)) * settings.epochs
        for cell in cells:
            context.report("round and code the adapter")
            bits = cell.parameters["bits"]
            if isinstance(bits, int):
                largest = 2 ** (bits - 1) - 1
                step = step_for_bits(updates, largest)
                result: tuple[Program, float] | Encoded = (program(step, largest), step)
            else:
                result = finest(cell)
            if isinstance(result, Encoded):
                yield result
                continue
            packed, step = result
            now = time.monotonic()
            yield Encoded(
                cell=cell,
                program=packed,
                settings={"step": step, "numbers": sum(update.size for update in updates)},
                train_tokens=trained_tokens,
                wall_seconds=now - started,
            )
            started, trained_tokens = now, 0


FAMILY = Lora()
