"""Worker processes, and how they are fed with groups: the same on one machine and inside a job of a cluster."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.machine import oom_kills

WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TORCHDYNAMO_DISABLE": "1",
}
"""Parallelism comes from several workers: the sums of several threads round differently. Nothing is compiled, as in
programs; only to have the compiler ready would take a quarter of the time in which peft is imported."""


STOPPED_STATUS = 75
"""Exit status of a worker that was asked to stop and has saved what it could (EX_TEMPFAIL of sysexits.h)."""

SENT_SIGNALS = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
"""Signals by which others end a worker. All further ones come of what it does itself, such as SIGSEGV."""


class WorkerDiedError(Exception):
    """A worker ended before its group did.

    Attributes:
        cause: one of `errors.CAUSES`.
        node: where it ran, None for this machine.
    """

    def __init__(self, cause: str, message: str, node: str | None = None) -> None:
        self.cause = cause
        self.node = node
        super().__init__(message)


class Worker:
    """One worker process, started when it is first needed and again after it has died."""

    def __init__(self, log: Path, environment: Mapping[str, str] | None = None) -> None:
        """Prepare; cheap.

        Args:
            log: where its standard error goes; appended to.
            environment: further variables.
        """
        self._log = log
        self._environment = WORKER_ENVIRONMENT | dict(environment or {})
        self._process: subprocess.Popen[str] | None = None
        self._oom_kills = 0

    def run(self, study_folder: Path, plan_path: Path, group_id: str) -> Iterator[dict[str, Any]]:
        """Makes the shards that a group lacks, and yields the events of the worker while it does.

        The worker dies with the thread that calls this first, so that nothing goes on after a kill.

        Args:
            study_folder: folder of the study.
            plan_path: file with the cells of the group, of the columns of `schema.PLAN`.
            group_id: the group.

        Raises:
            WorkerDiedError: the process ended before the group; another call starts a new one.
        """
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(f"{study_folder.resolve()}\t{plan_path.resolve()}\t{group_id}", file=process.stdin, flush=True)
        for text in process.stdout:
            event: dict[str, Any] = json.loads(text)
            if event["event"] == "idle":
                return
            yield event
        self._process = None
        raise _death(process.wait(), self._log, was_short_of_memory=oom_kills() > self._oom_kills)

    def ask_to_stop(self) -> None:
        """Let the process save what it is doing and end; `run` then raises."""
        if self._process is not None:
            self._process.send_signal(signal.SIGUSR2)

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Let the process end, now that nothing is left for it."""
        if self._process is not None:
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._oom_kills = oom_kills()
            with self._log.open("a") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "pipeline.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env=os.environ | self._environment,
                )
        return self._process


def _death(status: int, log: Path, *, was_short_of_memory: bool) -> WorkerDiedError:
    """What the exit status of a worker tells."""
    if status == STOPPED_STATUS:
        return WorkerDiedError("killed", "the worker was asked to stop; it goes on from its last checkpoint")
    if status >= 0:
        return WorkerDiedError("code", f"the worker ended with status {status}; see {log}")
    if was_short_of_memory:
        return WorkerDiedError("oom-host", f"the kernel ended a process of the job for want of memory; see {log}")
    name = signal.Signals(-status).name
    if -status not in SENT_SIGNALS:
        return WorkerDiedError("code", f"the worker crashed by {name}; see {log}")
    # The kernel's out-of-memory killer sends this one, and so does whoever wants a process gone at once.
    hint = "; out of memory, or killed from outside" if name == "SIGKILL" else ""
    return WorkerDiedError("killed", f"the worker was ended by {name}{hint}; see {log}")
