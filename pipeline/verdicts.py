"""What `tcx verify` found of the programs of a study: kept there, for the page."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence

from pipeline.files import locked, read_patiently, write_atomically
from pipeline.store import Study


def keep_verdicts(study: Study, found: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Keep what was found, beside what was found before of other cells; nothing where the folder cannot be written.

    Args:
        study: the study.
        found: cell -> digest of its program -> the problems of that program, none for one that holds.
    """
    with contextlib.suppress(OSError), locked(study.folder):
        content = json.dumps({**read_verdicts(study), **found}, indent=1, sort_keys=True) + "\n"
        write_atomically(study.verdicts_path, content.encode(), replace=True)


def read_verdicts(study: Study) -> dict[str, dict[str, list[str]]]:
    """Cell -> digest of the program that was verified last -> its problems. The cell may have another program now."""
    try:
        verdicts = json.loads(read_patiently(study.verdicts_path.read_text))
    except (FileNotFoundError, ValueError):  # none, or damaged: what is kept again takes its place
        return {}
    # Earlier versions did not say of which program: that is no verdict.
    cells = verdicts.items() if isinstance(verdicts, dict) else ()
    return {cell_id: of_cell for cell_id, of_cell in cells if isinstance(of_cell, dict)}
