"""Records of tries that gave no shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.leases import Owner, this_owner
from pipeline.pool import WorkerDiedError
from pipeline.store import Study, read_cells


def count_attempts(study: Study) -> Counter[str]:
    """Number of attempts of each cell that gave no shard."""
    return Counter(study.read_attempts()["cell_id"].to_pylist())


def record_attempts(
    study: Study,
    cell_ids: Iterable[str],
    cause: str,
    message: str,
    owner: Owner | None = None,
    earlier: Counter[str] | None = None,
) -> None:
    """Keeps one attempt for each of these cells.

    Args:
        study: the study.
        cell_ids: cells without a shard.
        cause: one of `errors.CAUSES`.
        message: what happened, for people.
        owner: who worked on the cells; None for this process.
        earlier: attempts of each cell before; None to count them, which takes long where there are many.
    """
    earlier = count_attempts(study) if earlier is None else earlier
    owner = owner or this_owner()
    for cell_id in cell_ids:
        study.record_attempt(
            {
                "cell_id": cell_id,
                "attempt": 1 + earlier[cell_id],
                "cause": cause,
                "message": message,
                "host": owner.node,
                "slurm_job_id": owner.slurm_job_id,
                "restarts": owner.restart,
                "finished_utc": datetime.now(UTC),
            }
        )


def record_death(study: Study, plan_path: Path, group_id: str, death: WorkerDiedError) -> None:
    """Keeps the death of a worker as an attempt of every cell that its group still lacks."""
    cell_ids = read_cells(plan_path, group_id=group_id)["cell_id"].to_pylist()
    owner = this_owner() if death.node is None else replace(this_owner(), node=death.node)
    record_attempts(study, sorted(set(cell_ids) - study.valid_cells(cell_ids)), death.cause, str(death), owner)
