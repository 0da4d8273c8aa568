"""`tcx prefetch`: resolves and fetches what a grid names, proves that it loads without a network, writes the lock."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline import hub
from pipeline.cell import format_bytes
from pipeline.errors import TaskComplexityError, UserError
from pipeline.expansion import Grid
from pipeline.files import write_atomically
from pipeline.grid import read_grid
from pipeline.lock import Lock, LockedModel, LockedTask, lock_path
from pipeline.models import ModelSpec, StagedModel, parse_model, staged
from pipeline.models.spec import staged_folder
from pipeline.prefetch.children import load_task, prove, stage_model
from pipeline.prefetch.gaps import EMPTY, damaged_files, find_gaps
from pipeline.prefetch.stamp import Stamp, read_stamp, write_stamp


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefetchSummary:
    """What a grid reads, and where it is.

    Attributes:
        lock_path: the lock.
        lock: its content.
        stamp: the proof.
        lock_written: whether the lock was written now; it was as it is otherwise.
        proven_now: whether the proof was made now; an earlier one holds otherwise.
    """

    lock_path: Path
    lock: Lock
    stamp: Stamp
    lock_written: bool
    proven_now: bool

    def render(self, console: Console) -> None:
        """Print for people."""
        table = Table(title="what the grid reads", title_justify="left")
        for heading in ("item", "commit", "size", "loaded without network"):
            table.add_column(heading, justify="right" if heading == "size" else "left")
        how = {"kernel": "yes, network blocked by the kernel", "audit": "yes, network blocked in Python only"}
        for row in self._rows():
            commits = "\n".join(f"{repo} {commit[:12]}" for repo, commit in row["commits"].items())
            table.add_row(row["item"], commits, format_bytes(row["bytes"]), how[self.stamp.isolation])
        console.print(table)
        if not (self.lock_written or self.proven_now):
            console.print("nothing to do: all of it was locked, here, and proven before")
        verb = "wrote" if self.lock_written else "unchanged:"
        console.print(f"{verb} {self.lock_path}: keep it with the grid", markup=False, highlight=False, soft_wrap=True)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {
            "lock": str(self.lock_path),
            "lock_sha256": self.lock.sha256,
            "lock_written": self.lock_written,
            "proven_now": self.proven_now,
            "isolation": self.stamp.isolation,
            "items": self._rows(),
        }

    def _rows(self) -> list[dict[str, Any]]:
        commits: dict[str, Mapping[str, str]] = {}
        for label, model in self.lock.models.items():
            commits[f"model {label}"] = {model.repo: model.commit} if model.repo and model.commit else {}
        for name, task in self.lock.tasks.items():
            commits[f"task {name}"] = task.hub
        return [
            {"item": item, "commits": dict(found), "bytes": sum(self.stamp.files.get(item, {}).values())}
            for item, found in commits.items()
        ]


def prefetch(grid_path: Path, *, update: bool, console: Console) -> PrefetchSummary:
    """Fetches all that a grid reads, proves it, and locks it. What is done already is not done again.

    Args:
        grid_path: the grid file.
        update: resolve revisions anew and take other content than that of the lock; else the lock is kept.
        console: where progress is shown.

    Raises:
        GridError: every mistake of the grid or of its lock.
        UserError: something cannot be fetched, or is not what the lock says.
        TaskComplexityError: something does not load without the network. No lock was written.
    """
    grid = read_grid(grid_path)
    path = lock_path(grid_path)
    old = EMPTY if update or grid.lock is None else grid.lock
    if not update and grid.lock is not None and not find_gaps(grid, offline=True):
        stamp = read_stamp(grid.lock)
        assert stamp is not None, "an empty list of gaps says so"
        return PrefetchSummary(lock_path=path, lock=grid.lock, stamp=stamp, lock_written=False, proven_now=False)

    specs = _resolve(grid, old, console)
    staged_models = {label: _stage(spec, grid.path.parent, console) for label, spec in specs.items()}
    models = {
        label: LockedModel(
            identity=model.identity, parameters=model.parameters, **_hub_fields(specs[label], grid.path.parent)
        )
        for label, model in staged_models.items()
    }
    lock = _kept(old, Lock(models=models, tasks=_load_tasks(grid, old, console)), path)
    stamp = None if update else read_stamp(lock)
    proven_now = stamp is None or bool(stamp.changed())
    if stamp is None or proven_now:
        stamp = _prove(grid, lock, staged_models, console)
    lock_written = lock != grid.lock
    if lock_written:
        _write(path, lock)
    write_stamp(lock, stamp)
    return PrefetchSummary(lock_path=path, lock=lock, stamp=stamp, lock_written=lock_written, proven_now=proven_now)


def _resolve(grid: Grid, old: Lock, console: Console) -> dict[str, ModelSpec]:
    """Each base model by its label; one of the hub at the commit of the lock, else at the one that the hub says now."""
    # A new label of a repository that is locked already must not bring another commit of it.
    commits = {(entry.repo, entry.revision): entry.commit for entry in old.models.values()}
    specs = {}
    for label in grid.models:
        spec = parse_model(label, grid.path.parent)
        if spec.kind == "hub":
            asked = (spec.source, spec.revision)
            commit = commits.get(asked)
            if commit is None:
                with console.status(f"asking the hub for {label}"):
                    commit = commits[asked] = hub.resolve_commit(*asked, "model")
                console.print(f"{label} is commit {commit}", markup=False, highlight=False)
            spec = spec.at_commit(commit)
        specs[label] = spec
    return specs


def _hub_fields(spec: ModelSpec, base_folder: Path) -> dict[str, Any]:
    """What the lock says of a hub model: the revision is the one that the label asks for."""
    if spec.kind != "hub":
        return {}
    return {
        "repo": spec.source,
        "revision": parse_model(spec.label, base_folder).revision,
        "commit": spec.revision,
    }


def _stage(spec: ModelSpec, base_folder: Path, console: Console) -> StagedModel:
    """The staged folder of a base model; made anew where files of it are gone: file systems purge."""
    damaged = damaged_files(spec)
    folder = staged_folder(spec)
    if damaged or (staged(spec) is None and folder.exists()):
        what = ", ".join(damaged) or "staged.json"
        console.print(f"{spec.label}: {what} is gone or has changed; it is staged anew", markup=False, highlight=False)
        shutil.rmtree(folder)
    return stage_model(spec, base_folder, console)


def _load_tasks(grid: Grid, old: Lock, console: Console) -> dict[str, LockedTask]:
    """Each task by its name; tasks that read one repository read one commit of it."""
    pins = {repo: commit for entry in old.tasks.values() for repo, commit in entry.hub.items()}
    tasks = {}
    for task in grid.tasks:
        tasks[task.name] = load_task(task, {**pins, **old.data_commits(task.name)}, console)
        pins = {**tasks[task.name].hub, **pins}
    return tasks


def _kept(old: Lock, new: Lock, path: Path) -> Lock:
    """The new lock, with commits of the old one that were not read here: local files stood in for them.

    Raises:
        UserError: something is not what the old lock says.
    """
    mistakes = [
        f"model {label} is {model.identity[:12]} here, the lock says {old.models[label].identity[:12]}"
        for label, model in new.models.items()
        if label in old.models and model.identity != old.models[label].identity
    ]
    tasks = {}
    for name, task in new.tasks.items():
        wanted = old.items_sha256(name, task.version)
        if wanted not in (None, task.items_sha256):
            mistakes.append(f"the items of task {name} are {task.items_sha256[:12]} here, the lock says {wanted[:12]}")
        tasks[name] = task if wanted is None else replace(task, hub={**old.data_commits(name), **task.hub})
    if mistakes:
        raise UserError(
            f"{path}: {'; '.join(mistakes)}. Files or packages have changed since it was written; "
            "with --update it is written anew"
        )
    return Lock(models=new.models, tasks=tasks)


def _prove(grid: Grid, lock: Lock, models: Mapping[str, StagedModel], console: Console) -> Stamp:
    """Loads everything in a process without a network.

    Raises:
        TaskComplexityError: names everything that does not load.
    """
    files = {f"model {label}": _sizes(model.folder) for label, model in models.items()}
    request: dict[str, list[dict[str, Any]]] = {"models": [], "tasks": []}
    for label, model in models.items():
        request["models"].append(
            {"name": f"model {label}", "folder": str(model.folder), "identity": lock.models[label].identity}
        )
    for task in grid.tasks:
        entry = lock.tasks[task.name]
        request["tasks"].append({"name": f"task {task.name}", "source": task.source, **asdict(entry)})
        read = (hub.files_of(repo, commit) for repo, commit in entry.hub.items())
        files[f"task {task.name}"] = {path: size for sizes in read for path, size in sizes.items()}
    with console.status("loading everything once more, without the network"):
        isolation, problems = prove(request)
    if problems:
        raise TaskComplexityError(
            "without the network this does not load, and the lock was not written: "
            + "; ".join(f"{item}: {problem}" for item, problem in problems.items())
        )
    return Stamp(isolation=isolation, files=files)


def _sizes(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in sorted(folder.iterdir())}


def _write(path: Path, lock: Lock) -> None:
    try:
        write_atomically(path, lock.text().encode(), replace=True)
    except OSError as error:
        raise UserError(f"the lock {path} cannot be written ({error}); copy the grid into a folder of yours") from error
