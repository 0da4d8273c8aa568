"""Intervals of a task complexity: small frontiers with every end found by hand."""

from __future__ import annotations

import pytest

from pipeline.reduce import reduce_studies
from pipeline.reduce.complexity import complexity_interval

from .conftest import MakeStudy, Row, correct, shard_row


def member(length_bits: int, low: float, high: float, *, higher_is_better: bool = True) -> Row:
    return {
        "program_length_bits": length_bits,
        "test_low": low,
        "test_high": high,
        "higher_is_better": higher_is_better,
    }


FRONTIER = [member(100, 0, 10), member(200, 15, 25), member(300, 30, 42), member(400, 28, 40), member(500, 50, 60)]


@pytest.mark.parametrize(
    ("target", "low", "high"),
    [
        (5, 100, 200),  # the first may reach it, the second does
        (10, 100, 200),  # an end at the target may reach it
        (20, 200, 300),
        (29, 300, 500),  # the third does by itself, but the fourth stops the sequence
        (45, 500, 500),
        (55, 500, None),  # not established that any does
        (61, None, None),  # none does
    ],
)
def test_ends(target: float, low: int | None, high: int | None) -> None:
    assert complexity_interval(FRONTIER, target) == (low, high)


@pytest.mark.parametrize("target", [5, 10, 20, 29, 45, 55, 61])
def test_lower_is_better_mirrors(target: float) -> None:
    mirrored = [
        member(row["program_length_bits"], 100 - row["test_high"], 100 - row["test_low"], higher_is_better=False)
        for row in FRONTIER
    ]
    assert complexity_interval(mirrored, 100 - target) == complexity_interval(FRONTIER, target)


def test_in_the_table(make_study: MakeStudy) -> None:
    rows = [
        shard_row("short", length_bytes=100, validation=correct(10, 100), test=correct(10, 100)),
        shard_row("middle", length_bytes=200, validation=correct(50, 100), test=correct(40, 100)),
        shard_row("long", length_bytes=300, validation=correct(90, 100), test=correct(90, 100)),
    ]
    reduction = reduce_studies([make_study(rows).folder], targets=[45, 99])
    reached, unreached = (row for row in reduction.complexity.to_pylist() if row["scope"] == "all")
    # Wilson's interval of 40 in 100 goes from 30.9 to 49.8: the middle one may reach 45, and may not.
    assert (reached["task_complexity_bits"], reached["has_interval"]) == (1600, True)
    assert (reached["complexity_low_bits"], reached["complexity_high_bits"]) == (1600, 2400)
    assert not unreached["is_reached"] and unreached["has_interval"]
    assert unreached["complexity_low_bits"] is unreached["complexity_high_bits"] is None


def test_none_where_programs_were_chosen_on_test(make_study: MakeStudy) -> None:
    reduction = reduce_studies([make_study([shard_row("a")]).folder], select="test")
    assert set(reduction.complexity["has_interval"].to_pylist()) == {False}
    assert reduction.complexity["complexity_low_bits"].null_count == reduction.complexity.num_rows


def test_none_without_programs(make_study: MakeStudy) -> None:
    reduction = reduce_studies([make_study([shard_row("a", status="infeasible")]).folder], targets=[50])
    assert set(reduction.complexity["has_interval"].to_pylist()) == {False}
