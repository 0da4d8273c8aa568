"""Intervals: values known from elsewhere, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.metrics import METRICS
from pipeline.reduce import intervals
from pipeline.reduce.intervals import (
    NO_INTERVAL,
    NORMAL_QUANTILE,
    Floats,
    percentile_interval,
    proportion_score,
    resampled_performances,
    resampled_score,
    wilson_interval,
)

NUM_SIMULATIONS = 400


def test_wilson_known_values() -> None:
    # 8 of 10: 0.4902 to 0.9433 (Newcombe 1998's method 3).
    assert wilson_interval(80, 10) == pytest.approx((49.016, 94.331), abs=0.001)
    # Nothing of 20: the upper end is z^2 / (n + z^2).
    assert wilson_interval(0, 20) == pytest.approx((0, 16.113), abs=0.001)
    assert wilson_interval(100, 20) == pytest.approx((83.887, 100), abs=0.001)
    assert wilson_interval(50, 0) == NO_INTERVAL


@pytest.mark.parametrize("num_correct", range(8))
def test_wilson_holds_the_score(num_correct: int) -> None:
    score = 100 * num_correct / 7
    low, high = wilson_interval(score, 7)
    assert low is not None and high is not None
    assert low <= score <= high


@pytest.mark.parametrize("proportion", [0.1, 0.4])
def test_wilson_coverage(proportion: float) -> None:
    generator = np.random.default_rng(1)
    counts = generator.binomial(150, proportion, size=2000)
    ends = np.array([wilson_interval(100 * count / 150, 150) for count in counts], dtype=np.float64)
    covered = np.mean((ends[:, 0] <= 100 * proportion) & (100 * proportion <= ends[:, 1]))
    assert 0.92 <= covered <= 0.98


def bleu_population(seed: int, match_rate: float) -> Floats:
    """Statistics of 20,000 items whose quality and length vary, shape [20000, 10]."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(8, 30, size=20_000)
    quality = np.clip(match_rate + generator.normal(0, 0.15, size=20_000), 0.02, 0.98)
    totals = [lengths - order for order in range(4)]
    correct = [generator.binomial(total, quality ** (order + 1)) for order, total in enumerate(totals)]
    return np.stack([lengths, lengths, *correct, *totals], axis=1, dtype=np.float64)


def test_bootstrap_coverage_of_a_corpus_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "NUM_RESAMPLES", 500)
    metric = METRICS["bleu"]
    population = bleu_population(1, 0.6)
    truth = float(metric.aggregate(population.sum(axis=0)))
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(NUM_SIMULATIONS):
        sample = population[generator.integers(0, len(population), size=150)]
        low, high = percentile_interval(resampled_performances(metric, [sample])[0])
        assert low is not None and high is not None
        covered += low <= truth <= high
    assert 0.92 <= covered / NUM_SIMULATIONS <= 0.98


def test_paired_coverage_of_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two programs that mostly agree: the paired interval covers, and is far narrower than an unpaired one."""
    monkeypatch.setattr(intervals, "NUM_RESAMPLES", 500)
    metric = METRICS["accuracy"]
    generator = np.random.default_rng(3)
    covered, widths, unpaired_widths = 0, [], []
    for _ in range(NUM_SIMULATIONS):
        hardness = generator.random(200)
        changed = generator.random(200) < 0.1
        first = hardness < 0.5
        second = np.where(changed, generator.random(200) < 0.7, first)
        sides = [np.stack([side, np.ones(200)], axis=1) for side in (first, second)]
        a, b = resampled_performances(metric, sides)
        assert a is not None and b is not None
        low, high = percentile_interval(b - a)
        assert low is not None and high is not None
        covered += low <= 2.0 <= high  # 100 * 0.1 * (0.7 - 0.5)
        widths.append(high - low)
        unpaired_widths.append(np.subtract(*np.percentile(b - np.roll(a, 1), [97.5, 2.5])))
    assert 0.92 <= covered / NUM_SIMULATIONS <= 0.98
    assert np.mean(widths) < 0.5 * np.mean(unpaired_widths)


def test_resamples_are_the_same_in_every_call() -> None:
    metric = METRICS["accuracy"]
    items = np.array([[1, 1], [0, 1], [1, 1], [0, 1], [0, 1]])
    alone = resampled_performances(metric, [items])[0]
    together = resampled_performances(metric, [np.ones((5, 2)), items])[1]
    assert alone is not None and together is not None
    assert np.array_equal(alone, together)


def test_nothing_to_score_gives_no_interval() -> None:
    metric = METRICS["bleu"]
    assert resampled_performances(metric, [np.zeros((0, 0))]) == [None]
    assert resampled_performances(metric, [np.zeros((3, 10))]) == [None]
    assert resampled_performances(metric, []) == []
    assert percentile_interval(None) == NO_INTERVAL


def test_programs_with_damaged_statistics_do_not_disturb_others() -> None:
    metric = METRICS["accuracy"]
    wrong, right = resampled_performances(metric, [np.ones((4, 3)), np.ones((4, 2))])
    assert wrong is None
    assert right is not None and right.tolist() == [100.0] * len(right)


@pytest.mark.parametrize("num_correct", [0, 3, 40, 97, 100])
def test_score_of_a_proportion_passes_where_wilson_ends(num_correct: int) -> None:
    low, high = wilson_interval(num_correct, 100)
    assert low is not None and high is not None
    if low > 0:
        assert proportion_score(num_correct, 100, low) == pytest.approx(NORMAL_QUANTILE)
    if high < 100:
        assert proportion_score(num_correct, 100, high) == pytest.approx(-NORMAL_QUANTILE)


def test_score_of_a_proportion_at_the_ends_of_the_scale() -> None:
    assert proportion_score(30, 100, 0) == np.inf and proportion_score(30, 100, 100) == -np.inf
    assert proportion_score(100, 100, 100) == 0 and proportion_score(30, 100, 120) == -np.inf


def test_score_of_resamples_passes_where_the_percentile_interval_ends() -> None:
    values = np.random.default_rng(1).normal(40, 5, size=2000)
    low, high = percentile_interval(values)
    assert low is not None and high is not None
    assert resampled_score(values, low) == pytest.approx(NORMAL_QUANTILE, abs=0.01)
    assert resampled_score(values, high) == pytest.approx(-NORMAL_QUANTILE, abs=0.01)
    assert resampled_score(values, 40) == pytest.approx(0, abs=0.1)
    assert 3 < resampled_score(values, -1000) < 4  # no proof that it could never be


def test_resamples_without_a_value_are_beyond_either_end() -> None:
    values = np.arange(1000, dtype=np.float64)
    few, many = values.copy(), values.copy()
    few[:10], many[:50] = np.nan, np.nan
    low, high = percentile_interval(few)
    assert low is not None and high is not None and low < 30 and high > 980
    assert percentile_interval(many) == NO_INTERVAL
