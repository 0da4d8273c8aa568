"""Near duplicates and test items, against the rules worked out by hand and by brute force."""

from __future__ import annotations

import random

from pipeline.make_data.overlap import GRAM_WORDS, NEAR, SHINGLE_WORDS, TestItems, item_texts, near_duplicates
from pipeline.tasks.splits import normalised


def words(first: int, last: int) -> str:
    return " ".join(f"w{number}" for number in range(first, last))


def shingles(text: str) -> set[tuple[str, ...]]:
    parts = normalised(text).split()
    return {tuple(parts[start : start + SHINGLE_WORDS]) for start in range(len(parts) - SHINGLE_WORDS + 1)} or {
        tuple(parts)
    }


def test_share_of_common_runs_decides() -> None:
    """20 words have 18 runs of three. With the last 3 words changed 15 are left: 15 of 21 is 0.71; 14 of 22 is 0.64."""
    text = words(0, 20)
    assert near_duplicates([text, f"{words(0, 17)} {words(90, 93)}"]) == {1}
    assert near_duplicates([text, f"{words(0, 16)} {words(90, 94)}"]) == set()


def test_case_and_punctuation_do_not_count() -> None:
    assert near_duplicates(["Name a bird, please!", "name a bird please"]) == {1}


def test_what_was_dropped_drops_nothing() -> None:
    """The second is near the first and the third near the second alone: the third stays."""
    first, second, third = words(0, 40), words(5, 45), words(10, 50)
    assert near_duplicates([first, second, third]) == {1}


def test_same_as_comparing_all_with_all() -> None:
    generator = random.Random(1)
    texts: list[str] = []
    for _ in range(60):
        base = [generator.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(generator.randint(1, 30))]
        texts.append(" ".join(base))
        for _ in range(generator.randint(0, 3)):
            copy = list(base)
            for _ in range(generator.randint(0, 4)):
                copy[generator.randrange(len(copy))] = generator.choice("xyz")
            texts.append(" ".join(copy))
    generator.shuffle(texts)
    sets = [shingles(text) for text in texts]
    dropped: set[int] = set()
    for place, runs in enumerate(sets):
        kept = [other for other in range(place) if other not in dropped]
        if any(len(runs & sets[other]) / len(runs | sets[other]) >= NEAR for other in kept):
            dropped.add(place)
    assert len(dropped) > 20
    assert near_duplicates(texts) == dropped


def test_more_than_half_of_the_words_of_a_test_item() -> None:
    items = TestItems([words(0, 40)])
    assert items.are_in(f"Once more: {words(0, 21)}.")
    assert not items.are_in(f"Once more: {words(0, 20)}.")


def test_runs_shorter_than_the_rule_do_not_count() -> None:
    items = TestItems([words(0, 40)])
    parts = [words(start, start + GRAM_WORDS - 1) for start in range(0, 40, GRAM_WORDS - 1)]
    assert not items.are_in(" and ".join(parts))


def test_a_short_test_item_must_be_there_as_a_whole() -> None:
    items = TestItems(["Name a blue bird."])
    assert items.are_in("Please name a blue bird, then sing.")
    assert not items.are_in("Please name a bird that is blue.")


def test_every_item_counts_by_itself() -> None:
    """Half of one item and half of another one make no whole."""
    items = TestItems([words(0, 40), words(100, 140)])
    assert not items.are_in(f"{words(0, 15)} {words(100, 115)}")


def test_a_short_field_is_no_test_item_by_itself() -> None:
    question = "In which of these years did the first lighthouse burn down?"
    fields = [question, "1890", "4", "None of these", "yes"]
    assert item_texts(fields) == [question]
    assert item_texts(["What is 2 + 2?", "3", "4"]) == ["What is 2 + 2?"]
    items = TestItems([*item_texts(fields), *item_texts(["What is 2 + 2?", "3", "4"])])
    assert items.are_in(f"Tell me: {question}")
    assert items.are_in("What is 2 + 2? Is it 4?")
    assert not items.are_in("Write 4 sentences, and say yes to none of these.")
