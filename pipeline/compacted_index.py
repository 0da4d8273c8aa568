"""Which cells are in the compacted files of a study, known to this process after one look into each file."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from pipeline.compacted import compacted_cells
from pipeline.errors import InvalidShardError, NewerShardError, TaskComplexityError
from pipeline.files import entries, read_patiently

_Mark = tuple[str, int, int]
"""Path, size and time of the last change: a file of the same mark is the same file."""


class _Known:
    """The cells of the files of one folder."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # `tcx run` looks from several threads
        self._cells: dict[_Mark, frozenset[str]] = {}

    def look(self, folder: Path) -> Mapping[Path, frozenset[str]]:
        with self._lock:
            found: dict[_Mark, frozenset[str]] = {}
            for path in compacted_files(folder):
                try:
                    status = read_patiently(path.stat)
                    mark = (str(path), status.st_size, status.st_mtime_ns)
                    found[mark] = self._cells[mark] if mark in self._cells else frozenset(compacted_cells(path))
                except FileNotFoundError:
                    continue  # merged into a larger file since the folder was listed, see `index`
            self._cells = found
            return {Path(path): cells for (path, _, _), cells in found.items()}


_known: defaultdict[Path, _Known] = defaultdict(_Known)


def compacted_files(folder: Path) -> list[Path]:
    """The compacted files of a folder, in the order of their names. Temporary and foreign names are skipped."""
    return sorted(
        Path(entry.path)
        for entry in entries(folder)
        if entry.name.endswith(".parquet") and not entry.name.startswith(".")
    )


def index(folder: Path) -> Mapping[Path, frozenset[str]]:
    """Compacted file -> ids of its cells. Files that have not changed since this process last asked are not read.

    Args:
        folder: of the compacted files of a study.

    Raises:
        TaskComplexityError: a file is damaged. It does not simply count as absent: all its cells would be made again.
    """
    known = _known[folder]
    try:
        while True:
            found = known.look(folder)
            # `tcx compact` puts the larger file in its place before it deletes those that are in it.
            if list(found) == compacted_files(folder):
                return found
    except NewerShardError:
        raise
    except InvalidShardError as error:
        raise TaskComplexityError(
            f"{error}. Put a sound copy in its place; or let `tcx reduce` move it to quarantine: its cells then count "
            "as not done"
        ) from error
