"""What a study no longer needs to resume, found and deleted; safe beside jobs that work on it.

Nothing here is in use: what belongs to a group is deleted under its lease and never while a job that has its cells may
still start; the rest is old, by the clock of the file system, and looked at once more before it goes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.cell import format_bytes
from pipeline.cluster.ledger import Submission, intent_of, submissions
from pipeline.cluster.queue import look
from pipeline.cluster.slurm import job_is_gone
from pipeline.errors import InvalidShardError, TaskComplexityError
from pipeline.files import TEMPORARY_SUFFIX, entries, make_folder, move_if_absent
from pipeline.leases import Owner, abandoned, drop_lease, lease, lease_path, leased, this_owner
from pipeline.rows import iter_rows
from pipeline.store import Study, open_study

QUIET_SECONDS = 24 * 3600.0
"""A writer, or a submission on its way, takes seconds: what nobody has touched for so long is nobody's."""
LOG_SECONDS = 30 * QUIET_SECONDS
"""Logs of cells that are done are still of interest for a while."""

_BATCH_LOG = re.compile(r"(\d+)_(\d+)_.*\.log")
_WORKER_LOG = re.compile(r"worker-(\d+)_(\d+)-\d+\.log")
_ASIDE = re.compile(r"\..*\.gc-[0-9a-f]{32}" + re.escape(TEMPORARY_SUFFIX))


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Something that can go.

    Attributes:
        path: a file or a folder.
        delete: deletes it, unless it has come into use; tells whether it did.
    """

    path: Path
    delete: Callable[[], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Freed:
    """What goes, of one kind.

    Attributes:
        kind: one of `KINDS`.
        num_files: files, those in folders included.
        num_bytes: their size.
    """

    kind: str
    num_files: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GcSummary:
    """What was deleted, or would be.

    Attributes:
        study: the study.
        is_dry: whether everything is still there.
        freed: one a kind.
        notes: what was left alone although it may be of no use, and why.
    """

    study: Study
    is_dry: bool
    freed: tuple[Freed, ...]
    notes: tuple[str, ...]

    def render(self, console: Console) -> None:
        """Print for people."""
        title = f"study {self.study.name}: {'would be deleted' if self.is_dry else 'deleted'}"
        table = Table(title=title, title_justify="left", show_footer=True)
        table.add_column("what", footer="all")
        table.add_column("files", justify="right", footer=f"{sum(one.num_files for one in self.freed):,}")
        table.add_column("size", justify="right", footer=format_bytes(sum(one.num_bytes for one in self.freed)))
        for one in self.freed:
            table.add_row(one.kind, f"{one.num_files:,}", format_bytes(one.num_bytes))
        console.print(table)
        for note in self.notes:
            console.print(note, markup=False, highlight=False, soft_wrap=True)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {
            "study": self.study.name,
            "folder": str(self.study.folder),
            "dry_run": self.is_dry,
            "files": sum(one.num_files for one in self.freed),
            "bytes": sum(one.num_bytes for one in self.freed),
            "freed": {one.kind: {"files": one.num_files, "bytes": one.num_bytes} for one in self.freed},
            "notes": list(self.notes),
        }


class _View:
    """What is known of a study before anything is deleted."""

    def __init__(self, study: Study, *, is_dry: bool) -> None:
        self.study = study
        self.notes: list[str] = []
        self.is_queue_known = True
        if study.submissions.is_dir():
            try:
                look(study)  # tells of what jobs have lost, and settles those that have ended
            except (TaskComplexityError, OSError) as error:
                self.is_queue_known = False
                self.notes.append(f"what was submitted counts as still in the queue, which is not known here: {error}")
        self.now = _now(study, is_dry=is_dry)

    def is_quiet(self, path: Path, seconds: float = QUIET_SECONDS) -> bool:
        """Whether nobody has touched a file for so long; False for one that is gone."""
        try:
            return self.now - path.lstat().st_mtime > seconds
        except OSError:
            return False

    @cached_property
    def live(self) -> list[Submission]:
        """Submissions with a job that is in the queue, may be on its way there, or is another cluster's to judge."""
        return [
            submission
            for submission in submissions(self.study)
            # One that was given up may have a job after all, which Slurm tells of when it is asked.
            if not (submission.is_void and self.is_queue_known) and len(submission.settled()) < submission.num_batches
        ]

    @cached_property
    def lost(self) -> dict[str, Owner]:
        """Groups with a lease whose owner is gone."""
        return abandoned(leased(self.study), job_is_gone)

    @cached_property
    def live_groups(self) -> frozenset[str]:
        """Groups of these."""
        return frozenset(group for one in self.live for batch in one.batches().values() for group in batch)

    @cached_property
    def planned(self) -> dict[str, list[str | None]] | None:
        """Group -> its cells, of the plan; None without a plan."""
        plan = self.study.read_plan()
        if plan is None:
            return None
        groups: dict[str, list[str | None]] = {}
        for group, cell in zip(plan["group_id"].to_pylist(), plan["cell_id"].to_pylist(), strict=True):
            groups.setdefault(str(group), []).append(cell)
        return groups

    @cached_property
    def undone(self) -> frozenset[str | None]:
        """Planned cells that are not done."""
        cells = {cell for group in (self.planned or {}).values() for cell in group}
        return frozenset(cells - self.study.valid_cells(cell for cell in cells if cell is not None))


def collect(name: str, *, results: str | None, is_dry: bool) -> GcSummary:
    """Deletes what resuming no longer needs.

    Args:
        name: name or folder of the study.
        results: folder of the studies, None for the default.
        is_dry: delete nothing, and tell what would go.

    Raises:
        UserError: no such study.
        TaskComplexityError: a compacted file is damaged.
    """
    view = _View(open_study(name, results), is_dry=is_dry)
    freed = []
    for kind, find in KINDS.items():
        num_files, num_bytes = 0, 0
        for found in find(view):
            files, size = _measured(found.path)
            if is_dry or found.delete():
                num_files, num_bytes = num_files + files, num_bytes + size
        freed.append(Freed(kind=kind, num_files=num_files, num_bytes=num_bytes))
    return GcSummary(study=view.study, is_dry=is_dry, freed=tuple(freed), notes=tuple(view.notes))


def _leases(view: _View) -> Iterator[Found]:
    """Those whose owner is gone, and those that were taken from a lost owner by a process that was then killed."""
    for group, owner in view.lost.items():
        yield Found(path=lease_path(view.study, group), delete=partial(drop_lease, view.study, group, owner))
    for path in view.study.leases.glob("*.stale"):
        if view.is_quiet(path):
            yield _file(view, path)


def _checkpoints(view: _View) -> Iterator[Found]:
    """Those of groups that are done or no longer planned, and in no job."""
    if view.planned is None:
        return
    held = leased(view.study).keys() - view.lost.keys()
    for entry in entries(view.study.checkpoints):
        group, path = entry.name, Path(entry.path)
        cells = view.planned.get(group)
        is_over = view.undone.isdisjoint(cells) if cells is not None else _is_all_quiet(view, path)
        if is_over and group not in view.live_groups and group not in held:
            yield Found(path=path, delete=partial(_delete_leased, view.study, group, path))


def _temporary(view: _View) -> Iterator[Found]:
    """What writers leave that are killed."""
    for folder in (view.study.folder, *_folders(view.study.folder, besides=view.study.checkpoints)):
        for entry in entries(folder):
            path = Path(entry.path)
            is_file = entry.name.startswith(".") and entry.name.endswith(TEMPORARY_SUFFIX)
            is_copy = folder == view.study.code and entry.name.startswith(".")
            if (is_file or is_copy) and view.is_quiet(path):
                yield _file(view, path)


def _code(view: _View) -> Iterator[Found]:
    """Copies of the code that no job will import."""
    used = {str(intent_of(view.study, submission.token)["code"]) for submission in view.live}
    # The job that reduces after the others is no submission of its own.
    scripts = [path.read_text() for path in view.study.submissions.glob("*.sbatch")]
    for entry in entries(view.study.code):
        path = Path(entry.path)
        is_used = entry.name in used or any(entry.name in script for script in scripts)
        if not entry.name.startswith(".") and not is_used and view.is_quiet(path):
            yield _file(view, path)


def _programs(view: _View) -> Iterator[Found]:
    """Program files that no row names: their worker was killed before it had written the shard."""
    try:
        named = {row["program_sha256"] for row in iter_rows(view.study, ["program_sha256"])}
    except InvalidShardError as error:
        view.notes.append(f"all programs were left alone: `tcx reduce` puts into quarantine what is damaged ({error})")
        return
    for folder in entries(view.study.programs):
        for entry in entries(Path(folder.path)) if folder.is_dir() else ():
            path = Path(entry.path)
            if path.suffix == ".pyz" and path.stem not in named and view.is_quiet(path):
                yield _file(view, path)


def _logs(view: _View) -> Iterator[Found]:
    """Old logs of jobs, and of `tcx run`, that have no cell to do any more."""
    if view.planned is None:
        return
    jobs = {submission.job_id: submission for submission in submissions(view.study)}
    live = {submission.job_id for submission in view.live}
    batches: dict[str, Mapping[int, Mapping[str, list[str]]]] = {}
    for entry in entries(view.study.logs):
        match = _BATCH_LOG.fullmatch(entry.name) or _WORKER_LOG.fullmatch(entry.name)
        cells: Iterable[str | None] = view.undone
        if match is not None and match[1] in jobs:
            if match[1] in live:
                continue
            of_job = batches.setdefault(match[1], jobs[match[1]].batches())
            cells = [cell for group in of_job.get(int(match[2]), {}).values() for cell in group]
        if view.undone.isdisjoint(cells) and view.is_quiet(Path(entry.path), LOG_SECONDS):
            yield _file(view, Path(entry.path))


KINDS: Mapping[str, Callable[[_View], Iterator[Found]]] = {
    "leases": _leases,
    "checkpoints": _checkpoints,
    "temporary files": _temporary,
    "code": _code,
    "programs": _programs,
    "logs": _logs,
}
"""Kind -> finds what can go of it. Leases come first: checkpoints of lost owners can then go."""


def _file(view: _View, path: Path) -> Found:
    return Found(path=path, delete=partial(_delete_quiet, view, path))


def _delete_quiet(view: _View, path: Path) -> bool:
    """Deletes what nobody has touched; what was touched since it was looked at goes back to its place."""
    if _ASIDE.fullmatch(path.name):
        aside = path  # of a run that was killed
    else:
        aside = path.with_name(f".{path.name}.gc-{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
        try:
            path.rename(aside)
        except OSError:
            return False  # another run was faster, or it is of another user
        if not view.is_quiet(aside):
            _put_back(aside, path)
            return False
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
        return not aside.exists()
    try:
        aside.unlink()
    except OSError:
        return False  # another run has taken it for one that was killed
    return True


def _put_back(aside: Path, path: Path) -> None:
    """Gives a file or folder its old place; whoever has put an equal one there meanwhile is right."""
    if aside.is_dir():
        try:
            aside.rename(path)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
    else:
        # Another run may have taken it for one that was killed.
        with contextlib.suppress(FileNotFoundError):
            move_if_absent(aside, path)
        aside.unlink(missing_ok=True)


def _delete_leased(study: Study, group: str, path: Path) -> bool:
    """Deletes the checkpoints of a group while no process can work on it."""
    with lease(study, group, this_owner(), job_is_gone) as is_ours:
        if is_ours:
            shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


def _is_all_quiet(view: _View, folder: Path) -> bool:
    return all(view.is_quiet(path) for path in (folder, *folder.rglob("*")))


def _folders(folder: Path, besides: Path) -> Iterator[Path]:
    for entry in entries(folder):
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False) and path != besides:
            yield path
            yield from _folders(path, besides)


def _measured(path: Path) -> tuple[int, int]:
    """Files and bytes of a file or a folder."""
    sizes = []
    for file in [path] if not path.is_dir() else path.rglob("*"):
        with contextlib.suppress(OSError):
            if not file.is_dir():
                sizes.append(file.lstat().st_size)
    return len(sizes), sum(sizes)


def _now(study: Study, *, is_dry: bool) -> float:
    """Time by the clock of the file system: those of two machines differ. In a dry run this one's has to do at need."""
    probe = study.folder / f".now.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
    try:
        make_folder(study.folder)
        probe.touch()
        return os.stat(probe).st_mtime
    except OSError:
        if not is_dry:
            raise
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
