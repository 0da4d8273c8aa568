"""Which of several rows of one cell counts: the same one in tables, on the page and for single cells."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

POINT_COLUMNS = (
    *("cell_id", "task", "task_version", "model", "model_identity", "family", "family_version", "view", "parameters"),
    *("budget_bytes", "seed", "validation_items", "test_items", "status", "status_reason"),
    *("program_length_bits", "decoder_bits", "payload_bits", "container_bits", "nll_bits", "coded_bits"),
    *("program_sha256", "settings", "metric", "higher_is_better"),
    *("wall_seconds", "encode_seconds", "execute_seconds", "cpu_seconds", "gpu_seconds", "flops"),
    *("train_tokens", "generated_tokens", "peak_memory_bytes"),
    *("isolation", "machine_class", "git_commit", "attempt", "rescored_from"),
)
"""Columns of a row that come into the table of points; what else says where a program was made stays in its shard."""
SPLIT_COLUMNS = ("performance", "num_items", "other_metrics")
READ_COLUMNS = (
    "schema_version",
    *POINT_COLUMNS,
    *(f"{split}.{column}" for split in ("validation", "test") for column in SPLIT_COLUMNS),
)
"""What is read of every row: the columns of points, and what the rules of a row need."""


def by_precedence(rows: pa.Table, is_first: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The order of rows within each cell: the first counts.

    That is the lowest attempt, then the smallest program digest. What else a row says comes after these, so that
    of two results with one program the same one counts, wherever they are; the path comes last.

    Args:
        rows: `READ_COLUMNS` and `path`, the file of the row, sorted by cell.
        is_first: whether a row is the first of its cell.
    """
    order = np.arange(rows.num_rows)
    is_alone = is_first & np.concatenate([is_first[1:], [True]])
    places = np.flatnonzero(~is_alone)
    several = rows.take(pa.array(places)).flatten()
    keys = {"cell": pa.array(np.cumsum(is_first)[places])}
    keys["attempt"] = several["attempt"]
    keys["program"] = pc.fill_null(several["program_sha256"], "")
    for name in READ_COLUMNS:
        column = several[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        if not pa.types.is_nested(column.type):
            keys[f"row {name}"] = column
    keys["path"] = several["path"].cast(pa.string())
    order[places] = places[pc.sort_indices(pa.table(keys), [(name, "ascending") for name in keys]).to_numpy()]
    return order
