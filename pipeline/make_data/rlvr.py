"""The constraints of allenai/RLVR-IFeval as instructions of IFEval, so that one set of checkers serves both.

A row of that data names a function with its arguments. Where the text of a constraint says more than one instruction of
IFEval can (exactly so many, around so many), two instructions bound the number from both sides.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pipeline.tasks.ifeval_checkers import Instructions

FIXED_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
"""The only options that the checker of a choice knows."""
TOLERANCE = 0.1
"""Share by which a number of words that is asked for as `around` may be off, at least by 1; of sentences by 1."""
PARAGRAPHS = "length_constraints:number_paragraphs"
DIVIDERS = ("* * *", "***")
"""What the prompts of this data call the divider of paragraphs, and the only one that the checker knows."""

Found = list[tuple[str, dict[str, Any]]]


class _Bounded(NamedTuple):
    """An instruction about a number, with the names of its arguments."""

    name: str
    number: str
    relation: str
    share: float = TOLERANCE

    def between(self, low: int, high: int | None, **others: Any) -> Found:
        """At least the one number and at most the other one, as far as this says anything."""
        found: Found = []
        if low > 0:
            found.append((self.name, {self.number: low, self.relation: "at least", **others}))
        if high is not None:
            found.append((self.name, {self.number: high + 1, self.relation: "less than", **others}))
        return found

    def quantified(self, constraint: Mapping[str, Any]) -> Found:
        """By the quantifier of a constraint."""
        number, quantifier = int(constraint["N"]), constraint["quantifier"]
        off = max(round(number * self.share), 1)
        bounds = {"at least": (number, None), "at most": (0, number), "around": (number - off, number + off)}
        if quantifier not in bounds:
            raise ValueError(f"unknown quantifier {quantifier}")
        return self.between(*bounds[quantifier])


_WORDS = _Bounded("length_constraints:number_words", "num_words", "relation")
_SENTENCES = _Bounded("length_constraints:number_sentences", "num_sentences", "relation", 0)
_CAPITALS = _Bounded("change_case:capital_word_frequency", "capital_frequency", "capital_relation")
_KEYWORD = _Bounded("keywords:frequency", "frequency", "relation")
_LETTER = _Bounded("keywords:letter_frequency", "let_frequency", "let_relation")


def _plain(name: str, **arguments: str) -> Callable[[Mapping[str, Any]], Found]:
    """One instruction; its arguments are fields of the constraint."""

    def read(constraint: Mapping[str, Any]) -> Found:
        return [(name, {argument: constraint[field] for argument, field in arguments.items()})]

    return read


def _choice(constraint: Mapping[str, Any]) -> Found:
    if not all(option in str(constraint["options"]) for option in FIXED_OPTIONS):
        raise ValueError("a choice of other options than IFEval has")
    return [("detectable_format:constrained_response", {})]


_FUNCTIONS: Mapping[str, Callable[[Mapping[str, Any]], Found]] = {
    "verify_keywords": _plain("keywords:existence", keywords="keyword_list"),
    "verify_keyword_frequency": lambda it: _KEYWORD.between(int(it["N"]), int(it["N"]), keyword=it["word"]),
    "validate_forbidden_words": _plain("keywords:forbidden_words", forbidden_words="forbidden_words"),
    "verify_letter_frequency": lambda it: _LETTER.between(int(it["N"]), int(it["N"]), letter=it["letter"]),
    "validate_response_language": _plain("language:response_language", language="language"),
    "verify_paragraph_count": _plain(PARAGRAPHS, num_paragraphs="N"),
    "validate_word_constraint": _WORDS.quantified,
    "verify_sentence_constraint": _SENTENCES.quantified,
    "validate_paragraphs": _plain(
        "length_constraints:nth_paragraph_first_word", num_paragraphs="N", nth_paragraph="i", first_word="first_word"
    ),
    "verify_postscript": _plain("detectable_content:postscript", postscript_marker="postscript_marker"),
    "validate_placeholders": _plain("detectable_content:number_placeholders", num_placeholders="N"),
    "verify_bullet_points": _plain("detectable_format:number_bullet_lists", num_bullets="N"),
    "validate_title": _plain("detectable_format:title"),
    "validate_choice": _choice,
    "validate_highlighted_sections": _plain("detectable_format:number_highlighted_sections", num_highlights="N"),
    "validate_sections": _plain(
        "detectable_format:multiple_sections", section_spliter="section_splitter", num_sections="N"
    ),
    "validate_json_format": _plain("detectable_format:json_format"),
    "validate_repeat_prompt": _plain("combination:repeat_prompt", prompt_to_repeat="original_prompt"),
    "validate_two_responses": _plain("combination:two_responses"),
    "validate_uppercase": _plain("change_case:english_capital"),
    "validate_lowercase": _plain("change_case:english_lowercase"),
    "validate_frequency_capital_words": _CAPITALS.quantified,
    "validate_end": _plain("startend:end_checker", end_phrase="end_phrase"),
    "validate_quotation": _plain("startend:quotation"),
    "validate_no_commas": _plain("punctuation:no_comma"),
}


def instructions_of(ground_truth: Any) -> Instructions:
    """The instructions of a row.

    Args:
        ground_truth: the column, JSON text or a mapping with `func_name` and the fields of that function.

    Raises:
        ValueError: the reason why there are none, in few words.
    """
    constraint = ground_truth
    if isinstance(constraint, str):
        try:
            constraint = json.loads(constraint)
        except ValueError as error:
            raise ValueError("a ground_truth that is no JSON") from error
    if not isinstance(constraint, dict) or constraint.get("func_name") not in _FUNCTIONS:
        raise ValueError("a ground_truth without a known func_name")
    name = constraint["func_name"]
    try:
        found = _FUNCTIONS[name](constraint)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name} without its fields") from error
    return Instructions.of([one for one, _ in found], [arguments for _, arguments in found])


def with_divider(prompt: str, instructions: Instructions) -> str:
    """The prompt, asking for the divider of paragraphs that the checker counts."""
    return prompt.replace(*DIVIDERS) if PARAGRAPHS in instructions.ids else prompt
