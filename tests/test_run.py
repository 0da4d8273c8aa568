"""What `tcx run` shows of its workers, on a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from pipeline import run

STAGES = [{"event": "stage", "cell": "chain-sum / gains", "stage": f"train: step {step}"} for step in range(3)]
FAILED = {"event": "failed", "cell": "chain-sum / gains", "cause": "oom", "message": "first line\n[last] line"}


def said(*, on_terminal: bool, has_bar: bool = True) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=on_terminal, color_system=None)
    with Progress(console=console, auto_refresh=False, disable=not has_bar) as progress:
        screen = run.Screen(progress, progress.add_task("cells", total=1))
        for event in [*STAGES, FAILED]:
            screen.show(event)
        progress.refresh()
        screen.close()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(("on_terminal", "has_bar"), [(False, True), (True, False)], ids=["log", "debugger"])
def test_without_a_bar_there_is_a_line_about_the_stage_now_and_then(
    on_terminal: bool, has_bar: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "train" not in said(on_terminal=on_terminal, has_bar=has_bar)
    monkeypatch.setattr(run, "TELL_SECONDS", 0.0)
    text = said(on_terminal=on_terminal, has_bar=has_bar)
    assert [line.partition("  ")[2] for line in text.splitlines() if "train" in line] == [
        f"chain-sum / gains: train: step {step}" for step in range(3)
    ]


def test_a_terminal_has_the_stage_in_its_bar_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "TELL_SECONDS", 0.0)
    text = said(on_terminal=True)
    assert "train: step 2" in text
    assert "train: step 0" not in text


@pytest.mark.parametrize("on_terminal", [False, True])
def test_a_failure_is_told_by_its_last_line(on_terminal: bool) -> None:
    assert "failed (oom): chain-sum / gains: [last] line" in said(on_terminal=on_terminal)
