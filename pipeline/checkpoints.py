"""What an encoder needs to go on from where it was stopped: folders, each with a marker that makes it complete.

A checkpoint is written beside the others, closed with the digests of its files, and moved to its place. The last two
are kept of each kind of machine and number of processes. One that is damaged or of another kind is left out. They are
numbered, not timed: the clocks of two nodes differ.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.cell import canonical_json
from pipeline.errors import StoppedError
from pipeline.files import make_folder, write_atomically

KEPT = 2
"""Checkpoints of equal facts."""
MARKER = "complete.json"
PART = "part-"
"""How the name of a folder begins that has the checkpoints of a part of the work."""


def _alone(value: Any) -> Any:
    """What one process says to itself."""
    return value


def steps_saved(folder: Path) -> int:
    """Steps of the checkpoint that is furthest, of whatever kind, and of those of all parts; 0 where there is none."""
    of_parts = sum(steps_saved(part) for part in folder.glob(f"{PART}*"))
    return of_parts + max((_steps_in(path) for path in _finished(folder)), default=0)


def _steps_in(path: Path) -> int:
    try:
        return int(json.loads((path / MARKER).read_text())["cursor"]["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _finished(folder: Path) -> list[Path]:
    """Checkpoints that were moved to their places, the oldest first."""
    return sorted(path for path in folder.glob("[0-9]*-*") if path.is_dir())


class Checkpoints:
    """Checkpoints of one group of cells.

    Every process of a team calls the same methods in the same order; the first one decides.
    """

    def __init__(
        self,
        folder: Path,
        *,
        facts: Mapping[str, Any],
        code: Any,
        period_seconds: float,
        is_asked_to_stop: Callable[[], bool],
        report: Callable[[str], None],
        agree: Callable[[Any], Any] = _alone,
        rank: int = 0,
    ) -> None:
        """Prepare; cheap.

        Args:
            folder: where they lie; theirs alone.
            facts: what must be equal to go on from a checkpoint, as JSON values: machine class, processes ...
            code: state of the code, as a JSON value; another one is reported, and gone on from.
            period_seconds: time between two checkpoints.
            is_asked_to_stop: whether the work should end soon.
            report: told what is done, and which checkpoint was left out and why.
            agree: gives the value of the first process to all of them; also a barrier.
            rank: number of this process.
        """
        self._folder = folder
        self._facts = dict(facts)
        self._kind = hashlib.sha256(canonical_json(self._facts).encode()).hexdigest()[:8]
        self._code = code
        self._period_seconds = period_seconds
        self._is_asked_to_stop = is_asked_to_stop
        self._report = report
        self._agree = agree
        self._is_first = rank == 0
        self._last_time = time.monotonic()

    def restore(
        self, read: Callable[[Path], None], fits: Callable[[Mapping[str, Any]], bool] = lambda cursor: True
    ) -> dict[str, Any] | None:
        """Goes back to the newest sound checkpoint.

        Args:
            read: reads the files of a checkpoint from its folder.
            fits: whether what is to be done can be done from a cursor.

        Returns:
            The cursor that was saved with it, None where there is none.
        """
        found: tuple[str, dict[str, Any]] | None = self._agree(
            next(self._sound(fits), None) if self._is_first else None
        )
        if found is None:
            return None
        name, cursor = found
        try:
            read(self._folder / name)
        except Exception:
            # Whole by its digests and still unreadable: the next try must not meet it again.
            shutil.rmtree(self._folder / name, ignore_errors=True)
            raise
        self._report(f"went on from checkpoint {name}")
        return cursor

    def save_if_due(self, write: Callable[[Path], None], cursor: Callable[[], Mapping[str, Any]]) -> None:
        """Saves when the time has come or the work is asked to stop.

        Args:
            write: writes files into the folder of a checkpoint; the processes must not write the same file.
            cursor: how far the work is, as JSON values; `steps` grows as it goes on.

        Raises:
            StoppedError: the work was asked to stop, and is saved.
            OSError: it cannot be saved, and has to stop or has processes that wait for each other.
        """
        is_due = time.monotonic() - self._last_time >= self._period_seconds
        stop, due = self._agree((self._is_asked_to_stop(), is_due))
        if stop or due:
            try:
                self._save(write, cursor())
            except OSError as error:
                if stop or self._agree is not _alone:
                    raise
                self._report(f"no checkpoint was saved, and the work goes on without one: {error}")
            self._last_time = time.monotonic()
        if stop:
            raise StoppedError("asked to stop; the work goes on from its checkpoint")

    def part(self, name: str) -> Checkpoints:
        """Checkpoints of a part of the work, beside those of the whole; they are deleted with these."""
        part = copy.copy(self)
        part._folder = self._folder / f"{PART}{name}"
        return part

    def clear(self) -> None:
        """Deletes all of them: the work is done."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _save(self, write: Callable[[Path], None], cursor: Mapping[str, Any]) -> None:
        last = _finished(self._folder)[-1:]
        number = 1 + max((int(path.name.partition("-")[0]) for path in last), default=0)
        name = self._agree(f"{number:08d}-{self._kind}")
        unfinished = self._folder / f".{name}"
        if self._is_first:
            shutil.rmtree(unfinished, ignore_errors=True)  # of a process that ended while it saved the same one
            make_folder(unfinished)
        self._agree(None)
        write(unfinished)
        self._agree(None)
        if self._is_first:
            for path in unfinished.rglob("*"):
                if path.is_file():
                    _flush(path)
            note = {"facts": self._facts, "code": self._code, "cursor": dict(cursor), "files": _digests(unfinished)}
            write_atomically(unfinished / MARKER, json.dumps(note).encode(), replace=False)
            unfinished.rename(self._folder / name)
            self._prune()
            self._report(f"saved checkpoint {name}")
        self._agree(None)

    def _sound(self, fits: Callable[[Mapping[str, Any]], bool]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and cursor of each checkpoint that can be used, the newest first."""
        for path in reversed(_finished(self._folder)):
            try:
                note = json.loads((path / MARKER).read_text())
                if note["facts"] != self._facts:
                    different = [key for key in self._facts if note["facts"].get(key) != self._facts[key]]
                    self._report(f"left checkpoint {path.name} out: made with other {', '.join(different)}")
                elif note["files"] != _digests(path):
                    self._report(f"left checkpoint {path.name} out: it is damaged")
                elif fits(note["cursor"]):
                    if note["code"] != self._code:
                        self._report(f"checkpoint {path.name} was made by other code: {note['code']}")
                    yield path.name, note["cursor"]
            except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
                self._report(f"left checkpoint {path.name} out: {type(error).__name__}: {error}")

    def _prune(self) -> None:
        mine = [path for path in _finished(self._folder) if path.name.endswith(self._kind)]
        for path in mine[:-KEPT]:
            shutil.rmtree(path, ignore_errors=True)
        for path in self._folder.glob(".*"):
            shutil.rmtree(path, ignore_errors=True)  # left by processes that were killed while they wrote


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below a folder but the marker."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != MARKER:
            with path.open("rb") as file:
                found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
