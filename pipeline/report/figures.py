"""The figures of a study, from its reduced tables only."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console

from pipeline.files import write_atomically
from pipeline.report.breakdown import family_figures, view_figures
from pipeline.report.checkpoints import checkpoint_figures
from pipeline.report.reduction import reduction_figure
from pipeline.report.style import figure_bytes
from pipeline.report.tables import LeftOut, Tables, read_tables
from pipeline.report.tasks import overview_figure, task_figure
from pipeline.report.trajectory import trajectory_figures
from pipeline.store import Study

FIGURES: Mapping[str, Callable[[Tables], Mapping[str, Figure]]] = {
    "overview": lambda tables: {"": overview_figure(tables)},
    "families": family_figures,
    "views": view_figures,
    "checkpoints": checkpoint_figures,
    "reduction": lambda tables: {"": reduction_figure(tables)},
    "trajectory": trajectory_figures,
}
"""Name of a figure -> its pages, by what their names have behind it. They stand beside one figure a task."""


def draw_figures(study: Study, console: Console | None = None) -> list[Path]:
    """Draw one figure a task, and each of `FIGURES` that the study has the results for, into its `figures` folder.

    Figures of an earlier time that are not drawn any more are deleted from there.

    Args:
        study: a reduced study.
        console: gets a line for each figure that is left out; None for the standard error.

    Returns:
        Paths of the files.

    Raises:
        UserError: the study has not been reduced.
    """
    tables = read_tables(study)
    if not tables.tasks:
        return []
    console = console or Console(stderr=True)
    paths = []
    names = Counter(map(_task_name, tables.tasks))
    for task in tables.tasks:
        name = _task_name(task)
        if names[name] > 1:  # two labels that differ in what a file name cannot have
            name += f"-{hashlib.sha256(task.encode()).hexdigest()[:6]}"
        paths += _write(study, name, task_figure(tables, task))
    for name, pages in FIGURES.items():
        try:
            drawn = pages(tables)
        except LeftOut as reason:
            console.print(f"figure {name} is left out: {reason}", markup=False, highlight=False, soft_wrap=True)
            continue
        for suffix, figure in drawn.items():
            paths += _write(study, f"{name}-{_slug(suffix)}" if suffix else name, figure)
    # Beside new figures an old one would be taken for a result.
    suffixes = {path.suffix for path in paths}
    for path in set(study.figures.iterdir()).difference(paths):
        if path.suffix in suffixes:
            path.unlink(missing_ok=True)
    return paths


def _write(study: Study, name: str, figure: Figure) -> list[Path]:
    paths = []
    for suffix, content in figure_bytes(figure).items():
        paths.append(study.figure_path(name, suffix))
        write_atomically(paths[-1], content, replace=True)
    return paths


def _task_name(task: str) -> str:
    """Name of the file of a task; never that of another figure."""
    name = _slug(task)
    return f"task-{name}" if name.partition("-")[0] in FIGURES else name


def _slug(label: str) -> str:
    """A label, which may be a path, as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-.") or "task"
