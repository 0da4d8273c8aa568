"""Both ways in which programs answer: the model's own loop behind a text, and the lock-step loop behind tokens."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import catalog
from pipeline.decoder_parts.answer import answer
from pipeline.decoder_parts.base import load
from pipeline.decoder_parts.generate import answer_prompt
from pipeline.families.common import prompt_constants

HEAD, TAIL = "Question:", " {question}\nAnswer:"
LIMIT = 12


def outputs(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {line["id"]: line["output"] for line in lines}


def given(monkeypatch: pytest.MonkeyPatch, questions: list[str]) -> None:
    items = [json.dumps({"id": str(place), "input": {"question": text}}) for place, text in enumerate(questions)]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(items) + "\n"))


QUESTIONS = ["What is 1 + 1?", "Name a {colour}", "é", *(f"After {n}?" * (1 + n % 3) for n in range(130))]


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> tuple[Any, Any]:
    return load(str(tiny_model))


def test_both_ways_give_the_same_answers(
    tiny: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of many lengths in more than one batch; some end by the stop text, some by the limit."""
    model, tokenizer = tiny

    def behind_text(stop: str) -> dict[str, str]:
        given(monkeypatch, QUESTIONS)
        answer_prompt(model, tokenizer, HEAD + TAIL, stop, LIMIT)
        return outputs(capsys)

    unstopped = behind_text("no stop")
    letters = "".join(unstopped.values())
    stop = max(filter(str.isascii, sorted(set(letters))), key=letters.count)
    given(monkeypatch, QUESTIONS)
    answer(model, tokenizer, tokenizer(HEAD).input_ids, TAIL, stop, LIMIT, 0)
    behind_tokens = outputs(capsys)
    assert behind_text(stop) == behind_tokens
    ended_by_limit = {text == unstopped[item] for item, text in behind_tokens.items()}
    assert len(behind_tokens) == len(QUESTIONS) and ended_by_limit == {True, False}


def test_an_answer_does_not_depend_on_its_neighbours(
    tiny: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, tokenizer = tiny
    found = []
    for questions in (QUESTIONS[:8], QUESTIONS[:1]):
        given(monkeypatch, questions)
        answer_prompt(model, tokenizer, HEAD + TAIL, "no stop", LIMIT)
        found.append(outputs(capsys)["0"])
    assert found[0] == found[1] != ""


def test_a_tokenizer_without_padding_and_end_of_text(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, tokenizer = load(str(tiny_model))
    tokenizer.pad_token = tokenizer.eos_token = None
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = None
    given(monkeypatch, QUESTIONS[:3])
    answer_prompt(model, tokenizer, HEAD + TAIL, "\n", LIMIT)
    behind_text = outputs(capsys)
    given(monkeypatch, QUESTIONS[:3])
    answer(model, tokenizer, tokenizer(HEAD).input_ids, TAIL, "\n", LIMIT, 0)
    assert behind_text == outputs(capsys) and len(behind_text) == 3


def test_braces_of_a_prefix_are_text() -> None:
    constants = prompt_constants(catalog.task("chain-sum"), "Fill {this} in.\nCalculate:")
    prompt = constants["PROMPT"]
    assert isinstance(prompt, str) and prompt.format(sum="1 + 1") == "Fill {this} in.\nCalculate: 1 + 1 ="
