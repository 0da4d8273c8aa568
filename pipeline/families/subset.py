"""Subset training: a few training examples, coded under the model that is being trained on them (arXiv 1802.07044).

The program decodes the examples in blocks that grow, each under a frozen state of the model, trains a low-rank
adapter on the block, and after the last block on all of them again.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.cell import Cell, Scalar
from pipeline.coding.template import Template
from pipeline.families.common import (
    ALL,
    answer_constants,
    check_examples,
    check_modules,
    head_ids,
    over_budget,
    told_by_peft,
    train_rows,
    unfreeze,
    within,
)
from pipeline.packing import pack
from pipeline.protocols import EncodeContext, Encoded, Program

if TYPE_CHECKING:
    from pipeline.coding.examples import Coded

FIRST_BLOCK, LARGEST_BLOCK = 8, 256
STATE_FILE = "state.pt"
SPARE_BITS = 8 * 64
"""Room for what the decoder of another number of examples deflates to, and for the checksum of the payload."""
ADAPTERS = {"adapter": "pipeline.decoder_parts.adapt", "all": "pipeline.decoder_parts.whole"}
"""Weights that a program trains -> the part that makes them ready."""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters of the family.

    Attributes:
        examples: number of training examples, or `all`; sets the length of the program in the place of a budget.
        epochs: passes over the examples, the one that decodes them included.
        lr: learning rate of AdamW.
        weights: `adapter` trains a low-rank adapter, `all` every weight of the base model: full fine-tuning as a
            program of the size of its data.
        rank: rank of the adapter.
        alpha: LoRA's alpha: the update is scaled by alpha / rank.
        target_modules: as in peft: `all-linear`, or a regular expression over module names.
    """

    examples: int | str | None = None
    epochs: int = 3
    lr: float = 1e-3
    weights: str = "adapter"
    rank: int = 8
    alpha: int = 8
    target_modules: str = "all-linear"

    def __post_init__(self) -> None:
        check_examples(self.examples)
        check_modules(self.target_modules)
        for name in ("epochs", "rank", "alpha"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.weights not in ADAPTERS:
            raise ValueError(f"weights is {self.weights!r}; allowed: {', '.join(ADAPTERS)}")
        if self.lr <= 0:
            raise ValueError(f"lr is {self.lr}; it must be above 0")


class Subset:
    """Examples in a random order; cells that differ in size or epochs share one coding pass."""

    name = "subset"
    version = 6
    view = "data"
    parameters: type[Parameters] = Parameters
    size = "examples"
    has_seed = True
    shared = ("epochs",)
    trains_in_team = False
    decoder = "pipeline.decoders.subset"

    def changes_base(self, parameters: Mapping[str, Scalar]) -> bool:
        """See `protocols.Family`."""
        return parameters["weights"] == "all"

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`."""
        import torch

        settings, seed = self.parameters(**cells[0].parameters), cells[0].seed or 0  # type: ignore[arg-type]
        model, tokenizer = context.load()
        unfreeze(model)  # who used it before may have frozen it
        start = self.start(context, settings, seed, _most_examples(cells))
        rows = leading(start.rows, self.room(model) - len(start.prefix))
        reason = (
            f"an example behind {len(start.prefix)} tokens does not fit: the context has room for {self.room(model)}"
        )
        too_long = [cell for cell in cells if not rows or least_examples(cell, len(start.rows)) > len(rows)]
        yield from (Encoded(cell=cell, infeasible=reason) for cell in too_long)
        cells = [cell for cell in cells if cell not in too_long]
        if not cells:
            return
        programs = _Programs(context, tokenizer, self.decoder, start.shown)
        add_adapter = import_module(ADAPTERS[settings.weights]).add_adapter
        with told_by_peft(model, settings.target_modules):
            adapted, adapter = add_adapter(model, seed, settings.rank, settings.alpha, settings.target_modules)
        try:
            learner = _Learner(adapted, adapter, torch.optim.AdamW(adapter, settings.lr), start.prefix, start.coded)
            yield from _fill_all(context, cells, rows, learner, programs)
        finally:
            if adapted is not model:
                adapted.unload()

    def room(self, model: Any) -> float:
        """Tokens of the longest text to train on, prefix included."""
        from pipeline.adapt.positions import longest_text

        return longest_text(model)

    def start(self, context: EncodeContext, settings: Parameters, seed: int, most: int | str) -> Start:
        """What stands before the first block; a family that shows examples has its own.

        Args:
            context: task and base model.
            settings: the family's parameters.
            seed: of the order of the train split.
            most: how many rows the cells can use, or `all`.
        """
        from pipeline.coding.examples import Coded

        tokenizer = context.load()[1]
        rows = train_rows(context.task, tokenizer, seed, most)
        return Start(head_ids(context.task, tokenizer), [], Coded([], 0.0), rows)


class Start(NamedTuple):
    """The state before the first block.

    Attributes:
        prefix: token ids that stand before every example and every item.
        shown: token ids of what the payload holds of the prefix [rows][tokens].
        coded: the stream that holds it.
        rows: token ids of the examples to train on, in their order [examples][tokens].
    """

    prefix: list[int]
    shown: list[list[int]]
    coded: Coded
    rows: list[list[int]]


class _Learner:
    """The model that codes and learns, and the stream so far: all that a checkpoint holds."""

    def __init__(self, model: Any, adapter: list[Any], optimizer: Any, head: list[int], coded: Coded) -> None:
        self.model, self.adapter, self.optimizer, self.head = model, adapter, optimizer, head
        self.coded = coded
        self.done = 0
        self.trained_tokens = 0

    def train(self, block: list[list[int]]) -> None:
        """Trains on a block, as the decoder does."""
        from pipeline.decoder_parts.adapt import train

        train(self.model, self.optimizer, self.head, block)
        self.done += len(block)
        self.trained_tokens += sum(map(len, block))

    def save(self, folder: Path) -> None:
        """Writes adapter, optimiser and stream."""
        from pipeline.adapt.state import save_state

        state = {
            "adapter": [weight.detach() for weight in self.adapter],
            "optimizer": self.optimizer.state_dict(),
            "intervals": [tuple(interval) for interval in self.coded.intervals],
            "nll_bits": self.coded.nll_bits,
            "done": self.done,
            "trained_tokens": self.trained_tokens,
        }
        save_state(state, folder / STATE_FILE)

    def load(self, folder: Path) -> None:
        """Reads what `save` wrote."""
        import torch

        from pipeline.coding.arithmetic import Interval
        from pipeline.coding.examples import Coded

        state = torch.load(folder / STATE_FILE, weights_only=True)
        with torch.no_grad():
            for weight, saved in zip(self.adapter, state["adapter"], strict=True):
                weight.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.coded = Coded([Interval(*interval) for interval in state["intervals"]], state["nll_bits"])
        self.done, self.trained_tokens = state["done"], state["trained_tokens"]


def _fill_all(
    context: EncodeContext, cells: Sequence[Cell], rows: list[list[int]], learner: _Learner, programs: _Programs
) -> Iterator[Encoded]:
    """Programs of all cells, the shortest first, block after block."""
    from pipeline.coding.examples import estimate_bits

    started, trained_before = time.monotonic(), 0
    waiting = list(cells)
    ids = [cell.cell_id for cell in cells]
    if cursor := context.checkpoints.restore(learner.load, lambda cursor: set(ids) <= set(cursor["waiting"])):
        started -= cursor["seconds"]
        trained_before = cursor["trained_before"]
    while waiting:
        done = learner.done
        block = rows[done : done + min(max(FIRST_BLOCK, done), LARGEST_BLOCK)]
        context.report(f"code examples {done + 1} to {done + len(block)}")
        guesses = estimate_bits(learner.model, learner.head, block) if block else []
        stream = _Stream(learner, programs.shown, rows[:done], block)

        still = []
        for cell in waiting:
            if _plainly_waits(cell, done, guesses, stream, programs):
                still.append(cell)
                continue
            number, encoded = _fill(cell, done, guesses, stream, programs)
            if block and number == len(block) and cell.parameters["examples"] != done + number:
                still.append(cell)
                continue
            now = time.monotonic()
            yield replace(encoded, train_tokens=learner.trained_tokens - trained_before, wall_seconds=now - started)
            started, trained_before = now, learner.trained_tokens
        waiting = still
        if waiting:
            learner.coded = stream.coded(len(block))
            context.report(f"train on examples {done + 1} to {done + len(block)}")
            learner.train(block)
            cursor_now = functools.partial(_cursor, learner.done, waiting, started, trained_before)
            context.checkpoints.save_if_due(learner.save, cursor_now)


def _cursor(done: int, waiting: Sequence[Cell], started: float, trained_before: int) -> dict[str, Any]:
    """Cells that the checkpoint can still make, and what was spent when the last one was made."""
    return {
        "steps": done,
        "waiting": [cell.cell_id for cell in waiting],
        "seconds": time.monotonic() - started,
        "trained_before": trained_before,
    }


class _Stream:
    """The stream and the examples after the first few of a block; what was made for one cell serves the others."""

    def __init__(
        self, learner: _Learner, shown: list[list[int]], done: list[list[int]], block: list[list[int]]
    ) -> None:
        self.before, self.learner, self.shown, self.done, self.block = learner.coded, learner, shown, done, block
        self.coded, self.payload = functools.cache(self._coded), functools.cache(self._payload)

    def examples(self, number: int) -> list[list[int]]:
        """Examples to train on, up to the first `number` of the block."""
        return self.done + self.block[:number]

    def _coded(self, number: int) -> Coded:
        from pipeline.coding.examples import code_examples

        if not number:
            return self.before
        return self.before + code_examples(self.learner.model, self.learner.head, self.block[:number])

    def _payload(self, number: int) -> bytes:
        return self.coded(number).payload(self.shown + self.examples(number))


class _Programs:
    """Packs the program of a cell around a payload."""

    def __init__(self, context: EncodeContext, tokenizer: Any, decoder: str, shown: list[list[int]]) -> None:
        template = Template.of(context.task)
        self.tokenizer, self.decoder, self.shown = tokenizer, decoder, shown
        self.constants = {
            **answer_constants(context.task, tokenizer),
            "HEAD": template.head,
            "STOPS": template.stops,
        }
        self._room: dict[str, int] = {}

    def room_bits(self, cell: Cell) -> int:
        """What the budget of a cell leaves for a stream, but for some bytes: decoders differ by how they deflate."""
        assert cell.budget_bytes is not None
        key = str(cell.cell_id)
        if key not in self._room:  # packed once, not for every block
            self._room[key] = 8 * (cell.budget_bytes - self.decoder_bytes(cell, 1))
        return self._room[key]

    def decoder_bytes(self, cell: Cell, examples: int) -> int:
        """All of a program but its payload, where that fills the budget."""
        assert cell.budget_bytes is not None
        return len(self.pack(cell, examples, b"x" * cell.budget_bytes).content) - cell.budget_bytes

    def pack(self, cell: Cell, examples: int, payload: bytes) -> Program:
        parameters = {name.upper(): value for name, value in cell.parameters.items() if name != "weights"}
        values = {**self.constants, **parameters, "EXAMPLES": examples, "SEED": cell.seed}
        parts = {"add_adapter": ADAPTERS[str(cell.parameters["weights"])]}
        return pack(self.decoder, values, payload, parts)  # type: ignore[arg-type]


def _plainly_waits(cell: Cell, done: int, guesses: list[float], stream: _Stream, programs: _Programs) -> bool:
    """Whether a cell holds more than the coming block, as is seen without a program.

    A payload takes time with the square of its length, and all of them but the last would be thrown away.
    """
    wanted = cell.parameters["examples"]
    if not guesses:
        return False
    if wanted is not None:
        return wanted == ALL or int(wanted) > done + len(guesses)
    room_bits = programs.room_bits(cell) - SPARE_BITS
    if stream.before.nll_bits + sum(guesses) > room_bits:
        return False
    # A cell that waits codes the block in any case; a guess alone must not let its budget pass by.
    return stream.coded(len(guesses)).nll_bits <= room_bits


def _fill(cell: Cell, done: int, guesses: list[float], stream: _Stream, programs: _Programs) -> tuple[int, Encoded]:
    """The program of a cell with as many examples of the coming block as it holds, and their number."""
    number = _first_guess(cell, done, guesses, stream.before, programs)
    while True:
        used, payload = stream.examples(number), stream.payload(number)
        program = programs.pack(cell, len(used), payload)
        if number == 0 or within(program, cell.budget_bytes):
            break
        number -= 1
    if not used:
        return 0, over_budget(cell, programs.pack(cell, 1, stream.payload(1)), "one example")
    return number, Encoded(
        cell=cell,
        program=program,
        nll_bits=stream.coded(number).nll_bits,
        coded_bits=8 * len(payload),
        payload_text="\n".join(programs.tokenizer.batch_decode(programs.shown + used)),
        settings={"examples": len(used)},
    )


def _first_guess(cell: Cell, done: int, guesses: list[float], coded: Coded, programs: _Programs) -> int:
    """How many examples of the block the cell asks for, or how many its budget should hold."""
    wanted = cell.parameters["examples"]
    if wanted == ALL:
        return len(guesses)
    if isinstance(wanted, int):
        return min(wanted - done, len(guesses))
    assert cell.budget_bytes is not None
    decoder_bytes = programs.decoder_bytes(cell, done + len(guesses))
    room_bits = 8 * (cell.budget_bytes - decoder_bytes) - 16 - coded.nll_bits
    number = 0
    while number < len(guesses) and sum(guesses[: number + 1]) <= room_bits:
        number += 1
    return number


def leading(rows: Sequence[list[int]], room: float) -> list[list[int]]:
    """The rows before the first one that is too long."""
    return list(itertools.takewhile(lambda row: len(row) <= room, rows))


def least_examples(cell: Cell, there: int) -> int:
    """Examples that the program of a cell must have, of those that are there."""
    wanted = cell.parameters["examples"]
    return there if wanted == ALL else min(int(wanted or 1), there)


def _most_examples(cells: Sequence[Cell]) -> int | str:
    """No more rows than the cells can use: explicit sizes, or one example a byte of the largest budget."""
    if any(cell.parameters["examples"] == ALL for cell in cells):
        return ALL
    return max(int(cell.parameters["examples"] or cell.budget_bytes or 0) for cell in cells)


FAMILY = Subset()
