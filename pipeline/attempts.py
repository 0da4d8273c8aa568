"""Records of tries that gave no shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.leases import Owner, this_owner
from pipeline.pool import WorkerDiedError
from pipeline.store import Study, read_cells


def count_attempts(study: Study, cell_ids: Iterable[str] | None = None) -> Counter[str]:
    """Number of attempts that gave no shard, of each of these cells; None for all."""
    return Counter(study.read_attempts(cell_ids)["cell_id"].to_pylist())


def record_attempts(
    study: Study,
    cell_ids: Iterable[str],
    cause: str,
    message: str,
    owner: Owner | None = None,
    earlier: Counter[str] | None = None,
    event: str | None = None,
) -> None:
    """Keeps one attempt for each of these cells, all of them in one file.

    Args:
        study: the study.
        cell_ids: cells without a shard.
        cause: one of `errors.CAUSES`.
        message: what happened, for people.
        owner: who worked on the cells; None for this process.
        earlier: attempts of each cell before; None to count them.
        event: see `Study.record_attempts`.
    """
    cell_ids = list(cell_ids)
    earlier = count_attempts(study, cell_ids) if earlier is None else earlier
    study.record_attempts(attempt_rows(cell_ids, cause, message, owner or this_owner(), earlier), event)


def attempt_rows(
    cell_ids: Iterable[str], cause: str, message: str, owner: Owner, earlier: Counter[str]
) -> list[dict[str, Any]]:
    """One row of `schema.ATTEMPT` for each of these cells; the arguments are those of `record_attempts`."""
    now = datetime.now(UTC)
    return [
        {
            "cell_id": cell_id,
            "attempt": 1 + earlier[cell_id],
            "cause": cause,
            "message": message,
            "host": owner.node,
            "slurm_job_id": owner.slurm_job_id,
            "restarts": owner.restart,
            "finished_utc": now,
        }
        for cell_id in cell_ids
    ]


def record_death(study: Study, plan_path: Path, group_id: str, death: WorkerDiedError) -> None:
    """Keeps the death of a worker as an attempt of every cell that its group still lacks."""
    cell_ids = read_cells(plan_path, group_id=group_id)["cell_id"].to_pylist()
    owner = this_owner() if death.node is None else replace(this_owner(), node=death.node)
    record_attempts(study, sorted(set(cell_ids) - study.valid_cells(cell_ids)), death.cause, str(death), owner)
