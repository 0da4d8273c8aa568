"""Child processes of `tcx prefetch`: what loads torch, or runs code of tasks, does so in none of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.errors import TaskComplexityError, UserError
from pipeline.expansion import GridTask
from pipeline.hub import OFFLINE
from pipeline.lock import LockedTask
from pipeline.models import ModelSpec, StagedModel, staged
from pipeline.models.spec import staged_folder


def stage_model(spec: ModelSpec, base_folder: Path, console: Console) -> StagedModel:
    """The staged folder of a base model, made if it is not here.

    Args:
        spec: the model.
        base_folder: what relative paths in its label are relative to.
        console: where progress is shown.

    Raises:
        UserError: it cannot be staged.
    """
    label = spec.label
    if found := staged(spec):
        return found
    arguments = [label, str(base_folder.resolve())]
    if spec.kind == "hub":
        assert spec.revision is not None and spec.is_pinned, f"{label} has no commit"
        arguments.append(spec.revision)
    with console.status(f"staging base model {label} (once)"):
        done = _python("pipeline.models.stage", *arguments)
    if done.returncode:
        raise UserError(f"base model {label} could not be staged: {_last_line(done)}")
    made = staged(spec)
    assert made is not None, f"{staged_folder(spec)} was made"
    console.print(f"staged {label}: {made.identity[:12]}", markup=False, highlight=False)
    return made


def load_task(task: GridTask, pins: Mapping[str, str], console: Console) -> LockedTask:
    """Loads the three splits of a task, with the network where they are not here.

    Args:
        task: the task.
        pins: commits of data repositories that it must read.
        console: where progress is shown.

    Raises:
        UserError: the data cannot be had; the message is the task's own.
    """
    with console.status(f"loading the items of task {task.name}"):
        done = _python("pipeline.prefetch.load", task.source, json.dumps(dict(pins)))
    if done.returncode:
        said = done.stderr.strip() or f"the process ended with status {done.returncode}"
        raise UserError(f"the items of task {task.name} cannot be loaded: {said}")
    return LockedTask(**json.loads(done.stdout))


def prove(request: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Loads everything once more in a process without a network.

    Args:
        request: as `prefetch.prove.main` reads it.

    Returns:
        What blocked the network, and what is wrong with each model or task that does not load.

    Raises:
        TaskComplexityError: the process broke.
    """
    done = _python("pipeline.prefetch.prove", text=json.dumps(request), environment=OFFLINE)
    if done.returncode:
        raise TaskComplexityError(f"the proof broke: {_last_line(done)}")
    content = json.loads(done.stdout)
    return content["isolation"], content["problems"]


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a process said last, else how it ended."""
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"the process ended with status {done.returncode}"


def _python(
    module: str, *arguments: str, text: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    env = {**os.environ, **(environment or {})}
    return subprocess.run(command, input=text, capture_output=True, text=True, env=env)
