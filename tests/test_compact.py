"""Many shards in one file: the same rows, whenever it is stopped and whoever works meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from pipeline import schema
from pipeline.compact import _digest, compact
from pipeline.compacted import write_compacted
from pipeline.errors import TaskComplexityError, UserError
from pipeline.files import TEMPORARY_SUFFIX
from pipeline.leases import lease, lease_path, this_owner
from pipeline.rows import iter_rows, read_row, row_path
from pipeline.store import Study
from tests.small_shards import cell_id, shard_row

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
SILENT = Console(quiet=True)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = Study(tmp_path / "sums")
    for number in range(6):
        study.commit_shard(shard_row(number))
    return study


def everything(study: Study) -> dict[str, dict[str, Any]]:
    """All rows as they are read one by one; also checks that each is listed, valid and given once."""
    ids = [found["cell_id"] for found in iter_rows(study, ["status"])]
    assert len(ids) == len(set(ids))
    assert study.listed_cells() == study.valid_cells() == set(ids)
    return {one: read_row(study, one) for one in ids}


def compacted(study: Study, **options: Any) -> Any:
    return compact(str(study.folder), results=None, console=SILENT)


def test_rows_stay_what_they_were(study: Study) -> None:
    before = everything(study)
    summary = compacted(study)
    assert (summary.num_rows, summary.num_shards, summary.bad, summary.conflicts) == (6, 6, (), ())
    assert list(study.shard_files()) == [] and study.compacted_files() == [summary.file]
    assert summary.bytes_after < summary.bytes_before
    assert everything(study) == before
    assert row_path(study, cell_id(3)) == summary.file and row_path(study, cell_id(99)) is None
    with pytest.raises(FileNotFoundError):
        read_row(study, cell_id(99))

    again = compacted(study)
    assert (again.file, again.num_shards, again.num_rows) == (None, 0, 0)
    assert study.compacted_files() == [summary.file]


def test_new_shards_join_small_files(study: Study) -> None:
    before = everything(study)
    first = compacted(study)
    study.commit_shard(shard_row(6))
    assert study.valid_cells([cell_id(0), cell_id(6), cell_id(99)]) == {cell_id(0), cell_id(6)}
    second = compacted(study)
    assert (second.num_rows, second.num_shards, second.num_merged) == (7, 1, 1)
    assert study.compacted_files() == [second.file] and second.file != first.file
    assert everything(study) == before | {cell_id(6): shard_row(6)}


def test_the_first_result_stays_also_when_it_is_compacted(study: Study) -> None:
    compacted(study)
    assert not study.commit_shard(shard_row(2, attempt=9))
    assert list(study.shard_files()) == []
    assert read_row(study, cell_id(2))["attempt"] == 1


def test_bad_shards_are_left_for_the_reducer(study: Study) -> None:
    truncated, broken = study.shard_path(cell_id(1)), study.shard_path(cell_id(2))
    truncated.write_bytes(truncated.read_bytes()[:-40])
    flipped = bytearray(broken.read_bytes())
    flipped[200] ^= 1
    broken.write_bytes(flipped)
    content = {path: path.read_bytes() for path in (truncated, broken)}
    summary = compacted(study)
    assert {path for path, _ in summary.bad} == {str(truncated), str(broken)}
    assert summary.num_rows == summary.num_shards == 4
    assert {path: path.read_bytes() for path in study.shard_files()} == content
    assert not study.quarantine.exists()

    # Nothing but bad ones: the file is not written for nothing, and certainly not lost.
    assert compacted(study).num_shards == 0
    assert len(study.compacted_files()) == 1 and len(study.compacted_cells()[study.compacted_files()[0]]) == 4


def test_a_shard_that_contradicts_stays(study: Study) -> None:
    compacted(study)
    other = Study(study.folder.parent / "other")
    other.commit_shard(shard_row(2, attempt=2, wall_seconds=7.0))
    other.commit_shard(shard_row(3))
    for number in (2, 3):
        study.shard_path(cell_id(number)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(other.shard_path(cell_id(number)), study.shard_path(cell_id(number)))
    summary = compacted(study)
    assert summary.conflicts == (str(study.shard_path(cell_id(2))),)
    assert summary.num_shards == 1 and list(study.shard_files()) == [study.shard_path(cell_id(2))]

    # So do two compacted files, as when somebody has copied folders together.
    compacted(other)
    (theirs,) = other.compacted_files()
    shutil.copyfile(theirs, study.compacted / theirs.name)
    assert set(compacted(study).conflicts) > set(map(str, study.compacted_files()))
    assert len(study.compacted_files()) == 2


def test_of_several_rows_the_one_counts_that_counts_in_tables(study: Study) -> None:
    other = Study(study.folder.parent / "other")
    other.commit_shard(shard_row(2, attempt=2))
    other.commit_shard(shard_row(3, attempt=0))
    other.commit_shard(shard_row(4, program_sha256="0" * 64))
    compacted(study)
    for path in other.shard_files():
        study.shard_path(path.stem).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, study.shard_path(path.stem))
    rows = everything(study)
    assert [rows[cell_id(number)]["attempt"] for number in (2, 3)] == [1, 0]
    assert rows[cell_id(4)]["program_sha256"] == "0" * 64
    assert {row["cell_id"]: row["attempt"] for row in iter_rows(study, ["attempt"])} == {
        cell: row["attempt"] for cell, row in rows.items()
    }
    # A damaged one does not count beside a sound one.
    study.shard_path(cell_id(3)).write_bytes(b"damaged")
    assert read_row(study, cell_id(3))["attempt"] == 1

    compacted(other)
    shutil.copyfile(other.compacted_files()[0], study.compacted_path("copied"))
    for path in list(study.shard_files()):
        path.unlink()
    assert (
        {row["cell_id"]: row["attempt"] for row in iter_rows(study, ["attempt"])}
        == {cell: row["attempt"] for cell, row in everything(study).items()}
        == {cell_id(number): 0 if number == 3 else 1 for number in range(6)}
    )


def test_a_damaged_compacted_file_is_an_error_and_no_work_to_do(study: Study) -> None:
    compacted(study)
    (path,) = study.compacted_files()
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(TaskComplexityError, match="sound copy"):
        study.valid_cells()
    # What a worker has in its hands is kept all the same.
    assert study.commit_shard(shard_row(77))


def test_digests_tell_rows_apart_and_not_how_they_lie_in_memory() -> None:
    one, other = (schema.table_of([shard_row(number)], schema.SHARD) for number in (1, 2))
    both = schema.table_of([shard_row(1), shard_row(2)], schema.SHARD)
    assert _digest(pa.concat_tables([one, other])) == _digest(both)
    assert _digest(both.slice(1)) == _digest(other) != _digest(one)
    for name in schema.SHARD.names:
        with_null = one.set_column(one.column_names.index(name), schema.SHARD.field(name), pa.nulls(1, one[name].type))
        assert (_digest(with_null) == _digest(one)) is (one[name].null_count == 1)
    scores = {**shard_row(1)["test"], "predictions": ["answer 2"]}
    assert _digest(schema.table_of([shard_row(1, test=scores)], schema.SHARD)) != _digest(one)


def test_one_at_a_time(study: Study) -> None:
    with lease(study, "compact", this_owner(), lambda owner: False) as is_ours:
        assert is_ours
        with pytest.raises(UserError, match="another process is compacting"):
            compacted(study)
    assert not lease_path(study, "compact").exists()
    assert compacted(study).num_shards == 6


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from rich.console import Console
from pipeline.compact import _digest, compact

CHANGES = {"os.rename", "os.remove", "os.link", "os.rmdir"}

def run(folder, stop_after):
    seen = 0
    def count(event, arguments):
        nonlocal seen
        if event in CHANGES and folder in str(arguments[0]):
            if seen == stop_after:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1
    sys.addaudithook(count)
    compact(folder, results=None, console=Console(quiet=True))

source, target = map(Path, sys.argv[1:])
number, status = 0, 1
while status != 0:
    folder = target / f"{number:03}"
    shutil.copytree(source, folder)
    child = os.fork()
    if child == 0:
        run(str(folder), number)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, 9), status
    number += 1
"""


def test_killed_between_any_two_steps(study: Study, tmp_path: Path) -> None:
    """A process that is killed before each change of a name in the study, one after the other."""
    compacted(study)
    for number in range(6, 9):
        study.commit_shard(shard_row(number))
    before = everything(study)
    states = tmp_path / "states"
    subprocess.run([sys.executable, "-c", KILLED, study.folder, states], env=ENVIRONMENT, check=True)
    places = set()
    for folder in sorted(states.iterdir()):
        state = Study(folder)
        assert everything(state) == before
        places.add((len(list(state.shard_files())), len(state.compacted_files())))
        summary = compacted(state)
        assert summary.bad == summary.conflicts == ()
        assert list(state.shard_files()) == [] and len(state.compacted_files()) == 1
        assert everything(state) == before
    # Before the new file, after it, after each shard, after the old file.
    assert places == {(3, 1), (3, 2), (2, 2), (1, 2), (0, 2), (0, 1)}


WRITER = """
import sys
from pathlib import Path
from pipeline.store import Study
from tests.small_shards import cell_id, shard_row
study = Study(Path(sys.argv[1]))
for number in range(100, 160):
    assert study.commit_shard(shard_row(number))
    assert cell_id(number) in study.valid_cells([cell_id(number)])
    print(number, flush=True)
"""


def test_workers_go_on_meanwhile(study: Study) -> None:
    command = [sys.executable, "-c", WRITER, str(study.folder)]
    runs = 0
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        while writer.poll() is None:
            runs += compacted(study).num_shards > 0
            assert {cell_id(number) for number in range(6)} <= study.valid_cells()
    assert writer.returncode == 0 and runs > 1
    compacted(study)
    assert everything(study).keys() == {cell_id(number) for number in (*range(6), *range(100, 160))}


def test_the_command(study: Study) -> None:
    def tcx(*arguments: str) -> Any:
        command = [sys.executable, "-m", "pipeline.cli", *arguments, "--results", str(study.folder.parent), "--json"]
        return json.loads(subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout)

    summary = tcx("compact", "sums")
    assert (summary["rows"], summary["shards"], summary["bad"]) == (6, 6, [])
    assert tcx("show", cell_id(3)[:12])["cell_id"] == cell_id(3)


def test_thousands_of_compacted_cells_are_looked_up_fast(tmp_path: Path) -> None:
    study = Study(tmp_path / "sums")
    ids = sorted(cell_id(number) for number in range(20_000))
    table = schema.table_of([shard_row(1)], schema.SHARD).take([0] * len(ids))
    write_compacted(study.compacted_path("many"), [table.set_column(1, schema.SHARD.field(1), [ids])])
    start = time.perf_counter()
    assert len(study.valid_cells(ids)) == len(ids)
    first = time.perf_counter() - start
    start = time.perf_counter()
    for one in ids[::1000]:
        assert study.valid_cells([one]) == {one}
    assert time.perf_counter() - start < 20 * max(first, 0.05)
    assert not [path for path in study.compacted.iterdir() if path.name.endswith(TEMPORARY_SUFFIX)]
