"""The official checkers: one answer that follows and one that does not, for each of the 25 instructions."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import Any

import pytest

from pipeline.tasks.ifeval_checkers import Instructions, mistake_in, verdicts

SENTENCES = "The cat sat on the mat. It was warm there. The sun was bright. Nobody came."
KNOWN: dict[str, tuple[dict[str, Any], str, str]] = {
    "keywords:existence": ({"keywords": ["river", "stone"]}, "A River and a stone.", "A river and a rock."),
    "keywords:frequency": (
        {"keyword": "owl", "frequency": 2, "relation": "at least"},
        "An owl meets an owl.",
        "An owl meets a fox.",
    ),
    "keywords:forbidden_words": ({"forbidden_words": ["cat"]}, "The category is open.", "The cat is out."),
    "keywords:letter_frequency": (
        {"letter": "z", "let_frequency": 3, "let_relation": "less than"},
        "Zebras doze.",
        "Zebras doze in a zoo.",
    ),
    "language:response_language": (
        {"language": "fr"},
        "Le chat dort sur le canapé pendant que la pluie tombe dehors.",
        "The cat sleeps on the sofa while the rain falls outside.",
    ),
    "length_constraints:number_sentences": ({"num_sentences": 4, "relation": "less than"}, "One. Two.", SENTENCES),
    "length_constraints:number_paragraphs": ({"num_paragraphs": 2}, "First.\n***\nSecond.", "First.\n\nSecond."),
    "length_constraints:number_words": ({"num_words": 5, "relation": "at least"}, "one two three four five", "one two"),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "however"},
        "It rains.\n\nHowever, we go.",
        "However, it rains.\n\nWe go.",
    ),
    "detectable_content:number_placeholders": ({"num_placeholders": 2}, "Dear [name] of [town]", "Dear [name] of Rome"),
    "detectable_content:postscript": ({"postscript_marker": "P.S."}, "All is well.\nP.S. Write soon.", "All is well."),
    "detectable_format:number_bullet_lists": (
        {"num_bullets": 2},
        "* one\n* two",
        "* one\n* two\n* three\n* four\n* five",
    ),
    "detectable_format:constrained_response": ({}, "My answer is maybe.", "I would say maybe."),
    "detectable_format:number_highlighted_sections": ({"num_highlights": 2}, "*one* and *two*", "*one* and two"),
    "detectable_format:multiple_sections": (
        {"section_spliter": "Part", "num_sections": 2},
        "Part 1\nIt begins.\nPart 2\nIt ends.",
        "Part 1\nIt begins. It ends.",
    ),
    "detectable_format:json_format": ({}, '```json\n{"a": 1}\n```', '{"a": 1'),
    "detectable_format:title": ({}, "<<On rain>>\nIt rains.", "On rain\nIt rains."),
    "combination:two_responses": ({}, "Yes.\n******\nNo.", "Yes.\n******\nYes."),
    "combination:repeat_prompt": ({"prompt_to_repeat": "Name a bird."}, "Name a bird. An owl.", "An owl. Name a bird."),
    "startend:end_checker": ({"end_phrase": "That is all."}, "It rains. That is all.", "That is all. It rains."),
    "change_case:capital_word_frequency": (
        {"capital_frequency": 2, "capital_relation": "at least"},
        "It is VERY much COLDER today.",
        "It is VERY much colder today.",
    ),
    "change_case:english_capital": (
        {},
        "THE WEATHER IS FINE AND WE ARE HAPPY.",
        "THE WEATHER IS FINE AND we ARE HAPPY.",
    ),
    "change_case:english_lowercase": (
        {},
        "the weather is fine and we are happy.",
        "The weather is fine and we are happy.",
    ),
    "punctuation:no_comma": ({}, "Red and blue.", "Red, blue."),
    "startend:quotation": ({}, '"It rains."', '"It rains." she said.'),
}


def instructions(name: str) -> Instructions:
    return Instructions.of([name], [KNOWN[name][0]])


@pytest.mark.parametrize("name", list(KNOWN))
def test_known_verdicts(name: str) -> None:
    _, good, bad = KNOWN[name]
    assert mistake_in(instructions(name)) is None
    assert verdicts(instructions(name), "", good) == ((True,), (True,))
    assert verdicts(instructions(name), "", bad) == ((False,), (False,))


def test_they_are_all_that_the_package_has() -> None:
    mistake_in(instructions("punctuation:no_comma"))
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    assert set(KNOWN) == set(INSTRUCTION_DICT)


@pytest.mark.parametrize("name", ["keywords:existence", "keywords:forbidden_words"])
def test_a_later_word_that_its_checker_does_not_take_is_a_mistake(name: str) -> None:
    """The checker stops at the first word that decides, so that most answers would hide the other one."""
    argument = name.partition(":")[2].replace("existence", "keywords")
    wanted = Instructions.of([name], [{argument: ["aardvark", "zebra ("]}])
    assert mistake_in(wanted) == f"{name} with arguments that its checker does not take"


@pytest.mark.parametrize("name", list(KNOWN))
def test_an_empty_answer_follows_nothing(name: str) -> None:
    assert verdicts(instructions(name), "", " \n") == ((False,), (False,))


def test_loose_forgives_a_first_line_and_asterisks() -> None:
    wanted = instructions("startend:quotation")
    assert verdicts(wanted, "", 'Sure, here it is:\n"It rains."') == ((False,), (True,))
    assert verdicts(wanted, "", '**"It rains."**') == ((False,), (True,))


def test_several_instructions_are_judged_one_by_one() -> None:
    both = Instructions.of(["punctuation:no_comma", "startend:quotation"], [{}, None])
    assert verdicts(both, "", "Red and blue.").strict == (True, False)


def test_letters_that_the_checker_does_not_know_are_judged_alike_every_time() -> None:
    """It counts a random letter instead of `#`; one in seven letters is in this text four times."""
    wanted = Instructions.of(
        ["keywords:letter_frequency"], [{"letter": "#", "let_frequency": 4, "let_relation": "at least"}]
    )
    text = "make a tweet without using capital letters and include at least four hashtags"
    before = random.getstate()
    assert len({verdicts(wanted, "", text) for _ in range(200)}) == 1
    assert random.getstate() == before


def test_languages_are_told_alike_every_time() -> None:
    """Unseeded, this text is Italian two times of three, and else Spanish."""
    wanted = Instructions.of(["language:response_language"], [{"language": "it"}])
    assert len({verdicts(wanted, "", "hello monde ciao") for _ in range(50)}) == 1


def test_thousands_of_brackets_are_no_json() -> None:
    assert verdicts(instructions("detectable_format:json_format"), "", "[" * 100_000) == ((False,), (False,))


@pytest.mark.parametrize(
    ("ids", "arguments", "mistake"),
    [
        ([], [], "no instruction"),
        (["length_constraints:number_word"], [{}], "unknown instruction"),
        (["length_constraints:number_words"], [{"num_words": 5}], "without its arguments"),
        (["length_constraints:number_words"], [{"num_words": 0, "relation": "at least"}], "without its arguments"),
        (["length_constraints:number_words"], [{"num_words": 5, "relation": "exactly"}], "does not take"),
        (["keywords:existence"], [{"keywords": ["(open"]}], "does not take"),
        (["punctuation:no_comma"], [{"num_words": 5}], "without its arguments"),
    ],
)
def test_what_cannot_be_checked(ids: list[str], arguments: list[dict[str, Any]], mistake: str) -> None:
    assert mistake in str(mistake_in(Instructions.of(ids, arguments)))


def test_text_and_back() -> None:
    both = Instructions.of(
        ["punctuation:no_comma", "startend:end_checker"], [None, {"end_phrase": "Fin.", "num_words": None}]
    )
    assert json.loads(both.text())["kwargs"] == [{}, {"end_phrase": "Fin."}]
    assert Instructions.from_text(both.text()) == both
    with pytest.raises(ValueError, match="2 instructions"):
        Instructions.of(["a", "b"], [{}])


def test_import_is_light() -> None:
    code = "import sys, pipeline.tasks.ifeval_checkers; print({'lm_eval', 'nltk', 'langdetect'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
