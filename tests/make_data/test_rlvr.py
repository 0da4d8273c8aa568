"""Constraints of allenai/RLVR-IFeval as instructions: what they ask for, judged by the official checkers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.make_data.rlvr import FIXED_OPTIONS, instructions_of
from pipeline.make_data.verifiers import VERIFIERS
from pipeline.tasks.ifeval_checkers import mistake_in, verdicts

FIELDS: dict[str, Any] = dict.fromkeys(
    (
        *("N", "quantifier", "end_phrase", "keyword_list", "word", "forbidden_words", "letter", "i", "first_word"),
        *("postscript_marker", "options", "section_splitter", "original_prompt", "language"),
    )
)
"""A row of the data has all of them, null where its function takes none."""

FIXED = ", ".join(FIXED_OPTIONS)
CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"func_name": "verify_keywords", "keyword_list": ["owl"]}, "An owl.", "A fox."),
    ({"func_name": "verify_keyword_frequency", "word": "owl", "N": 2}, "owl, owl", "owl, owl, owl"),
    ({"func_name": "verify_keyword_frequency", "word": "owl", "N": 2}, "owl, owl", "owl"),
    ({"func_name": "validate_forbidden_words", "forbidden_words": ["owl"]}, "A fox.", "An owl."),
    ({"func_name": "verify_letter_frequency", "letter": "z", "N": 1}, "zoo", "zoo zoo"),
    ({"func_name": "verify_letter_frequency", "letter": "z", "N": 1}, "zoo", "foo"),
    (
        {"func_name": "validate_response_language", "language": "fr"},
        "Le chat dort sur le canapé pendant que la pluie tombe dehors.",
        "The cat sleeps on the sofa while the rain falls outside.",
    ),
    ({"func_name": "verify_paragraph_count", "N": 2}, "One.\n***\nTwo.", "One."),
    ({"func_name": "validate_word_constraint", "N": 3, "quantifier": "at least"}, "a b c", "a b"),
    ({"func_name": "validate_word_constraint", "N": 3, "quantifier": "at most"}, "a b c", "a b c d"),
    ({"func_name": "validate_word_constraint", "N": 20, "quantifier": "around"}, "a " * 22, "a " * 23),
    ({"func_name": "validate_word_constraint", "N": 20, "quantifier": "around"}, "a " * 18, "a " * 17),
    ({"func_name": "verify_sentence_constraint", "N": 3, "quantifier": "around"}, "It is. So it is.", "It is."),
    ({"func_name": "verify_sentence_constraint", "N": 1, "quantifier": "at most"}, "It is.", "It is. So it is."),
    (
        {"func_name": "validate_paragraphs", "N": 2, "i": 2, "first_word": "Then"},
        "It rains.\n\nThen it stops.",
        "Then it rains.\n\nIt stops.",
    ),
    ({"func_name": "verify_postscript", "postscript_marker": "P.S."}, "Well.\nP.S. Write.", "Well."),
    ({"func_name": "validate_placeholders", "N": 1}, "Dear [name]", "Dear you"),
    ({"func_name": "verify_bullet_points", "N": 2}, "* one\n* two", "* one"),
    ({"func_name": "validate_title"}, "<<Rain>>", "Rain"),
    ({"func_name": "validate_choice", "options": FIXED}, "My answer is no.", "No."),
    ({"func_name": "validate_choice", "options": list(FIXED_OPTIONS)}, "My answer is no.", "No."),
    ({"func_name": "validate_highlighted_sections", "N": 1}, "*Rain*", "Rain"),
    (
        {"func_name": "validate_sections", "N": 2, "section_splitter": "Part"},
        "Part 1\nIt rains.\nPart 2\nIt stops.",
        "Part 1\nIt rains.",
    ),
    ({"func_name": "validate_json_format"}, "[1]", "[1"),
    ({"func_name": "validate_repeat_prompt", "original_prompt": "Name a bird."}, "Name a bird. Owl.", "Owl."),
    ({"func_name": "validate_two_responses"}, "Yes.\n******\nNo.", "Yes."),
    ({"func_name": "validate_uppercase"}, "THE WEATHER IS FINE AND WE ARE HAPPY.", "The weather is fine."),
    ({"func_name": "validate_lowercase"}, "the weather is fine and we are happy.", "The weather is fine."),
    ({"func_name": "validate_frequency_capital_words", "N": 1, "quantifier": "at least"}, "It is HOT.", "It is hot."),
    ({"func_name": "validate_frequency_capital_words", "N": 1, "quantifier": "at most"}, "It is HOT.", "SO HOT."),
    ({"func_name": "validate_end", "end_phrase": "That is all."}, "It rains. That is all.", "It rains."),
    ({"func_name": "validate_quotation"}, '"It rains."', "It rains."),
    ({"func_name": "validate_no_commas"}, "Red and blue.", "Red, blue."),
]


@pytest.mark.parametrize(("constraint", "good", "bad"), CASES)
def test_constraint(constraint: dict[str, Any], good: str, bad: str) -> None:
    found = instructions_of(json.dumps(FIELDS | constraint))
    assert mistake_in(found) is None
    assert all(verdicts(found, "", good).strict)
    assert not all(verdicts(found, "", bad).strict)


def test_all_functions_of_the_data_are_known() -> None:
    """The published data has 25 of them."""
    assert len({constraint["func_name"] for constraint, _, _ in CASES}) == 25


@pytest.mark.parametrize(
    ("ground_truth", "reason"),
    [
        ("no json", "no JSON"),
        ('["validate_title"]', "known func_name"),
        ({"func_name": "validate_colour"}, "known func_name"),
        ({"func_name": "verify_keyword_frequency", "word": "owl"}, "without its fields"),
        ({"func_name": "verify_keyword_frequency", "word": "owl", "N": None}, "without its fields"),
        ({"func_name": "validate_word_constraint", "N": 3, "quantifier": "exactly"}, "unknown quantifier"),
        ({"func_name": "validate_choice", "options": ["A", "B"]}, "other options"),
    ],
)
def test_what_cannot_be_read(ground_truth: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        instructions_of(ground_truth)


def test_prompts_ask_for_the_divider_that_the_checker_counts() -> None:
    """An answer that does as the published prompt says would never be accepted."""
    constraint = json.dumps(FIELDS | {"func_name": "verify_paragraph_count", "N": 2})
    asked = "Write two paragraphs. You separate paragraphs using the markdown divider: * * *"
    found = VERIFIERS["ifeval"].read({"prompt": asked, "ground_truth": constraint})
    assert found.prompt == "Write two paragraphs. You separate paragraphs using the markdown divider: ***"
    assert VERIFIERS["ifeval"].accepts(found, "One.\n***\nTwo.")
    assert not VERIFIERS["ifeval"].accepts(found, "One.\n* * *\nTwo.")
    other = json.dumps(FIELDS | {"func_name": "validate_no_commas"})
    assert VERIFIERS["ifeval"].read({"prompt": "Sing * * * now.", "ground_truth": other}).prompt == "Sing * * * now."


def test_a_field_that_is_null_is_an_argument_that_is_missing() -> None:
    assert "without its arguments" in str(mistake_in(instructions_of(FIELDS | {"func_name": "validate_end"})))
