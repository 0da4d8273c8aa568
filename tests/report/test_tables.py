"""What of the tables figures get."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report import tables
from pipeline.report.tables import read_tables

from .samples import point, rich_points, write_study


def test_all_of_a_small_study(tmp_path: Path) -> None:
    points = rich_points()
    found = read_tables(write_study(tmp_path / "study", points))
    assert found.points == points
    assert found.frontier


def test_part_of_a_large_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [point(number, 100 + number, float(number // 50)) for number in range(990)]
    points += [point(1000 + number, 50, 1.0, family="trivial", is_floor=True) for number in range(8)]
    points += [point(2000, 70, 1.0, task="rare"), point(2001, 70, 1.0, model="rare")]
    study = write_study(tmp_path / "study", points)
    whole = read_tables(study)
    monkeypatch.setattr(tables, "DRAWN_POINTS", 100)
    part = read_tables(study)
    assert len(whole.points) == 1000 and 100 <= len(part.points) <= 130
    assert sum(row["is_floor"] for row in part.points) == 8
    assert (part.tasks, part.models) == (whole.tasks, whole.models)
    assert part.frontier == whole.frontier
    members = {row["cell_id"] for row in part.frontier}
    assert len(members) > 20 and members <= {row["cell_id"] for row in part.points}
