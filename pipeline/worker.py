"""Turns cells into shards: encode, pack, execute, score, commit. The only module that composes these rooms.

Run as `python -m pipeline.worker`: reads lines `STUDY_FOLDER <tab> PLAN_FILE <tab> GROUP_ID` and prints one JSON event
a line.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from pipeline import catalog, hub
from pipeline.adapt.processes import num_devices
from pipeline.attempts import count_attempts, record_attempts
from pipeline.cell import Cell, Evaluation, canonical_json
from pipeline.checkpoints import Checkpoints
from pipeline.earlier import earlier_programs
from pipeline.errors import ENDS_BATCH, OUT_OF_MEMORY, InfeasibleError, ProgramError, StoppedError, UserError
from pipeline.evaluate import SCORED_SPLITS, items_of, score_split, split_outputs
from pipeline.leases import slurm_job_id
from pipeline.loaded_model import LoadedModel
from pipeline.machine import code_state, machine_class, node_name, package_versions
from pipeline.metrics import METRICS
from pipeline.models import StagedModel, staged_by_identity
from pipeline.models.spec import cache_folder
from pipeline.pool import STOPPED_STATUS
from pipeline.preflight import check_node
from pipeline.protocols import EncodeContext, Encoded, Family, Task
from pipeline.resources import Resources
from pipeline.runner import Execution, Runner
from pipeline.schema import SCHEMA_VERSION, SHARD
from pipeline.store import Study, read_cells
from pipeline.task_notes import keep_note
from pipeline.tasks.splits import items_sha256

Emit = Callable[[dict[str, Any]], None]

STOP_SIGNALS = {signal.SIGUSR2, signal.SIGTERM, signal.SIGINT}
RANK = int(os.environ.get("RANK", 0))
"""Number of this process in its team; the first one alone writes into the study."""


def run_group(
    study_folder: str, plan_path: str, group_id: str, runner: Runner, emit: Emit, loaded: LoadedModel | None = None
) -> None:
    """Makes the shards that a group of a plan lacks. Each is committed as soon as its program was scored.

    Args:
        study_folder: folder of the study.
        plan_path: file with the cells, of the columns of `schema.PLAN`.
        group_id: cells of the plan whose encoders share work.
        runner: executes the programs.
        emit: told of each stage, each finished cell and each failed one.
        loaded: the model that earlier groups have left.
    """
    study = Study(Path(study_folder))
    loaded = loaded or LoadedModel(emit)
    rows = read_cells(Path(plan_path), group_id=group_id).to_pylist()
    if not rows:
        emit({"event": "again", "cause": "left out", "message": f"the grid was planned anew, without group {group_id}"})
        return
    done = study.valid_cells(row["cell_id"] for row in rows)
    cells = [Cell.from_row(row) for row in rows if row["cell_id"] not in done]
    if not cells:
        return
    first, plan_row = cells[0], rows[0]
    waiting = {cell.cell_id: cell for cell in cells}
    try:
        from pipeline.adapt.processes import agree, join

        check_node()
        resources = Resources(**json.loads(plan_row["resources"]))
        if resources.needs_team:
            join()
        task, family = _task(plan_row), catalog.family(first.family)
        if family.version != first.family_version:
            raise ProgramError(
                "environment",
                f"family {family.name} is of version {family.version} here, planned was {first.family_version}",
            )
        if RANK == 0:
            keep_note(study, task)
        assert first.model_identity is not None
        model = staged_by_identity(first.model_identity)
        provenance = {name: plan_row[name] for name in ("hub_commits", "lock_sha256")}

        def report(stage: str) -> None:
            emit({"event": "stage", "cell": first.label, "stage": stage})

        # What one process has written, the others may not see yet.
        micro_batch = agree(_micro_batch(study, resources, cells, emit))
        context = EncodeContext(
            task=task,
            model_folder=model.folder,
            load=lambda: loaded.load(model.folder),
            tokenizer=lambda: _tokenizer(model.folder),
            report=report,
            resources=resources,
            micro_batch=micro_batch,
            checkpoints=_checkpoints(study, group_id, resources, micro_batch, report),
        )
        for encoded in _programs(study, family, context, cells, provenance):
            try:
                _finish(study, task, family, model, encoded, runner, emit, provenance)
            except Exception as error:
                if _cause(error) in ENDS_BATCH:
                    raise
                _fail(study, encoded.cell, error, emit)
                if _cause(error) == "program-payload":
                    context.checkpoints.clear()  # what it was coded from may be what is wrong
            del waiting[encoded.cell.cell_id]
            if is_asked_to_stop() and waiting:
                raise StoppedError("asked to stop between two cells")
    except StoppedError:
        raise
    except Exception as error:
        for cell in waiting.values():
            _fail(study, cell, error, emit)
    else:
        if len(study.valid_cells(row["cell_id"] for row in rows)) == len(rows):
            context.checkpoints.clear()


def _task(plan_row: Mapping[str, Any]) -> Task:
    """The task of a group, which reads the locked commits and nothing from the network.

    Raises:
        UserError: its data are not here, or not those that the plan was made with.
    """
    data = hub.data_commits(plan_row["hub_commits"])
    hub.pin(data, may_download=False)
    task = catalog.planned_task(plan_row["task_source"])
    if task.version != plan_row["task_version"]:
        raise UserError(f"{task.name} is version {task.version} now, it was {plan_row['task_version']} when planned")
    wanted = plan_row["items_sha256"]
    if (
        wanted is not None
        and (found := _items_sha256(plan_row["task_source"], task.version, canonical_json(data))) != wanted
    ):
        raise UserError(
            f"the items of {task.name} are {found[:12]} here, and the lock of the grid says {wanted[:12]}: "
            "other data are read here than where `tcx prefetch` was run"
        )
    return task


@cache
def _items_sha256(task_source: str, version: int, commits: str) -> str:
    """Digest of the items of a task, once for all groups; what it depends on beside the source is in the key."""
    return items_sha256(catalog.task(task_source))


def is_asked_to_stop() -> bool:
    """Whether a signal has come that the process must end; `main` blocks them, so that they wait to be seen here."""
    return bool(signal.sigpending() & STOP_SIGNALS)


def _micro_batch(study: Study, resources: Resources, cells: Sequence[Cell], emit: Emit) -> int | None:
    """Examples at a time: half as many for each time that memory was short. None for families without batches."""
    batch = cells[0].parameters.get("batch")
    if not isinstance(batch, int):
        return None
    attempts = study.read_attempts(str(cell.cell_id) for cell in cells).select(["cell_id", "cause"])
    short = Counter(row["cell_id"] for row in attempts.to_pylist() if row["cause"] in OUT_OF_MEMORY)
    micro_batch = resources.micro_batch_of(batch, max(short.values(), default=0))
    emit({"event": "micro_batch", "micro_batch": micro_batch})
    return micro_batch


def _checkpoints(
    study: Study, group_id: str, resources: Resources, micro_batch: int | None, report: Callable[[str], None]
) -> Checkpoints:
    """Checkpoints of a group. Sums of another machine, or of other shares, round differently: those are left out."""
    from pipeline.adapt.processes import agree, rank

    return Checkpoints(
        study.checkpoints / group_id,
        facts={
            "machine class": machine_class(),
            "packages": package_versions(),
            "processes": resources.processes,
            "strategy": resources.strategy,
            "micro-batch": micro_batch,
        },
        code=list(code_state()),
        period_seconds=60 * resources.checkpoint_minutes,
        is_asked_to_stop=is_asked_to_stop,
        report=report,
        agree=agree,
        rank=rank(),
    )


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def _programs(
    study: Study, family: Family, context: EncodeContext, cells: Sequence[Cell], provenance: Mapping[str, Any]
) -> Iterator[Encoded]:
    """Programs of the cells, those first that an earlier rung of a search has made."""
    from pipeline.adapt.processes import agree

    made = agree(earlier_programs(study, cells, provenance))
    if RANK == 0:
        yield from made.values()
    if left := [cell for cell in cells if cell.cell_id not in made]:
        yield from _encode(family, context, left)


def _encode(family: Family, context: EncodeContext, cells: list[Cell]) -> Iterator[Encoded]:
    """Programs of the cells; a family that forgets a cell is an error, not a gap."""
    forgotten = {cell.cell_id: cell for cell in cells}
    try:
        for encoded in family.encode(context, cells):
            forgotten.pop(encoded.cell.cell_id, None)
            yield encoded
    except InfeasibleError as error:
        if RANK == 0:  # every process of a team finds the same
            yield from (Encoded(cell=cell, infeasible=str(error)) for cell in forgotten.values())
        return
    if forgotten and RANK == 0:
        raise RuntimeError(f"family {family.name} made nothing of {len(forgotten)} of {len(cells)} cells")


def _finish(
    study: Study,
    task: Task,
    family: Family,
    model: StagedModel,
    encoded: Encoded,
    runner: Runner,
    emit: Emit,
    provenance: dict[str, Any],
) -> None:
    """Executes, scores and commits one encoded cell."""
    cell, program = encoded.cell, encoded.program
    started = datetime.now(UTC) - timedelta(seconds=encoded.wall_seconds)
    if program is None:
        study.commit_shard(_row(study, family, encoded, started) | provenance | {"status_reason": encoded.infeasible})
        emit({"event": "done", "cell": cell.label, "cell_id": cell.cell_id, "status": "infeasible"})
        return
    emit({"event": "stage", "cell": cell.label, "stage": f"execute {len(program.content):,} bytes"})
    items = items_of(task, cell.evaluation)
    execution = runner.execute(
        program.content,
        model.folder,
        [dict(example.input) for examples in items.values() for example in examples],
        time_limit_seconds=cell.evaluation.time_limit_seconds,
    )
    outputs = split_outputs(execution.outputs, items)
    scores = {name: score_split(task, outputs[name], items[name]) for name in SCORED_SPLITS}
    study.commit_program(program.content)
    study.commit_shard(
        _row(study, family, encoded, started)
        | provenance
        | _program_columns(encoded)
        | _execution_columns(encoded, execution, model)
        | scores
        | {"metric": task.metrics[0], "higher_is_better": METRICS[task.metrics[0]].higher_is_better}
    )
    emit(
        {
            "event": "done",
            "cell": cell.label,
            "cell_id": cell.cell_id,
            "status": "ok",
            "bytes": len(program.content),
            **{split: scores[split]["performance"] for split in SCORED_SPLITS},
        }
    )


def _row(study: Study, family: Family, encoded: Encoded, started: datetime) -> dict[str, Any]:
    """Columns that every shard has; all others null, as they stay in an infeasible cell."""
    cell = encoded.cell
    commit, dirty = code_state()
    identity = {name: getattr(cell, name) for name in Cell.__dataclass_fields__ if name in SHARD.names}
    evaluation = {name: getattr(cell.evaluation, name) for name in Evaluation.__dataclass_fields__}
    return (
        dict.fromkeys(SHARD.names)
        | identity
        | evaluation
        | {
            "schema_version": SCHEMA_VERSION,
            "cell_id": cell.cell_id,
            "view": family.view,
            "parameters": canonical_json(dict(cell.parameters)),
            "settings": canonical_json(dict(encoded.settings)),
            "status": "infeasible" if encoded.program is None else "ok",
            "encode_seconds": encoded.wall_seconds,
            "wall_seconds": encoded.wall_seconds,
            "train_tokens": encoded.train_tokens,
            "machine_class": machine_class(),
            "device_count": num_devices(),
            "git_commit": commit,
            "git_dirty_sha256": dirty,
            "package_versions": canonical_json(package_versions()),
            "host": node_name(),
            "slurm_job_id": slurm_job_id(),
            "attempt": 1 + count_attempts(study, [str(cell.cell_id)])[str(cell.cell_id)],
            "restarts": int(os.environ.get("SLURM_RESTART_COUNT", 0)),
            "started_utc": started,
            "finished_utc": datetime.now(UTC),
        }
    )


def _program_columns(encoded: Encoded) -> dict[str, Any]:
    program = encoded.program
    assert program is not None
    return {
        "program_length_bits": program.length_bits,
        "decoder_bits": 8 * program.decoder_bytes,
        "payload_bits": 8 * program.payload_bytes,
        "container_bits": 8 * program.container_bytes,
        "program_sha256": program.sha256,
        "nll_bits": encoded.nll_bits,
        "coded_bits": encoded.coded_bits,
        "payload_text": encoded.payload_text,
    }


def _execution_columns(encoded: Encoded, execution: Execution, model: StagedModel) -> dict[str, Any]:
    return {
        "execute_seconds": execution.wall_seconds,
        "wall_seconds": encoded.wall_seconds + execution.wall_seconds,
        "cpu_seconds": execution.cpu_seconds,
        "gpu_seconds": num_devices() * (encoded.wall_seconds + execution.wall_seconds),
        # Forward and backward pass: 6 operations a weight and token (Kaplan et al., arXiv 2001.08361).
        "flops": 6.0 * model.parameters * encoded.train_tokens,
        "peak_memory_bytes": execution.peak_memory_bytes,
        "isolation": execution.isolation,
    }


def _fail(study: Study, cell: Cell, error: Exception, emit: Emit) -> None:
    """Records an attempt that gave no shard."""
    cause = _cause(error)
    message = str(error) if isinstance(error, ProgramError) else "".join(traceback.format_exception(error))
    if RANK == 0:
        with contextlib.suppress(OSError):  # as on a full disk: without a record the cell is simply to do
            record_attempts(study, [str(cell.cell_id)], cause, message)
    emit({"event": "failed", "cell": cell.label, "cell_id": cell.cell_id, "cause": cause, "message": message})


def _cause(error: Exception) -> str:
    """One of `errors.CAUSES`."""
    import torch

    if isinstance(error, ProgramError):
        return error.cause
    if isinstance(error, UserError):
        return "data"
    if isinstance(error, torch.OutOfMemoryError):
        return "oom-gpu"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "oom-host"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return "disk"
    return "code"


def _die_with_parent() -> None:
    """A worker must not go on when the command that started it was killed."""
    parent_death_signal = 1
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)


def main() -> None:
    """Serves groups until standard input ends."""
    _die_with_parent()
    # Slurm sends them to every process of a job. Blocked, they wait until a loop asks for them; programs inherit that.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Events own the real standard output; what libraries print goes to standard error.
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def emit(event: dict[str, Any]) -> None:
        print(json.dumps(event | {"time": time.time()}), file=events, flush=True)

    loaded = LoadedModel(emit)
    with Runner(cache_folder(), warm=True) as runner:
        for line in sys.stdin:
            study_folder, plan_path, group_id = line.rstrip("\n").split("\t")
            try:
                run_group(study_folder, plan_path, group_id, runner, emit, loaded)
            except StoppedError as error:
                print(error, file=sys.stderr)
                sys.exit(STOPPED_STATUS)
            emit({"event": "idle", "group_id": group_id})


if __name__ == "__main__":
    main()
