"""Which option an output chooses."""

from __future__ import annotations

import time

import pytest

from pipeline.tasks.choices import chosen_letter

OPTIONS = {"A": "a dog", "B": "Paris", "C": "42", "D": "Paris, France"}


@pytest.mark.parametrize(
    ("output", "letter"),
    [
        ("B", "B"),
        (" B\n", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B. Paris", "B"),
        ("B) Paris", "B"),
        ("B Paris", "B"),
        ("B because it is", "B"),
        ("A", "A"),
        ("A.", "A"),
        ("A because it barks", "A"),
        ("A\nQuestion: next", "A"),  # what B gets for the same, A gets too
        ("B\nQuestion: next", "B"),
        ("The answer is A\nSo it is.", "A"),
        ("A dog", "A"),  # the text of the option
        ("A cat", None),
        ("a dog.", "A"),
        ("Option C", "C"),
        ("The answer is B.", "B"),
        ("The answer is (C)", "C"),
        ("The correct answer is option D", "D"),
        ("Answer: A", "A"),
        ("The answer is a dog", None),
        ("The answer is A dog", None),
        ("I think the answer is B", "B"),
        ("Because of that, the answer is C: 42", "C"),
        ("paris", "B"),
        ("Paris, France", "D"),
        ("42", "C"),
        ("E", None),
        ("Berlin", None),
        ("C'est vrai", None),
        ("", None),
        ("B\n\nQuestion: next\nAnswer: C", "B"),
        (r"\boxed{B}", "B"),
        (r"The answer is $\boxed{\text{C}}$.", "C"),
        ('"B"', "B"),
        ("The answer is “D”.", "D"),
        ("`C`", "C"),
        ("b", "B"),
        (" (c).\nQuestion: next", "C"),
        ("a", "A"),
        ("b dog", None),
        ("e", None),
        (r"\boxedB", None),
    ],
)
def test_chosen_letter(output: str, letter: str | None) -> None:
    assert chosen_letter(output, OPTIONS) == letter


def test_an_option_of_equal_text_chooses_nothing() -> None:
    assert chosen_letter("same", {"A": "same", "B": "same"}) is None


def test_long_texts_take_no_time() -> None:
    moment = time.perf_counter()
    for part in (" ", "\n", " (", "answer is ", "answer: (", "\\text{", "*", "A "):
        assert chosen_letter("The answer" + part * (10_000 // len(part)), OPTIONS) in (None, "A")
    assert time.perf_counter() - moment < 5
