"""Spread over seeds."""

from __future__ import annotations

from typing import Any

from pipeline.reduce import reduce_studies
from pipeline.reduce.seeds import seed_spread

from .conftest import MakeStudy, shard_row


def frontier(*members: tuple[int, float]) -> list[dict[str, Any]]:
    return [{"program_length_bits": bits, "test_performance": score} for bits, score in members]


def test_spread_by_hand() -> None:
    seeds = [frontier((100, 5), (300, 20)), frontier((200, 8), (300, 10)), frontier((100, 6), (400, 40))]
    rows = seed_spread(seeds)
    assert [tuple(row.values()) for row in rows] == [(200, 5, 6, 8, 3), (300, 6, 10, 20, 3), (400, 10, 20, 40, 3)]


def test_one_seed_has_no_spread() -> None:
    assert seed_spread([frontier((100, 5))]) == []
    assert seed_spread([frontier((100, 5)), []]) == []


def test_table(make_study: MakeStudy) -> None:
    rows = [shard_row("floor", view="floor", family="trivial", validation=1, test=2)]
    rows += [
        shard_row(f"seed {seed}", seed=seed, length_bytes=200 + seed, validation=10 + seed, test=12 - seed)
        for seed in (1, 2)
    ]
    table = reduce_studies([make_study(rows).folder]).seeds.to_pylist()
    # Each seed by its own program, though validation prefers the second.
    found = [(row["program_length_bits"], row["test_min"], row["test_median"], row["test_max"]) for row in table]
    assert found == [(800, 10, 10, 10), (1608, 10, 32.5, 55), (1616, 50, 52.5, 55)]
    assert {row["num_seeds"] for row in table} == {2}


def test_seeds_that_were_given_different_cells_are_not_compared(make_study: MakeStudy) -> None:
    rows = [shard_row(f"seed {seed}", seed=seed, length_bytes=200, validation=10 + seed) for seed in (1, 2)]
    whole = reduce_studies([make_study(rows).folder])
    assert whole.seeds.num_rows == 1
    # Another family of the first seed alone: what the second lacks is no work of chance.
    more = shard_row("more", seed=1, family="lora", length_bytes=300)
    part = reduce_studies([make_study([*rows, more], name="part").folder])
    assert part.seeds.num_rows == 0
    assert not [row for row in part.frontier.to_pylist() if row["scope"].startswith("seed:")]


def test_no_rows_without_seeds(make_study: MakeStudy) -> None:
    assert reduce_studies([make_study([shard_row("a")]).folder]).seeds.num_rows == 0
