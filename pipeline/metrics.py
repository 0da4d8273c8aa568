"""From sufficient statistics of items to performance: sums over items first, then one formula.

Needs numpy only, so that results can be reduced where neither torch nor sacrebleu is installed. The statistics
themselves are made by `pipeline.tasks.scorers`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import UserError

Floats = NDArray[np.float64]

BLEU_ORDER = 4
CHRF_CHARACTER_ORDER = 6
CHRF_WORD_ORDER = 2
CHRF_BETA = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A number between 0 and 100 that is a function of sums of per-item statistics.

    Attributes:
        name: key in `METRICS`.
        higher_is_better: direction.
        statistic_names: what the entries of an item's statistics are, in order.
        signature: exactly what is computed, for reports.
        is_proportion: True where every item counts 0 or 1, so that intervals of a proportion apply.
    """

    name: str
    higher_is_better: bool
    statistic_names: tuple[str, ...]
    signature: str
    is_proportion: bool
    _amount: tuple[int, ...]
    """Indices of the statistics that are all 0 only where there is nothing to score."""
    _performance: Callable[[Floats], Floats]
    _per_item: Callable[[Floats], Floats]

    def aggregate(self, sums: ArrayLike) -> Floats:
        """Performance of a set of items from the sums of their statistics.

        Args:
            sums: shape [..., n_statistics]; leading axes are independent sets (such as bootstrap samples).

        Returns:
            Performance in 0..100, shape [...].

        Raises:
            UserError: wrong number of statistics, a statistic that is not finite or below 0, or a set with nothing to
                score (no items, or references without any text): its performance is unknown, not 0.
        """
        values = self._checked(sums)
        if values.size == 0 or not np.all(values[..., self._amount].any(axis=-1)):
            names = ", ".join(self.statistic_names[index] for index in self._amount)
            raise UserError(f"{self.name}: no performance without items to score ({names}: 0)")
        return self._performance(values)

    def per_item(self, statistics: ArrayLike) -> Floats:
        """Score of each item by itself.

        For `accuracy` 0 or 100. For `bleu` and `chrf++` the sentence score of the same statistics: what
        `sacrebleu.sentence_bleu` (effective order) and `sacrebleu.sentence_chrf(word_order=2)` give. These are for
        looking at items and pairing programs; their mean is not the performance of the corpus.

        Args:
            statistics: shape [n_items, n_statistics].

        Returns:
            Scores in 0..100, shape [n_items].

        Raises:
            UserError: no items, wrong number of statistics, or a statistic that is not finite or below 0.
        """
        values = self._checked(statistics)
        if values.ndim != 2 or len(values) == 0:
            raise UserError(
                f"{self.name}: expected statistics of shape [items, {len(self.statistic_names)}] with items"
            )
        return self._per_item(values)

    def _checked(self, statistics: ArrayLike) -> Floats:
        values = np.asarray(statistics, dtype=np.float64)
        if values.ndim == 0 or values.shape[-1] != len(self.statistic_names):
            raise UserError(
                f"{self.name}: expected {len(self.statistic_names)} statistics an item, got shape {values.shape}"
            )
        if not np.all(np.isfinite(values) & (values >= 0)):
            raise UserError(f"{self.name}: statistics must be finite and not below 0")
        return values


def _accuracy(sums: Floats) -> Floats:
    return _ratio(100 * sums[..., 0], sums[..., 1])


def _bleu(sums: Floats, *, effective_order: bool = False) -> Floats:
    """BLEU with exponential smoothing: same rules as `sacrebleu.metrics.BLEU.compute_bleu`, for many sets at once."""
    system_length, reference_length = sums[..., 0], sums[..., 1]
    correct, total = sums[..., 2 : 2 + BLEU_ORDER], sums[..., 2 + BLEU_ORDER :]
    has_total = total > 0
    # The k-th order without a match counts as 1 / 2**k matches.
    smoothed = 0.5 ** np.cumsum((correct == 0) & has_total, axis=-1)
    log_precision = np.log(np.where(correct > 0, correct, smoothed)) - np.log(np.where(has_total, total, 1.0))
    order = has_total.sum(axis=-1)
    mean_log = _ratio(np.where(has_total, log_precision, 0.0).sum(axis=-1), order)
    # An order that no output is long enough for has precision 0, unless only the orders that are there count.
    defined = correct.any(axis=-1) & (effective_order | (order == BLEU_ORDER))
    brevity = np.minimum(0.0, 1 - _ratio(reference_length, system_length))
    return np.where(defined, 100 * np.exp(mean_log + brevity), 0.0)


def _sentence_bleu(statistics: Floats) -> Floats:
    return _bleu(statistics, effective_order=True)


def _chrf(sums: Floats) -> Floats:
    """chrF++: precision and recall, each averaged over the orders that both sides have, then F2."""
    counts = sums.reshape(*sums.shape[:-1], CHRF_CHARACTER_ORDER + CHRF_WORD_ORDER, 3)
    system, reference, matches = counts[..., 0], counts[..., 1], counts[..., 2]
    effective = (system > 0) & (reference > 0)
    orders = effective.sum(axis=-1)
    precision = _ratio(np.where(effective, _ratio(matches, system), 0.0).sum(axis=-1), orders)
    recall = _ratio(np.where(effective, _ratio(matches, reference), 0.0).sum(axis=-1), orders)
    factor = CHRF_BETA**2
    return 100 * _ratio((1 + factor) * precision * recall, factor * precision + recall)


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    """Elementwise quotient, 0 where the denominator is 0."""
    result: Floats = np.divide(numerator, denominator, out=np.zeros(np.shape(numerator)), where=denominator > 0)
    return result


_ORDERS = range(1, BLEU_ORDER + 1)
_CHRF_ORDERS = [f"char{n}" for n in range(1, CHRF_CHARACTER_ORDER + 1)] + [
    f"word{n}" for n in range(1, CHRF_WORD_ORDER + 1)
]

_ALL = (
    Metric(
        name="accuracy",
        higher_is_better=True,
        statistic_names=("correct", "items"),
        signature="accuracy|percent of items scored 1 (each 0 or 1)",
        is_proportion=True,
        _amount=(1,),
        _performance=_accuracy,
        _per_item=_accuracy,
    ),
    *(
        Metric(
            name=f"{counted}-{rule}",
            higher_is_better=True,
            statistic_names=("followed", counted),
            signature=f"IFEval {counted} followed|{rule} rule|percent of all {counted}",
            # A prompt counts 0 or 1; instructions of one prompt stand or fall together, so prompts are resampled.
            is_proportion=counted == "prompts",
            _amount=(1,),
            _performance=_accuracy,
            _per_item=_accuracy,
        )
        for counted in ("instructions", "prompts")
        for rule in ("loose", "strict")
    ),
    Metric(
        name="bleu",
        higher_is_better=True,
        statistic_names=(
            "system_length",
            "reference_length",
            *(f"correct{n}" for n in _ORDERS),
            *(f"total{n}" for n in _ORDERS),
        ),
        signature="BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0",
        is_proportion=False,
        _amount=(1,),
        _performance=_bleu,
        _per_item=_sentence_bleu,
    ),
    Metric(
        name="chrf++",
        higher_is_better=True,
        statistic_names=tuple(f"{side}_{order}" for order in _CHRF_ORDERS for side in ("system", "reference", "match")),
        signature="chrF2++|nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0",
        is_proportion=False,
        _amount=tuple(range(1, 3 * len(_CHRF_ORDERS), 3)),
        _performance=_chrf,
        _per_item=_chrf,
    ),
)

METRICS = {metric.name: metric for metric in _ALL}
"""Every metric by name."""
