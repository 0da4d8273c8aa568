"""Rows of shards as small as they can be, for tests of the files around them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline import schema
from pipeline.seals import seal


def cell_id(number: int) -> str:
    """Id of one of as many cells as are wanted."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def shard_row(number: int, **changes: Any) -> dict[str, Any]:
    """The row of a cell with a program of 100 bytes that was scored on one item."""
    scores = {
        "performance": 100.0,
        "num_items": 1,
        "item_scores": [100.0],
        "statistics": [[1.0, 1.0]],
        "other_metrics": [],
        "predictions": [f"answer {number}"],
    }
    lengths = {"program_length_bits": 800, "decoder_bits": 400, "payload_bits": 80, "container_bits": 320}
    return (
        dict.fromkeys(schema.SHARD.names)
        | {"schema_version": schema.SCHEMA_VERSION, "cell_id": cell_id(number), "status": "ok", "attempt": 1}
        | {"program_sha256": cell_id(-number), "wall_seconds": float(number), "validation": scores, "test": scores}
        | lengths
        | changes
    )


def make_newer(path: Path) -> None:
    """The same shard as a later version of this package would have written it."""
    with pq.ParquetFile(path) as file:
        table = file.read()
    metadata = {**table.schema.metadata, b"schema_version": str(schema.SCHEMA_VERSION + 1).encode()}
    with path.open("wb") as file:
        pq.write_table(table.replace_schema_metadata(metadata), file, use_dictionary=False, write_page_checksum=True)
        seal(file)
