"""The ratio of task complexities between base models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pyarrow as pa

from pipeline.reduce.merge import Row

_TARGET_COLUMNS = ("task", "scope", "is_imported", "select", "target_performance", "target_fraction")
REDUCTION = pa.schema(
    [
        ("task", pa.string()),
        ("scope", pa.string()),
        ("is_imported", pa.bool_()),
        ("select", pa.string()),
        ("target_performance", pa.float64()),
        ("target_fraction", pa.float64()),
        ("model", pa.string()),
        ("reference_model", pa.string()),
        ("task_complexity_bits", pa.int64()),
        ("reference_complexity_bits", pa.int64()),  # null where the reference model does not reach the target
        ("reference_largest_program_bits", pa.int64()),
        ("ratio", pa.float64()),  # reference / model: above 1 the model needs less
        ("is_lower_bound", pa.bool_()),
    ]
)
"""One row for each target that the model reaches, and each other model as the reference."""


def reduction_rows(complexities: Sequence[Row]) -> list[Row]:
    """How many times shorter a model's program is than that of another model at the same target.

    The ratio is C(reference) / C(model). Where the reference does not reach the target, its shortest program that does
    is longer than the largest one that was tried, so the ratio is at least largest / C(model): a lower bound. Where the
    model itself does not reach the target there is no row (the pair in the other order has it, if the other reaches).

    Args:
        complexities: what `complexity_rows` gave.
    """
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in complexities:
        groups[row["task"], row["scope"], row["is_imported"], row["target_performance"]].append(row)
    rows = []
    for group in groups.values():
        for own, reference in permutations(group, 2):
            numerator = reference["task_complexity_bits"] or reference["largest_program_bits"]
            if own["is_reached"] and numerator is not None:
                rows.append(
                    {name: own[name] for name in _TARGET_COLUMNS}
                    | {
                        "model": own["model"],
                        "reference_model": reference["model"],
                        "task_complexity_bits": own["task_complexity_bits"],
                        "reference_complexity_bits": reference["task_complexity_bits"],
                        "reference_largest_program_bits": reference["largest_program_bits"],
                        "ratio": numerator / own["task_complexity_bits"],
                        "is_lower_bound": not reference["is_reached"],
                    }
                )
    return rows
