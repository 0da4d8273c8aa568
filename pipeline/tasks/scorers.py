"""Scorers that several tasks share: from an output and a target to sufficient statistics or a plain verdict.

Extraction of an answer belongs to the task: it is the same for every program and no program pays for it.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

from pipeline.errors import UserError

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric as SacrebleuMetric

NUMBER = re.compile(
    r"""
    (?:(?<![\w.)\]])[-−–])?                # a sign: not the minus of "5-3" or the hyphen of "x-3"
    (?:[$€£]\s?(?:[-−–](?=\d))?)?          # "$5", "$ 5", "$-5"
    (?:
        \d{1,3}(?:,\d{3})+(?!\d) | \d+  # "1,080", or digits alone: the comma of "3,4" separates two numbers
    )
    (?:\.\d+)?
    | (?<![\d.])\.\d+                     # ".5"
    """,
    re.VERBOSE,
)
"""A number as people write it: sign, currency, thousands separators, decimals; a trailing period is not part of it."""


def single_blanks(text: str) -> str:
    """A text with one blank or line break in the place of many: patterns that skip them would else try every split."""
    return re.sub(r"\s{2,}", lambda blanks: "\n" if "\n" in blanks[0] else " ", text)


def first_line(output: str) -> str:
    """The first line with text in it, without the blanks around it; empty if there is none."""
    return output.strip().partition("\n")[0].strip()


def number(text: str) -> Decimal | None:
    """The value of a text that `NUMBER` matched; None for any other text."""
    if NUMBER.fullmatch(text) is None:
        return None
    plain = re.sub(r"[−–]", "-", text)
    return Decimal(re.sub(r"[^\d.-]", "", plain))


def numbers(text: str) -> list[Decimal]:
    """The values of all numbers of a text, in order."""
    values = (number(match.group()) for match in NUMBER.finditer(text))
    return [value for value in values if value is not None]


def same_text(left: str, right: str) -> bool:
    """Whether two texts agree but for case, Unicode form, runs of blanks and a period at the end."""
    return _plain(left) == _plain(right)


def contains_text(output: str, target: str) -> bool:
    """Whether the target stands in the output as whole words and numbers, with the liberties of `same_text`."""
    text, words = _plain(output), re.escape(_plain(target))
    # Without its currency: "$5" contains 5, while neither "-5" nor "5.5" nor "1,500" does.
    spans = [(found.end() - len(found[0].lstrip("$€£ ")), found.end()) for found in NUMBER.finditer(text)]
    return any(
        all(
            end <= found.start() or start >= found.end() or found.start() <= start < end <= found.end()
            for start, end in spans
        )
        for found in re.finditer(rf"(?<!\w){words}(?!\w)", text)
    )


def accuracy_statistics(correct: bool) -> list[float]:
    """Statistics of the metric `accuracy`: 0 or 1, and the item itself."""
    return [float(correct), 1.0]


def bleu_statistics(output: str, target: str) -> list[float]:
    """Statistics of the metric `bleu`, 10 numbers, counted by sacrebleu (tokenizer 13a)."""
    return _sacrebleu_statistics("bleu", output, target)


def chrf_statistics(output: str, target: str) -> list[float]:
    """Statistics of the metric `chrf++`, 24 numbers, counted by sacrebleu."""
    return _sacrebleu_statistics("chrf++", output, target)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split()).removesuffix(".").rstrip()


def _sacrebleu_statistics(name: str, output: str, target: str) -> list[float]:
    # sacrebleu has no public way to the statistics of chrF; the tests compare with its public scores.
    [statistics] = _sacrebleu(name)._extract_corpus_statistics([output], [[target]])
    return [float(value) for value in statistics]


@cache
def _sacrebleu(name: str) -> SacrebleuMetric:
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        raise UserError(f"the metric {name} needs the package sacrebleu: pip install sacrebleu") from error

    # `force` only silences the warning about outputs that look tokenized.
    return BLEU(force=True) if name == "bleu" else CHRF(word_order=2)
