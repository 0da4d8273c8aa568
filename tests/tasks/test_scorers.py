"""Scorers that tasks share."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pipeline.tasks.scorers import contains_text, first_line, number, numbers, same_text


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
    assert contains_text("3 apples, and 3.", "3")
    assert contains_text("The primes are 2,3,5.", "3")
    assert contains_text("It costs $3, on route 66.", "3")
    assert contains_text("It is on route 66.", "route 66")
    assert contains_text("It was -3.", "-3")
    assert not contains_text("3.5 apples, or -3 or 2.3 or 1,300", "3")
    assert not contains_text("3,000", "000")
    assert not contains_text("It is on route 66.5", "route 66")
