"""What the encoders of several families need. Imports no heavy library when it is imported."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.cell import Cell, format_bytes
from pipeline.coding.template import Template, Worked, num_special_tokens, worked
from pipeline.errors import InfeasibleError
from pipeline.packing import pack
from pipeline.packing.link import Constant
from pipeline.protocols import EncodeContext, Encoded, Example, Program, Task


def prompt_constants(task: Task, prefix: str) -> dict[str, Constant]:
    """Placeholders of every decoder that answers behind a text: what stands before the first field of an item."""
    escaped = prefix.replace("{", "{{").replace("}", "}}")
    return {"PROMPT": escaped + Template.of(task).tail, "STOP": task.stop, "MAX_NEW_TOKENS": task.max_new_tokens}


def answer_constants(task: Task, tokenizer: Any) -> dict[str, Constant]:
    """Placeholders of every decoder that answers behind tokens, which it has decoded."""
    return {
        "TAIL": Template.of(task).tail,
        "STOP": task.stop,
        "MAX_NEW_TOKENS": task.max_new_tokens,
        "SKIP": num_special_tokens(tokenizer),
    }


def longest_sequence(model: Any) -> int:
    """Tokens that a row of a program that decodes may have, prompt and answer: what all layers of the model see.

    That is the context, or a smaller window of some layers: the loop of such programs (`decoder_parts.stream`) shows
    all of a row to all layers.
    """
    config = model.config
    context: int = config.max_position_embeddings
    layers, window = getattr(config, "layer_types", None), getattr(config, "sliding_window", None)
    # Without a list of layers the window is that of all of them.
    is_narrow = "sliding_attention" in layers if layers else getattr(config, "use_sliding_window", window is not None)
    return min(context, window) if is_narrow and window is not None else context


def shuffled_train(task: Task, seed: int) -> list[Example]:
    """The train split in the order that a seed gives it."""
    examples = list(task.split("train"))
    random.Random(seed).shuffle(examples)
    return examples


ALL = "all"
"""Number of examples that stands for the whole train split."""


def check_examples(examples: int | str | None) -> None:
    """Refuses what is no number of train examples.

    Raises:
        ValueError: neither a whole number of at least 1 nor `all`.
    """
    if isinstance(examples, str) and examples != ALL:
        raise ValueError(f"examples is {examples!r}; it must be a whole number, or {ALL}")
    if isinstance(examples, int) and examples < 1:
        raise ValueError(f"examples is {examples}; it must be at least 1")


def check_modules(target_modules: str) -> None:
    """Refuses what peft could not search for among the names of modules.

    Raises:
        ValueError: neither `all-linear` nor a regular expression.
    """
    if not target_modules:
        raise ValueError("target_modules is empty; give all-linear, or a regular expression over names of modules")
    try:
        re.compile(target_modules)
    except re.error as error:
        raise ValueError(f"target_modules is {target_modules!r}, which is no regular expression: {error}") from error


@contextmanager
def told_by_peft(model: Any, target_modules: str) -> Iterator[None]:
    """While peft adds to a model: turns its refusal of the modules into the reason that there is no program.

    Raises:
        InfeasibleError: `target_modules` matches no module, or one of a kind that is not adapted.
    """
    matrices = [
        name for name, module in model.named_modules() if getattr(getattr(module, "weight", None), "ndim", 0) == 2
    ]
    try:
        yield
    except ValueError as error:
        said = str(error).partition(". ")[0]
        raise InfeasibleError(
            f"target_modules is {target_modules!r}, which must match the whole names of modules that can be adapted: "
            f"{said}. Some of this model are {', '.join(matrices[1:5])}"
        ) from error


def worked_examples(task: Task, tokenizer: Any, seed: int, number: int | str) -> list[Worked]:
    """The first `number` worked examples of the train split in the order of a seed, or all of them."""
    template = Template.of(task)
    number = len(task.split("train")) if isinstance(number, str) else number
    return [worked(tokenizer, template, example) for example in shuffled_train(task, seed)[:number]]


def train_rows(task: Task, tokenizer: Any, seed: int, number: int | str) -> list[list[int]]:
    """Token ids of `worked_examples`: [examples][tokens]."""
    return [example.tokens for example in worked_examples(task, tokenizer, seed, number)]


def head_ids(task: Task, tokenizer: Any) -> list[int]:
    """Token ids of the head of the task's template.

    Raises:
        ValueError: fewer than two tokens (the decoder's loop needs one to look back at and one to start from), or
            the stop text among them (examples could not be told apart).
    """
    head = Template.of(task).head
    if task.stop in head:
        raise ValueError(f"the template of {task.name} has the stop text {task.stop!r} before its first field")
    ids: list[int] = tokenizer(head).input_ids
    if len(ids) < 2:
        raise ValueError(f"the template of {task.name} must start with at least two tokens of literal text")
    return ids


def unfreeze(model: Any) -> None:
    """Lets every weight have a gradient, as when it is loaded; those that are rounded to 4 bits cannot have one."""
    for weight in model.parameters():
        weight.requires_grad_(weight.is_floating_point())


def over_budget(cell: Cell, smallest: Program, what: str) -> Encoded:
    """The cell that has no program, because the smallest one passes its budget."""
    assert cell.budget_bytes is not None
    size = format_bytes(len(smallest.content))
    return Encoded(
        cell=cell,
        infeasible=f"the smallest program, with {what}, is {size}; the budget is {format_bytes(cell.budget_bytes)}",
    )


def within(program: Program, budget_bytes: int | None) -> bool:
    """Whether a program keeps a budget; no budget is always kept."""
    return budget_bytes is None or len(program.content) <= budget_bytes


def one_program(
    context: EncodeContext, cells: Sequence[Cell], decoder: str, constants: Mapping[str, Constant]
) -> Encoded:
    """The program without payload of a family that makes one program a call."""
    (cell,) = cells
    context.report("pack")
    return Encoded(cell=cell, program=pack(decoder, constants))
