"""Every exception that this package raises on purpose. All pickle, all are also a standard type."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class TaskComplexityError(Exception):
    """Base class: catch this to catch everything raised on purpose."""


class UserError(TaskComplexityError, ValueError):
    """Bad input: says what was given, what is allowed and what to do. The command line exits with status 2."""


class GridError(UserError):
    """All mistakes of one grid file, in one message.

    Attributes:
        mistakes: one sentence per mistake, in the order of the file.
    """

    def __init__(self, path: str, mistakes: Sequence[str]) -> None:
        self.path = path
        self.mistakes = tuple(mistakes)
        count = len(self.mistakes)
        lines = "\n".join(f"  {number}. {mistake}" for number, mistake in enumerate(self.mistakes, start=1))
        super().__init__(f"{path}: {count} mistake{'s' if count != 1 else ''}\n{lines}")

    def __reduce__(self) -> tuple[type[GridError], tuple[str, tuple[str, ...]]]:
        return type(self), (self.path, self.mistakes)


class InvalidShardError(TaskComplexityError, ValueError):
    """A file that stands where a shard should be and is not a valid shard of that cell."""


class NewerShardError(InvalidShardError):
    """A file that a later version of this package wrote: not damaged, and not to be read by this one."""


class ProgramError(TaskComplexityError, RuntimeError):
    """A program file did not do what it must.

    Attributes:
        cause: one of `CAUSES`, stored with the failed attempt.
    """

    def __init__(self, cause: str, message: str) -> None:
        self.cause = cause
        self.message = message
        super().__init__(message)

    def __reduce__(self) -> tuple[type[ProgramError], tuple[str, str]]:
        return type(self), (self.cause, self.message)


class InfeasibleError(TaskComplexityError, ValueError):
    """No program of this cell exists (over its budget, prompt longer than the context): final, and no failure."""


class StoppedError(TaskComplexityError):
    """The process was asked to stop; what it was doing goes on from its last checkpoint. No failure."""


CAUSES = {
    "program-timeout": "the program passed the time limit of its cell",
    "program-payload": "the program's own check refused its payload (damaged file, or another base model)",
    "program-crash": "the program ended with an error",
    "program-output": "the program ended well but its output is not one JSON object a line for each input",
    "program-memory": "the program, or the process that holds it, was killed for want of memory",
    "oom-gpu": "adaptation asked for more memory than the GPU has",
    "oom-host": "the job or the adaptation asked for more memory than the node gives",
    "code": "an error inside this package or a library it calls",
    "data": "the base model or the data of the task are not on this machine, or not those of the plan and the lock",
    "killed": "the worker process was killed from outside",
    "timeout": "the job reached its time limit",
    "preempted": "the job had to make room for another one",
    "node": "the node of the job broke, or Slurm lost it",
    "disk": "a file could not be written: the disk of the results, or a quota, is full, or it is read-only",
    "cancelled": "the job was cancelled",
    "environment": "the job found other packages, another Python or a node that could not be set up",
    "stuck": "the job was started again several times without coming any further",
    "lost": "the job is gone and left no trace of why",
}
"""Cause of a failed attempt -> what it means."""

HELD_AFTER_ATTEMPTS = {
    "cancelled": 1,
    "stuck": 2,
    "data": 1,
    "environment": 2,
    "code": 2,
    "program-crash": 2,
    "program-output": 2,
    "program-payload": 2,
    "program-timeout": 2,
    "oom-gpu": 2,
    "oom-host": 4,
    "program-memory": 4,
    "timeout": 8,
}
"""Cause of the last attempt -> attempts with it after which a cell waits for `--retry`: it would fail again so."""

ENDS_BATCH = frozenset({"node", "disk"})
"""Causes that all other cells would meet in their turn: what is left of the batch waits for another job."""

OUT_OF_MEMORY = frozenset({"oom-gpu", "oom-host"})
"""Causes after which adaptation is tried again with half the micro-batch."""

HOST_MEMORY = frozenset({"oom-host", "program-memory"})
"""Causes after which the next job asks for more memory, as far as its profile allows."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """`unknown task 'chain-sun'; did you mean chain-sum? known: ...`."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known)
    hint = f"; did you mean {' or '.join(near)}?" if near else ";"
    return f"unknown {kind} {name!r}{hint} known: {', '.join(known)}"
