"""Shards of older schema versions, read today. The frozen file was written when its version was the newest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import schema
from pipeline.compacted import iter_compacted
from pipeline.errors import InvalidShardError, NewerShardError
from pipeline.migrations import MIGRATIONS, check_version, migrate
from pipeline.reduce import reduce_studies
from pipeline.seals import seal
from pipeline.shards import read_shard, read_shard_columns
from pipeline.store import Study

FROZEN = Path(__file__).parent / "frozen" / "shard-version-1.parquet"
CELL = "cf46191431be27f012e9b4396694a5035dcec893899bc552e2ab13649a19bba1"


def test_every_older_version_leads_to_this_one() -> None:
    assert sorted(MIGRATIONS) == list(range(1, schema.SCHEMA_VERSION))


def test_version_1() -> None:
    row = read_shard(FROZEN, CELL)
    assert row["schema_version"] == schema.SCHEMA_VERSION
    assert row["rescored_from"] is None
    assert (row["task"], row["program_length_bits"], row["decoder_bits"]) == ("chain-sum", 1672, 712)
    assert row["test"]["num_items"] == len(row["test"]["predictions"]) == 48
    assert row["program_sha256"] == "fa7354d728f004fdaa9620961acb2ad86ccd416130e4c9a5b28139310b7ce56c"


def test_a_choice_of_columns_with_one_that_is_new() -> None:
    table = read_shard_columns(FROZEN, CELL, ["cell_id", "schema_version", "rescored_from", "test.performance"])
    assert table.to_pylist() == [
        {"cell_id": CELL, "schema_version": 2, "test": {"performance": 0.0}, "rescored_from": None}
    ]


def test_version_1_in_a_compacted_file(tmp_path: Path) -> None:
    with pq.ParquetFile(FROZEN) as file:
        rows = file.read()
    metadata = {"kind": "compacted", "schema_version": "1", "num_rows": "1"}
    with (tmp_path / "old.parquet").open("wb") as handle:
        pq.write_table(rows.replace_schema_metadata(metadata), handle, write_page_checksum=True)
        seal(handle)
    (table,) = iter_compacted(tmp_path / "old.parquet", schema.SHARD.names)
    assert table.to_pylist() == [read_shard(FROZEN, CELL)]


def test_old_shards_are_reduced(tmp_path: Path) -> None:
    study = Study(tmp_path / "study")
    study.shard_path(CELL).parent.mkdir(parents=True)
    shutil.copy(FROZEN, study.shard_path(CELL))
    reduction = reduce_studies([study.folder])
    assert reduction.completeness.num_ok == 1 and not reduction.completeness.quarantined
    assert reduction.points["cell_id"].to_pylist() == [CELL]


def test_a_newer_version_says_to_update() -> None:
    with pytest.raises(NewerShardError, match=r"schema version 3 is newer than 2.*update task-complexity"):
        check_version({b"schema_version": b"3"})


@pytest.mark.parametrize("version", [b"0", b"-1", b"none", b"1.0", b"\xff"])
def test_versions_that_never_were(version: bytes) -> None:
    with pytest.raises(InvalidShardError, match="this is version 2"):
        check_version({b"schema_version": version})


def test_rows_of_this_version_stay_as_they_are() -> None:
    table = pa.table({"cell_id": [CELL]})
    assert migrate(table, schema.SCHEMA_VERSION) is table
