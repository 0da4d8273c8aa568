"""How jobs of a study are cancelled."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Console

from pipeline.attempts import attempt_rows, count_attempts
from pipeline.cell import Cell
from pipeline.cluster.queue import look
from pipeline.cluster.slurm import scancel
from pipeline.errors import UserError
from pipeline.leases import leased, this_owner
from pipeline.status import is_meant
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


def cancel(
    name: str,
    *,
    results: str | None,
    running_states: Collection[bool],
    pattern: str | None,
    graceful: bool = False,
) -> Cancelled:
    """Cancels jobs of a study that are in the queue.

    Args:
        name: name or folder of the study.
        results: folder of the studies, None for the default.
        running_states: True to cancel those that run, False those that wait.
        pattern: only jobs with a cell whose label matches, or whose id starts so; None for all.
        graceful: let jobs that run save a checkpoint first.

    Raises:
        UserError: no such study, or nothing of it was ever submitted.
        SlurmError: Slurm does not answer.
    """
    study = open_study(name, results)
    if not study.submissions.is_dir():
        raise UserError(f"nothing of study {study.name} was submitted to a cluster, so there is nothing to cancel")
    plan = study.read_plan()
    jobs: dict[str, set[str]] = {}
    running: set[str] = set()
    for cell_id, place in look(study).cells.items():
        if place.job_id is not None and place.is_running in running_states:
            jobs.setdefault(place.job_id, set()).add(cell_id)
            running |= {place.job_id} if place.is_running else set()
    if pattern is not None:
        planned = [] if plan is None else [Cell.from_row(row) for row in plan.to_pylist()]
        matches = {cell.cell_id for cell in planned if is_meant(cell, pattern)}
        jobs = {job_id: cells for job_id, cells in jobs.items() if cells & matches}
    at_work = {owner.slurm_job_id: owner for owner in leased(study).values()}
    saving = running & jobs.keys() if graceful else set()
    scancel(jobs.keys() - saving)
    # To their processes alone: they save, and end by themselves.
    scancel(saving, signal="INT")
    cells = {cell_id for of_job in jobs.values() for cell_id in of_job}
    open_cells, earlier = cells - study.valid_cells(cells), count_attempts(study)
    rows = []
    for job_id, of_job in jobs.items():
        owner = at_work.get(job_id) or replace(this_owner(), slurm_job_id=job_id)
        rows += attempt_rows(sorted(of_job & open_cells), "cancelled", "by tcx cancel", owner, earlier)
    study.record_attempts(rows)
    return Cancelled(job_ids=tuple(sorted(jobs)), num_cells=len(open_cells))
