"""What a task and a program family must offer, and the values that pass between them and the worker. Types only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pipeline.cell import Cell
from pipeline.checkpoints import Checkpoints
from pipeline.resources import Resources

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One item of a task.

    Attributes:
        input: the raw fields that a program is given, without any instruction of ours.
        target: what the scorer compares with; on the train split also the text that a program may learn from.
    """

    input: Mapping[str, str]
    target: str


class Task(Protocol):
    """Data, prompt and scorer of one task. Importing a task's module loads no data and no heavy library.

    A task that reads data of the hub may have one more attribute, `hub_repos`; see `pipeline.hub`.
    """

    @property
    def name(self) -> str:
        """Name in a grid."""
        ...

    @property
    def version(self) -> int:
        """Changes when a score of the same program could."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names in `pipeline.metrics.METRICS`; the first is the performance of the task."""
        ...

    @property
    def template(self) -> str:
        """`str.format` template over the input fields. Starts with literal text, ends where the answer starts."""
        ...

    @property
    def stop(self) -> str:
        """A program's answer ends before this text; it ends every worked example. No train field contains it."""
        ...

    @property
    def max_new_tokens(self) -> int:
        """Longest answer."""
        ...

    @property
    def copy_field(self) -> str:
        """The input field that the `trivial` family repeats as its answer."""
        ...

    @property
    def instruction(self) -> str:
        """Fixed text of the `urial` family: what to do, ending with a newline; two worked examples follow it."""
        ...

    @property
    def licence(self) -> str:
        """Licence of the data."""
        ...

    def split(self, name: Split) -> Sequence[Example]:
        """All items of a split, in a fixed order whose every prefix is a fair sample.

        Raises:
            UserError: the data is not there; the message says how to get it.
        """
        ...

    def score(self, output: str, example: Example) -> Mapping[str, Sequence[float]]:
        """Sufficient statistics of one item for each of `metrics`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A packed program file and the parts of its length.

    `len(content) == decoder_bytes + payload_bytes + container_bytes`.
    """

    content: bytes
    decoder_bytes: int
    payload_bytes: int
    container_bytes: int
    sha256: str

    @property
    def length_bits(self) -> int:
        """8 x the size of the file."""
        return 8 * len(self.content)


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """What a family made of one cell: a program, or the reason why there is none.

    Attributes:
        cell: the cell.
        program: the packed program, None where the cell is infeasible.
        infeasible: why no program of this cell exists, None where there is one.
        nll_bits: ideal length of the model-coded part of the payload under the model that codes it, None without one.
        coded_bits: real length of that part, its check included.
        payload_text: the payload as text for people, None where it is none.
        settings: what the encoder chose to fill the budget (number of examples, quantisation step ...).
        train_tokens: tokens that the encoder trained on.
        wall_seconds: time of the encoder for this cell, shared work counted once, in the first cell that needed it.
    """

    cell: Cell
    program: Program | None = None
    infeasible: str | None = None
    nll_bits: float | None = None
    coded_bits: int | None = None
    payload_text: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    train_tokens: int = 0
    wall_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeContext:
    """What the worker hands to a family.

    Attributes:
        task: the task of all the cells.
        model_folder: staged folder of the base model of all the cells.
        load: gives (model, tokenizer), freshly loaded with the same code that a decoder uses.
        tokenizer: gives the tokenizer alone.
        report: called with one short line whenever the stage of the work changes.
        resources: processes and memory that adaptation may use.
        micro_batch: examples that one process takes at a time, None for all of its share of a batch.
        checkpoints: of these cells.
    """

    task: Task
    model_folder: Path
    load: Callable[[], tuple[Any, Any]]
    tokenizer: Callable[[], Any]
    report: Callable[[str], None]
    resources: Resources
    micro_batch: int | None
    checkpoints: Checkpoints


class Family(Protocol):
    """A way to build programs. Importing a family's module imports no heavy library: `encode` does so when called.

    A family whose programs write to the linear layers of the base model has one more method,
    `changes_base(parameters) -> bool`: whether they do with these. Weights of 4 bits cannot be changed.

    A family that got a parameter after it had made programs names it in one more attribute, `added: tuple[str, ...]`.
    At its default such a parameter is no part of the identity of a cell: what was made without it stays.
    """

    name: str
    version: int
    """Changes when the program file of the same cell could."""
    view: str
    """The argument of the hypothesis that the family stands for: `floor`, `inference`, `data`, `parametric`, or
    `combined` for two of them."""
    parameters: type
    """Frozen keyword-only dataclass with a default for every field; `__post_init__` raises ValueError on bad values."""
    size: str | None
    """The parameter that sets the length of a program and so stands in the place of a budget, None without one."""
    has_seed: bool
    """False where no seed can change the program: such cells appear once, with a null seed."""
    shared: tuple[str, ...]
    """Parameters in which cells may differ and still be encoded in one call (the size, besides, always may)."""
    trains_in_team: bool
    """Whether several processes can adapt the model together: `encode` then runs in all of them, and those after the
    first one yield nothing."""

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """Programs of cells that agree in task, base model, seed and all parameters but the `shared` ones.

        Yields each cell as soon as its program exists, so that it can be executed and committed.
        """
        ...
