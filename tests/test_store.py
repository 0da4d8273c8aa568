"""The store: what a study folder holds after every kind of write, also after one that was killed."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import schema
from pipeline.errors import InvalidShardError, TaskComplexityError, UserError
from pipeline.files import TEMPORARY_SUFFIX, write_atomically
from pipeline.seals import seal
from pipeline.shards import read_shard
from pipeline.store import Study, open_study, results_folder
from tests.small_shards import make_newer

CELL = hashlib.sha256(b"cell").hexdigest()
VERSION = str(schema.SCHEMA_VERSION)


def shard_row(cell_id: str = CELL, **changes: Any) -> dict[str, Any]:
    """A shard row of a program of 100 bytes that was scored on one item."""
    scores = {
        "performance": 100.0,
        "num_items": 1,
        "item_scores": [100.0],
        "statistics": [[1.0, 1.0]],
        "other_metrics": [],
        "predictions": ["4"],
    }
    row: dict[str, Any] = {field.name: None for field in schema.SHARD}
    row |= {"schema_version": schema.SCHEMA_VERSION, "cell_id": cell_id, "status": "ok", "validation": scores}
    row |= {"test": scores, "program_length_bits": 800, "decoder_bits": 400, "payload_bits": 80, "container_bits": 320}
    return row | changes


def attempt_row(attempt: int, cause: str) -> dict[str, Any]:
    return {
        "cell_id": CELL,
        "attempt": attempt,
        "cause": cause,
        "message": f"message of {cause}",
        "host": "here",
        "slurm_job_id": None,
        "restarts": 0,
        "finished_utc": None,
    }


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "sums")


class TestFolders:
    def test_results_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TCX_RESULTS", raising=False)
        assert results_folder() == Path("results")
        monkeypatch.setenv("TCX_RESULTS", "/elsewhere")
        assert results_folder() == Path("/elsewhere")
        assert results_folder("here") == Path("here")

    def test_paths(self) -> None:
        study = Study(Path("results/sums"))
        assert study.name == "sums"
        assert study.plan_path == Path("results/sums/plan.parquet")
        assert study.shard_path(CELL) == Path(f"results/sums/shards/{CELL[:2]}/{CELL}.parquet")
        assert study.program_path(CELL) == Path(f"results/sums/programs/{CELL[:2]}/{CELL}.pyz")

    def test_open_by_name_and_path(self, study: Study, tmp_path: Path) -> None:
        study.commit_shard(shard_row())
        assert open_study("sums", str(tmp_path)).folder == study.folder
        assert open_study(study.folder, "no/such/folder").folder == study.folder

    def test_unknown_study_names_near_ones(self, study: Study, tmp_path: Path) -> None:
        study.commit_shard(shard_row())
        with pytest.raises(UserError, match="did you mean sums"):
            open_study("sum", str(tmp_path))
        with pytest.raises(UserError, match="known: none"):
            open_study("sum", str(tmp_path / "nothing"))
        (tmp_path / "begun").mkdir()
        with pytest.raises(UserError, match=r"begun is a folder without a plan or a result"):
            open_study("begun", str(tmp_path))


class TestPrograms:
    def test_content_is_the_address(self, study: Study) -> None:
        path = study.commit_program(b"program")
        assert path == study.program_path(hashlib.sha256(b"program").hexdigest())
        assert path.read_bytes() == b"program"
        assert study.commit_program(b"program") == path

    def test_other_content_is_an_error(self, study: Study) -> None:
        study.commit_program(b"program").write_bytes(b"damaged")
        with pytest.raises(TaskComplexityError, match="does not hold the bytes"):
            study.commit_program(b"program")


class TestShards:
    def test_round_trip(self, study: Study) -> None:
        assert study.commit_shard(shard_row())
        path = study.shard_path(CELL)
        assert read_shard(path, CELL) == shard_row()
        metadata = pq.read_schema(path).metadata
        assert metadata[b"cell_id"] == CELL.encode()
        assert metadata[b"schema_version"] == str(schema.SCHEMA_VERSION).encode()
        assert pq.read_schema(path).equals(schema.SHARD)

    def test_first_valid_wins(self, study: Study) -> None:
        assert study.commit_shard(shard_row(attempt=1))
        assert not study.commit_shard(shard_row(attempt=2))
        assert read_shard(study.shard_path(CELL), CELL)["attempt"] == 1

    def test_damaged_file_at_its_place_goes_to_quarantine(self, study: Study) -> None:
        write_atomically(study.shard_path(CELL), b"PAR1 damaged PAR1", replace=True)
        assert study.commit_shard(shard_row())
        assert read_shard(study.shard_path(CELL), CELL) == shard_row()
        assert len(list(study.quarantine.glob("*.parquet"))) == 1

    def test_a_shard_of_a_later_version_stays(self, study: Study) -> None:
        study.commit_shard(shard_row())
        make_newer(study.shard_path(CELL))
        content = study.shard_path(CELL).read_bytes()
        assert not study.commit_shard(shard_row())
        assert study.shard_path(CELL).read_bytes() == content and not study.quarantine.exists()

    def test_row_that_breaks_a_rule_is_not_written(self, study: Study) -> None:
        with pytest.raises(InvalidShardError, match="do not sum"):
            study.commit_shard(shard_row(payload_bits=88))
        with pytest.raises(InvalidShardError, match="missing or unknown"):
            study.commit_shard(shard_row(surprise=1))
        assert not study.listed_cells()

    def test_missing_file_is_no_invalid_shard(self, study: Study) -> None:
        with pytest.raises(FileNotFoundError):
            read_shard(study.shard_path(CELL), CELL)

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda content: content[:-20], "damaged"),
            (lambda content: b"", "damaged"),
            (lambda content: b"\0" * len(content), "damaged"),
            (lambda content: content[:100] + b"\xff" * 5000 + content[5100:], "damaged"),
        ],
        ids=["truncated", "empty", "zeros", "overwritten"],
    )
    def test_damaged_content(self, study: Study, damage: Any, message: str) -> None:
        study.commit_shard(shard_row())
        path = study.shard_path(CELL)
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(InvalidShardError, match=message):
            read_shard(path, CELL)

    def test_shard_of_another_cell(self, study: Study) -> None:
        other = hashlib.sha256(b"other").hexdigest()
        study.commit_shard(shard_row())
        study.shard_path(other).parent.mkdir(parents=True)
        os.link(study.shard_path(CELL), study.shard_path(other))
        with pytest.raises(InvalidShardError, match="shard of cell"):
            read_shard(study.shard_path(other), other)
        assert study.valid_cells() == {CELL}
        assert study.listed_cells() == {CELL, other}

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            (pa.table({"cell_id": [CELL]}), "schema version none"),
            (pa.table({"cell_id": [CELL]}, metadata={"schema_version": "0", "cell_id": CELL}), "schema version 0"),
            (pa.table({"cell_id": [CELL]}, metadata={"schema_version": VERSION, "cell_id": CELL}), "its columns"),
            (
                schema.table_of([shard_row()] * 2, schema.SHARD).replace_schema_metadata(
                    {"schema_version": VERSION, "cell_id": CELL}
                ),
                "2 rows",
            ),
            (
                schema.table_of([shard_row("0" * 64)], schema.SHARD).replace_schema_metadata(
                    {"schema_version": VERSION, "cell_id": CELL}
                ),
                "another cell",
            ),
            (
                schema.table_of([shard_row(status="provisional")], schema.SHARD).replace_schema_metadata(
                    {"schema_version": VERSION, "cell_id": CELL}
                ),
                "status 'provisional'",
            ),
        ],
        ids=["foreign", "old", "columns", "rows", "row of another cell", "rule"],
    )
    def test_wrong_parquet(self, tmp_path: Path, table: pa.Table, message: str) -> None:
        with (tmp_path / "file.parquet").open("wb") as file:
            pq.write_table(table, file)
            seal(file)
        with pytest.raises(InvalidShardError, match=message):
            read_shard(tmp_path / "file.parquet", CELL)

    def test_valid_cells(self, study: Study) -> None:
        cells = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(5)]
        for cell_id in cells:
            study.commit_shard(shard_row(cell_id))
        assert study.valid_cells() == set(cells)
        assert study.valid_cells(among=[cells[0], CELL]) == {cells[0]}
        truncated = study.shard_path(cells[1])
        truncated.write_bytes(truncated.read_bytes()[:-1])
        study.shard_path(cells[2]).write_bytes(b"")
        (study.shards / "notes.txt").write_text("kept by a person")
        (truncated.parent / f".{cells[3]}.parquet.1{TEMPORARY_SUFFIX}").write_bytes(b"half")
        assert study.valid_cells() == {cells[0], cells[3], cells[4]}

    def test_a_shard_that_cannot_be_read_for_a_while(self, study: Study, tmp_path: Path) -> None:
        study.commit_shard(shard_row())
        path = study.shard_path(CELL)
        path.rename(tmp_path / "away")
        path.symlink_to(path)
        assert study.valid_cells() == set()
        mend = threading.Timer(0.3, lambda: (tmp_path / "away").replace(path))
        mend.start()
        assert study.valid_cells() == {CELL}
        mend.join()

    def test_quarantine_keeps_file_and_reason(self, study: Study) -> None:
        study.commit_shard(shard_row())
        content = study.shard_path(CELL).read_bytes()
        moved = study.quarantine_shard(study.shard_path(CELL), "looks wrong")
        assert moved is not None and moved.read_bytes() == content
        assert "looks wrong" in moved.with_suffix(".json").read_text()
        assert not study.shard_path(CELL).exists()
        assert study.quarantine_shard(study.shard_path(CELL), "again") is None


class TestAttempts:
    def test_all_are_kept_in_order(self, study: Study) -> None:
        study.record_attempts([attempt_row(2, "program-memory")])
        study.record_attempts([attempt_row(1, "code"), attempt_row(1, "code")])
        assert study.read_attempts()["cause"].to_pylist() == ["code", "code", "program-memory"]

    def test_one_event_is_one_file(self, study: Study) -> None:
        cells = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(100)]
        study.record_attempts([attempt_row(1, "environment") | {"cell_id": cell} for cell in cells])
        study.record_attempts([])
        assert len(attempt_files(study)) == 1
        assert study.read_attempts()["cell_id"].to_pylist() == sorted(cells)
        assert study.read_attempts(cells[3:5])["cell_id"].to_pylist() == sorted(cells[3:5])
        assert study.read_attempts([]).num_rows == 0

    def test_files_of_one_row_stay_readable(self, study: Study) -> None:
        path = study.attempts / CELL[:2] / f"{CELL}.1.0123abcd.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(schema.table_of([attempt_row(1, "killed")], schema.ATTEMPT), path)
        study.record_attempts([attempt_row(2, "code")])
        assert study.read_attempts()["cause"].to_pylist() == ["killed", "code"]

    def test_damaged_and_half_ones_are_skipped(self, study: Study) -> None:
        study.record_attempts([attempt_row(1, "code")])
        (path,) = attempt_files(study)
        path.write_bytes(path.read_bytes()[:-9])
        (path.parent / f".{path.name}.1{TEMPORARY_SUFFIX}").write_bytes(b"half")
        (study.attempts / "notes.txt").write_text("kept by a person")
        assert study.read_attempts().schema.equals(schema.ATTEMPT)
        assert study.read_attempts().num_rows == 0

    def test_each_file_is_read_once(self, study: Study) -> None:
        study.record_attempts([attempt_row(1, "code")])
        assert study.read_attempts().num_rows == 1
        (path,) = attempt_files(study)
        path.write_bytes(b"not read again")
        folders = f"{Path(__file__).parents[1]}:{Path(__file__).parent}"
        other = [sys.executable, "-c", RECORDER, str(study.folder)]
        subprocess.run(other, env={**os.environ, "PYTHONPATH": folders}, check=True)
        assert study.read_attempts()["cause"].to_pylist() == ["code", "killed"]
        path.unlink()
        assert study.read_attempts()["cause"].to_pylist() == ["killed"]

    def test_thousands_of_events_cost_little_when_read_again(self, study: Study) -> None:
        for number in range(2000):
            write_quickly(study, number)
        assert study.read_attempts().num_rows == 2000
        start = time.perf_counter()
        for _ in range(10):
            assert study.read_attempts([CELL]).num_rows == 2000
        # Reading all of them again takes 10 times as long or more.
        assert (time.perf_counter() - start) / 10 < 0.15


RECORDER = """
import sys
from pathlib import Path
from test_store import attempt_row
from pipeline.store import Study
Study(Path(sys.argv[1])).record_attempts([attempt_row(2, "killed")])
"""


def attempt_files(study: Study) -> list[Path]:
    return sorted(study.attempts.glob("*/[!.]*.parquet"))


def write_quickly(study: Study, number: int) -> None:
    """An attempt without the wait for the disk."""
    path = study.attempts / f"{number % 256:02x}" / f"{number}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(schema.table_of([attempt_row(number, "code")], schema.ATTEMPT), path)


def test_unreduced_study_says_what_to_do(study: Study) -> None:
    with pytest.raises(UserError, match=re.escape(f"tcx reduce {study.folder}")):
        study.read_table("points")


def test_unreadable_plan_says_what_to_do(study: Study) -> None:
    assert study.read_plan() is None
    write_atomically(study.plan_path, b"not a plan", replace=True)
    with pytest.raises(UserError, match="plan again"):
        study.read_plan()


WRITER = """
import hashlib, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_store import shard_row
from pipeline.store import Study
study = Study(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(10**6):
    study.commit_program(str(number).encode() * 100_000)
    study.commit_shard(shard_row(hashlib.sha256(str(number).encode()).hexdigest()))
"""


def test_kill_leaves_whole_files_or_temporary_ones(study: Study) -> None:
    root, here = Path(__file__).parents[1], str(Path(__file__).parent)
    shards: list[Path] = []
    number = 0
    while number < 8 or len(shards) <= 8:  # on a machine that has much to do, few are written before a kill
        command = [sys.executable, "-c", WRITER, str(study.folder), here]
        writer = subprocess.Popen(
            command, stdout=subprocess.PIPE, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(0.15 + 0.013 * number)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        shards = list(study.shard_files())
        assert {path.stem for path in shards} == study.valid_cells()
        for path in shards:
            read_shard(path, path.stem)
        for path in study.programs.glob("*/[!.]*"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
        number += 1
    assert not study.quarantine.exists()


def test_a_flipped_bit_is_seen_or_changes_nothing(study: Study) -> None:
    """Of 400 flipped bits, one at a time: the shard is refused, or reads as it was written."""
    study.commit_shard(shard_row())
    path = study.shard_path(CELL)
    whole, row = path.read_bytes(), read_shard(path, CELL)
    chance = random.Random(1)
    refused = 0
    for _ in range(400):
        content = bytearray(whole)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        try:
            assert read_shard(path, CELL) == row
        except InvalidShardError:
            refused += 1
    assert refused > 200


def test_a_shard_that_does_not_count_as_done_can_be_made_again(study: Study) -> None:
    """Whatever byte is damaged: what the quick look leaves out must give its place to a new shard."""
    study.commit_shard(shard_row())
    path = study.shard_path(CELL)
    whole = path.read_bytes()
    ends = [place for place in range(len(whole)) if whole[place : place + len(CELL)] == CELL.encode()]
    assert len(ends) >= 2  # in the row, and in the footer
    for place in [0, *ends, *(end + 5 for end in ends), len(whole) - 1]:
        content = bytearray(whole)
        content[place] ^= 1
        path.write_bytes(content)
        was_done = study.valid_cells() == {CELL}
        study.commit_shard(shard_row())
        assert was_done or path.read_bytes() == whole
        assert study.valid_cells() == {CELL}
