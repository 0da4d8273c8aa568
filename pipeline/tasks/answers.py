"""The value that a worked answer comes to, however people and models write it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from pipeline.tasks.scorers import NUMBER, number, single_blanks

Value = Decimal | Fraction
"""Values compare with each other whichever type they have."""

_FRACTION = r"(?:\d{1,40}\s+)?\d{1,40}/0{0,9}[1-9]\d{0,39}(?![\d/])"
"""`3/4`, or `2 3/4` with its whole part; not a date."""
_SIGN = r"(?:[-–]\s?|\b(?:minus|negative)\s)"

_VALUE = re.compile(
    rf"(?P<sign>(?<![\w.)\]]){_SIGN})?(?P<currency>[$€£]\s?)?(?P<fraction>(?<![\d.,/]){_FRACTION})|{NUMBER.pattern}",
    re.VERBOSE | re.IGNORECASE,
)
_DECORATION = r"""[\s:*_`$€£\\(\[{<+=~≈]"""
_STATED = re.compile(
    rf"""
    (?:{_DECORATION}|\b(?:about|approximately|approx\.|around|exactly|only|just|USD|Rs\.?)\s|\b[a-z]\s*=
       |\b(?:the\s)?(?:final\s)?answer(?:\sis|:))*
    (?P<sign>{_SIGN}[$€£]?\s?)?
    (?P<value>
        {_FRACTION} | \d{{1,3}}(?:,\d{{3}})+(?!\d)(?:\.\d+)?
        | \d{{1,3}}(?:\ \d{{3}})+(?:\.\d+)?(?=[^\w]*$)    # "1 000", but not "12 365-day years"
        | (?:\d+(?:\.\d+)? | \.\d+)(?:e[-+]?\d{{1,2}}(?!\w))?
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_GOES_ON = re.compile(r"\s*(?:[-–+*/×÷·=x^]\s*|\*\*)[$€£({]?\d")
"""Behind a number of a calculation: "5 + 3 = 8"."""
_STATEMENT = {
    "mark": re.compile(r"\#\#\#\#(?P<rest>[^\n#]*)"),
    "box": re.compile(r"\\boxed\s*\{(?P<rest>(?:[^{}]|\{[^{}]*\})*)\}"),
    "words": re.compile(
        r"""
        \banswer(?:\s+to\s+[^.\n]{1,100}?)?\s*
        (?:\s(?:is|was|equals|(?:would|will|must|should)\s+be|comes?\s+(?:out\s+)?to)\b\s*:? | \s?[:=])
        (?P<rest>\s*(?:[^\n.]|\.(?!\s|$))*)
        """,
        re.VERBOSE | re.IGNORECASE,
    ),
}
"""Ways to state an answer, the most explicit first; each ends with its line or sentence."""

_FRACTION_PART = r"(?:\{\s*(\d+)\s*\}|(\d))"
"""Of LaTeX's `\\frac`, which takes a single digit without braces."""
_NEGATIVE_ABOVE = re.compile(r"(\\[dtc]?frac\s*\{)\s*-\s*(?=\d)")
_TEX_OPERATORS = {"times": "×", "cdot": "·", "div": "÷"}
_TEX_OPERATOR = re.compile(rf"\\({'|'.join(_TEX_OPERATORS)})(?![a-zA-Z])")


def final_answer(text: str) -> Value | None:
    """The value that a worked answer comes to.

    The first one stated after `####`, else in a LaTeX box, else after `answer is`, `answer:` and the like, else the
    last value of the text, else None. The first stated one, because a program that does not stop goes on to questions
    of its own. A percent sign and units do not count: `25%` is 25.
    """
    plain = _plain(text)
    for statement in _STATEMENT.values():
        for match in statement.finditer(plain):
            value = _stated_value(match["rest"])
            if value is not None:
                return value
    return _last(plain)


def exact_value(text: str) -> Value | None:
    """The value of a text that is nothing but a number or a fraction; None for any other text."""
    plain = _plain(text).strip().rstrip(".")
    return _stated_value(plain) if _STATED.fullmatch(plain) else None


def _stated_value(rest: str) -> Value | None:
    """Of what follows a statement: the value at its beginning, else that after its last equals sign, else the last."""
    for text in (rest, rest.rpartition("=")[2]):
        match = _STATED.match(text)
        if match is not None and not ("=" in text and _GOES_ON.match(text, match.end())):
            value = _value_of(match["value"])
            return -value if match["sign"] and value is not None else value
    return _last(rest)


def _last(text: str) -> Value | None:
    return next(reversed(list(_values(text))), None)


def _values(text: str) -> Iterator[Value]:
    for match in _VALUE.finditer(text):
        value = _value_of(match["fraction"] or match.group())
        if value is not None:
            yield -value if match["sign"] else value


def _value_of(text: str) -> Value | None:
    """The value of a fraction, of a number such as `1e5` or `1 000`, or of what `NUMBER` matches."""
    if "e" in text.lower():
        return Decimal(text)
    if "/" not in text:
        return number(text.replace(" ", ","))
    *whole, parts = text.split()
    above, _, below = parts.partition("/")
    return Fraction(int(above), int(below)) + sum(int(part) for part in whole)


def _plain(text: str) -> str:
    """Single blanks, and one spelling for minus signs, thousands separators, fractions and calculations of LaTeX."""
    text = re.sub("[−‑﹣－]", "-", single_blanks(text))
    text = re.sub(r"(?<=\d)(?:\{,\}|\\[,!]|[\u00a0\u2009\u202f'’])(?=\d{3}(?!\d))", ",", text)
    text = _NEGATIVE_ABOVE.sub(r"-\1", text)
    text = re.sub(rf"\\[dtc]?frac\s*{_FRACTION_PART}\s*{_FRACTION_PART}", r" \1\2/\3\4", text)
    text = _TEX_OPERATOR.sub(lambda command: _TEX_OPERATORS[command[1]], text)
    text = re.sub("[¼-¾⅐-⅞]", lambda sign: f" {unicodedata.normalize('NFKC', sign.group())}", text)
    return text.replace("⁄", "/")
