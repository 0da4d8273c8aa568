"""What `tcx gc` deletes and what it leaves alone, also while others work on the study."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline import gc, schema
from pipeline.cluster.ledger import Submission, intend
from pipeline.compact import compact
from pipeline.files import TEMPORARY_SUFFIX
from pipeline.gc import LOG_SECONDS, QUIET_SECONDS, collect
from pipeline.leases import lease, lease_path, this_owner
from pipeline.store import Study
from tests.small_shards import cell_id, shard_row

PROGRAM, ORPHAN = b"a program", b"a program whose shard was never written"
ROOT = Path(__file__).parents[1]


def plan_row(group: str, number: int) -> dict[str, Any]:
    return dict.fromkeys(schema.PLAN.names) | {"cell_id": cell_id(number), "group_id": group, "task": "sums"}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study with a group that is done and one that is half done."""
    study = Study(tmp_path / "sums")
    plan = [plan_row("done", 1), plan_row("done", 2), plan_row("half", 3), plan_row("half", 4)]
    study.write_plan(schema.table_of(plan, schema.PLAN))
    program = study.commit_program(PROGRAM)
    for number in (1, 2, 3):
        study.commit_shard(shard_row(number, program_sha256=program.stem))
    return study


def write(path: Path, *, age_seconds: float = 0.0, content: bytes = b"12345") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    age(path, age_seconds)
    return path


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    for one in [*path.rglob("*"), path] if path.is_dir() else [path]:
        os.utime(one, (then, then))


def freed(study: Study, *, is_dry: bool = False) -> dict[str, int]:
    """Files that were deleted, by kind; kinds without any are left out."""
    summary = collect(str(study.folder), results=None, is_dry=is_dry)
    return {one.kind: one.num_files for one in summary.freed if one.num_files}


def files(study: Study) -> set[Path]:
    return {path for path in study.folder.rglob("*") if path.is_file()}


def checkpoint(study: Study, group: str) -> Path:
    return write(study.checkpoints / group / "00000001-abc" / "weights")


def test_nothing_of_a_study_that_is_in_order(study: Study) -> None:
    checkpoint(study, "half")
    study.record_attempts([dict.fromkeys(schema.ATTEMPT.names) | {"cell_id": cell_id(1), "attempt": 1}])
    for path in files(study):
        age(path, 2 * LOG_SECONDS)
    before = files(study)
    assert freed(study) == {}
    assert files(study) == before


def test_checkpoints_of_groups_that_are_done_or_gone(study: Study) -> None:
    done, gone, new, half = (checkpoint(study, group) for group in ("done", "gone", "new", "half"))
    age(study.checkpoints / "gone", 2 * QUIET_SECONDS)
    assert freed(study, is_dry=True) == {"checkpoints": 2}
    assert done.exists() and gone.exists()
    assert freed(study) == {"checkpoints": 2}
    assert (done.exists(), gone.exists(), new.exists(), half.exists()) == (False, False, True, True)
    assert list(study.leases.iterdir()) == []


def test_not_of_groups_that_somebody_works_on(study: Study) -> None:
    done = checkpoint(study, "done")
    with lease(study, "done", this_owner(), lambda owner: False) as is_ours:
        assert is_ours
        assert freed(study) == {}
    assert done.exists()
    assert freed(study) == {"checkpoints": 1}


def submitted(study: Study, group: str, code: str) -> Submission:
    plan = study.read_plan()
    assert plan is not None
    rows = [place for place, of_row in enumerate(plan["group_id"].to_pylist()) if of_row == group]
    submission = intend(study, plan.take(rows), [0] * len(rows), {"code": code})
    return submission.note_job("17")


def test_jobs_in_the_queue_keep_what_they_need(study: Study) -> None:
    """Where no Slurm answers, what was submitted counts as still in the queue."""
    checkpoint(study, "done")
    submission = submitted(study, "done", "used")
    for digest in ("used", "unused"):
        write(study.code / digest / "pipeline" / "store.py")
        age(study.code / digest, 2 * QUIET_SECONDS)
    log = write(study.logs / "17_0_batch.log", age_seconds=2 * LOG_SECONDS)
    assert freed(study) == {"code": 1}
    assert (study.code / "used").is_dir() and log.exists()

    submission.note_settled([0])
    assert freed(study) == {"checkpoints": 1, "code": 1, "logs": 1}


def test_code_that_was_copied_or_wanted_a_moment_ago(study: Study) -> None:
    write(study.code / "0123" / "pipeline" / "store.py", age_seconds=2 * QUIET_SECONDS)
    assert freed(study) == {}
    unfinished = write(study.code / ".0123.abc" / "pipeline" / "store.py")
    age(unfinished.parents[1], 2 * QUIET_SECONDS)
    assert freed(study) == {"temporary files": 1}


def test_the_job_that_reduces_keeps_its_code(study: Study) -> None:
    write(study.code / "0123" / "pipeline" / "store.py")
    age(study.code / "0123", 2 * QUIET_SECONDS)
    script = write(study.submissions / "tcx-reduce-1.sbatch", content=b"export PYTHONPATH=/study/code/0123\n")
    assert freed(study) == {}
    script.unlink()
    assert freed(study) == {"code": 1}


def test_leases_of_owners_that_are_gone(study: Study) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(study.folder)], cwd=ROOT, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        checkpoint(study, "done")
        assert freed(study) == {}
        holder.kill()
    stale = write(study.leases / "x.0123.stale", age_seconds=2 * QUIET_SECONDS)
    assert freed(study, is_dry=True) == {"leases": 2, "checkpoints": 1}
    assert freed(study) == {"leases": 2, "checkpoints": 1}
    assert not lease_path(study, "done").exists() and not stale.exists()


HOLDER = """
import sys, time
from pathlib import Path
from pipeline.leases import lease, this_owner
from pipeline.store import Study
with lease(Study(Path(sys.argv[1])), "done", this_owner(), lambda owner: False):
    print("held", flush=True)
    time.sleep(600)
"""


def test_what_killed_writers_left(study: Study) -> None:
    places = [study.folder, study.shards / "aa", study.programs / "aa", study.submissions / "token"]
    old = [write(folder / f".x.1{TEMPORARY_SUFFIX}", age_seconds=2 * QUIET_SECONDS) for folder in places]
    new = write(study.shards / "aa" / f".x.2{TEMPORARY_SUFFIX}")
    notes = write(study.shards / "notes.txt", age_seconds=2 * QUIET_SECONDS)
    assert freed(study) == {"temporary files": 4}
    assert new.exists() and notes.exists() and not any(path.exists() for path in old)


class TestPrograms:
    @pytest.fixture
    def orphan(self, study: Study) -> Path:
        path = study.commit_program(ORPHAN)
        for program in study.programs.rglob("*.pyz"):
            age(program, 2 * QUIET_SECONDS)
        return path

    def test_that_no_row_names(self, study: Study, orphan: Path) -> None:
        assert freed(study) == {"programs": 1}
        assert [path.read_bytes() for path in study.programs.rglob("*.pyz")] == [PROGRAM]

    def test_rows_in_compacted_files_count(self, study: Study, orphan: Path) -> None:
        compact(str(study.folder), results=None, console=Console(quiet=True))
        assert list(study.shard_files()) == []
        assert freed(study) == {"programs": 1}
        assert [path.read_bytes() for path in study.programs.rglob("*.pyz")] == [PROGRAM]

    def test_all_stay_where_a_shard_is_damaged(self, study: Study, orphan: Path) -> None:
        path = study.shard_path(cell_id(1))
        path.write_bytes(path.read_bytes()[:-20])
        summary = collect(str(study.folder), results=None, is_dry=False)
        assert orphan.exists() and "tcx reduce" in summary.notes[0]

    def test_one_that_is_wanted_again_is_young(self, study: Study, orphan: Path) -> None:
        """A worker makes the same program once more, and has not written its shard yet."""
        assert study.commit_program(ORPHAN) == orphan
        assert freed(study) == {}

    def test_none_is_lost_that_is_committed_meanwhile(self, study: Study) -> None:
        """A worker commits many orphans again while they are collected: each is there when its commit returns."""
        contents = [f"program {number}".encode() for number in range(200)]
        paths = [study.commit_program(content) for content in contents]
        for path in paths:
            age(path, 2 * QUIET_SECONDS)
        collected: list[dict[str, int]] = []
        collector = threading.Thread(target=lambda: collected.append(freed(study)))
        collector.start()
        while all(path.exists() for path in paths):
            time.sleep(0.001)
        for content in contents:
            study.commit_program(content)
        collector.join()
        assert collected[0]["programs"] > 0
        assert [path.read_bytes() for path in paths] == contents
        assert freed(study) == {}


def test_logs_once_nothing_is_to_do(study: Study) -> None:
    log = write(study.logs / "worker-0.log", age_seconds=2 * LOG_SECONDS)
    young = write(study.logs / "worker-1.log", age_seconds=LOG_SECONDS / 2)
    assert freed(study) == {}
    study.commit_shard(shard_row(4, program_sha256=study.commit_program(PROGRAM).stem))
    assert freed(study) == {"logs": 1}
    assert not log.exists() and young.exists()


def test_several_at_once(study: Study) -> None:
    for number in range(200):
        write(study.shards / "aa" / f".x.{number}{TEMPORARY_SUFFIX}", age_seconds=2 * QUIET_SECONDS)
        checkpoint(study, "done")
    found: list[dict[str, int]] = []
    threads = [threading.Thread(target=lambda: found.append(freed(study))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert sum(one.get("temporary files", 0) for one in found) == 200
    assert not (study.checkpoints / "done").exists()
    assert study.valid_cells() == {cell_id(number) for number in (1, 2, 3)}


def test_the_command(study: Study) -> None:
    orphan = study.commit_program(ORPHAN)
    age(orphan, 2 * QUIET_SECONDS)

    def tcx(*options: str) -> Any:
        command = [sys.executable, "-m", "pipeline.cli", "gc", str(study.folder), *options]
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    asked = json.loads(tcx("--dry-run", "--json"))
    assert (asked["dry_run"], asked["freed"]["programs"]) == (True, {"files": 1, "bytes": len(ORPHAN)})
    assert orphan.exists()
    assert json.loads(tcx("--json"))["files"] == 1
    assert not orphan.exists()
    assert set(asked["freed"]) == set(gc.KINDS)
    assert "programs" in tcx()
