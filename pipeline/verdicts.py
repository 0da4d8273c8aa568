"""What `tcx verify` found of the programs of a study: kept there, for the page."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence

from pipeline.files import read_patiently, write_atomically
from pipeline.store import Study


def keep_verdicts(study: Study, found: Mapping[str, Sequence[str]]) -> None:
    """Keep what was found, beside what was found before of other cells; nothing where the folder may not be written.

    Args:
        study: the study.
        found: cell -> the problems of its program, none for a program that holds.
    """
    kept = read_verdicts(study) | {cell_id: list(problems) for cell_id, problems in found.items()}
    content = json.dumps(kept, indent=1, sort_keys=True) + "\n"
    with contextlib.suppress(PermissionError):
        write_atomically(study.verdicts_path, content.encode(), replace=True)


def read_verdicts(study: Study) -> dict[str, list[str]]:
    """Cell -> the problems of its program, of all that were ever verified."""
    try:
        verdicts: dict[str, list[str]] = json.loads(read_patiently(study.verdicts_path.read_text))
        return verdicts
    except FileNotFoundError:
        return {}
