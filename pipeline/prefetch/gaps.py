"""What a grid still lacks, so that its cells can run without the network."""

from __future__ import annotations

from pathlib import Path

from pipeline import catalog, hub
from pipeline.expansion import Grid, GridTask
from pipeline.lock import Lock
from pipeline.models import ModelSpec, staged
from pipeline.prefetch.stamp import read_stamp

EMPTY = Lock(models={}, tasks={})


def find_gaps(grid: Grid, *, offline: bool) -> list[str]:
    """One line for each thing that `tcx prefetch` would still have to do; reads names and sizes of files only.

    Args:
        grid: the grid.
        offline: whether cells run where there is no network. Then all must be locked, staged and proven; else what
            needs no network (packaged, local and random models) may be missing.
    """
    lock = grid.lock or EMPTY
    found = [gap for label in grid.models for gap in _of_model(grid, lock, label)]
    found += [gap for task in grid.tasks for gap in _of_task(lock, task)]
    return found + (_of_proof(grid, lock) if offline and not found else [])


def damaged_files(spec: ModelSpec) -> list[str]:
    """Files of the staged folder of a model that are gone or have another size now."""
    model = staged(spec)
    return [] if model is None else [Path(path).name for path in hub.changed_files(model.sizes)]


def _of_model(grid: Grid, lock: Lock, label: str) -> list[str]:
    spec = grid.spec(label)
    if spec.kind == "hub":
        locked = lock.models.get(label)
        if locked is None or locked.commit is None:
            return [f"model {label}: its commit is not locked"]
        if staged(spec) is None:
            return [f"model {label}: commit {locked.commit[:12]} is not staged on this machine"]
    return [f"model {label}: {name} is gone or has changed" for name in damaged_files(spec)]


def _of_task(lock: Lock, task: GridTask) -> list[str]:
    locked = lock.data_commits(task.name)
    said = hub.repos_of(catalog.task(task.source))
    found = []
    for repo in locked if said is None else said:
        if repo not in locked:
            found.append(f"task {task.name}: the commit of its data {repo} is not locked")
        elif lacking := hub.lacking_files(repo, locked[repo]):
            what = f"data {repo} at {locked[repo][:12]}"
            found.append(f"task {task.name}: {what}: not on this machine: {', '.join(lacking)}")
    return found


def _of_proof(grid: Grid, lock: Lock) -> list[str]:
    unlocked = [f"model {label}: it is not locked" for label in grid.models if label not in lock.models]
    unlocked += [
        f"task {task.name}: version {task.version} of it is not locked"
        for task in grid.tasks
        if lock.items_sha256(task.name, task.version) is None
    ]
    if unlocked:
        return unlocked
    stamp = read_stamp(lock)
    if stamp is None:
        return ["proof: this environment has not yet loaded everything of the lock without the network"]
    changed = stamp.changed()
    names = {f"model {label}" for label in grid.models} | {f"task {task.name}" for task in grid.tasks}
    gone = [f"{name}: {path} is gone or has changed" for name in names & changed.keys() for path in changed[name]]
    return sorted(gone)
