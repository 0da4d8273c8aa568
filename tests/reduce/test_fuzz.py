"""Two thousand shards, most of them damaged, each in one of many ways: all are found and none counts."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import schema
from pipeline.compacted import write_compacted
from pipeline.reduce import reduce_studies
from pipeline.seals import seal
from pipeline.store import Study
from tests import small_shards

from .conftest import Row, plan_row, shard_row

NUM_SHARDS = 2000
ROOT = Path(__file__).resolve().parents[2]


def write(path: Path, table: pa.Table, version: int = schema.SCHEMA_VERSION, **changes: str) -> None:
    """A shard as `Study.commit_shard` writes it, without waiting for the disk."""
    metadata = {"cell_id": table["cell_id"][0].as_py(), "schema_version": str(version)} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        pq.write_table(
            table.replace_schema_metadata(metadata), file, use_dictionary=False, write_statistics=False,
            write_page_checksum=True, compression="none",
        )  # fmt: skip
        seal(file)


def truncate(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.randrange(len(content))])


def empty(path: Path, chance: random.Random) -> None:
    path.write_bytes(b"")


def make_foreign(path: Path, chance: random.Random) -> None:
    path.write_text("cell,score\n" + "1,2\n" * chance.randrange(100))


def wipe(path: Path, chance: random.Random) -> None:
    """Some bytes are zeros, as after a crash of some file systems."""
    content = bytearray(path.read_bytes())
    start = chance.randrange(len(content) - 200)
    content[start : start + 200] = bytes(200)
    path.write_bytes(content)


def lengthen(path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes() + bytes(chance.randrange(1, 100)))


def break_rule(path: Path, chance: random.Random) -> None:
    with pq.ParquetFile(path) as file:
        table = file.read()
    place = table.column_names.index("decoder_bits")
    write(path, table.set_column(place, schema.SHARD.field(place), pa.array([chance.randrange(100)])))


def make_newer(path: Path, chance: random.Random) -> None:
    small_shards.make_newer(path)


def make_older(path: Path, chance: random.Random) -> None:
    with pq.ParquetFile(path) as file:
        table = file.read().drop_columns(["rescored_from"])
    write(path, table.set_column(0, schema.SHARD.field(0), pa.array([1])), version=1)


def flip_bit(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def leave(path: Path, chance: random.Random) -> None:
    pass


ALWAYS_BAD = (truncate, empty, make_foreign, wipe, lengthen, break_rule, make_newer)
DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (*ALWAYS_BAD, flip_bit, make_older, leave)


def rows_of(study: Study) -> dict[str, Row]:
    return {row["cell_id"]: row for row in study.read_table("points").to_pylist()}


def test_fuzz(tmp_path: Path) -> None:
    chance = random.Random(1)
    rows = [shard_row(f"cell {number}", length_bytes=100 + number, validation=number % 20) for number in range(20)]
    table = schema.table_of([rows[number % 20] for number in range(NUM_SHARDS)], schema.SHARD)
    ids = sorted(shard_row(f"shard {number}")["cell_id"] for number in range(NUM_SHARDS))
    table = table.set_column(1, schema.SHARD.field(1), pa.array(ids))
    study, whole = Study(tmp_path / "study"), Study(tmp_path / "whole")
    planned = [plan_row(rows[number % 20] | {"cell_id": cell_id}) for number, cell_id in enumerate(ids)]
    # Of another study are those that this one has not planned.
    others = set(ids[::50])
    study.folder.mkdir()
    plan = schema.table_of([row for row in planned if row["cell_id"] not in others], schema.PLAN)
    pq.write_table(plan, study.plan_path)
    for number, cell_id in enumerate(ids):
        write(study.shard_path(cell_id), table.slice(number, 1))
    write_compacted(whole.compacted_path("all"), [table])
    reduce_studies([whole.folder])
    expected = rows_of(whole)

    kinds = {cell_id: DAMAGES[number % len(DAMAGES)] for number, cell_id in enumerate(ids) if cell_id not in others}
    for cell_id, damage in kinds.items():
        damage(study.shard_path(cell_id), chance)
    # Names are swapped in pairs of good ones.
    good = [cell_id for cell_id, damage in kinds.items() if damage is leave]
    swapped = set(good[:100])
    for first, second in zip(good[:100:2], good[1:100:2], strict=True):
        one, two = study.shard_path(first), study.shard_path(second)
        one.rename(two.with_suffix(".waiting"))
        two.rename(one)
        two.with_suffix(".waiting").rename(two)

    command = [sys.executable, "-m", "pipeline.cli", "reduce", str(study.folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    completeness = json.loads(done.stdout)["completeness"]

    listed = study.read_table("completeness")
    quarantined = {Path(row["path"]).stem: row["message"] for row in listed.to_pylist() if row["what"] == "quarantined"}
    must = {cell_id for cell_id, damage in kinds.items() if damage in ALWAYS_BAD} | swapped
    may = {cell_id for cell_id, damage in kinds.items() if damage is flip_bit}
    assert must <= quarantined.keys() <= must | may
    assert len(quarantined.keys() & may) > len(may) / 2
    assert completeness["num_quarantined"] == len(quarantined) and len(completeness["quarantined"]) == 1000
    for cell_id, damage in kinds.items():
        is_there = study.shard_path(cell_id).exists()
        assert is_there == (cell_id not in quarantined or damage is make_newer)
        if damage is make_newer:
            assert "update task-complexity; left in its place" in quarantined[cell_id]
    assert set(completeness["outside"]) == others
    assert completeness["num_ok"] == len(kinds) - len(quarantined)
    assert completeness["num_missing"] == len(quarantined) == completeness["num_planned"] - completeness["num_ok"]
    found = rows_of(study)
    assert found.keys() == kinds.keys() - quarantined.keys()
    assert all(found[cell_id] == expected[cell_id] for cell_id in found)
    assert {cell_id for cell_id, damage in kinds.items() if damage is make_older} <= found.keys()
