"""Jobs of a study after they were submitted: their logs, and how to cancel them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from rich.console import Console

from pipeline.attempts import record_attempts
from pipeline.cell import Cell
from pipeline.cluster.ledger import submissions
from pipeline.cluster.queue import look
from pipeline.cluster.sbatch import log_files
from pipeline.cluster.slurm import scancel
from pipeline.errors import UserError
from pipeline.status import unique_id
from pipeline.store import open_study


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """What was cancelled.

    Attributes:
        job_ids: the jobs, as `17_3`.
        num_cells: their cells that have no shard.
    """

    job_ids: tuple[str, ...]
    num_cells: int

    def render(self, console: Console) -> None:
        """Print for people."""
        console.print(f"cancelled {len(self.job_ids):,} jobs with {self.num_cells:,} cells that are not done")

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return asdict(self)


def cancel(name: str, *, results: str | None, running_states: Collection[bool], pattern: str | None) -> Cancelled:
    """Cancels jobs of a study that are in the queue.

    Args:
        name: name or folder of the study.
        results: folder of the studies, None for the default.
        running_states: True to cancel those that run, False those that wait.
        pattern: only jobs with a cell whose label matches; None for all.

    Raises:
        UserError: no such study.
        SlurmError: Slurm does not answer.
    """
    study = open_study(name, results)
    plan = study.read_plan()
    labels = {} if plan is None else {row["cell_id"]: Cell.from_row(row).label for row in plan.to_pylist()}
    jobs: dict[str, set[str]] = {}
    for cell_id, place in look(study).cells.items():
        if place.is_running in running_states:
            jobs.setdefault(place.job_id, set()).add(cell_id)
    if pattern is not None:
        matches = {cell_id for cell_id, label in labels.items() if fnmatchcase(label, pattern)}
        jobs = {job_id: cells for job_id, cells in jobs.items() if cells & matches}
    scancel(jobs)
    cells = {cell_id for of_job in jobs.values() for cell_id in of_job}
    open_cells = sorted(cells - study.valid_cells(cells))
    record_attempts(study, open_cells, "cancelled", "by tcx cancel")
    return Cancelled(job_ids=tuple(sorted(jobs)), num_cells=len(open_cells))


def show_logs(name: str, cell: str, *, results: str | None, num_lines: int, console: Console) -> None:
    """Prints the ends of the logs of all jobs that had a cell.

    Args:
        name: name or folder of the study.
        cell: start of the id of the cell.
        results: folder of the studies, None for the default.
        num_lines: lines from the end of each file.
        console: where to.

    Raises:
        UserError: no such study or cell, or no job had it.
    """
    study = open_study(name, results)
    jobs: dict[str, list[str]] = {}
    for submission in submissions(study):
        for index, groups in submission.batches().items():
            for cell_id in (cell_id for group in groups.values() for cell_id in group):
                jobs.setdefault(cell_id, []).append(f"{submission.job_id}_{index}")
    if not jobs:
        raise UserError(f"nothing of study {study.name} was submitted to a cluster; `tcx run` logs to {study.logs}")
    for job_id in jobs[unique_id(cell, jobs)]:
        for path in log_files(study.logs, job_id):
            console.rule(path.name)
            text = path.read_text(errors="replace").splitlines()
            console.print("\n".join(text[-num_lines:]), markup=False, highlight=False, soft_wrap=True)
