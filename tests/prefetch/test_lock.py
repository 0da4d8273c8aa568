"""The lock file: what it says reads back, and every mistake in it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.errors import GridError
from pipeline.grid import read_grid
from pipeline.lock import Lock, LockedModel, LockedTask, lock_path, read_lock
from pipeline.prefetch.stamp import Stamp, read_stamp, stamp_path, write_stamp

COMMIT = "12" * 20
LOCK = Lock(
    models={
        "acme/b@main": LockedModel(identity="0" * 64, parameters=7, repo="acme/b", revision="main", commit="1" * 40),
        "acme/a": LockedModel(identity="1e" * 32, parameters=5, repo="acme/a", commit=COMMIT),
        "./folder": LockedModel(identity="c" * 64, parameters=0),
    },
    tasks={
        "gsm8k": LockedTask(version=1, items_sha256="d" * 64, train_items=7000, hub={"openai/gsm8k": "2" * 40}),
        "sums": LockedTask(version=3, items_sha256="e" * 64),
    },
)
GRID = "study: s\ntasks: [chain-sum]\nmodels: [acme/a, other/model]\nprograms: [{family: baseline}]\n"


def test_it_reads_back_and_its_digest_is_that_of_its_content(tmp_path: Path) -> None:
    path = tmp_path / "grid.lock"
    path.write_text(LOCK.text())
    assert read_lock(path) == LOCK
    content = yaml.safe_load(LOCK.text())
    assert list(content["models"]) == sorted(LOCK.models)
    path.write_text(yaml.safe_dump(dict(reversed(content.items()))))
    again = read_lock(path)
    assert again is not None and again.sha256 == LOCK.sha256
    assert LOCK.hub_commits("gsm8k", "acme/a") == {"datasets/openai/gsm8k": "2" * 40, "acme/a": COMMIT}
    assert LOCK.hub_commits("sums", "./folder") == {}
    assert LOCK.items_sha256("gsm8k", 1) == "d" * 64
    assert LOCK.items_sha256("gsm8k", 2) is None


def test_a_damaged_stamp_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCX_CACHE", str(tmp_path))
    write_stamp(LOCK, stamp := Stamp(isolation="kernel", files={}))
    assert read_stamp(LOCK) == stamp
    for content in ('{"isola', "[]", "{}"):
        stamp_path(LOCK).write_text(content)
        assert read_stamp(LOCK) is None


def test_a_grid_takes_its_commits_from_the_lock_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    assert read_lock(lock_path(path)) is None
    unlocked = read_grid(path).spec("acme/a")
    lock_path(path).write_text(LOCK.text())
    grid = read_grid(path)
    assert grid.spec("acme/a").revision == COMMIT and grid.spec("acme/a").is_pinned
    assert grid.spec("acme/a").key != unlocked.key
    assert not unlocked.is_pinned and not grid.spec("other/model").is_pinned  # not in the lock


def change(*path: str, value: object) -> Callable[[str], str]:
    def changed(text: str) -> str:
        content = yaml.safe_load(text)
        part = content
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value
        return yaml.safe_dump(content)

    return changed


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change("models", "acme/a", "commit", value="main"), "40 hexadecimal digits, not a branch or tag.*'main'"),
        (change("models", "acme/a", "commit", value=COMMIT[:-1]), "40 hexadecimal digits"),
        (change("models", "acme/a", "commit", value=COMMIT.upper().replace("1", "A")), "40 hexadecimal digits"),
        (change("models", "acme/a", "commit", value=None), "both of 'repo' and 'commit'"),
        (change("models", "acme/a", "comit", value=COMMIT), "unknown key of 'acme/a' 'comit'; did you mean commit"),
        (change("models", "acme/a", "identity", value="f" * 63), "'identity' of 'acme/a' must be 64 hexadecimal"),
        (change("models", "acme/a", "parameters", value="5"), "'parameters' of 'acme/a' must be a whole number"),
        (change("models", "acme/a", value=None), "'acme/a' must be a mapping"),
        (change("tasks", "gsm8k", "hub", "openai/gsm8k", value="2" * 41), "40 hexadecimal digits"),
        (change("tasks", "gsm8k", "items_sha256", value=None), "'items_sha256' of 'gsm8k' must be 64 hexadecimal"),
        (change("tasks", value=[]), "'tasks' must be a mapping; an empty list given"),
        (change("task", value={}), "unknown key 'task'; did you mean tasks"),
        (change("format", value=2), "'format' must be 1, which this version reads; 2 given"),
        (lambda text: "<<<<<<< HEAD\n" + text, "cannot be read as YAML"),
        (lambda text: "", "a lock is a mapping"),
        (lambda text: text.replace("repo: acme/a", "repo: acme/a\n    repo: acme/c"), "'repo' is given twice"),
    ],
)
def test_mistakes(tmp_path: Path, damage: Callable[[str], str], message: str) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    lock_path(path).write_text(damage(LOCK.text()))
    with pytest.raises(GridError, match=message) as caught:
        read_grid(path)
    assert str(lock_path(path)) in str(caught.value)
    assert len(caught.value.mistakes) == 1
