"""Isotonic regression, and areas between staircases that can be counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reduce.staircases import (
    Staircase,
    difference_steps,
    increasing,
    log_ratio_steps,
    mean_difference,
    mean_log_ratio,
)


def staircase(lengths: list[float], performances: list[float]) -> Staircase:
    return Staircase(log_lengths=np.log(lengths), performances=np.array(performances, dtype=np.float64))


def test_isotonic_regression_by_hand() -> None:
    assert increasing(np.array([1.0, 3.0, 2.0, 4.0])).tolist() == [1, 2.5, 2.5, 4]
    assert increasing(np.array([3.0, 2.0, 1.0])).tolist() == [2, 2, 2]
    assert increasing(np.array([[1.0, 2.0], [2.0, 1.0]])).tolist() == [[1, 2], [1.5, 1.5]]
    assert increasing(np.array([7.0])).tolist() == [7]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=12))
def test_isotonic_regression_is_the_closest(values: list[int]) -> None:
    """It never falls, keeps the sum, and its distance from the values is orthogonal to itself, as of a projection."""
    given_values = np.array(values, dtype=np.float64)
    fitted = increasing(given_values)
    assert np.all(np.diff(fitted) >= -1e-9)
    assert fitted.sum() == pytest.approx(given_values.sum())
    assert (given_values - fitted) @ fitted == pytest.approx(0, abs=1e-6)


def test_equal_shape_at_twice_the_length() -> None:
    own, other = staircase([100, 300, 900], [10, 20, 40]), staircase([200, 600, 1800], [10, 20, 40])
    assert math.exp(float(mean_log_ratio(own, other))) == pytest.approx(2)
    assert math.exp(float(mean_log_ratio(other, own))) == pytest.approx(0.5)


def test_ratio_weighted_by_hand() -> None:
    # In common are 10 to 30. From 10 to 20: 200 against 400. From 20 to 30: 800 against 400.
    own, other = staircase([100, 200, 800], [5, 20, 35]), staircase([100, 400], [10, 30])
    assert float(mean_log_ratio(own, other)) == pytest.approx((math.log(400 / 200) + math.log(400 / 800)) / 2)
    steps = log_ratio_steps(own, other)
    assert [(step.start, step.end, math.exp(step.value)) for step in steps] == [
        pytest.approx((10, 20, 2)),
        pytest.approx((20, 30, 0.5)),
    ]


def test_difference_weighted_by_hand() -> None:
    # In common from 200 to 1600, three doublings: 20 against 5, then 20 against 30 for two.
    own, other = staircase([100, 200], [10, 20]), staircase([200, 400], [5, 30])
    end = math.log(1600)
    assert float(mean_difference(own, other, end)) == pytest.approx((15 - 10 - 10) / 3)
    steps = difference_steps(own, other, end)
    assert [(math.exp(step.start), math.exp(step.end), step.value) for step in steps] == [
        pytest.approx((200, 400, 15)),
        pytest.approx((400, 1600, -10)),
    ]


def test_no_common_range() -> None:
    own, other = staircase([100, 200], [10, 20]), staircase([100, 400], [30, 40])
    assert np.isnan(mean_log_ratio(own, other)) and log_ratio_steps(own, other) == []
    assert np.isnan(mean_difference(own, other, math.log(50))) and difference_steps(own, other, math.log(50)) == []


members = st.lists(
    st.tuples(st.integers(1, 10**6), st.integers(0, 50)), min_size=2, max_size=6, unique_by=lambda it: it[0]
)


@given(members, members, st.integers(10, 10**7))
def test_means_are_those_of_the_steps(first: list[tuple[int, int]], second: list[tuple[int, int]], end: int) -> None:
    own, other = (
        staircase([length for length, _ in sorted(side)], sorted(score for _, score in side))
        for side in (first, second)
    )
    log_end = math.log(end)
    for steps, mean in (
        (log_ratio_steps(own, other), mean_log_ratio(own, other)),
        (difference_steps(own, other, log_end), mean_difference(own, other, log_end)),
    ):
        if not steps:
            assert np.isnan(mean)
            continue
        area = sum(step.value * (step.end - step.start) for step in steps)
        assert float(mean) == pytest.approx(area / (steps[-1].end - steps[0].start), abs=1e-9)


def test_many_at_once_are_each_by_itself() -> None:
    generator = np.random.default_rng(1)
    own, other = (
        Staircase(log_lengths=np.log(lengths), performances=increasing(generator.uniform(0, 100, size=(20, 4))))
        for lengths in ([100, 200, 400, 800], [150, 300, 500, 700])
    )
    together = mean_log_ratio(own, other)
    alone = [
        mean_log_ratio(
            Staircase(log_lengths=own.log_lengths, performances=own.performances[row]),
            Staircase(log_lengths=other.log_lengths, performances=other.performances[row]),
        )
        for row in range(20)
    ]
    assert np.allclose(together, np.array(alone), equal_nan=True)
