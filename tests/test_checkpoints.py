"""Checkpoints: only whole ones of the same circumstances are gone back to."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.checkpoints import KEPT, MARKER, Checkpoints, steps_saved
from pipeline.errors import StoppedError

FACTS = {"machine class": "a", "processes": 2}


class Work:
    """Counts, and saves its count."""

    def __init__(self, folder: Path, facts: Mapping[str, Any] = FACTS) -> None:
        self.count = 0
        self.stop = False
        self.said: list[str] = []
        self.checkpoints = Checkpoints(
            folder, facts=facts, code="1", period_seconds=0, is_asked_to_stop=lambda: self.stop, report=self.said.append
        )

    def save(self, folder: Path) -> None:
        (folder / "count").write_text(str(self.count))

    def load(self, folder: Path) -> None:
        self.count = int((folder / "count").read_text())

    def go(self, steps: int) -> None:
        for _ in range(steps):
            self.count += 1
            self.checkpoints.save_if_due(self.save, lambda: {"steps": self.count})


def folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def test_the_newest_is_restored_and_two_are_kept(tmp_path: Path) -> None:
    Work(tmp_path).go(5)
    assert len(folders(tmp_path)) == KEPT == 2
    again = Work(tmp_path)
    assert again.checkpoints.restore(again.load) == {"steps": 5}
    assert again.count == 5
    again.checkpoints.clear()
    assert again.checkpoints.restore(again.load) is None


def test_a_part_has_its_own_and_counts_as_progress_of_the_whole(tmp_path: Path) -> None:
    assert steps_saved(tmp_path / "none") == 0
    whole, part = Work(tmp_path), Work(tmp_path)
    part.checkpoints = part.checkpoints.part("a")
    whole.go(3)
    part.go(4)
    other = Work(tmp_path)
    other.checkpoints = other.checkpoints.part("b")
    assert other.checkpoints.restore(other.load) is None
    other.go(1)
    assert part.checkpoints.restore(part.load) == {"steps": 4}
    assert whole.checkpoints.restore(whole.load) == {"steps": 3}
    assert steps_saved(tmp_path) == 3 + 4 + 1
    whole.checkpoints.clear()
    assert part.checkpoints.restore(part.load) is None


@pytest.mark.parametrize("damage", ["flip", "truncate", "no marker", "half a marker", "no file"])
def test_a_damaged_one_is_left_out(tmp_path: Path, damage: str) -> None:
    Work(tmp_path).go(3)
    newest = folders(tmp_path)[-1]
    {
        "flip": lambda: (newest / "count").write_text("7"),
        "truncate": lambda: (newest / "count").write_text(""),
        "no marker": lambda: (newest / MARKER).unlink(),
        "half a marker": lambda: (newest / MARKER).write_text((newest / MARKER).read_text()[:40]),
        "no file": lambda: (newest / "count").unlink(),
    }[damage]()
    again = Work(tmp_path)
    assert again.checkpoints.restore(again.load) == {"steps": 2}
    assert any("left" in line and newest.name in line for line in again.said)


def test_one_of_other_circumstances_is_left_out(tmp_path: Path) -> None:
    Work(tmp_path).go(1)
    again = Work(tmp_path, {**FACTS, "processes": 4})
    assert again.checkpoints.restore(again.load) is None
    assert "made with other processes" in again.said[0]


def test_one_that_does_not_fit_the_work_is_left_out(tmp_path: Path) -> None:
    Work(tmp_path).go(3)
    again = Work(tmp_path)
    assert again.checkpoints.restore(again.load, lambda cursor: cursor["steps"] < 3) == {"steps": 2}


def test_one_that_cannot_be_read_is_dropped(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.go(1)
    work.checkpoints.save_if_due(lambda folder: (folder / "count").write_text("no number"), lambda: {"steps": 2})
    again = Work(tmp_path)
    with pytest.raises(ValueError):
        again.checkpoints.restore(again.load)
    assert again.checkpoints.restore(again.load) == {"steps": 1}


def test_one_that_was_all_but_saved_is_saved_anew(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.go(1)
    kind = folders(tmp_path)[0].name.partition("-")[2]
    half = tmp_path / f".00000002-{kind}"  # its process was killed before it could rename it
    half.mkdir()
    for name in ("count", "more", MARKER):
        (half / name).write_text("{}")
    work.go(1)
    again = Work(tmp_path)
    assert again.checkpoints.restore(again.load) == {"steps": 2}
    assert not (tmp_path / f"00000002-{kind}" / "more").exists()


def test_stopping_saves_first_and_what_was_half_written_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".00000000000000000001").mkdir()
    work = Work(tmp_path)
    work.stop = True
    with pytest.raises(StoppedError):
        work.go(1)
    assert [path.name[0] for path in tmp_path.iterdir()] != ["."]
    assert len(list(tmp_path.iterdir())) == 1
    again = Work(tmp_path)
    assert again.checkpoints.restore(again.load) == {"steps": 1}
    shutil.rmtree(tmp_path)
    assert again.checkpoints.restore(again.load) is None
