"""One row a cell: identity, lengths, scores with intervals, cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from pipeline import schema
from pipeline.cell import canonical_json
from pipeline.files import READ_THREADS
from pipeline.metrics import METRICS
from pipeline.reduce.intervals import NO_INTERVAL, Floats, percentile_interval, resampled_performances, wilson_interval
from pipeline.reduce.merge import Row, read_statistics

FLOOR_VIEW = "floor"
"""View of the families whose programs ignore the base model."""

_FROM_SHARD = [
    field
    for field in schema.SHARD
    if field.name not in ("schema_version", "validation", "test", "payload_text", "metric", "higher_is_better")
]
POINTS = pa.schema(
    [
        *_FROM_SHARD,
        ("select", pa.string()),
        ("is_floor", pa.bool_()),
        ("metric", pa.string()),
        ("higher_is_better", pa.bool_()),
        ("validation_performance", pa.float64()),
        ("validation_num_items", pa.int64()),
        ("validation_other_metrics", pa.string()),  # canonical JSON: metric -> performance
        ("test_performance", pa.float64()),
        ("test_low", pa.float64()),
        ("test_high", pa.float64()),
        ("test_num_items", pa.int64()),
        ("test_other_metrics", pa.string()),
    ]
)
"""One row a cell. `test_low` and `test_high` are the ends of a 95% interval over items for that fixed program."""

_PROGRAMS_AT_ONCE = 64


def point_rows(rows: Sequence[Row], select: str) -> list[Row]:
    """Points from merged rows.

    Args:
        rows: what `merge_shards` gave.
        select: split that frontiers are chosen on; with `test` there are no intervals. Imported rows have a test score
            only: their `select` is always `test`.

    Returns:
        One dictionary a cell with the columns of `POINTS`, and `path`.
    """
    points = []
    for row, (task, model) in zip(rows, distinct_labels(rows), strict=True):
        validation, test = row["validation"] or {}, row["test"] or {}
        points.append(
            {name: row[name] for name in _FROM_SHARD_NAMES}
            | {
                "task": task,
                "model": model,
                "select": "test" if row["status"] == schema.IMPORTED else select,
                "is_floor": row["view"] == FLOOR_VIEW,
                "metric": row["metric"],
                "higher_is_better": row["higher_is_better"],
                "validation_performance": validation.get("performance"),
                "validation_num_items": validation.get("num_items"),
                "validation_other_metrics": _other_metrics(validation),
                "test_performance": test.get("performance"),
                "test_low": None,
                "test_high": None,
                "test_num_items": test.get("num_items"),
                "test_other_metrics": _other_metrics(test),
                "path": row["path"],
            }
        )
    if select == "validation":
        _add_intervals(points)
    return points


def distinct_labels(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Labels of task and model of each row, such that rows with equal labels may be compared.

    Two task versions, or scores on different numbers of items, are not on one curve: where a task occurs in several
    settings its label says which (`gsm8k v2 128/256`). Likewise two base models with one label get the start of their
    identity. Imported rows tell neither, and keep the plain names.
    """
    settings = [(row["task_version"], row["validation_items"], row["test_items"]) for row in rows]
    task_settings: dict[str, set[Any]] = defaultdict(set)
    identities: dict[str, set[Any]] = defaultdict(set)
    for row, setting in zip(rows, settings, strict=True):
        if row["status"] != schema.IMPORTED:
            task_settings[row["task"]].add(setting)
            identities[row["model"]].add(row["model_identity"])

    def task_label(row: Row, setting: tuple[Any, ...]) -> str:
        if row["status"] == schema.IMPORTED or len(task_settings[row["task"]]) == 1:
            return str(row["task"])
        version, validation_items, test_items = (part if part is not None else "all" for part in setting)
        return f"{row['task']} v{version} {validation_items}/{test_items}"

    def model_label(row: Row) -> str:
        is_alone = row["status"] == schema.IMPORTED or len(identities[row["model"]]) == 1
        return str(row["model"]) if is_alone else f"{row['model']} ({str(row['model_identity'])[:8]})"

    return [(task_label(row, setting), model_label(row)) for row, setting in zip(rows, settings, strict=True)]


def resampled_by_cell(points: Sequence[Row]) -> dict[str, Floats | None]:
    """Test performance on resampled items of each point, by cell id; paired within one task.

    Args:
        points: points of one task with one metric and the same test items.
    """
    metric = METRICS[points[0]["metric"]]
    resampled: dict[str, Floats | None] = {}
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for start in range(0, len(points), _PROGRAMS_AT_ONCE):
            part = points[start : start + _PROGRAMS_AT_ONCE]
            performances = resampled_performances(metric, list(pool.map(read_statistics, part)))
            resampled |= {row["cell_id"]: values for row, values in zip(part, performances, strict=True)}
    return resampled


def by_test_items(points: Sequence[Row]) -> list[list[Row]]:
    """Points with a known metric in groups that were scored on the same test items."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in points:
        if row["metric"] in METRICS and row["test_num_items"]:
            groups[row["task"], row["metric"], row["test_num_items"]].append(row)
    return list(groups.values())


def _add_intervals(points: Sequence[Row]) -> None:
    for group in by_test_items(points):
        if METRICS[group[0]["metric"]].is_proportion:
            intervals = {
                row["cell_id"]: wilson_interval(row["test_performance"], row["test_num_items"]) for row in group
            }
        else:
            intervals = {cell_id: percentile_interval(values) for cell_id, values in resampled_by_cell(group).items()}
        for row in group:
            row["test_low"], row["test_high"] = intervals.get(row["cell_id"], NO_INTERVAL)


def _other_metrics(scores: Mapping[str, Any]) -> str | None:
    entries = scores.get("other_metrics")
    return canonical_json({entry["metric"]: entry["performance"] for entry in entries}) if entries else None


_FROM_SHARD_NAMES = [field.name for field in _FROM_SHARD]
