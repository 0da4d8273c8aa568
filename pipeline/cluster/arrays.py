"""Hands arrays to Slurm: first what is meant, then the script, then `sbatch`."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline.cluster.batches import Batch
from pipeline.cluster.ledger import Submission, claim, intend, reduce_job_prefix
from pipeline.cluster.profile import Profile
from pipeline.cluster.sbatch import sbatch_text
from pipeline.cluster.shapes import array_shape, shape_of
from pipeline.cluster.slurm import NoAnswerError, SubmitLimitError, live_tasks, sbatch, scancel
from pipeline.errors import TaskComplexityError, UserError
from pipeline.files import write_atomically
from pipeline.hub import LOCAL_VARIABLE
from pipeline.models.spec import CACHE_VARIABLE, cache_folder
from pipeline.pool import WORKER_ENVIRONMENT
from pipeline.snapshot import environment, freeze
from pipeline.store import Study
from pipeline.tasks.ifeval import MADE_VARIABLE

DATA_VARIABLES = (LOCAL_VARIABLE, MADE_VARIABLE)
"""Folders of data that jobs are told of."""


def job_script(
    profile: Profile, submission: Submission, batches: Sequence[Batch], code: Path, avoided: Sequence[str]
) -> str:
    """The script of one array."""
    study = submission.study
    arguments = ["-u", "-m", "pipeline.cluster.job", str(study.folder.resolve()), submission.token]
    return sbatch_text(
        profile,
        array_shape(profile, batches),
        job_name=submission.job_name,
        comment=f"tcx:{submission.token}",
        array_tasks=len(batches),
        log_folder=study.logs.resolve(),
        command=f"{profile.python_command} {shlex.join(arguments)}",
        excluded_nodes=avoided,
        environment=_environment(code),
    )


def _environment(code: Path) -> dict[str, str]:
    folders = {CACHE_VARIABLE: str(cache_folder())}
    # Data that tasks read here is to be read there, too.
    folders |= {name: os.environ[name] for name in DATA_VARIABLES if os.environ.get(name)}
    own = {name: str(Path(folder).resolve()) for name, folder in folders.items()}
    return {"PYTHONPATH": str(code.resolve()), **own, **WORKER_ENVIRONMENT}


def submit_wave(
    study: Study,
    profile: Profile,
    arrays: Sequence[Sequence[Batch]],
    avoided: Sequence[str],
    *,
    seen: int,
    taken: set[str],
    refused: list[str],
) -> Iterator[tuple[Submission, Sequence[Batch]]]:
    """Submits one array after the other; yields each when Slurm has it.

    An array that is too much for a limit is halved until it fits, since Slurm does not tell of all limits beforehand.

    Args:
        study: the study.
        profile: the site.
        arrays: batches of one kind each.
        avoided: nodes that jobs are kept from.
        seen: number of claims before the look at the queue that the arrays come from.
        taken: is given the cells that others have claimed since; batches with such a cell are left out.
        refused: is given what Slurm says of arrays that it refuses.

    Raises:
        SubmitLimitError: Slurm takes no more jobs now.
    """
    if not arrays:
        return
    code = freeze(study)
    study.logs.mkdir(parents=True, exist_ok=True)
    facts = {
        "profile": profile.name,
        "code": str(code.name),
        # What a container holds is not known here: its first job tells.
        "environment": environment() if profile.python is None else None,
        "python": profile.python_command,
        "signal_lead_seconds": profile.signal_lead_seconds,
        "grace_seconds": profile.grace_seconds,
    }
    cells = study.read_plan()
    assert cells is not None
    row_of = {cell_id: row for row, cell_id in enumerate(cells["cell_id"].to_pylist())}
    rest = list(arrays)
    while rest:
        array = [batch for batch in rest.pop(0) if taken.isdisjoint(batch.cell_ids)]
        if not array:
            continue
        numbers = {row_of[cell_id]: number for number, batch in enumerate(array) for cell_id in batch.cell_ids}
        submission = intend(study, cells.take(list(numbers)), list(numbers.values()), facts)
        number, claimed = claim(submission, seen)
        seen = number + 1
        taken |= claimed
        if not all(taken.isdisjoint(batch.cell_ids) for batch in array):
            submission.note_void("another submission has cells of it")
            rest.insert(0, array)
            continue
        try:
            yield _submit_array(submission, profile, array, code, avoided), array
        except SubmitLimitError:
            if len(array) == 1:
                raise
            middle = len(array) // 2
            rest[:0] = [array[:middle], array[middle:]]
        except UserError as error:
            refused.append(str(error))


def _submit_array(
    submission: Submission, profile: Profile, batches: Sequence[Batch], code: Path, avoided: Sequence[str]
) -> Submission:
    try:
        script = job_script(profile, submission, batches, code, avoided)
        write_atomically(submission.script_path, script.encode(), replace=False)
        return submission.note_job(sbatch(submission.script_path, submission.job_name, submission.submitted_utc))
    except NoAnswerError:
        raise  # not void: the job may be there
    except TaskComplexityError as error:
        submission.note_void(str(error))
        raise


def submit_reduce(study: Study, profile: Profile, after: list[str]) -> str:
    """A small job that reduces when the others have ended, however they ended, in the place of an earlier one."""
    study.submissions.mkdir(parents=True, exist_ok=True)
    code = freeze(study)
    prefix = reduce_job_prefix(study)
    earlier = [task.job_id for task in live_tasks() if task.name.startswith(prefix)]
    name = f"{prefix}-{secrets.token_hex(6)}"
    script = study.submissions / f"{prefix}.sbatch"
    text = sbatch_text(
        profile,
        shape_of(profile, processes=1, walltime_minutes=min(60, profile.max_walltime_minutes or 60), gpu=False),
        job_name=name,
        comment=name,
        array_tasks=None,
        log_folder=study.logs.resolve(),
        command=f"{profile.python_command} {shlex.join(['-m', 'pipeline.cli', 'reduce', str(study.folder.resolve())])}",
        dependency=f"afterany:{':'.join(after)}",
        environment=_environment(code),
    )
    write_atomically(script, text.encode(), replace=True)
    job_id = sbatch(script, name, datetime.now(UTC))
    # Last, since a job that waits for fewer others is better than none.
    scancel(earlier)
    return job_id
