"""Verifiers: how the rows of a file of prompts are read, and which answers are good. Imports no heavy library."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pipeline.make_data.rlvr import instructions_of, with_divider
from pipeline.tasks.answers import final_answer
from pipeline.tasks.ifeval_checkers import Instructions, mistake_in, verdicts


class Prompt(NamedTuple):
    """What the teacher is asked.

    Attributes:
        prompt: the text.
        target: what the verifier compares an answer with.
    """

    prompt: str
    target: str


class Verifier(NamedTuple):
    """A way to tell good answers.

    Attributes:
        columns: what is read of a row, for messages.
        read: the prompt of a row. Raises ValueError with the reason in few words where the row has none.
        accepts: whether an answer is good.
    """

    columns: str
    read: Callable[[Mapping[str, Any]], Prompt]
    accepts: Callable[[Prompt, str], bool]


def _read_instructions(row: Mapping[str, Any]) -> Prompt:
    if row.get("ground_truth") is not None:
        instructions = instructions_of(row["ground_truth"])
    elif row.get("instruction_id_list") is not None and row.get("kwargs") is not None:
        instructions = Instructions.of(row["instruction_id_list"], [_mapping(one) for one in row["kwargs"]])
    else:
        raise ValueError("neither ground_truth nor instruction_id_list and kwargs")
    if mistake := mistake_in(instructions):
        raise ValueError(mistake)
    return Prompt(with_divider(_text(row, "prompt"), instructions), instructions.text())


def _follows_all(prompt: Prompt, answer: str) -> bool:
    return all(verdicts(Instructions.from_text(prompt.target), prompt.prompt, answer).strict)


def _read_number(row: Mapping[str, Any]) -> Prompt:
    answer = str(row.get("answer") if row.get("answer") is not None else row.get("ground_truth", ""))
    if final_answer(answer) is None:
        raise ValueError("no number in answer or ground_truth")
    return Prompt(_text(row, "question" if "question" in row else "prompt"), answer)


def _same_number(prompt: Prompt, answer: str) -> bool:
    value = final_answer(answer)
    return value is not None and value == final_answer(prompt.target)


VERIFIERS: Mapping[str, Verifier] = {
    "ifeval": Verifier(
        "prompt (or messages), with instruction_id_list and kwargs as in google/IFEval, or ground_truth as in "
        "allenai/RLVR-IFeval",
        _read_instructions,
        _follows_all,
    ),
    "number": Verifier("question (or prompt, or messages), with answer or ground_truth", _read_number, _same_number),
}
"""By the name in a configuration. `ifeval`: every instruction is followed, by the strict rule. `number`: the answer
comes to the same number."""


def _text(row: Mapping[str, Any], column: str) -> str:
    """The text of a column, else of the only message of a conversation."""
    text = row.get(column)
    if text is None and isinstance(row.get("messages"), list):
        asked = [message for message in row["messages"] if message.get("role") == "user"]
        if len(row["messages"]) != 1 or not asked:
            raise ValueError("not one message of a user")
        text = asked[0].get("content")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"no text in {column} or messages")
    return text.strip()


def _mapping(arguments: Any) -> Mapping[str, Any] | None:
    """Arguments of one instruction, which files of columns may hold as JSON text."""
    found = json.loads(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(found, dict | None):
        raise ValueError("kwargs that are no mapping")
    return found
