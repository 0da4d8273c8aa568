"""The script that Slurm is given for one array or job. Rendered by submitit, from a profile and a shape."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.cluster.exits import AGAIN_STATUS, SETUP_FAILED_STATUS
from pipeline.cluster.profile import Profile
from pipeline.cluster.shapes import Shape, allocated_gpus_per_node
from pipeline.cluster.values import GPU_REQUESTS
from pipeline.errors import UserError
from pipeline.hub import OFFLINE

SETUP_FAILED_MESSAGE = 'echo "tcx: setup failed on ${SLURMD_NODENAME:-$(hostname)}: $BASH_COMMAND" >&2'
SIGNAL = "USR2"
"""Sent to every process before the end of a job. NCCL may catch USR1."""

EXPORTED = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER")
"""All that a job takes from the shell that submits it."""
NODE_LOCAL_CACHES = {
    "MPLCONFIGDIR": "matplotlib",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TORCH_EXTENSIONS_DIR": "torch-extensions",
    "TRITON_CACHE_DIR": "triton",
}
"""Caches that break when nodes share them -> folder on the node's own disk."""

VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def sbatch_text(
    profile: Profile,
    shape: Shape,
    *,
    job_name: str,
    comment: str,
    array_tasks: int | None,
    log_folder: Path,
    command: str,
    excluded_nodes: Sequence[str] = (),
    dependency: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """The whole script.

    Args:
        profile: the site.
        shape: resources of each array task.
        job_name: name in the queue.
        comment: `--comment`, by which a job is found again.
        array_tasks: number of array tasks; None for a single job.
        log_folder: must exist when the job starts, since Slurm makes no folders. See `log_files`.
        command: a program and its arguments, as shell text; one process of it for each Slurm task.
        excluded_nodes: nodes to avoid.
        dependency: `--dependency`, such as `afterany:17`.
        environment: further variables, taken literally; they win over those of the profile.

    Raises:
        UserError: the profile lacks a required key, or the shape is more than the site has or allows.
    """
    # Here because it takes a while to load and a plan needs only shapes.
    from submitit.slurm.slurm import _make_sbatch_string

    profile.check_complete()
    _check_limits(profile, shape, array_tasks)
    in_array = array_tasks is not None
    gpus = _gpu_option(profile, allocated_gpus_per_node(profile, shape))
    log = f"{_literal(log_folder.absolute())}/{'%A_%a' if in_array else '%j'}_"
    # Slurm sends the signal up to a minute early, which in a very short job would be at its start.
    lead = min(profile.signal_lead_seconds, max(1, (shape.walltime_minutes - 1) * 30))
    additional: dict[str, Any] = {
        **{name: value or True for name, value in profile.options.items()},
        **gpus,
        "output": f"{log}batch.log",
        "signal": f"{SIGNAL}@{lead}",
        "export": ",".join(EXPORTED),
        "requeue" if profile.requeue else "no-requeue": True,
    }
    text: str = _make_sbatch_string(
        command=_step(shape, log, command),
        folder=log_folder,
        job_name=job_name,
        partition=profile.partition,
        time=shape.walltime_minutes,
        nodes=shape.nodes,
        ntasks_per_node=shape.processes_per_node,
        cpus_per_task=shape.cpus_per_process,
        qos=profile.qos,
        setup=_setup(profile, shape, environment or {}),
        teardown=_teardown(profile),
        mem=_memory(profile, shape),
        comment=comment,
        constraint=profile.constraint,
        exclude=",".join(excluded_nodes) or None,
        account=profile.account,
        dependency=dependency,
        exclusive=profile.whole_node or None,
        array_parallelism=profile.array_parallelism or array_tasks or 1,
        wckey=None,  # type: ignore[arg-type]  # sites without wckeys refuse submitit's default one; None leaves it out
        stderr_to_stdout=True,
        map_count=array_tasks,
        additional_parameters=additional,
        # The step is started by our own line: its logs need the number of the attempt, which no pattern of Slurm has.
        use_srun=False,
    )
    return text + "\n"


def log_files(log_folder: Path, job_id: str, restarts: int | None = None) -> list[Path]:
    """Logs of one job (`17`, or `17_3` in an array): the batch log, then one per process and start of the job.

    Args:
        log_folder: where they are.
        job_id: the job.
        restarts: only processes of the start after so many restarts, None for all.
    """
    pattern = re.compile(rf"{re.escape(job_id)}_(?:batch|(\d+)_(\d+))\.log")
    found = [(match, path) for path in log_folder.glob(f"{job_id}_*.log") if (match := pattern.fullmatch(path.name))]
    # Attempts in their order, and within one the processes.
    found.sort(key=lambda item: (int(item[0][2] or -1), int(item[0][1] or -1)))
    return [path for match, path in found if restarts is None or match[2] in (None, str(restarts))]


def _check_limits(profile: Profile, shape: Shape, array_tasks: int | None) -> None:
    limits: Iterable[tuple[str, int, int | None]] = (
        ("max_walltime_minutes", shape.walltime_minutes, profile.max_walltime_minutes),
        ("gpus_per_node", shape.processes_per_node * shape.gpus_per_process, profile.gpus_per_node),
        ("max_array_size", array_tasks or 1, profile.max_array_size),
    )
    over = [
        f"{key} is {limit} and {asked} is asked for"
        for key, asked, limit in limits
        if limit is not None and asked > limit
    ]
    if over:
        raise UserError(f"profile {profile.name!r} does not allow this job: {'; '.join(over)}")


def _gpu_option(profile: Profile, count: int) -> dict[str, str]:
    style = GPU_REQUESTS[profile.gpu_request]
    if style is None or count == 0:
        return {}
    option, prefix = style
    kind = f"{profile.gpu_type}:" if profile.gpu_type else ""
    return {option: f"{prefix}{kind}{count}"}


def _memory(profile: Profile, shape: Shape) -> str | None:
    if shape.memory_gib is not None:
        return f"{round(shape.memory_gib * 1024)}M"
    return "0" if profile.whole_node else None  # 0 is all of the node


def _step(shape: Shape, log: str, command: str) -> str:
    options = [
        "--unbuffered",
        "--open-mode=append",
        # Else the step gets only what `sbatch --export` lists, and nothing that is set in this script.
        "--export=ALL",
        # Since Slurm 22.05 a step does not inherit it.
        f"--cpus-per-task={shape.cpus_per_process}",
        # Processes may work on cells of their own: the end of one must not end the others.
        "--kill-on-bad-exit=0",
        f"--output={shlex.quote(log)}%t_${{SLURM_RESTART_COUNT:-0}}.log",
    ]
    return " ".join(["srun", *options, command])


def _setup(profile: Profile, shape: Shape, environment: Mapping[str, str]) -> list[str]:
    on_each_node = _on_each_node(shape)
    lines = [
        'export node_local="${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/task-complexity-$SLURM_JOB_ID-$RANDOM$RANDOM"',
        f"""clean_up() {{ {on_each_node}rm -rf -- "$node_local"; }}""",
        f"""trap '{SETUP_FAILED_MESSAGE}; clean_up; exit {SETUP_FAILED_STATUS}' EXIT""",
    ]
    if profile.setup or profile.environment:
        # The submitter's functions and variables stay behind; a site defines `module` and $SCRATCH here. Some
        # distributions also set PATH anew here, and lose the programs that were found on submitting.
        lines.append('if [ -r /etc/profile ]; then given=$PATH; . /etc/profile; PATH="$given:$PATH"; fi')
    # Without -u: scripts of modules and conda read variables that are not set.
    lines.append("set -eo pipefail")
    # What somebody else has put into /tmp under this name must not be used: caches hold code.
    lines.append(f"""{on_each_node}bash -ec 'mkdir -p -m 700 "$node_local"; [ -O "$node_local" ]'""")
    lines += ['export TMPDIR="$node_local"']
    lines += [f'export {name}="$node_local/{folder}"' for name, folder in NODE_LOCAL_CACHES.items()]
    lines += [f"export {name}={value}" for name, value in (OFFLINE if profile.offline else {}).items()]
    lines += [f"export {name}={_expandable(value)}" for name, value in profile.environment.items()]
    lines += profile.setup
    lines += [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines += ["set +eo pipefail", "trap - EXIT"]
    if profile.setup:
        lines.append("if type module >/dev/null 2>&1; then module list; fi")
    # Without a handler the shell would end at once, before the step has saved and the lines below have run.
    lines.append("trap : TERM")
    return lines


def _teardown(profile: Profile) -> list[str]:
    # A job that is ended gets TERM more than once, and cleaning up must outlive the next one.
    lines = ["command_status=$?", "trap '' TERM", *profile.teardown, "clean_up"]
    if profile.requeue:
        # Here, when all processes have saved, and where Slurm's commands are: a container may have none. The id of the
        # array alone would put back all of its tasks; a job that was cancelled runs no more, and stays away.
        lines += [
            'this_job="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}"',
            'this_job="${this_job:-$SLURM_JOB_ID}"',
            f'if [ "$command_status" = {AGAIN_STATUS} ] && '
            '[ "$(squeue --noheader --format=%T --jobs="$this_job")" = RUNNING ]; then',
            '  echo "tcx: back into the queue"; scontrol requeue "$this_job"',
            "fi",
        ]
    return [*lines, 'exit "$command_status"']


def _on_each_node(shape: Shape) -> str:
    """What makes a command run once on each node."""
    if shape.nodes == 1:
        return ""
    return f"srun --nodes={shape.nodes} --ntasks={shape.nodes} --ntasks-per-node=1 --export=ALL "


def _literal(path: Path) -> str:
    return str(path).replace("%", "%%")


def _expandable(value: str) -> str:
    """In double quotes, with `$NAME` and `${NAME}` as the only expansions; a variable that is not set ends the job."""
    parts: list[str] = []
    end = 0
    for match in VARIABLE.finditer(value):
        parts += [_escaped(value[end : match.start()]), f"${{{match[1] or match[2]}:?}}"]
        end = match.end()
    return f'"{"".join(parts)}{_escaped(value[end:])}"'


def _escaped(text: str) -> str:
    return re.sub(r'[\\"`$]', r"\\\g<0>", text)
