"""A task's template as programs see it: text and tokens. Imports no heavy library."""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline.errors import UserError
from pipeline.protocols import Example, Task


class Template(NamedTuple):
    """A task's template, cut where a program cuts it.

    Attributes:
        head: the literal text before the first field, without its trailing blanks.
        tail: the rest, a `str.format` string.
        stop: text that ends an example.
    """

    head: str
    tail: str
    stop: str

    @classmethod
    def of(cls, task: Task) -> Template:
        """Cuts a template such as `English: {en} French:`."""
        head = task.template[: task.template.index("{")].rstrip(" ")
        return cls(head, task.template[len(head) :], task.stop)

    @property
    def stops(self) -> int:
        """How often the stop text occurs in a worked example, the head left out."""
        return self.tail.count(self.stop) + 1

    def text(self, example: Example) -> tuple[str, str]:
        """Tail and answer of a worked example, the two parts that are tokenized apart."""
        blank = "" if self.tail[-1].isspace() else " "
        return self.tail.format(**example.input), f"{blank}{example.target}{self.stop}"


class Worked(NamedTuple):
    """Token ids of a worked example, the head left out.

    Attributes:
        question: what stands before the answer.
        answer: the answer and the text that ends it.
    """

    question: list[int]
    answer: list[int]

    @property
    def tokens(self) -> list[int]:
        """All of them."""
        return self.question + self.answer


def num_special_tokens(tokenizer: Any) -> int:
    """Number of special tokens that the tokenizer puts before every text."""
    return len(tokenizer("").input_ids)


def worked(tokenizer: Any, template: Template, example: Example) -> Worked:
    """A worked example as token ids: the same ids that a program meets when it answers.

    Raises:
        UserError: the example does not end where a decoder would end it.
    """
    skip = num_special_tokens(tokenizer)
    found = Worked(*(tokenizer(part).input_ids[skip:] for part in template.text(example)))
    ids = found.tokens
    counts = [tokenizer.decode(ids[:end]).count(template.stop) for end in (len(ids) - 1, len(ids))]
    if counts[0] >= template.stops or counts[1] != template.stops:
        raise UserError(
            f"a train example cannot be told apart from the next one: {dict(example.input)} -> {example.target!r} "
            f"must hold the stop text {template.stop!r} only where the template puts it; clean the train data"
        )
    return found
