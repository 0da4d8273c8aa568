"""Which texts are near one another, and which come near a test item. Exact, by words without case and punctuation."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from pipeline.tasks.splits import normalised

SHINGLE_WORDS = 3
NEAR = 0.7
"""Texts are near duplicates whose sets of runs of 3 words overlap by this share (Jaccard index) or more."""

GRAM_WORDS = 8
COVERED = 0.5
"""A text holds a test item if more than this share of the item's words lies in runs of 8 words that both have: the rule
of Tülu 3 (arXiv 2411.15124). Of a shorter item all words must occur in one run."""

Gram = tuple[str, ...]


def near_duplicates(texts: Sequence[str]) -> set[int]:
    """Places of the texts that are near duplicates of an earlier one that is kept."""
    sets = [set(_grams(normalised(text).split(), SHINGLE_WORDS)) for text in texts]
    common = Counter(gram for grams in sets for gram in grams)
    index: dict[Gram, list[int]] = defaultdict(list)
    dropped: set[int] = set()
    for place, grams in enumerate(sets):
        # Two sets that overlap this much share one of their rarest runs: how many to look at follows from the share.
        num_shared = math.ceil(NEAR * len(grams) - 1e-9)  # a product of floats may lie just above a whole number
        rarest = sorted(grams, key=lambda gram: (common[gram], gram))[: len(grams) - num_shared + 1]
        candidates = {other for gram in rarest for other in index[gram]}
        if any(_jaccard(grams, sets[other]) >= NEAR for other in candidates):
            dropped.add(place)
            continue
        for gram in rarest:
            index[gram].append(place)
    return dropped


def item_texts(fields: Sequence[str]) -> list[str]:
    """The fields by which a test item is known: those of 8 words or more, else the longest.

    A shorter one, such as the option `4` of a question, stands in texts that have nothing to do with the item.
    """
    sizes = {field: len(normalised(field).split()) for field in fields}
    return [field for field in fields if sizes[field] >= GRAM_WORDS] or [max(fields, key=sizes.__getitem__)]


class TestItems:
    """Finds the test items that a text holds."""

    __test__ = False  # no class of tests

    def __init__(self, texts: Iterable[str]) -> None:
        self._items = [normalised(text).split() for text in texts]
        self._places: dict[Gram, list[tuple[int, int]]] = defaultdict(list)
        for number, words in enumerate(self._items):
            for start, gram in enumerate(_grams(words, GRAM_WORDS)):
                self._places[gram].append((number, start))

    def are_in(self, text: str) -> bool:
        """Whether the text holds one of them."""
        words = normalised(text).split()
        covered: dict[int, set[int]] = defaultdict(set)
        runs = {gram for length in range(1, GRAM_WORDS + 1) for gram in _runs(words, length)}
        for gram in runs:
            for number, start in self._places.get(gram, ()):
                covered[number].update(range(start, start + len(gram)))
        return any(len(found) > COVERED * len(self._items[number]) for number, found in covered.items())


def _grams(words: Sequence[str], length: int) -> list[Gram]:
    """All runs of so many words; of a shorter text the whole."""
    return _runs(words, length) or ([tuple(words)] if words else [])


def _runs(words: Sequence[str], length: int) -> list[Gram]:
    return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]


def _jaccard(left: set[Gram], right: set[Gram]) -> float:
    return len(left & right) / len(left | right)
