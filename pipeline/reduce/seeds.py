"""Spread over seeds: test performance of the frontiers of single seeds at equal length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

import pyarrow as pa

from pipeline.reduce.curves import METRIC_COLUMNS, Curve
from pipeline.reduce.frontier import best_within
from pipeline.reduce.merge import Row

SEED_SCOPE = "seed:"
"""Start of the name of a scope that holds the programs of one seed, and those without a seed."""

SPREAD_COLUMNS = [
    ("program_length_bits", pa.int64()),
    ("test_min", pa.float64()),
    ("test_median", pa.float64()),
    ("test_max", pa.float64()),
    ("num_seeds", pa.int64()),
]
SEEDS = pa.schema(
    [
        ("task", pa.string()),
        ("model", pa.string()),
        ("is_imported", pa.bool_()),
        ("select", pa.string()),
        *METRIC_COLUMNS,
        *SPREAD_COLUMNS,
    ]
)
"""One row for each length at which the best program of any seed changes, from where every seed has one."""


def seed_spread(frontiers: Sequence[Sequence[Row]]) -> list[Row]:
    """Range of the seeds' test performances at each length, with the columns `SPREAD_COLUMNS`.

    Each seed is shown at the test score of the program that validation chose among its own up to that length: the
    range tells what another seed would have given, and is no interval over items.

    Args:
        frontiers: of each seed, shortest first; every member has a test score.

    Returns:
        No rows where fewer than two seeds have a program.
    """
    if len(frontiers) < 2 or not all(frontiers):
        return []
    lengths = [[row["program_length_bits"] for row in frontier] for frontier in frontiers]
    start = max(of_seed[0] for of_seed in lengths)
    rows = []
    for bits in sorted({bits for of_seed in lengths for bits in of_seed if bits >= start}):
        members = [best_within(frontier, bits) for frontier in frontiers]
        scores = [row["test_performance"] for row in members if row is not None]
        rows.append(
            {
                "program_length_bits": bits,
                "test_min": min(scores),
                "test_median": median(scores),
                "test_max": max(scores),
                "num_seeds": len(scores),
            }
        )
    return rows


def seed_rows(curves: Sequence[Curve]) -> list[Row]:
    """Spread of every task and model with several seeds, with the columns of `SEEDS`.

    Args:
        curves: what `build_curves` gave.
    """
    of_model: dict[tuple[str, str, bool], list[Curve]] = defaultdict(list)
    for curve in curves:
        if curve.scope.startswith(SEED_SCOPE):
            of_model[curve.task, curve.model, curve.is_imported].append(curve)
    rows = []
    for (task, model, is_imported), seeds in of_model.items():
        frontiers = [
            scored
            for curve in seeds
            if (scored := [row for row in curve.frontier if row["test_performance"] is not None])
        ]
        for spread in seed_spread(frontiers):
            first = frontiers[0][0]
            rows.append(
                {"task": task, "model": model, "is_imported": is_imported, "select": seeds[0].select}
                | {name: first[name] for name, _ in METRIC_COLUMNS}
                | spread
            )
    return rows
