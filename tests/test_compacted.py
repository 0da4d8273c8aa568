"""Many shards in one file: what goes in comes out, in part or in full, and damage does not go unseen."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import schema
from pipeline.compacted import ROWS_AT_ONCE, compacted_cells, iter_compacted, read_compacted_rows, write_compacted
from pipeline.errors import InvalidShardError
from tests.reduce.conftest import imported_row, shard_row

Row = dict[str, Any]


def some_rows(num_rows: int = 30) -> list[Row]:
    rows = [shard_row(f"program {number}", length_bytes=100 + number, seed=number % 3) for number in range(num_rows)]
    rows += [shard_row("none", status="infeasible"), imported_row("theirs", 1000, 12.5)]
    return sorted(rows, key=lambda row: str(row["cell_id"]))


def table_of(rows: list[Row]) -> pa.Table:
    return schema.table_of(rows, schema.SHARD)


@pytest.fixture
def rows() -> list[Row]:
    return some_rows()


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A compacted file with several row groups."""
    path = tmp_path_factory.mktemp("large") / "all.parquet"
    large = [row | {"payload_text": "x" * 5_000_000} for row in some_rows()]
    assert write_compacted(path, [table_of(large[:5]), table_of(large[5:])]) == len(large)
    assert pq.ParquetFile(path).num_row_groups >= 3
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, large_file: bytes) -> Path:
    path = tmp_path / "compacted" / "all.parquet"
    path.parent.mkdir()
    path.write_bytes(large_file)
    return path


def test_round_trip(tmp_path: Path, rows: list[Row]) -> None:
    path = tmp_path / "all.parquet"
    assert write_compacted(path, (table_of(rows[start : start + 7]) for start in range(0, len(rows), 7))) == len(rows)
    tables = list(iter_compacted(path, schema.SHARD.names))
    assert [row for table in tables for row in table.to_pylist()] == rows
    assert tables[0].schema.equals(schema.SHARD, check_metadata=False)
    assert compacted_cells(path) == [row["cell_id"] for row in rows]
    coded = next(iter_compacted(path, ["cell_id", "task", "test.performance"], as_dictionaries=True))
    assert pa.types.is_dictionary(coded["task"].type)
    assert coded["task"].to_pylist() == [row["task"] for row in rows]


def test_metadata(path: Path, rows: list[Row]) -> None:
    metadata = pq.ParquetFile(path).metadata.metadata
    assert metadata[b"kind"] == b"compacted"
    assert metadata[b"schema_version"] == str(schema.SCHEMA_VERSION).encode()
    assert metadata[b"num_rows"] == str(len(rows)).encode()


def test_single_cells(path: Path, rows: list[Row]) -> None:
    columns = ["cell_id", "seed", "test.performance"]
    wanted = [rows[3]["cell_id"], "0" * 64, rows[-1]["cell_id"], rows[20]["cell_id"], "f" * 64]
    found = read_compacted_rows(path, wanted, columns).to_pylist()
    assert [(row["cell_id"], row["seed"]) for row in found] == [
        (row["cell_id"], row["seed"]) for row in (rows[3], rows[20], rows[-1])
    ]
    assert all(row["test"] is None or row["test"].keys() == {"performance"} for row in found)
    nothing = read_compacted_rows(path, ["f" * 64], columns)
    assert nothing.num_rows == 0 and nothing.column_names == ["cell_id", "seed", "test"]


def test_of_one_cell_one_row_group_is_read(path: Path, rows: list[Row]) -> None:
    """All other row groups may be damaged."""
    metadata = pq.ParquetFile(path).metadata
    content = bytearray(path.read_bytes())
    last = metadata.num_row_groups - 1
    for group in range(last):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            start = min(filter(None, (chunk.data_page_offset, chunk.dictionary_page_offset)))
            content[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    path.write_bytes(content)
    (row,) = read_compacted_rows(path, [rows[-1]["cell_id"]], ["cell_id", "seed"]).to_pylist()
    assert row["seed"] == rows[-1]["seed"]
    with pytest.raises(InvalidShardError):
        list(iter_compacted(path, ["cell_id", "seed"]))


@pytest.mark.parametrize("order", [[1, 0], [0, 0]], ids=["not sorted", "twice"])
def test_unsorted_rows_are_refused(tmp_path: Path, rows: list[Row], order: list[int]) -> None:
    path = tmp_path / "all.parquet"
    for tables in ([table_of([rows[place] for place in order])], [table_of([rows[place]]) for place in order]):
        with pytest.raises(InvalidShardError, match="not sorted by cell id, or a cell occurs twice"):
            write_compacted(path, tables)
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_breaks_a_rule_is_refused(tmp_path: Path, rows: list[Row]) -> None:
    bad = [*rows[:3], rows[3] | {"decoder_bits": 1}]
    with pytest.raises(InvalidShardError, match=f"cell {rows[3]['cell_id'][:12]}: the parts of the length"):
        write_compacted(tmp_path / "all.parquet", [table_of(bad)])
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_rows_leaves_the_older_file(path: Path, rows: list[Row]) -> None:
    before = path.read_bytes()

    def broken() -> Iterator[pa.Table]:
        yield table_of(rows[:2])
        raise InvalidShardError("a shard is damaged")

    with pytest.raises(InvalidShardError, match="a shard is damaged"):
        write_compacted(path, broken())
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_no_rows(tmp_path: Path) -> None:
    assert write_compacted(tmp_path / "none.parquet", []) == 0
    assert compacted_cells(tmp_path / "none.parquet") == []
    assert read_compacted_rows(tmp_path / "none.parquet", ["0" * 64], ["cell_id"]).num_rows == 0


def test_a_flipped_bit_is_seen_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    write_compacted(path, [table_of(some_rows(4))])
    whole, rows = path.read_bytes(), read_compacted_rows(path, compacted_cells(path), schema.SHARD.names).to_pylist()
    chance = random.Random(1)
    refused = 0
    for _ in range(200):
        content = bytearray(whole)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        try:
            assert [row for table in iter_compacted(path, schema.SHARD.names) for row in table.to_pylist()] == rows
        except InvalidShardError:
            refused += 1
    assert refused > 100


def test_every_bit_of_the_footer_counts(tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    write_compacted(path, [table_of(some_rows(4))])
    whole = path.read_bytes()
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    chance = random.Random(2)
    for _ in range(150):
        content = bytearray(whole)
        content[chance.randrange(start - 32, len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        with pytest.raises(InvalidShardError):
            compacted_cells(path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"cell,score\n1,2\n" * 50], ids=["empty", "short", "foreign"])
def test_foreign_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "all.parquet"
    path.write_bytes(content)
    for read in (compacted_cells, lambda it: read_compacted_rows(it, ["0" * 64], ["cell_id"])):
        with pytest.raises(InvalidShardError, match=r"all\.parquet"):
            read(path)
    with pytest.raises(FileNotFoundError):
        compacted_cells(tmp_path / "absent.parquet")


def test_row_groups_are_bounded(tmp_path: Path) -> None:
    num_rows = ROWS_AT_ONCE + 9000
    same = table_of([shard_row("a", status="infeasible")]).take(pa.array([0] * num_rows))
    ids = pa.array([f"{number:064x}" for number in range(num_rows)])
    table = same.set_column(same.column_names.index("cell_id"), schema.SHARD.field("cell_id"), ids)
    assert write_compacted(tmp_path / "all.parquet", [table]) == num_rows
    metadata = pq.ParquetFile(tmp_path / "all.parquet").metadata
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert sizes == [ROWS_AT_ONCE, 9000]
