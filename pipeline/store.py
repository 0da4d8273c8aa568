"""Every path of a study folder, and the only code that writes into it."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shlex
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.csv import write_csv

from pipeline import schema
from pipeline.attempt_files import read_attempts, write_attempts
from pipeline.compacted_index import compacted_files, index
from pipeline.errors import InvalidShardError, NewerShardError, TaskComplexityError, UserError
from pipeline.evaluations import noting_evaluations
from pipeline.files import READ_THREADS, entries, make_folder, read_patiently, write_atomically
from pipeline.shards import has_footer_of, read_shard, write_shard

RESULTS_VARIABLE = "TCX_RESULTS"

_SHARD_NAME = re.compile(r"[0-9a-f]{64}\.parquet")


def results_folder(option: str | None = None) -> Path:
    """Folder that holds the studies: the option, else `TCX_RESULTS`, else `./results`."""
    return Path(option or os.environ.get(RESULTS_VARIABLE) or "results")


def open_study(name_or_path: str | Path, results: str | None = None) -> Study:
    """A study that exists, by its name in the results folder or by the path of its folder.

    Raises:
        UserError: there is none; the message says where it was looked for and which names come near.
    """
    folder = results_folder(results)
    for candidate in (folder / name_or_path, Path(name_or_path)):
        study = Study(candidate)
        if study.plan_path.is_file() or any(path.is_dir() for path in (study.shards, study.compacted, study.curves)):
            return study
    if (folder / name_or_path).is_dir():
        raise UserError(f"{folder / name_or_path} is a folder without a plan or a result; `tcx run GRID` makes a study")
    known = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    near = difflib.get_close_matches(str(name_or_path), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"
    raise UserError(f"no study {str(name_or_path)!r} in {folder}/ and no study folder of that path; {hint}")


@dataclass(frozen=True)
class Study:
    """One grid with its results. Nothing is created before it is written.

    Attributes:
        folder: `<results>/<study>`.
    """

    folder: Path

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.folder.resolve().name

    @property
    def argument(self) -> str:
        """How it is named on a command line, wherever it lies."""
        return shlex.quote(str(self.folder))

    @property
    def plan_path(self) -> Path:
        """The plan: one row a cell, `schema.PLAN`."""
        return self.folder / "plan.parquet"

    @property
    def grid_path(self) -> Path:
        """The resolved grid that the plan was made from."""
        return self.folder / "grid.json"

    @property
    def lock_path(self) -> Path:
        """Copy of the lock that the plan was made with; none where the grid has no lock."""
        return self.folder / "lock.yaml"

    @property
    def shards(self) -> Path:
        """Folder of the shards."""
        return self.folder / "shards"

    @property
    def compacted(self) -> Path:
        """Folder of compacted files, each with the rows of many cells, which need no shard of their own."""
        return self.folder / "compacted"

    @property
    def programs(self) -> Path:
        """Folder of the program files."""
        return self.folder / "programs"

    @property
    def attempts(self) -> Path:
        """Folder of the attempts that gave no shard."""
        return self.folder / "attempts"

    @property
    def logs(self) -> Path:
        """Folder of the logs of jobs."""
        return self.folder / "logs"

    @property
    def tasks(self) -> Path:
        """Folder of the notes on what the programs were given, one a version of a task."""
        return self.folder / "tasks"

    @property
    def leases(self) -> Path:
        """Folder of the claims of processes on groups of cells that they are working on."""
        return self.folder / "leases"

    @property
    def checkpoints(self) -> Path:
        """Folder of what encoders need to go on from where they were stopped, one folder a group."""
        return self.folder / "checkpoints"

    @property
    def submissions(self) -> Path:
        """Folder of what was submitted to Slurm, one folder a submission."""
        return self.folder / "submissions"

    @property
    def code(self) -> Path:
        """Folder of the copies of this package that jobs import, one folder a digest."""
        return self.folder / "code"

    @property
    def curves(self) -> Path:
        """Folder of the reduced tables."""
        return self.folder / "curves"

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.folder / "figures"

    @property
    def verdicts_path(self) -> Path:
        """What `tcx verify` found of the program of each cell."""
        return self.folder / "verified.json"

    @property
    def page_path(self) -> Path:
        """The page of the report."""
        return self.folder / "report.html"

    @property
    def quarantine(self) -> Path:
        """Folder of files that stood where a shard should be and were no valid shard."""
        return self.folder / "quarantine"

    def shard_path(self, cell_id: str) -> Path:
        """Place of the shard of a cell."""
        return self.shards / cell_id[:2] / f"{cell_id}.parquet"

    def compacted_path(self, name: str) -> Path:
        """Place of a compacted file: `compacted/NAME.parquet`."""
        return self.compacted / f"{name}.parquet"

    def task_note_path(self, task: str, version: int) -> Path:
        """Place of the note on a version of a task."""
        return self.tasks / f"{task}-{version}.json"

    def program_path(self, sha256: str) -> Path:
        """Place of the program file of this digest."""
        return self.programs / sha256[:2] / f"{sha256}.pyz"

    def table_path(self, name: str, suffix: str) -> Path:
        """Place of a reduced table: `curves/NAME.SUFFIX`."""
        return self.curves / f"{name}.{suffix}"

    def figure_path(self, name: str, suffix: str) -> Path:
        """Place of a figure: `figures/NAME.SUFFIX`."""
        return self.figures / f"{name}.{suffix}"

    def commit_program(self, content: bytes) -> Path:
        """Keep a program file under its digest.

        Returns:
            Its path; the file may have been there.

        Raises:
            TaskComplexityError: a file of that name holds other bytes.
        """
        path = self.program_path(hashlib.sha256(content).hexdigest())
        while True:
            is_new = not path.exists() and write_atomically(path, content, replace=False)
            try:
                if not is_new:
                    _mark_used(path)
                held = path.read_bytes()
            except FileNotFoundError:
                continue  # `tcx gc` has just taken it away
            if held != content:
                raise TaskComplexityError(
                    f"{path} does not hold the bytes that its name stands for; delete it and run again"
                )
            return path

    def commit_shard(self, row: Mapping[str, Any]) -> bool:
        """Write the shard of one cell. The first valid one stays; a damaged file at its place goes to quarantine.

        Args:
            row: every column of `schema.SHARD`.

        Returns:
            False when a valid shard, or a row in a compacted file, was there first: this row was then dropped.

        Raises:
            InvalidShardError: the row breaks a rule of the schema, or did not read back from disk as it was written.
        """
        schema.check_row(row)
        cell_id = str(row["cell_id"])
        path = self.shard_path(cell_id)
        table = schema.table_of([row], schema.SHARD)

        def check(temporary: Path) -> None:
            read_shard(temporary, cell_id)

        if self._is_compacted(cell_id):
            return False
        while not write_atomically(path, lambda file: write_shard(file, table), replace=False, check=check):
            try:
                read_shard(path, cell_id)
                return False
            except NewerShardError:
                return False  # sound, although not to be read by this version
            except InvalidShardError as error:
                self.quarantine_shard(path, str(error))
            except FileNotFoundError:
                pass  # another process has just moved a damaged file aside
        return True

    def listed_cells(self) -> set[str]:
        """Ids of the cells that have a file at their shard's place, by name alone, and of those that are compacted."""
        # In this order: what is compacted in between is then seen twice, and not missed.
        return {path.stem for path in self.shard_files()}.union(*self.compacted_cells().values())

    def compacted_files(self) -> list[Path]:
        """The compacted files, in the order of their names. Temporary and foreign names are skipped."""
        return compacted_files(self.compacted)

    def compacted_cells(self) -> Mapping[Path, frozenset[str]]:
        """Compacted file -> ids of its cells. A process reads the ids of each file once.

        Raises:
            TaskComplexityError: a file is damaged. It does not count as absent: all its cells would be made again.
        """
        return index(self.compacted)

    def shard_files(self) -> Iterator[Path]:
        """Files at the place of a shard, in no fixed order. Temporary and foreign names are skipped."""
        for folder in entries(self.shards):
            if folder.is_dir():
                for entry in entries(Path(folder.path)):
                    if _SHARD_NAME.fullmatch(entry.name) and entry.name.startswith(folder.name):
                        yield Path(entry.path)

    def valid_cells(self, among: Iterable[str] | None = None) -> set[str]:
        """Ids of the cells that are done.

        Of each shard only the two ends are read: it must be a whole Parquet file whose footer names this cell. That
        finds truncated, empty and misplaced files (about 0.1 ms a file on a local disk). Damage in the middle of a
        file is found when the file is read in full, by the reducer, which puts it in quarantine; the cell then counts
        as not done. Of a compacted file the ids of the cells are read.

        Args:
            among: look at these cells only, None for all.

        Raises:
            TaskComplexityError: a compacted file is damaged.
        """
        shards = {path.stem for path in self.shard_files()}
        asked = None if among is None else set(among)

        def compacted() -> set[str]:
            return {
                cell
                for cells in self.compacted_cells().values()
                for cell in (cells if asked is None else cells & asked)
            }

        done = compacted()
        looked = sorted((shards if asked is None else shards & asked) - done)

        def sound(cell_ids: Sequence[str]) -> list[str]:
            return [cell_id for cell_id in cell_ids if has_footer_of(self.shard_path(cell_id), cell_id)]

        parts = [looked[start : start + 256] for start in range(0, len(looked), 256)]
        with ThreadPoolExecutor(READ_THREADS) as pool:
            whole = {cell_id for part in pool.map(sound, parts) for cell_id in part}
        # A shard that is gone may have been compacted since the first look.
        return done | whole | (compacted() if len(whole) < len(looked) else set())

    def quarantine_shard(self, path: Path, reason: str) -> Path | None:
        """Move a bad file out of the shards and write the reason beside it.

        Returns:
            Its new path, None when another process was faster.
        """
        target = self.quarantine / f"{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}"
        make_folder(target.parent)
        try:
            path.replace(target)
        except FileNotFoundError:
            return None
        note = {"file": path.name, "moved_to": target.name, "reason": reason}
        write_atomically(target.with_suffix(".json"), (json.dumps(note, indent=1) + "\n").encode(), replace=True)
        return target

    def record_attempts(self, rows: Sequence[Mapping[str, Any]], event: str | None = None) -> None:
        """Keep attempts that gave no shard, those of one event in one file.

        Args:
            rows: one a cell, with every column of `schema.ATTEMPT`; none writes nothing.
            event: name of an event that is kept once, whoever tells of it; None for one that nobody else knows.
        """
        if rows:
            write_attempts(self.attempts, rows, event)

    def read_attempts(self, cell_ids: Iterable[str] | None = None) -> pa.Table:
        """Attempts that gave no shard, as `schema.ATTEMPT`, ordered by cell, attempt and time.

        A process reads each file once: the second call costs little more than a look into the folder.

        Args:
            cell_ids: the attempts of these cells only, None for all.
        """
        return read_attempts(self.attempts, cell_ids)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Keep a reduced table as `curves/NAME.parquet` and `curves/NAME.csv`."""
        write_atomically(self.table_path(name, "parquet"), lambda file: pq.write_table(table, file), replace=True)
        write_atomically(self.table_path(name, "csv"), lambda file: write_csv(table, file), replace=True)

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A reduced table.

        Args:
            name: of the table.
            columns: names of the columns that are read, None for all.

        Raises:
            UserError: the study has not been reduced.
        """
        path = self.table_path(name, "parquet")
        if not path.is_file():
            raise UserError(f"study {self.name} has no {path}; run `tcx reduce {self.argument}` first")
        return pq.ParquetFile(path).read(columns=None if columns is None else list(columns))

    def write_plan(self, plan: pa.Table) -> None:
        """Keep a plan, of the columns of `schema.PLAN`, in the place of the last one, whose evaluations it notes."""
        plan = noting_evaluations(plan, self.plan_path)
        write_atomically(self.plan_path, lambda file: pq.write_table(plan, file, compression="zstd"), replace=True)

    def read_plan(self) -> pa.Table | None:
        """The plan as `schema.PLAN`, None where there is none.

        Raises:
            UserError: the file is no plan of this version.
        """
        return read_cells(self.plan_path) if self.plan_path.exists() else None

    def _is_compacted(self, cell_id: str) -> bool:
        try:
            return any(cell_id in cells for cells in self.compacted_cells().values())
        except TaskComplexityError:
            return False  # a damaged file must not cost a result that is there to be kept


def _mark_used(path: Path) -> None:
    """Tells `tcx gc` that a file is wanted now, although nothing may name it yet."""
    try:
        os.utime(path)
    except PermissionError:  # of another user of the group
        write_atomically(path, path.read_bytes(), replace=True)


def read_cells(path: Path, *, group_id: str | None = None) -> pa.Table:
    """A plan, or a part of one, as `schema.PLAN`.

    Args:
        path: the file.
        group_id: the cells of this group only, None for all.

    Raises:
        UserError: the file is no plan of this version.
    """

    def read() -> pa.Table:
        # Not `pq.read_table`, which imports pandas where that is installed.
        with pq.ParquetFile(path) as file:
            return file.read(columns=schema.PLAN.names).select(schema.PLAN.names).cast(schema.PLAN)

    try:
        cells = read_patiently(read)
        return cells if group_id is None else cells.filter(pc.equal(cells["group_id"], group_id))
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise _no_plan(path, error) from error


def iter_cells(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Some columns of a plan, a part of its rows at a time: plans may be larger than memory.

    Args:
        path: the file.
        columns: names of columns of `schema.PLAN`.

    Raises:
        UserError: the file is no plan of this version.
    """
    wanted = pa.schema([schema.PLAN.field(name) for name in columns])
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(columns=list(columns)):
                yield pa.Table.from_batches([batch]).select(list(columns)).cast(wanted)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise _no_plan(path, error) from error


def _no_plan(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is no plan that this version can read; plan again ({error})")
