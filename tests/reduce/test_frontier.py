"""Rules of the frontier and of what is read off it, on examples computed by hand."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest

from pipeline.reduce.frontier import best_within, direction, pareto_frontier, shortest_reaching

Row = dict[str, Any]


def program(name: str, length: int | None, score: float | None, *, higher_is_better: bool = True) -> Row:
    return {
        "cell_id": f"cell {name}",
        "program_sha256": name,
        "program_length_bits": length,
        "score": score,
        "higher_is_better": higher_is_better,
    }


def names(rows: list[Row]) -> list[str]:
    return [row["program_sha256"] for row in rows]


PROGRAMS = [
    program("a", 100, 10.0),
    program("b", 200, 10.0),  # equal score, longer: out
    program("c", 200, 30.0),
    program("d", 300, 20.0),  # worse and longer: out
    program("e", 400, 31.0),
    program("f", 400, 31.0),  # equal in both, larger digest: out
    program("g", 50, None),
    program("h", None, None),
    program("i", 60, math.nan),
]


def test_higher_is_better() -> None:
    assert names(pareto_frontier(PROGRAMS, "score")) == ["a", "c", "e"]


def test_lower_is_better() -> None:
    programs = [
        program("a", 100, 5.0, higher_is_better=False),
        program("b", 150, 6.0, higher_is_better=False),
        program("c", 200, 4.0, higher_is_better=False),
        program("d", 200, 3.5, higher_is_better=False),
        program("e", 300, 3.5, higher_is_better=False),
    ]
    frontier = pareto_frontier(programs, "score")
    assert names(frontier) == ["a", "d"]
    assert shortest_reaching(frontier, "score", 4.0) is frontier[1]
    assert shortest_reaching(frontier, "score", 5.0) is frontier[0]
    assert shortest_reaching(frontier, "score", 3.4) is None


def test_one_program_of_two_cells_goes_to_the_smaller_cell() -> None:
    twin = {**program("a", 100, 10.0), "cell_id": "cell 0"}
    assert pareto_frontier([program("a", 100, 10.0), twin], "score") == [twin]


def test_order_of_rows_does_not_matter() -> None:
    shuffled = list(PROGRAMS)
    for seed in range(20):
        random.Random(seed).shuffle(shuffled)
        assert names(pareto_frontier(shuffled, "score")) == ["a", "c", "e"]


def test_nobody_outside_beats_a_member() -> None:
    generator = random.Random(1)
    for _ in range(50):
        programs = [program(str(n), generator.randint(1, 9), float(generator.randint(0, 5))) for n in range(30)]
        frontier = pareto_frontier(programs, "score")
        for row in programs:
            assert any(
                member["program_length_bits"] <= row["program_length_bits"] and member["score"] >= row["score"]
                for member in frontier
            )
        for shorter, longer in itertools.pairwise(frontier):
            assert shorter["program_length_bits"] < longer["program_length_bits"]
            assert shorter["score"] < longer["score"]


def test_no_candidates() -> None:
    assert pareto_frontier([program("g", 50, None)], "score") == []
    assert shortest_reaching([], "score", 1.0) is None
    assert best_within([], 100) is None


def test_shortest_reaching_and_best_within() -> None:
    frontier = pareto_frontier(PROGRAMS, "score")
    reaching = {target: shortest_reaching(frontier, "score", target) for target in (0.0, 10.0, 10.1, 31.0, 31.1)}
    assert {target: row and row["program_sha256"] for target, row in reaching.items()} == {
        0.0: "a",
        10.0: "a",
        10.1: "c",
        31.0: "e",
        31.1: None,
    }
    within = {length: best_within(frontier, length) for length in (99, 100, 399, 400)}
    assert {length: row and row["program_sha256"] for length, row in within.items()} == {
        99: None,
        100: "a",
        399: "c",
        400: "e",
    }


def test_disagreement_on_the_direction() -> None:
    with pytest.raises(ValueError, match="disagree"):
        direction([program("a", 1, 1.0), program("b", 2, 1.0, higher_is_better=False)])
