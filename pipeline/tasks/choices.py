"""Answers to questions with lettered options."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline.tasks.scorers import first_line, same_text, single_blanks

_LETTER = r"(?P<letter>[B-Z](?![\w'’])|A(?![\w'’])(?![^\S\n]+(?!because\b|since\b|as\b|is\b)\w))"
"""A capital letter by itself; for `A`, not the article of `A dog`, which stands in the line of its noun."""
_OPENING = r"""(?:[\s*_`$"'“‘(\[{]|\\(?:boxed|text|textbf|mathbf|mathrm)(?![a-zA-Z]))*"""
_AT_START = re.compile(rf"{_OPENING}(?:[Oo]ption\s+)?{_LETTER}")
_STATED = re.compile(rf"\b(?i:answer|option|choice)\b(?:\s+is)?\s*:?{_OPENING}(?:option\s+)?{_LETTER}")
_SMALL = re.compile(rf"{_OPENING}(?P<letter>[a-z])[\s*_`$\"'”’)\]}}.]*")


def chosen_letter(output: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that an output chooses, None if it does not tell.

    The letter at its beginning, else the first one after `answer is` and the like, else the option whose text, or
    whose letter in lower case, is all that the first line holds.

    Args:
        output: what a program wrote.
        options: letter -> text of the option.
    """
    for pattern in (_AT_START.match, _STATED.search):
        match = pattern(single_blanks(output))
        if match is not None and match["letter"] in options:
            return str(match["letter"])
    line = first_line(output)
    named = [letter for letter, text in options.items() if same_text(line, text)]
    if len(named) == 1:
        return named[0]
    small = _SMALL.fullmatch(line)
    return next((letter for letter in options if small is not None and small["letter"] == letter.lower()), None)
