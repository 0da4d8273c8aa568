"""Subset training behind demonstrations that stay in the prompt: in-context tuning (arXiv 2110.07814) in a program.

The program decodes a few demonstrations under the base model, each with those before it in context. They stand before
every later example, when it is coded and when it is trained on, and before every item.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.cell import Cell
from pipeline.coding.template import num_special_tokens
from pipeline.families import subset
from pipeline.families.common import head_ids, longest_sequence, train_rows
from pipeline.families.icl import longest_item
from pipeline.protocols import EncodeContext, Encoded


@dataclass(frozen=True, kw_only=True)
class Parameters(subset.Parameters):
    """Parameters of the family, beside those of `subset`.

    Attributes:
        shown: number of demonstrations; `examples` counts those that are trained on behind them.
    """

    shown: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shown < 1:
            raise ValueError(f"shown is {self.shown}; it must be at least 1 (family subset shows none)")


class Taught(subset.Subset):
    """The first examples of a random order are shown, the next ones trained on."""

    name = "taught"
    version = 5
    parameters = Parameters
    decoder = "pipeline.decoders.taught"

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`."""
        model, tokenizer = context.load()
        shown, room = int(cells[0].parameters["shown"]), self.room(model)  # type: ignore[arg-type]
        rows = train_rows(context.task, tokenizer, cells[0].seed or 0, shown)
        longest = longest_item(context, tokenizer, ("validation",)) + context.task.max_new_tokens
        head = head_ids(context.task, tokenizer)
        needed = len(head) + len(_joined([*rows, []], head)) + longest
        num_examples = len(context.task.split("train"))
        if num_examples <= shown or needed > room:
            reason = (
                f"{shown} demonstrations and an item behind them need {needed} tokens; the context has room for "
                f"{room}, and there are {num_examples} examples"
            )
            yield from (Encoded(cell=cell, infeasible=reason) for cell in cells)
        else:
            yield from super().encode(context, cells)

    def room(self, model: Any) -> int:
        """See `Subset.room`: what stands before an example is the prompt, so that it is bounded as a prompt is."""
        return longest_sequence(model)

    def start(self, context: EncodeContext, settings: subset.Parameters, seed: int, most: int | str) -> subset.Start:
        """See `Subset.start`."""
        from pipeline.coding.examples import code_examples

        assert isinstance(settings, Parameters)
        model, tokenizer = context.load()
        head = head_ids(context.task, tokenizer)
        between = head[num_special_tokens(tokenizer) :]
        rows = train_rows(context.task, tokenizer, seed, most if isinstance(most, str) else most + settings.shown)
        demonstrations = _joined(rows[: settings.shown], between)
        context.report(f"code {settings.shown} demonstrations")
        coded = code_examples(model, head, [demonstrations])
        return subset.Start(head + demonstrations + between, [demonstrations], coded, rows[settings.shown :])


def _joined(rows: Sequence[list[int]], between: list[int]) -> list[int]:
    """Rows as one text, the head of the template between them."""
    return [*rows[0], *(token for row in rows[1:] for token in between + row)]


FAMILY = Taught()
