"""Makers of study folders with real shards."""

from __future__ import annotations

import datetime
import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline import schema
from pipeline.compacted import write_compacted
from pipeline.files import write_atomically
from pipeline.reduce.completeness import Account, Completeness
from pipeline.reduce.merge import merged_rows
from pipeline.store import Study

Row = dict[str, Any]
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def split_scores(statistics: Sequence[Sequence[float]], performance: float) -> Row:
    """Scores of one split from the statistics of its items."""
    return {
        "performance": performance,
        "num_items": len(statistics),
        "item_scores": [performance] * len(statistics),
        "statistics": [list(map(float, item)) for item in statistics],
        "other_metrics": [{"metric": "chrf++", "performance": performance / 2}],
        "predictions": ["out"] * len(statistics),
    }


def correct(num_correct: int, num_items: int) -> Row:
    """Accuracy scores with the first items right."""
    items = [(1, 1)] * num_correct + [(0, 1)] * (num_items - num_correct)
    return split_scores(items, 100 * num_correct / num_items)


def shard_row(name: str, **changes: Any) -> Row:
    """A complete shard row of a program of 100 bytes; `validation` and `test` may be given as counts of 20 items."""
    row: Row = {field.name: None for field in schema.SHARD}
    row |= {
        "schema_version": schema.SCHEMA_VERSION,
        "cell_id": hashlib.sha256(name.encode()).hexdigest(),
        "task": "sums",
        "task_version": 1,
        "model": "tiny",
        "model_identity": "1" * 64,
        "family": "icl",
        "family_version": 1,
        "view": "inference",
        "parameters": "{}",
        "time_limit_seconds": 60,
        "reference_machine": "1",
        "status": "ok",
        "program_sha256": hashlib.sha256(f"program of {name}".encode()).hexdigest(),
        "settings": "{}",
        "metric": "accuracy",
        "higher_is_better": True,
        "validation": 10,
        "test": 10,
        "wall_seconds": 1.0,
        "isolation": "kernel",
        "attempt": 1,
        "restarts": 0,
        "started_utc": NOW,
        "finished_utc": NOW,
    }
    length_bytes = changes.pop("length_bytes", 100)
    row |= changes
    for split in ("validation", "test"):
        if isinstance(row[split], int):
            row[split] = correct(row[split], 20)
    if row["status"] == "ok":
        payload_bits = 8 * (length_bytes - 90)
        row |= {
            "program_length_bits": 8 * length_bytes,
            "decoder_bits": 400,
            "payload_bits": payload_bits,
            "container_bits": 320,
        }
    else:
        row |= {"validation": None, "test": None, "program_sha256": None, "status_reason": "over budget"}
        row |= {"metric": None, "higher_is_better": None}
    return row


def imported_row(name: str, length_bits: int, performance: float, **changes: Any) -> Row:
    """A shard row of a published result with a script of 100 bits."""
    row: Row = {field.name: None for field in schema.SHARD}
    row |= {
        "schema_version": schema.SCHEMA_VERSION,
        "cell_id": hashlib.sha256(f"imported {name}".encode()).hexdigest(),
        "task": "sums",
        "model": "tiny",
        "family": "icl",
        "view": "inference",
        "parameters": "{}",
        "seed": 1,
        "status": schema.IMPORTED,
        "status_reason": "published",
        "program_length_bits": length_bits,
        "decoder_bits": 100,
        "payload_bits": length_bits - 100,
        "container_bits": 0,
        "settings": "{}",
        "metric": "accuracy",
        "higher_is_better": True,
        "test": {field.name: None for field in schema.SPLIT_SCORES} | {"performance": performance},
    }
    return row | changes


def plan_row(row: Row) -> Row:
    """The row of the plan that belongs to a shard row."""
    return {
        field.name: row.get(field.name, {"group_id": "0" * 64, "cost_seconds": 1.0}.get(field.name))
        for field in schema.PLAN
    }


MakeStudy = Callable[..., Study]


@pytest.fixture
def make_study(tmp_path: Path) -> MakeStudy:
    """Maker of a study folder: `make_study(rows, planned=rows or None for no plan, name=...)`."""

    def make(rows: Sequence[Row], planned: Sequence[Row] | None = None, name: str = "study") -> Study:
        study = Study(tmp_path / name)
        for row in rows:
            assert study.commit_shard(row)
        if planned is not None:
            table = schema.table_of([plan_row(row) for row in planned], schema.PLAN)
            write_atomically(study.plan_path, lambda file: pq.write_table(table, file), replace=True)
        return study

    return make


def merge(studies: Sequence[Study]) -> tuple[list[Row], Completeness]:
    """The rows of study folders that count, and what became of the plan."""
    with Account(studies, io.BytesIO(), {}) as account:
        rows = [row for table in merged_rows(studies, account) for row in table.to_pylist()]
        return rows, account.completeness()


def compact(study: Study, name: str, rows: Sequence[Row]) -> Path:
    """A compacted file of a study with these rows."""
    path = study.compacted_path(name)
    table = schema.table_of(sorted(rows, key=lambda row: str(row["cell_id"])), schema.SHARD)
    assert write_compacted(path, [table]) == len(rows)
    return path
