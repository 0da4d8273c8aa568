"""What the programs of a study were given of a task: kept by who makes them, for who scores their answers later.

The version of a task changes with its scorer and with its items alike. The note tells which of the two it was: kept
answers can be scored anew where the same items were answered by programs of the same prompt.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pipeline.cell import Evaluation, canonical_json
from pipeline.evaluate import items_of
from pipeline.files import read_patiently, write_atomically
from pipeline.protocols import Task
from pipeline.store import Study

PROMPT = ("template", "stop", "max_new_tokens", "copy_field", "instruction")
"""Attributes of a task that families write into programs."""


def keep_note(study: Study, task: Task) -> None:
    """Keeps what this version of a task gives to programs, unless it was kept before."""
    path = study.task_note_path(task.name, task.version)
    if not path.exists():
        write_atomically(path, (json.dumps(note_of(task), indent=1) + "\n").encode(), replace=False)


def read_note(study: Study, name: str, version: int) -> dict[str, Any] | None:
    """The note on a version of a task, None where none was kept, as by earlier versions of this package."""
    try:
        note: dict[str, Any] = json.loads(read_patiently(study.task_note_path(name, version).read_text))
        return note
    except (FileNotFoundError, ValueError):
        return None


def note_of(task: Task) -> dict[str, Any]:
    """What a task gives to programs: the digest of the inputs of each scored split, and its prompt.

    The targets of these splits are the scorer's, and free to change. Train items are not looked at: reading them may
    take long, and the answers that were kept are answers to the others.
    """
    inputs = {split: [dict(item.input) for item in items] for split, items in items_of(task, Evaluation()).items()}
    digests = {split: hashlib.sha256(canonical_json(items).encode()).hexdigest() for split, items in inputs.items()}
    return {f"{split} inputs": digest for split, digest in digests.items()} | {
        name: getattr(task, name) for name in PROMPT
    }
