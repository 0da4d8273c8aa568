"""Gains as programs: a few trained numbers, shared at random among all gains and biases of the base model.

That the gains of the norms adapt a model well for how few they are is known (arXiv 2302.07937); that weights may share
numbers by chance, too (arXiv 1504.04788). A number is -1, 0 or 1 times one value (arXiv 1605.04711), and training goes
on behind the rounding.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pipeline.cell import Cell
from pipeline.coding.template import Template
from pipeline.errors import InfeasibleError
from pipeline.families.common import over_budget, prompt_constants, within
from pipeline.families.parametric import Learning, training_of
from pipeline.packing import pack
from pipeline.packing.link import Constant
from pipeline.protocols import EncodeContext, Encoded, Program

if TYPE_CHECKING:
    from pipeline.adapt.shared_scales import Rounding
    from pipeline.adapt.train import Adapted, Training
    from pipeline.coding.ternary import Floats

SEARCH = {"text_pipeline": "pipeline.decoder_parts.beams"}
"""The part of programs with several beams."""


@dataclass(frozen=True, kw_only=True)
class Parameters(Learning):
    """Parameters of the family, beside those of all that train.

    Attributes:
        numbers: trained numbers. Each gain and each bias is multiplied by 1 plus one of them, drawn for it.
        kept: how many of them are not 0 in the end, at most; sets the length of the program in the place of a budget.
        lr: peak learning rate of AdamW, large because many weights share a number.
        rounded_epochs: passes over the examples that follow, with the numbers rounded.
        rounded_lr: learning rate of these.
        rounded_decay: weight decay of these: what keeps numbers at 0 that do not pay. At 0.05 about half of them stay.
        beams: of the search for an answer; 1 takes the likeliest token after token.
    """

    numbers: int = 2048
    kept: int | None = None
    examples: int | str = 1024
    epochs: int = 1
    lr: float = 3e-2
    rounded_epochs: int = 1
    rounded_lr: float = 1e-2
    rounded_decay: float = 0.3
    beams: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.numbers < 1:
            raise ValueError(f"numbers is {self.numbers}; it must be at least 1")
        if self.kept is not None and not 1 <= self.kept <= self.numbers:
            raise ValueError(f"kept is {self.kept}; it must be from 1 to numbers, which is {self.numbers}")
        if self.rounded_epochs < 0:
            raise ValueError(f"rounded_epochs is {self.rounded_epochs}; it must be at least 0")
        if self.rounded_lr <= 0:
            raise ValueError(f"rounded_lr is {self.rounded_lr}; it must be above 0")
        if self.rounded_decay < 0:
            raise ValueError(f"rounded_decay is {self.rounded_decay}; it must not be below 0")
        if self.beams < 1:
            raise ValueError(f"beams is {self.beams}; it must be at least 1")


class Packed(NamedTuple):
    """A program and what it rounds to.

    Attributes:
        program: the program.
        kept: how many numbers are not 0 in it.
        rounding: which ones, and what they are.
    """

    program: Program
    kept: int
    rounding: Rounding


class Gains:
    """One training run, and one with rounded numbers for each cell.

    Attributes:
        with_matrices: whether columns of matrices are scaled, too.
    """

    name = "gains"
    version = 7
    view = "parametric"
    parameters: ClassVar[type] = Parameters
    size = "kept"
    has_seed = True
    shared = ("rounded_epochs", "rounded_lr", "rounded_decay", "beams")
    added = ("beams",)
    trains_in_team = False
    decoder = "pipeline.decoders.gains"
    with_matrices = False

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`."""
        import numpy as np

        settings, seed = self.parameters(**cells[0].parameters), cells[0].seed or 0
        model, tokenizer = context.load()
        training = training_of(context, tokenizer, settings, seed)
        constants = {
            **prompt_constants(context.task, Template.of(context.task).head),
            "NUMBERS": settings.numbers,
            "SEED": seed,
        }
        learned = self._train(context, model, np.zeros(settings.numbers, np.float32), seed, training)
        (numbers,) = learned.weights
        seconds = learned.seconds
        trained_tokens = training.tokens_per_epoch * training.epochs
        # Budgets that leave room for all numbers round them alike.
        refined: dict[tuple[object, ...], Adapted] = {}
        for cell in cells:
            started = time.monotonic()
            settings = self.parameters(**cell.parameters)
            rounded = replace(
                training, lr=settings.rounded_lr, epochs=settings.rounded_epochs, weight_decay=settings.rounded_decay
            )
            context.report("round the numbers, and train on")
            packed = self._longest(cell, constants, numbers)
            if isinstance(packed, Encoded):
                yield packed
                continue
            if settings.rounded_epochs:
                seconds += time.monotonic() - started
                way = (packed.rounding, settings.rounded_lr, settings.rounded_epochs, settings.rounded_decay)
                if way not in refined:
                    of_cell = replace(context, checkpoints=context.checkpoints.part(str(cell.cell_id)))
                    try:
                        refined[way] = self._train(of_cell, model, numbers, seed, rounded, packed.rounding)
                    except InfeasibleError as error:
                        yield Encoded(cell=cell, infeasible=f"rounded_lr: {error}")
                        continue
                    seconds += refined[way].seconds
                    trained_tokens += rounded.tokens_per_epoch * rounded.epochs
                started = time.monotonic()
                better = self._longest(cell, constants, refined[way].weights[0], packed.rounding)
                packed = packed if isinstance(better, Encoded) else better
            yield Encoded(
                cell=cell,
                program=packed.program,
                settings={
                    "step": packed.rounding.step,
                    "numbers": settings.numbers,
                    "kept": packed.kept,
                    **learned.facts,
                },
                train_tokens=trained_tokens,
                wall_seconds=seconds + time.monotonic() - started,
            )
            seconds, trained_tokens = 0.0, 0

    def _train(
        self,
        context: EncodeContext,
        model: Any,
        first: Floats,
        seed: int,
        training: Training,
        rounding: Rounding | None = None,
    ) -> Adapted:
        """Numbers trained on from `first`, with the model as they are rounded."""
        from pipeline.adapt.shared_scales import shared_scales
        from pipeline.adapt.train import adapt

        with shared_scales(model, first, seed, rounding, with_matrices=self.with_matrices) as numbers:
            adapted = adapt(model, [numbers], training, context)
        assert adapted is not None
        return adapted

    def _longest(
        self, cell: Cell, constants: Mapping[str, Constant], numbers: Floats, rounding: Rounding | None = None
    ) -> Packed | Encoded:
        """The program that keeps the most of the numbers, the largest first, of those that make it better.

        About the most: among numbers of nearly equal magnitude, to keep more of them can make a program shorter.

        Args:
            cell: says how long it may be, or how many it may keep.
            constants: for its decoder.
            numbers: trained numbers.
            rounding: how they were rounded while they were trained; else as near to them as may be.
        """
        import numpy as np

        from pipeline.adapt.shared_scales import Rounding
        from pipeline.coding.ternary import code_signs, largest, nearest_kept

        magnitudes = np.sort(np.abs(numbers))[::-1]
        beams = self.parameters(**cell.parameters).beams
        parts, more = (SEARCH, {"BEAMS": beams}) if beams > 1 else ({}, {})

        def packed(kept: int) -> Packed:
            rounds = rounding or Rounding(float(magnitudes[kept - 1]), float(f"{magnitudes[:kept].mean():.2g}"))
            coded = code_signs(largest(numbers, kept))
            values = {
                "SLOTS": coded.slots,
                "ZEROS": coded.slots - 2,
                "LEAST": round(1 - rounds.step, 9),
                "RANGE": round(2 * rounds.step, 9),
            }
            return Packed(pack(self.decoder, {**constants, **values, **more}, coded.payload, parts), kept, rounds)

        most = int((magnitudes >= rounding.least).sum()) if rounding else nearest_kept(numbers)
        wanted: Any = cell.parameters["kept"]
        low, high = 1, min(most, wanted or most)
        smallest = packed(low).program
        if not within(smallest, cell.budget_bytes):
            return over_budget(cell, smallest, "all numbers but one left out")
        if within(packed(high).program, cell.budget_bytes):
            return packed(high)
        while low < high:
            middle = (low + high + 1) // 2
            if within(packed(middle).program, cell.budget_bytes):
                low = middle
            else:
                high = middle - 1
        return packed(low)


FAMILY = Gains()
