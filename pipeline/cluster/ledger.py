"""What was submitted to Slurm. Written before `sbatch` is called, so that no job is ever unknown.

`submissions/TOKEN/intent.json` comes first, with the cells of each batch beside it; then a number in
`submissions/order`, by which the later of two that want the same cells gives way; then the script; after `sbatch`
`job.json` with the id, or `void.json` where there is no job of that token; when jobs have ended, `settled.json`. The
token is part of the job's name.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.files import read_patiently, write_atomically
from pipeline.machine import cluster_name
from pipeline.resources import Resources
from pipeline.store import Study, read_cells

BATCH_COLUMN = "batch"


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """One call of `sbatch`.

    Attributes:
        study: where it is kept.
        token: random, in the job's name.
        submitted_utc: when the intent was written.
        user: who submitted it.
        cluster: to which Slurm, None where that was not known.
        num_batches: tasks of the array.
        job_id: id of the array, None before `sbatch` has answered.
        is_void: there is no such job.
    """

    study: Study
    token: str
    submitted_utc: datetime
    user: str
    cluster: str | None
    num_batches: int
    job_id: str | None
    is_void: bool

    @property
    def folder(self) -> Path:
        """Folder of the submission."""
        return submission_folder(self.study, self.token)

    @property
    def job_name(self) -> str:
        """Name in the queue."""
        return f"tcx-{self.token}"

    @property
    def cells_path(self) -> Path:
        """The cells as `schema.PLAN`, and the number of the batch of each."""
        return self.folder / "cells.parquet"

    @property
    def script_path(self) -> Path:
        """What `sbatch` was given."""
        return self.folder / "job.sbatch"

    def batches(self) -> dict[int, dict[str, list[str]]]:
        """Batch -> group -> ids of its cells."""
        with pq.ParquetFile(self.cells_path) as file:
            table = file.read(columns=[BATCH_COLUMN, "group_id", "cell_id"])
        found: dict[int, dict[str, list[str]]] = {}
        columns = (table[name].to_pylist() for name in (BATCH_COLUMN, "group_id", "cell_id"))
        for batch, group, cell in zip(*columns, strict=True):
            found.setdefault(batch, {}).setdefault(group, []).append(cell)
        return found

    def started(self, batch: int) -> Path:
        """What the job of a batch notes at each of its starts; not there before the first one."""
        return self.folder / f"starts-{batch}.json"

    def settled(self) -> frozenset[int]:
        """Batches whose job has ended, and of which all that it left was recorded."""
        return frozenset((_read_json(self.folder / "settled.json") or {}).get("batches", ()))

    def note_settled(self, batches: Iterable[int]) -> None:
        """Keeps that these are settled, with those before."""
        _write_json(self.folder / "settled.json", {"batches": sorted(self.settled().union(batches))})

    def age_seconds(self) -> float:
        """Time since the intent was written, by the clock of the file system: those of two login nodes differ."""
        now = self.folder / ".now"
        now.touch()
        return now.stat().st_mtime - (self.folder / "intent.json").stat().st_mtime

    def note_job(self, job_id: str) -> Submission:
        """Keeps the id that `sbatch` gave."""
        _write_json(self.folder / "job.json", {"job_id": job_id})
        return read_submission(self.study, self.token)

    def note_void(self, reason: str) -> Submission:
        """Keeps that there is no such job."""
        _write_json(self.folder / "void.json", {"reason": reason})
        return read_submission(self.study, self.token)


def reduce_job_prefix(study: Study) -> str:
    """Begins the name in the queue of a job that reduces this study after the others; a token ends it."""
    return f"tcx-reduce-{hashlib.sha256(str(study.folder.resolve()).encode()).hexdigest()[:12]}"


def submission_folder(study: Study, token: str) -> Path:
    """Folder of one submission."""
    return study.submissions / token


def intend(study: Study, cells: pa.Table, batches: Sequence[int], facts: dict[str, Any]) -> Submission:
    """Writes what is about to be submitted.

    Args:
        study: the study.
        cells: rows of the plan, which are kept beside the intent: later edits of the plan do not reach them.
        batches: number of the batch of each of them, which is its array task.
        facts: profile, code, environment; kept as they are.
    """
    token = secrets.token_hex(6)
    folder = submission_folder(study, token)
    numbered = cells.append_column(BATCH_COLUMN, pa.array(batches, pa.int64()))

    def write(handle: BinaryIO) -> None:
        pq.write_table(numbered, handle, compression="zstd")

    write_atomically(folder / "cells.parquet", write, replace=False)
    now = datetime.now(UTC).isoformat()
    who = {"user": getpass.getuser(), "cluster": cluster_name()}
    intent = {**facts, **who, "submitted_utc": now, "num_batches": len(set(batches))}
    _write_json(folder / "intent.json", intent)
    return read_submission(study, token)


def num_claims(study: Study) -> int:
    """Submissions that have a number in the order. Count before you look at the queue: later ones may not be in it."""
    return sum(1 for _ in _order(study).glob("[0-9]*"))


def claim(submission: Submission, seen: int) -> tuple[int, set[str]]:
    """Gives a submission the next number in the order, which one process alone can have.

    Since every intent is there before its number, those with smaller numbers can be read, and those with larger ones
    will read this one.

    Args:
        submission: a new intent.
        seen: numbers below are known.

    Returns:
        Its number, and the cells that are claimed by numbers from `seen` up to it.
    """
    order, number = _order(submission.study), seen
    while not write_atomically(order / str(number), submission.token.encode(), replace=False):
        number += 1
    tokens = [read_patiently((order / str(earlier)).read_text) for earlier in range(seen, number)]
    others = [one for token in tokens if not (one := read_submission(submission.study, token)).is_void]
    return number, {
        cell for one in others for groups in one.batches().values() for cells in groups.values() for cell in cells
    }


def _order(study: Study) -> Path:
    return study.submissions / "order"


def read_submission(study: Study, token: str) -> Submission:
    """A submission by its token."""
    folder = submission_folder(study, token)
    intent = json.loads(read_patiently((folder / "intent.json").read_text))
    job = _read_json(folder / "job.json")
    return Submission(
        study=study,
        token=token,
        submitted_utc=datetime.fromisoformat(intent["submitted_utc"]),
        user=intent["user"],
        cluster=intent["cluster"],
        num_batches=intent["num_batches"],
        job_id=None if job is None else job["job_id"],
        is_void=job is None and (folder / "void.json").exists(),
    )


def intent_of(study: Study, token: str) -> dict[str, Any]:
    """Everything that was kept of a submission before `sbatch`."""
    content: dict[str, Any] = json.loads(read_patiently((submission_folder(study, token) / "intent.json").read_text))
    return content


def resources_in(submission: Submission, group_id: str) -> Resources:
    """Resources of a group of a submission; those of one batch are equal."""
    return Resources(**json.loads(read_cells(submission.cells_path, group_id=group_id)["resources"][0].as_py()))


def submissions(study: Study) -> list[Submission]:
    """All submissions of a study, oldest first. Folders without an intent were left before anything was submitted."""
    found = [read_submission(study, path.parent.name) for path in study.submissions.glob("*/intent.json")]
    return sorted(found, key=lambda submission: (submission.submitted_utc, submission.token))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=1) + "\n").encode(), replace=True)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(read_patiently(path.read_text))
        return content
    except FileNotFoundError:
        return None
