"""One row a cell: identity, lengths, scores with intervals, cost."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import schema
from pipeline.metrics import METRICS
from pipeline.precedence import POINT_COLUMNS
from pipeline.reduce.intervals import Floats, percentile_interval, resampled_performances, wilson_intervals
from pipeline.reduce.merge import Row, read_statistics

FLOOR_VIEW = "floor"
"""View of the families whose programs ignore the base model."""

POINTS = pa.schema(
    [
        *(schema.SHARD.field(name) for name in POINT_COLUMNS if name not in ("metric", "higher_is_better")),
        ("select", pa.string()),
        ("is_floor", pa.bool_()),
        ("metric", pa.string()),
        ("higher_is_better", pa.bool_()),
        ("validation_performance", pa.float64()),
        ("validation_num_items", pa.int64()),
        ("validation_other_metrics", pa.string()),  # JSON: metric -> performance
        ("test_performance", pa.float64()),
        ("test_low", pa.float64()),
        ("test_high", pa.float64()),
        ("test_num_items", pa.int64()),
        ("test_other_metrics", pa.string()),
    ]
)
"""One row a cell. `test_low` and `test_high` are the ends of a 95% interval over items for that fixed program."""

Places = NDArray[np.intp]

_PROGRAMS_AT_ONCE = 64
_READ_AT_ONCE = 2048


def points_table(rows: pa.Table, select: str) -> pa.Table:
    """Points from merged rows.

    Args:
        rows: a table of `merge.merged_rows`.
        select: split that frontiers are chosen on; with `test` there are no intervals. Imported rows have a test score
            only: their `select` is always `test`.

    Returns:
        The columns of `POINTS`, and `path`. Texts that repeat are dictionary-encoded. Task and model have the names
        that the rows give them.
    """
    num_rows = rows.num_rows
    is_imported = pc.equal(rows["status"], schema.IMPORTED)
    columns = {name: rows[name] for name in POINT_COLUMNS}
    columns["select"] = _choice(is_imported, ("test", select))
    columns["is_floor"] = pc.fill_null(pc.equal(rows["view"], FLOOR_VIEW), False)
    for split in ("validation", "test"):
        for name in ("performance", "num_items"):
            columns[f"{split}_{name}"] = pc.struct_field(rows[split], name)
        columns[f"{split}_other_metrics"] = _as_json(pc.struct_field(rows[split], "other_metrics"))
    columns["path"] = rows["path"]
    columns["test_low"] = columns["test_high"] = pa.nulls(num_rows, pa.float64())
    points = pa.table({name: columns[name] for name in (*POINTS.names, "path")})
    return _with_intervals(points) if select == "validation" else points


def resampled_by_cell(points: Sequence[Row]) -> dict[str, Floats | None]:
    """Test performance on resampled items of each point, by cell id; paired within one task.

    Args:
        points: points of one task with one metric and the same test items, with `path`.
    """
    metric = METRICS[points[0]["metric"]]
    # In the order of ids, so that of a compacted file each part is read about once.
    points = sorted(points, key=lambda row: str(row["cell_id"]))
    resampled: dict[str, Floats | None] = {}
    for start in range(0, len(points), _READ_AT_ONCE):
        statistics = read_statistics(points[start : start + _READ_AT_ONCE])
        for first in range(0, len(statistics), _PROGRAMS_AT_ONCE):
            part = points[start + first : start + first + _PROGRAMS_AT_ONCE]
            performances = resampled_performances(metric, statistics[first : first + _PROGRAMS_AT_ONCE])
            resampled |= {row["cell_id"]: values for row, values in zip(part, performances, strict=True)}
    return resampled


def by_test_items(points: Sequence[Row]) -> list[list[Row]]:
    """Points with a known metric in groups that were scored on the same test items."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in points:
        if row["metric"] in METRICS and row["test_num_items"]:
            groups[row["task"], row["metric"], row["test_num_items"]].append(row)
    return list(groups.values())


def _with_intervals(points: pa.Table) -> pa.Table:
    has_items = pc.and_(pc.greater(pc.fill_null(points["test_num_items"], 0), 0), points["test_performance"].is_valid())
    low, high = (np.full(points.num_rows, np.nan) for _ in range(2))
    for is_proportion, add_ends in ((True, _add_wilson), (False, _add_resampled)):
        names = [name for name, metric in METRICS.items() if metric.is_proportion == is_proportion]
        is_one = pc.is_in(points["metric"], value_set=pa.array(names, pa.string()))
        places = np.flatnonzero(pc.and_(is_one, has_items).to_numpy())
        if len(places):
            add_ends(points, places, low, high)
    for name, ends in (("test_low", low), ("test_high", high)):
        points = points.set_column(points.schema.get_field_index(name), name, pa.array(ends, from_pandas=True))
    return points


def _add_wilson(points: pa.Table, places: Places, low: Floats, high: Floats) -> None:
    performances, num_items = (points[name].to_numpy()[places] for name in ("test_performance", "test_num_items"))
    low[places], high[places] = wilson_intervals(performances, num_items)


def _add_resampled(points: pa.Table, places: Places, low: Floats, high: Floats) -> None:
    columns = ["cell_id", "path", "task", "metric", "test_num_items"]
    rows = points.select(columns).take(pa.array(places)).to_pylist()
    place_of = {row["cell_id"]: place for row, place in zip(rows, places, strict=True)}
    for group in by_test_items(rows):
        # Resamples of one program are 16 KB: only ends of intervals are kept.
        for start in range(0, len(group), _READ_AT_ONCE):
            for cell_id, values in resampled_by_cell(group[start : start + _READ_AT_ONCE]).items():
                if values is not None:
                    low[place_of[cell_id]], high[place_of[cell_id]] = percentile_interval(values)


def _choice(condition: pa.ChunkedArray, texts: tuple[str, str]) -> pa.DictionaryArray:
    """The first text where the condition holds, else the second."""
    codes = pc.if_else(pc.fill_null(condition, False), pa.scalar(0, pa.int32()), pa.scalar(1, pa.int32()))
    return pa.DictionaryArray.from_arrays(codes.combine_chunks(), pa.array(texts))


def _as_json(other_metrics: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Lists of metrics and performances as JSON objects, null where there is no entry."""
    lists = other_metrics.combine_chunks()
    entries = lists.flatten()
    if not len(entries):
        return pa.nulls(len(lists), pa.string())
    performances = entries.field("performance")
    # Names occur over and over; numbers are shortest texts that read back as themselves, and no number is `null`.
    names = entries.field("metric").dictionary_encode()
    quoted = pa.array([json.dumps(name) for name in names.dictionary.to_pylist()], pa.string()).take(names.indices)
    is_number = pc.and_kleene(pc.is_finite(performances), performances.is_valid())
    numbers = pc.if_else(pc.fill_null(is_number, False), performances.cast(pa.string()), "null")
    pairs = pc.binary_join_element_wise(quoted, numbers, ":")
    counts = pc.fill_null(pc.list_value_length(lists), 0)
    offsets = np.concatenate([[0], np.cumsum(counts.to_numpy())]).astype(np.int32)
    objects = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), pairs), ",")
    written = pc.binary_join_element_wise("{", objects, "}", "")
    return pc.if_else(pc.greater(counts, 0), written, pa.scalar(None, pa.string()))
