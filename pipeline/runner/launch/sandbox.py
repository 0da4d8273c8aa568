"""From a launcher process to the isolated process that becomes the program.

Three processes stand in line: the launcher leaves the namespaces of the machine, the keeper is the first process of the
new ones (when it ends the kernel ends all that is left in them) and measures the program, the program is its child.
"""

# Nothing that the program did not ask for is imported without need: no pathlib.

from __future__ import annotations

import json
import os
import sys
import sysconfig
from dataclasses import dataclass
from glob import glob
from typing import Any

from . import audit, kernel

Request = dict[str, Any]
"""What the runner asks for: `folder` of the execution, `model` folder, and the switches `kernel` and `audit`."""

_SYSTEM_FILES = (
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
    "/etc/ld.so.cache",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/usr/lib/locale/C.utf8",
    "/usr/lib/locale/C.UTF-8",
    "/proc/driver/nvidia",
    "/sys/module/nvidia",
)


@dataclass(frozen=True)
class Machine:
    """Real paths that every program may read.

    Attributes:
        trees: files, and folders with all that is beneath.
        listed: folders whose names may be listed while the files in them are given one by one.
    """

    trees: tuple[str, ...]
    listed: tuple[str, ...]


def find_machine(view: str, targets: list[str]) -> Machine:
    """The interpreter, the standard library, the system's shared libraries and the packages of the view."""
    standard = {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    entries = {f"{folder}/{name}" for folder in standard for name in os.listdir(folder)}
    own = {entry for entry in entries if os.path.basename(entry) not in ("site-packages", "dist-packages")}
    archives = {path for path in sys.path if path.endswith(".zip")}
    executable = os.path.realpath(sys.executable)
    paths = {*own, *archives, *_library_files(), *_SYSTEM_FILES, *targets, view, executable}
    return Machine(tuple(sorted(os.path.realpath(path) for path in paths)), tuple(sorted(standard)))


def enter(request: Request, machine: Machine) -> None:
    """Become the program's process; the launcher and the keeper end inside this call.

    The keeper leaves `report.json` in the folder of the execution.
    """
    os.setsid()
    before = kernel.network_namespace()
    if request["kernel"]:
        kernel.unshare_namespaces()
    own_network = kernel.network_namespace() != before
    kernel.die_with_parent()
    keeper = _fork()
    if keeper:
        _, status = os.waitpid(keeper, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    read_end, write_end = os.pipe()
    program = _fork()
    if program:
        os.close(write_end)
        _keep(program, read_end, request["folder"])
    os.close(read_end)
    _open_standard_files(request["folder"])
    os.chdir(f"{request['folder']}/scratch")
    writable = [f"{request['folder']}/scratch", f"{request['folder']}/outputs.jsonl", f"{request['folder']}/errors.txt"]
    readable = [f"{request['folder']}/inputs.jsonl", f"{request['folder']}/program.pyz", *request["model"]]
    devices = ["/dev/null", *glob("/dev/nvidia*")]
    in_landlock = False
    if request["kernel"]:
        rules = [(path, kernel.READ_EXECUTE) for path in machine.trees]
        rules += [(path, kernel.LIST) for path in machine.listed]
        rules += [(path, kernel.READ) for path in readable]
        rules += [(path, kernel.READ_WRITE_DEVICE) for path in devices]
        rules += [(path, kernel.EVERYTHING) for path in writable]
        in_landlock = kernel.restrict(rules)
        kernel.drop_capabilities()
        kernel.filter_system_calls()
    isolation = "kernel" if in_landlock and own_network else "audit"
    os.write(write_end, isolation.encode())
    os.close(write_end)
    if request["audit"]:
        audit.install(
            readable=(*machine.trees, *readable),
            listed=machine.listed,
            writable=(*writable, *devices),
            processes=isolation == "kernel",
        )


def _library_files() -> set[str]:
    """Shared libraries of the system, file by file: their folders hold much else (other interpreters, word lists)."""
    folders = {"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", f"{sys.base_prefix}/lib"}
    folders |= {*glob("/lib/*-linux-gnu*"), *glob("/usr/lib/*-linux-gnu*")}
    for path in glob("/etc/ld.so.conf.d/*.conf"):
        with open(path, errors="replace") as lines:
            folders |= {line.strip() for line in lines if line.startswith("/")}
    return {path for folder in folders for path in glob(f"{folder}/*.so*")}


def _fork() -> int:
    """Fork a child that the kernel kills when this process ends.

    The child writes a byte once it has asked for that, so it cannot miss an end of this process that came before.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child:
        os.close(write_end)
        os.read(read_end, 1)
        os.close(read_end)
        return child
    kernel.die_with_parent()
    os.close(read_end)
    try:
        os.write(write_end, b"1")
    except BrokenPipeError:
        os._exit(1)
    os.close(write_end)
    return 0


def _open_standard_files(folder: str) -> None:
    """Put the files of the execution in the place of the standard streams, in the state of a fresh start."""
    create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, (name, flags) in enumerate(
        (("inputs.jsonl", os.O_RDONLY), ("outputs.jsonl", create), ("errors.txt", create))
    ):
        descriptor = os.open(f"{folder}/{name}", flags | os.O_CLOEXEC, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    streams = {
        "stdin": open(0, encoding="utf-8", errors="surrogateescape", closefd=False),
        "stdout": open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False),
        "stderr": open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1),
    }
    vars(sys).update(streams | {f"__{name}__": stream for name, stream in streams.items()})


def _keep(program: int, isolation_pipe: int, folder: str) -> None:
    """Wait for the program, write what was measured, and end; as first of its process ids also adopt orphans."""
    isolation = os.read(isolation_pipe, 16).decode()
    while True:
        process, status, usage = os.wait4(-1, 0)
        if process == program:
            break
    report = {
        "isolation": isolation,
        "exit_code": os.waitstatus_to_exitcode(status),
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory_bytes": usage.ru_maxrss * 1024,
    }
    with open(f"{folder}/report.json", "w") as file:
        json.dump(report, file)
    os._exit(0)
