"""A group from its first try to its last, whoever works on it: on one machine, and inside a job of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.attempts import record_death
from pipeline.errors import OUT_OF_MEMORY
from pipeline.pool import WorkerDiedError
from pipeline.store import Study
from pipeline.team import Member


def run_group(
    member: Member, study: Study, plan_path: Path, group_id: str, *, is_stopping: Callable[[], bool] = lambda: False
) -> Iterator[dict[str, Any]]:
    """Makes the shards that a group lacks, with fewer examples at a time after each want of memory.

    Each try after a want of memory is made by new processes. The worker reads from the attempts how far down it has to
    go, so this holds across jobs as well.

    Args:
        member: worker or team.
        study: the study.
        plan_path: file with the cells, of the columns of `schema.PLAN`.
        group_id: the group.
        is_stopping: whether the end of a worker is wanted, and so no attempt to record.

    Yields:
        Events of the worker; `died` when a process ended before the group did.
    """
    while True:
        micro_batch, failed = 1, list[dict[str, Any]]()
        try:
            for event in member.run(study.folder, plan_path, group_id):
                micro_batch = event.get("micro_batch", micro_batch)
                if event["event"] == "failed" and event["cause"] in OUT_OF_MEMORY:
                    failed.append(event)
                else:
                    yield event
        except WorkerDiedError as death:
            if not is_stopping():
                record_death(study, plan_path, group_id, death)
            failed.append({"event": "died", "cause": death.cause, "message": str(death)})
        if micro_batch == 1 or is_stopping() or not any(event["cause"] in OUT_OF_MEMORY for event in failed):
            yield from failed
            return
        member.close()
        yield {"event": "again", "message": f"memory was short with {micro_batch} examples at a time; half of that now"}
