"""Execution of a program file with just what the reference machine has."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.errors import ProgramError
from pipeline.program_file import unpack
from pipeline.runner.items import read_outputs, write_inputs
from pipeline.runner.process import Zygote, ZygoteLostError, read_tail, run_cold
from pipeline.runner.reference_machine import build_view, links_below, view_targets

_PAYLOAD_REFUSED = 65
"""Exit status of a decoder whose charged check refuses what it has decoded (`EX_DATAERR`)."""
_LARGE_PACKAGES = ("numpy", "torch", "transformers", "peft")
"""Packages that take long to import, in the order in which they need each other."""
_KILLED = (-signal.SIGKILL, 256 - signal.SIGKILL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Execution:
    """What one execution of a program gave.

    Attributes:
        outputs: one text for each input, in the order in which the inputs were given.
        isolation: `kernel` where Landlock and a network of its own were in force, else `audit`.
        wall_seconds: time from the start of the process to its end.
        cpu_seconds: processor time of the program and the children it has waited for.
        peak_memory_bytes: largest resident memory of the program.
    """

    outputs: tuple[str, ...]
    isolation: str
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


class Runner:
    """Runs program files, one at a time; for several at once make several runners.

    Nothing is started or written before the first execution.

    Example:
        with Runner(cache_folder, warm=True) as runner:
            execution = runner.execute(program, model_folder, [{"question": "1+1?"}], time_limit_seconds=60)
    """

    _use_kernel = True
    _use_audit = True

    def __init__(self, cache_folder: Path, *, warm: bool) -> None:
        """Prepare; cheap.

        Args:
            cache_folder: where the view of the reference machine's packages is kept between runs.
            warm: fork programs from one process that has imported the large packages which they name, which saves each
                of them seconds; False for a fresh interpreter each. Outputs are equal.
        """
        self._cache_folder = cache_folder
        self._warm = warm
        self._lock = threading.Lock()
        self._settings: dict[str, Any] | None = None
        self._zygote: Zygote | None = None
        self._zygote_folder: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def execute(
        self, program: bytes, model_folder: Path, inputs: Sequence[Mapping[str, str]], *, time_limit_seconds: float
    ) -> Execution:
        """Run a program once on all inputs.

        Args:
            program: content of the program file.
            model_folder: staged folder of the base model; the program sees it as `model`.
            inputs: fields of each item.
            time_limit_seconds: the program and everything that it has started are killed after this time.

        Raises:
            ProgramError: the program did not do what it must; its cause is one of `program-timeout`,
                `program-payload`, `program-crash`, `program-output`, `program-memory`, or `code`
                where this package failed.
        """
        with self._lock:
            folder = Path(tempfile.mkdtemp(prefix="program-")).resolve()
            try:
                return self._execute(folder, program, model_folder, inputs, time_limit_seconds)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """End the process that programs are forked from. The runner can be used again."""
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None
        if self._zygote_folder is not None:
            shutil.rmtree(self._zygote_folder, ignore_errors=True)
            self._zygote_folder = None

    def _execute(
        self,
        folder: Path,
        program: bytes,
        model_folder: Path,
        inputs: Sequence[Mapping[str, str]],
        time_limit_seconds: float,
    ) -> Execution:
        model = model_folder.resolve(strict=True)
        scratch = folder / "scratch"
        scratch.mkdir()
        (folder / "program.pyz").write_bytes(program)
        (scratch / "program.pyz").symlink_to("../program.pyz")
        (scratch / "model").symlink_to(model)
        ids = write_inputs(folder / "inputs.jsonl", inputs)
        request = {
            "folder": str(folder),
            "model": _real_paths(model),
            "kernel": self._use_kernel,
            "audit": self._use_audit,
        }
        exit_code, wall_seconds = self._run(request, _named_packages(program), folder, time_limit_seconds)
        if exit_code is None:
            tail = _last_words(folder)
            raise ProgramError("program-timeout", f"the program ran longer than {time_limit_seconds:g} s{tail}")
        report = _read_report(folder, exit_code)
        _check_exit(report["exit_code"], folder)
        return Execution(
            outputs=read_outputs(folder / "outputs.jsonl", ids),
            isolation=report["isolation"],
            wall_seconds=wall_seconds,
            cpu_seconds=report["cpu_seconds"],
            peak_memory_bytes=report["peak_memory_bytes"],
        )

    def _run(
        self, request: dict[str, Any], packages: Sequence[str], folder: Path, time_limit_seconds: float
    ) -> tuple[int | None, float]:
        """Exit code (None for a passed time limit) and wall time."""
        settings = self._machine_settings()
        if not self._warm:
            started = time.monotonic()
            return run_cold(settings | {"request": request}, folder, time_limit_seconds), time.monotonic() - started
        last_words = ""
        for _ in range(2):
            zygote = self._started_zygote()
            try:
                zygote.import_packages(packages)
                started = time.monotonic()
                return zygote.run(request, time_limit_seconds), time.monotonic() - started
            except ZygoteLostError as error:
                last_words = str(error)
                self.close()
        raise ProgramError("code", f"the process that programs are forked from ended twice: {last_words}")

    def _machine_settings(self) -> dict[str, Any]:
        if self._settings is None:
            view = build_view(self._cache_folder)
            self._settings = {"view": str(view), "targets": view_targets(view)}
        return self._settings

    def _started_zygote(self) -> Zygote:
        if self._zygote is None or not self._zygote.is_alive:
            self.close()
            self._zygote_folder = Path(tempfile.mkdtemp(prefix="zygote-")).resolve()
            self._zygote = Zygote(self._machine_settings(), self._zygote_folder)
        return self._zygote


def _named_packages(program: bytes) -> list[str]:
    """Large packages that the source of a program names; none where it is no program of ours."""
    try:
        source, _ = unpack(program)
    except ValueError:
        return []
    return [name for name in _LARGE_PACKAGES if name in source]


def _real_paths(model: Path) -> list[str]:
    """The folder, and what links in it lead to (a staged folder may link to files of a cache)."""
    return sorted({str(model), *(str(link.resolve()) for link in links_below(model))})


def _read_report(folder: Path, exit_code: int) -> dict[str, Any]:
    path = folder / "report.json"
    report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if report.get("isolation"):
        return report
    if not report and exit_code in _KILLED:
        raise ProgramError("program-memory", f"the process that holds the program was killed{_last_words(folder)}")
    raise ProgramError("code", f"the program could not be started (exit status {exit_code}){_last_words(folder)}")


def _check_exit(exit_code: int, folder: Path) -> None:
    if exit_code == 0:
        return
    tail = _last_words(folder)
    if exit_code == _PAYLOAD_REFUSED:
        message = "the program refuses its own payload: wrong base model, or a damaged program file"
        raise ProgramError("program-payload", message + tail)
    if exit_code == -signal.SIGKILL:
        raise ProgramError(
            "program-memory", "the program was killed with SIGKILL, most likely for want of memory" + tail
        )
    how = f"signal {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit status {exit_code}"
    raise ProgramError("program-crash", f"the program ended with {how}{tail}")


def _last_words(folder: Path) -> str:
    """What the program, or its launcher, wrote last to standard error, ready to follow a message."""
    text = read_tail(folder / "errors.txt") or read_tail(folder / "launcher.txt")
    return f"; standard error ends with:\n{text}" if text else ""
