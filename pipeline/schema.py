"""The columns of every Parquet file that this package writes, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.errors import InvalidShardError

SCHEMA_VERSION = 1

IMPORTED = "imported"
STATUSES = ("ok", "infeasible", IMPORTED)
"""`infeasible` is final and done: the cell has no program, and its lengths and scores are null. `imported` is what
others published: lengths and a test score, of which no program file exists here."""

METRIC_SCORE = pa.struct([("metric", pa.string()), ("performance", pa.float64())])
SPLIT_SCORES = pa.struct(
    [
        ("performance", pa.float64()),
        ("num_items", pa.int64()),
        ("item_scores", pa.list_(pa.float64())),
        ("statistics", pa.list_(pa.list_(pa.float64()))),
        ("other_metrics", pa.list_(METRIC_SCORE)),
        ("predictions", pa.list_(pa.string())),
    ]
)
"""Scores of one split: one entry an item in `item_scores`, `statistics` (of the first metric) and `predictions`."""

_IDENTITY = [
    ("cell_id", pa.string()),
    ("task", pa.string()),
    ("task_version", pa.int64()),
    ("model", pa.string()),
    ("model_identity", pa.string()),
    ("family", pa.string()),
    ("family_version", pa.int64()),
    ("view", pa.string()),
    ("parameters", pa.string()),  # canonical JSON
    ("budget_bytes", pa.int64()),
    ("seed", pa.int64()),
    ("validation_items", pa.int64()),
    ("test_items", pa.int64()),
    ("time_limit_seconds", pa.int64()),
    ("reference_machine", pa.string()),
]

SHARD = pa.schema(
    [
        ("schema_version", pa.int64()),
        *_IDENTITY,
        ("status", pa.string()),
        ("status_reason", pa.string()),
        # lengths
        ("program_length_bits", pa.int64()),
        ("decoder_bits", pa.int64()),
        ("payload_bits", pa.int64()),
        ("container_bits", pa.int64()),
        ("nll_bits", pa.float64()),
        ("coded_bits", pa.int64()),
        ("program_sha256", pa.string()),
        ("settings", pa.string()),  # canonical JSON: what the encoder chose to fill the budget
        ("payload_text", pa.string()),
        # scores
        ("metric", pa.string()),
        ("higher_is_better", pa.bool_()),
        ("validation", SPLIT_SCORES),
        ("test", SPLIT_SCORES),
        # cost
        ("wall_seconds", pa.float64()),
        ("encode_seconds", pa.float64()),
        ("execute_seconds", pa.float64()),
        ("cpu_seconds", pa.float64()),
        ("gpu_seconds", pa.float64()),
        ("flops", pa.float64()),
        ("train_tokens", pa.int64()),
        ("generated_tokens", pa.int64()),
        ("peak_memory_bytes", pa.int64()),
        # provenance
        ("isolation", pa.string()),
        ("machine_class", pa.string()),
        ("device_count", pa.int64()),
        ("git_commit", pa.string()),
        ("git_dirty_sha256", pa.string()),
        ("package_versions", pa.string()),  # canonical JSON
        ("hub_commits", pa.string()),  # canonical JSON: repository of the model and of data -> commit
        ("lock_sha256", pa.string()),
        ("host", pa.string()),
        ("slurm_job_id", pa.string()),
        ("attempt", pa.int64()),
        ("restarts", pa.int64()),
        ("started_utc", pa.timestamp("us", tz="UTC")),
        ("finished_utc", pa.timestamp("us", tz="UTC")),
    ]
)
"""One row: a cell, its program and its scores."""

PLAN = pa.schema(
    [
        *_IDENTITY,
        ("task_source", pa.string()),  # what the catalogue finds the task by: its name, or the path of its file
        ("group_id", pa.string()),  # cells of one group share the work of their encoder
        ("cost_seconds", pa.float64()),
        ("resources", pa.string()),  # canonical JSON of `resources.Resources`
        # Null without a lock, and `items_sha256` also where the lock knows another version of the task.
        ("hub_commits", pa.string()),  # canonical JSON: repository of the model and of data -> commit
        ("items_sha256", pa.string()),  # digest of the items of the task
        ("lock_sha256", pa.string()),
    ]
)
"""One row a cell; `cell_id` and `group_id` are null while the base model is not staged."""

ATTEMPT = pa.schema(
    [
        ("cell_id", pa.string()),
        ("attempt", pa.int64()),
        ("cause", pa.string()),
        ("message", pa.string()),
        ("host", pa.string()),
        ("slurm_job_id", pa.string()),
        ("restarts", pa.int64()),  # of that job, which tells the logs of its starts apart
        ("finished_utc", pa.timestamp("us", tz="UTC")),
    ]
)
"""One row: a try that gave no shard."""


def check_row(row: Mapping[str, Any]) -> None:
    """Rules that a shard keeps beyond its column types.

    Raises:
        InvalidShardError: names the rule that is broken.
    """

    def require(holds: bool, rule: str) -> None:
        if not holds:
            raise InvalidShardError(f"cell {str(row.get('cell_id'))[:12]}: {rule}")

    require(row["schema_version"] == SCHEMA_VERSION, f"schema version {row['schema_version']}, not {SCHEMA_VERSION}")
    require(row["status"] in STATUSES, f"status {row['status']!r} is none of {', '.join(STATUSES)}")
    lengths = [row[name] for name in ("program_length_bits", "decoder_bits", "payload_bits", "container_bits")]
    if row["status"] == "infeasible":
        require(lengths == [None] * 4, "an infeasible cell has no program and no length")
        require(row["validation"] is None and row["test"] is None, "an infeasible cell has no scores")
        require(bool(row["status_reason"]), "an infeasible cell says why")
        return
    require(None not in lengths and lengths[0] == sum(lengths[1:]), "the parts of the length do not sum to it")
    if row["status"] == IMPORTED:
        require(lengths[0] > 0 and min(lengths[1:]) >= 0, "a part of the length is below 0, or all of them are 0")
        require(row["program_sha256"] is None, "an imported row has no program file")
        require(row["validation"] is None, "an imported row has no validation score: nothing says how it was chosen")
        test = row["test"] or {"performance": None}
        require(test["performance"] is not None, "the test score is missing")
        items = [test[name] for name in ("num_items", "item_scores", "statistics", "predictions")]
        require(items == [None] * 4, "an imported row has no items")
        return
    require(lengths[0] > 0 and lengths[0] % 8 == 0, "the length is no positive number of whole bytes")
    require(row["coded_bits"] is None or row["coded_bits"] > 0, "a payload that is there has no zero length")
    for split in ("validation", "test"):
        scores = row[split]
        complete = scores is not None and None not in (scores["performance"], scores["num_items"])
        require(complete, f"the {split} score is missing")
        counts = {len(scores[name]) for name in ("item_scores", "statistics", "predictions")} | {scores["num_items"]}
        require(len(counts) == 1, f"the {split} columns differ in their number of items")


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of exactly this schema; every row must have every column."""
    names = set(schema.names)
    for row in rows:
        if row.keys() != names:
            raise InvalidShardError(f"columns {sorted(row.keys() ^ names)} are missing or unknown")
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
