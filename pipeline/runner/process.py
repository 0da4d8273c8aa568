"""Starting the bare interpreters in which programs run: one for each execution, or one zygote for many."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

_IMPORT_LIMIT_SECONDS = 900.0
"""Importing torch from a busy network file system takes minutes."""
_KILL_LIMIT_SECONDS = 30.0
_LONGEST_POLL_SECONDS = 86_400.0  # the system takes milliseconds of 31 bits

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from launch.start import main; main()"
_FLAGS = ("-S", "-s", "-P", "-B")
"""No `site` (so no `.pth` file and no site-packages), no user site, no implicit folder, no bytecode written."""


def environment(view: Path) -> dict[str, str]:
    """The whole environment of a program, the same for all programs of a machine.

    `/proc/self/cwd` is the scratch folder by a name that never changes. The one variable that is passed on is the
    choice of GPUs, which is the worker's.
    """
    variables = {
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PATH": "/usr/bin:/bin",
        "LOGNAME": "program",
        "PYTHONPATH": str(view),
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # There is no compiler here; bitsandbytes, which peft imports, loads all of torch's own in vain.
        "TORCHDYNAMO_DISABLE": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "HF_HUB_OFFLINE": "1",
    }
    folders = ("HOME", "TMPDIR", "HF_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "CUDA_CACHE_PATH")
    variables |= dict.fromkeys(folders, "/proc/self/cwd")
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        variables["LD_LIBRARY_PATH"] = str(sysconfig.get_config_var("LIBDIR"))
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        variables["CUDA_VISIBLE_DEVICES"] = os.environ["CUDA_VISIBLE_DEVICES"]
    return variables


def run_cold(settings: Mapping[str, Any], folder: Path, time_limit_seconds: float) -> int | None:
    """Run one program in a fresh interpreter.

    Args:
        settings: `view`, `targets` and `request`, as `launch.start.main` reads them.
        folder: the folder of the execution.
        time_limit_seconds: the program and all that it started are killed after this time.

    Returns:
        The exit code of the launcher, None where the time limit was passed.
    """
    with (folder / "launcher.txt").open("wb") as errors:
        process = _start(settings, folder, subprocess.DEVNULL, subprocess.DEVNULL, errors.fileno())
    try:
        return process.wait(time_limit_seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            _kill_group(process.pid)
            process.kill()
            process.wait()


class ZygoteLostError(Exception):
    """The zygote has ended before it forked the program, with these last words; another one can be asked."""


class Zygote:
    """A process that imports packages and forks one child for each execution."""

    def __init__(self, settings: Mapping[str, Any], folder: Path) -> None:
        """Start it.

        Args:
            settings: `view` and `targets`, as `launch.start.main` reads them.
            folder: where its settings and messages are kept.
        """
        self._messages = folder / "launcher.txt"
        with self._messages.open("wb") as errors:
            self._process = _start(settings, folder, subprocess.PIPE, subprocess.PIPE, errors.fileno())
        self._unread = b""
        self._imported: set[str] = set()

    def import_packages(self, names: Collection[str]) -> None:
        """Wait until these packages are imported; children find them so.

        Raises:
            ZygoteLostError: the process did not start, or ended.
        """
        new = [name for name in names if name not in self._imported]
        if not new:
            return
        ready: str | None = None
        try:
            with contextlib.suppress(BrokenPipeError):
                self._write_line(json.dumps(new))
                ready = self._read_line(time.monotonic() + _IMPORT_LIMIT_SECONDS)
            if ready != "ready":
                raise ZygoteLostError(read_tail(self._messages))
        finally:
            if ready != "ready":
                self.close()
        self._imported.update(new)

    @property
    def is_alive(self) -> bool:
        """Whether it can still fork."""
        return self._process.poll() is None

    def run(self, request: Mapping[str, Any], time_limit_seconds: float) -> int | None:
        """Run one program in a forked child; arguments and result as `run_cold`.

        Raises:
            ZygoteLostError: the program was not started.
        """
        deadline = time.monotonic() + time_limit_seconds
        child = 0
        in_step = False
        try:
            try:
                self._write_line(json.dumps(request))
            except BrokenPipeError:
                raise ZygoteLostError(read_tail(self._messages)) from None
            child = int(self._read_line(time.monotonic() + _KILL_LIMIT_SECONDS) or 0)
            if not child:
                raise ZygoteLostError(read_tail(self._messages))
            ended = self._read_line(deadline)
            if ended is None:
                _kill_group(child)
                self._read_line(time.monotonic() + _KILL_LIMIT_SECONDS)
            self._write_line("")
            exit_code = int(self._read_line(time.monotonic() + _KILL_LIMIT_SECONDS) or -signal.SIGKILL)
            in_step = True
            return None if ended is None else exit_code
        except BrokenPipeError:
            return -signal.SIGKILL
        finally:
            if not in_step:
                if child and self.is_alive:
                    _kill_group(child)
                self.close()

    def close(self) -> None:
        """End it, and with it whatever it has forked."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _write_line(self, line: str) -> None:
        assert self._process.stdin is not None
        os.write(self._process.stdin.fileno(), f"{line}\n".encode())

    def _read_line(self, deadline: float) -> str | None:
        """The next line, empty where the process has ended, None where none came before the deadline."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while b"\n" not in self._unread:
            left = max(0.0, deadline - time.monotonic())
            if not poll.poll(min(left, _LONGEST_POLL_SECONDS) * 1000):
                if left > _LONGEST_POLL_SECONDS:
                    continue
                return None
            received = os.read(descriptor, 4096)
            if not received:
                return ""
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()


def read_tail(path: Path, limit_bytes: int = 2000) -> str:
    """The end of a text file, empty where there is none."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - limit_bytes))
        return file.read().decode(errors="replace").strip()


def _start(settings: Mapping[str, Any], folder: Path, stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    settings_path = folder / "settings.json"
    settings_path.write_text(json.dumps(settings))
    own_folder = str(Path(__file__).resolve().parent)
    # A virtual environment's interpreter is a link to the one whose standard library is used.
    python = os.path.realpath(sys.executable)
    view = Path(settings["view"])
    return subprocess.Popen(
        [python, *_FLAGS, "-c", _BOOT, own_folder, str(os.getpid()), str(settings_path)],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=view,
        env=environment(view),
        bufsize=0,
        start_new_session="request" not in settings,
    )


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
