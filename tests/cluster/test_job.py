"""When a job that is started again and again is given up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import schema
from pipeline.checkpoints import MARKER
from pipeline.cluster.job import MOST_STARTS_WITHOUT_PROGRESS, _is_stuck
from pipeline.cluster.ledger import Submission, intend
from pipeline.store import Study

GROUPS = {"group": ["a" * 64]}


@pytest.fixture
def submission(tmp_path: Path) -> Submission:
    cells = schema.PLAN.empty_table()
    return intend(Study(tmp_path / "study"), cells, [], {})


def save(submission: Submission, number: int, steps: int) -> None:
    folder = submission.study.checkpoints / "group" / f"{number:08d}-kind"
    folder.mkdir(parents=True)
    (folder / MARKER).write_text(json.dumps({"cursor": {"steps": steps}}))


def starts(submission: Submission, restart: int, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the processes of one start find; the first one takes notes."""
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
    return [_is_stuck(submission.study, submission, 0, GROUPS, writes=rank == 0) for rank in (0, 1)]


def test_starts_without_progress_end(submission: Submission, monkeypatch: pytest.MonkeyPatch) -> None:
    for restart in range(MOST_STARTS_WITHOUT_PROGRESS):
        assert starts(submission, restart, monkeypatch) == [False, False]
    assert starts(submission, MOST_STARTS_WITHOUT_PROGRESS, monkeypatch) == [True, True]


def test_a_later_checkpoint_is_progress_and_another_of_the_same_steps_is_none(
    submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    for restart in range(3 * MOST_STARTS_WITHOUT_PROGRESS):
        save(submission, restart, steps=5 * restart)
        assert starts(submission, restart, monkeypatch) == [False, False]
    last = 5 * restart
    for more in range(1, MOST_STARTS_WITHOUT_PROGRESS + 1):
        save(submission, restart + more, steps=last)
        found = starts(submission, restart + more, monkeypatch)
    assert found == [True, True]
