"""Two base models at equal program length: the difference of their test performance over the same items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import permutations

import pyarrow as pa

from pipeline.reduce.curves import ALL_SCOPE, Curve
from pipeline.reduce.frontier import best_within
from pipeline.reduce.intervals import NO_INTERVAL, Interval, percentile_interval
from pipeline.reduce.merge import Row
from pipeline.reduce.resamples import Resamples

_SIDE_COLUMNS = [
    ("cell_id", pa.string()),
    ("family", pa.string()),
    ("program_length_bits", pa.int64()),
    ("program_sha256", pa.string()),
    ("test_performance", pa.float64()),
]
CONTRAST = pa.schema(
    [
        ("task", pa.string()),
        ("model", pa.string()),
        ("reference_model", pa.string()),
        ("is_imported", pa.bool_()),
        ("select", pa.string()),
        ("metric", pa.string()),
        ("higher_is_better", pa.bool_()),
        ("max_length_bits", pa.int64()),  # the best program of each model that is no longer than this
        ("is_largest_common", pa.bool_()),
        ("difference", pa.float64()),  # test performance of the model minus that of the reference
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("test_num_items", pa.int64()),
        *_SIDE_COLUMNS,
        *((f"reference_{name}", kind) for name, kind in _SIDE_COLUMNS),
    ]
)
"""One row for each ordered pair of models and each length that occurs on either frontier.

Rows with `is_largest_common` are the summary: the largest length up to which both models were tried.
"""


def contrast_rows(curves: Sequence[Curve], resamples: Resamples) -> list[Row]:
    """Contrasts of all ordered pairs of models of each task, in scope `all`, imported rows apart from ours.

    The interval of a difference is a percentile bootstrap over items, both programs scored on the same resample. For
    programs that were chosen on the test split there is none.

    Args:
        curves: what `build_curves` gave.
        resamples: what `resampled_members` gave for them.

    Returns:
        Rows with the columns of `CONTRAST`. Lengths at which one of the models has no program yet are absent.
    """
    of_task: dict[tuple[str, bool], list[Curve]] = defaultdict(list)
    for curve in curves:
        if curve.scope == ALL_SCOPE:
            of_task[curve.task, curve.is_imported].append(curve)
    rows = []
    for task_curves in of_task.values():
        for curve, reference in permutations(task_curves, 2):
            rows += _pair_rows(curve, reference, resamples)
    return rows


def _pair_rows(curve: Curve, reference: Curve, resamples: Resamples) -> list[Row]:
    ends = (curve.tried_up_to_bits, reference.tried_up_to_bits)
    largest_common = min((end for end in ends if end is not None), default=0)
    lengths = {row["program_length_bits"] for row in [*curve.frontier, *reference.frontier]} | {largest_common}
    rows = []
    for length_bits in sorted(lengths):
        own, other = best_within(curve.frontier, length_bits), best_within(reference.frontier, length_bits)
        if own is None or other is None or None in (own["test_performance"], other["test_performance"]):
            continue
        low, high = _difference_interval(own, other, resamples)
        rows.append(
            {
                "task": curve.task,
                "model": curve.model,
                "reference_model": reference.model,
                "is_imported": curve.is_imported,
                "select": curve.select,
                "metric": own["metric"],
                "higher_is_better": own["higher_is_better"],
                "max_length_bits": length_bits,
                "is_largest_common": length_bits == largest_common,
                "difference": own["test_performance"] - other["test_performance"],
                "difference_low": low,
                "difference_high": high,
                "test_num_items": own["test_num_items"],
            }
            | {name: own[name] for name, _ in _SIDE_COLUMNS}
            | {f"reference_{name}": other[name] for name, _ in _SIDE_COLUMNS}
        )
    return rows


def _difference_interval(own: Row, other: Row, resamples: Resamples) -> Interval:
    values, other_values = resamples.get(own["cell_id"]), resamples.get(other["cell_id"])
    is_paired = own["test_num_items"] == other["test_num_items"]
    if values is None or other_values is None or not is_paired:
        return NO_INTERVAL
    return percentile_interval(values - other_values)
