"""The columns of every Parquet file that this package writes, in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InvalidShardError

SCHEMA_VERSION = 2

_Keeps = Callable[[pa.Table], pa.ChunkedArray]

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
        ("gpu_seconds", pa.float64()),  # wall seconds times devices, which a cell holds whether it uses them or not
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
        ("rescored_from", pa.string()),  # the cell whose kept predictions were scored anew; null where they were made
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
    for _, rule in broken_rows(table_of([row], SHARD)):
        raise InvalidShardError(f"cell {str(row['cell_id'])[:12]}: {rule}")


def broken_rows(table: pa.Table) -> list[tuple[int, str]]:
    """Rows of shards that break a rule beyond their column types.

    Args:
        table: columns of `SHARD`. Fields of `validation` and `test` that were not read, and `payload_text`, may be
            absent: what would be said of them is then not checked.

    Returns:
        (place in the table, the first rule that it breaks), in the order of the table.
    """
    broken: dict[int, str] = {}
    statuses = table["status"]
    present = set(pc.unique(statuses).to_pylist())
    for ruled, rule, keeps in _RULES:
        if ruled is not None and present.isdisjoint(ruled):
            continue
        kept = keeps(table)
        if ruled is not None and not present.issubset(ruled):
            kept = pc.or_kleene(kept, pc.invert(pc.is_in(statuses, value_set=pa.array(ruled))))
        if pc.all(kept, skip_nulls=False).as_py() is True:
            continue
        for place in pc.indices_nonzero(pc.invert(pc.fill_null(kept, False))).to_pylist():
            broken.setdefault(place, rule.format(**{name: table[name][place].as_py() for name in _NAMED_IN_RULES}))
    return sorted(broken.items())


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of exactly this schema; every row must have every column."""
    names = set(schema.names)
    for row in rows:
        if row.keys() != names:
            raise InvalidShardError(f"columns {sorted(row.keys() ^ names)} are missing or unknown")
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)


def _field(table: pa.Table, split: str, name: str) -> pa.ChunkedArray:
    """A field of the scores of a split, null also where there are none."""
    return pc.struct_field(table[split], name)


def _are_null(table: pa.Table, names: Iterable[str]) -> pa.ChunkedArray:
    return reduce(pc.and_, [table[name].is_null() for name in names])


def _lengths_sum(table: pa.Table) -> pa.ChunkedArray:
    total, *parts = (table[name] for name in _LENGTHS)
    return pc.equal(total, reduce(pc.add, parts))


def _lengths_are_sizes(table: pa.Table) -> pa.ChunkedArray:
    total, *parts = (table[name] for name in _LENGTHS)
    return reduce(pc.and_, [pc.greater(total, 0), *(pc.greater_equal(part, 0) for part in parts)])


def _is_whole_bytes(table: pa.Table) -> pa.ChunkedArray:
    total = table["program_length_bits"]
    return pc.and_(pc.greater(total, 0), pc.equal(pc.bit_wise_and(total, 7), 0))


def _has_no_items(table: pa.Table) -> pa.ChunkedArray:
    present = [name for name in ("num_items", *_ITEM_FIELDS) if table["test"].type.get_field_index(name) >= 0]
    return reduce(pc.and_, [_field(table, "test", name).is_null() for name in present])


def _has_scores(split: str) -> _Keeps:
    return lambda table: pc.and_(
        _field(table, split, "performance").is_valid(), _field(table, split, "num_items").is_valid()
    )


def _has_equal_counts(split: str) -> _Keeps:
    def keeps(table: pa.Table) -> pa.ChunkedArray:
        num_items = _field(table, split, "num_items")
        present = [name for name in _ITEM_FIELDS if table[split].type.get_field_index(name) >= 0]
        equal = [pc.equal(pc.list_value_length(_field(table, split, name)), num_items) for name in present]
        return reduce(pc.and_, equal, pc.greater_equal(num_items, 0))

    return keeps


_LENGTHS = ("program_length_bits", "decoder_bits", "payload_bits", "container_bits")
_ITEM_FIELDS = ("item_scores", "statistics", "predictions")
_NAMED_IN_RULES = ("schema_version", "status")
_OK, _INFEASIBLE, _IMPORTED = ("ok",), ("infeasible",), (IMPORTED,)
_RULES: tuple[tuple[tuple[str, ...] | None, str, _Keeps], ...] = (
    (
        None,
        f"schema version {{schema_version}}, not {SCHEMA_VERSION}",
        lambda table: pc.equal(table["schema_version"], SCHEMA_VERSION),
    ),
    (
        None,
        f"status {{status!r}} is none of {', '.join(STATUSES)}",
        lambda table: pc.is_in(table["status"], value_set=pa.array(STATUSES)),
    ),
    (
        _INFEASIBLE,
        "an infeasible cell has no program and no length",
        lambda table: _are_null(table, _LENGTHS),
    ),
    (_INFEASIBLE, "an infeasible cell has no scores", lambda table: _are_null(table, ("validation", "test"))),
    (_INFEASIBLE, "an infeasible cell says why", lambda table: pc.not_equal(table["status_reason"], "")),
    ((*_OK, *_IMPORTED), "the parts of the length do not sum to it", _lengths_sum),
    (_IMPORTED, "a part of the length is below 0, or all of them are 0", _lengths_are_sizes),
    (_IMPORTED, "an imported row has no program file", lambda table: table["program_sha256"].is_null()),
    (
        _IMPORTED,
        "an imported row has no validation score: nothing says how it was chosen",
        lambda table: table["validation"].is_null(),
    ),
    (_IMPORTED, "the test score is missing", lambda table: _field(table, "test", "performance").is_valid()),
    (_IMPORTED, "an imported row has no items", _has_no_items),
    (_OK, "the length is no positive number of whole bytes", _is_whole_bytes),
    (
        _OK,
        "a payload that is there has no zero length",
        lambda table: pc.greater(pc.fill_null(table["coded_bits"], 1), 0),
    ),
    (_OK, "the validation score is missing", _has_scores("validation")),
    (_OK, "the validation columns differ in their number of items", _has_equal_counts("validation")),
    (_OK, "the test score is missing", _has_scores("test")),
    (_OK, "the test columns differ in their number of items", _has_equal_counts("test")),
)
"""Statuses of the rows that a rule is for, None for all; what is said where one breaks it; the rule, where a null is
no keeping."""
