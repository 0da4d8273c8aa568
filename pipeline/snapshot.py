"""The copy of this package that jobs import, and the environment that they must find.

Edits after a submission must not reach what is queued: jobs import from the copy. A job that finds other versions of
the packages that results depend on ends at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import uuid
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.machine import SNAPSHOT_NOTE, code_state, package_versions
from pipeline.store import Study


def freeze(study: Study) -> Path:
    """Copies this package into the study, once for one state of the code.

    Returns:
        The folder to put on `PYTHONPATH`.
    """
    package = Path(__file__).resolve().parent
    # Beside the modules, configurations that the code reads; in a checkout `slurm` is a link, which `rglob` passes by.
    sources = sorted([*package.rglob("*.py"), *package.glob("slurm/**/*.json")])
    digest = hashlib.sha256()
    for path in sources:
        digest.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes())
    target = study.code / digest.hexdigest()[:16]
    with contextlib.suppress(FileNotFoundError):
        _mark_used(target)
        return target
    unfinished = study.code / f".{target.name}.{uuid.uuid4().hex}"
    for path in sources:
        place = unfinished / package.name / path.relative_to(package)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    commit, dirty = code_state()
    note = {"git_commit": commit, "git_dirty_sha256": dirty}
    (unfinished / package.name / SNAPSHOT_NOTE).write_text(json.dumps(note))
    try:
        unfinished.rename(target)
    except OSError:
        # Another `tcx submit` was faster with the same content.
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def _mark_used(folder: Path) -> None:
    """Tells `tcx gc` that a copy is wanted, although no submission may name it yet."""
    try:
        os.utime(folder)
    except PermissionError:  # of another user of the group
        os.stat(folder)


def environment() -> dict[str, Any]:
    """What a job must find as it was when it was submitted."""
    versions = {name: version for name, version in package_versions().items() if name != "task-complexity"}
    return {"python": platform.python_version(), "packages": versions}


def check_environment(expected: dict[str, Any]) -> None:
    """Compares the environment of this process with the one that was recorded.

    Raises:
        UserError: names every difference.
    """
    found = environment()
    wanted = {"python": expected["python"], **expected["packages"]}
    present = {"python": found["python"], **found["packages"]}
    different = [
        f"{name} is {present.get(name, 'missing')}, it was {wanted.get(name, 'missing')}"
        for name in sorted(wanted.keys() | present.keys())
        if wanted.get(name) != present.get(name)
    ]
    if different:
        raise UserError(f"this environment is not the one that the job was submitted with: {'; '.join(different)}")
