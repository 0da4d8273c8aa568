"""Scorers that tasks share."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pipeline.tasks.scorers import contains_text, final_answer, first_line, number, numbers, same_text


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("no number", []),
        ("19", ["19"]),
        ("-7", ["-7"]),
        ("−7", ["-7"]),  # minus sign
        ("–7", ["-7"]),  # en dash
        ("$1,080.", ["1080"]),
        ("1,000,000", ["1000000"]),
        ("3,4", ["3", "4"]),
        ("1,2345", ["1", "2345"]),
        ("12.50", ["12.50"]),
        (".5", ["0.5"]),
        ("19.", ["19"]),
        ("5-3", ["5", "3"]),
        ("5 - 3", ["5", "3"]),
        ("x-3", ["3"]),
        ("(-5)", ["-5"]),
        ("$-5", ["-5"]),
        ("-$5", ["-5"]),
        ("£ 20 or €7", ["20", "7"]),
        ("1/2", ["1", "2"]),
        ("007", ["7"]),
    ],
)
def test_numbers(text: str, values: list[str]) -> None:
    assert numbers(text) == [Decimal(value) for value in values]


def test_number_of_other_text() -> None:
    assert number("about 5") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("48/2 = 24\n48+24 = 72\n#### 72", "72"),
        ("#### 1,080", "1080"),
        ("#### $-5", "-5"),
        ("####18.", "18"),
        ("#### 2.50", "2.5"),
        ("#### 72\n\nQuestion: and 5 more?\nAnswer: #### 77", "72"),
        ("The answer is 15 before tax.\n#### 120", "120"),
        ("The answer is: 42", "42"),
        ("The answer is $1,080.", "1080"),
        ("The answer is -$5", "-5"),
        ("the answer is **18** eggs", "18"),
        ("The answer is\n42", "42"),
        (r"The answer is \(5\)", "5"),
        ("The answer is 15 + 3 = 18", "18"),
        ("ANSWER IS 7, of 9", "7"),
        ("The answer is not 5, it is 6", "6"),
        ("So she has 3 * 4 = 12 eggs.", "12"),
        ("It costs $18.00.", "18"),
        ("-3", "-3"),
        ("72", "72"),
        ("I do not know", None),
        ("####", None),
        ("", None),
    ],
)
def test_final_answer(text: str, value: str | None) -> None:
    assert final_answer(text) == (None if value is None else Decimal(value))


@pytest.mark.parametrize(
    ("output", "line"),
    [("", ""), ("\n \n", ""), (" a \nb", "a"), ("\n\n a\n", "a"), ("a\u2028b\nc", "a\u2028b")],
)
def test_first_line(output: str, line: str) -> None:
    assert first_line(output) == line


def test_same_text() -> None:
    assert same_text(" Paris. ", "paris")
    assert same_text("New  York", "New York")
    assert same_text("e\u0301te\u0301", "été")
    assert not same_text("Paris, France", "Paris")
    assert not same_text("", "Paris")


def test_contains_text() -> None:
    assert contains_text("The capital is Paris, of course.", "paris")
    assert not contains_text("Parisian", "Paris")
    assert contains_text("It is C++.", "C++")
