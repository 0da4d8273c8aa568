"""What is recorded of the machine and the code that made a shard."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import socket
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from pipeline.errors import UserError

SNAPSHOT_NOTE = "snapshot.json"
"""Lies in a copy of this package that a study keeps: the state of the code that was copied."""

ANSWER_SECONDS = 60
"""A controller of Slurm that is busy for longer does not answer."""

RECORDED_PACKAGES = (
    "accelerate",
    "constriction",
    "numpy",
    "peft",
    "safetensors",
    "task-complexity",
    "tokenizers",
    "torch",
    "transformers",
)


INSTALL = "in a checkout of task-complexity, pip install -c constraints.txt '.[train]'"
"""How the packages come here that the base install leaves out."""

_TO_RUN_CELLS = ("torch", "transformers", "peft", "accelerate", "constriction")


def missing_packages() -> list[str]:
    """Packages for making and executing programs that are not installed; planning and reducing need none of them."""
    return [name for name in _TO_RUN_CELLS if not find_spec(name)]


def require_packages(purpose: str) -> None:
    """Checks that programs can be made and executed here.

    Args:
        purpose: what they are needed for, as the beginning of a sentence.

    Raises:
        UserError: packages are missing.
    """
    if missing := missing_packages():
        raise UserError(
            f"{purpose} needs {', '.join(missing)}, which the base install leaves out: "
            f"{INSTALL}; planning, reducing and drawing work without"
        )


@cache
def machine_class() -> str:
    """Machines of one class give equal bits: processor with its vector instructions, GPU if there is one, torch build.

    A payload coded on one class may not decode on another, so encoding, execution and resuming stay in one. The
    processor counts where there is a GPU, too: texts are coded and decoded on it.
    """
    import torch

    vectors = torch.backends.cpu.get_cpu_capability() + (" AMX" if has_amx() else "")
    parts = [f"{platform.machine()} {_processor()} {vectors}"]
    if torch.cuda.is_available():
        parts.append(f"{torch.cuda.get_device_name()} / CUDA {torch.version.cuda}")
    return " / ".join([*parts, f"torch {torch.__version__}"])


def has_amx() -> bool:
    """Whether the processor has tiles for products in bfloat16; a virtual one may lack what its model has."""
    import torch

    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def node_name() -> str:
    """This machine, as Slurm calls it where it is a node of one: its host name may be another."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def cluster_name() -> str | None:
    """Name of the Slurm cluster that this machine belongs to; None where there is none, or it does not answer."""
    return os.environ.get("SLURM_CLUSTER_NAME") or slurm_setting("ClusterName")


def slurm_setting(name: str) -> str | None:
    """A setting of the Slurm of this machine; None where there is none, or it does not answer."""
    found = re.search(rf"^{name}\s*=\s*(\S+)", _slurm_config(), re.MULTILINE)
    return found[1] if found else None


@cache
def _slurm_config() -> str:
    command = ["scontrol", "show", "config"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def oom_kills() -> int:
    """Processes that the kernel has ended in the control group of this one for want of memory; 0 where it keeps none.

    A process that was ended so is known by nothing but this number: its signal is that of any other kill.
    """
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, place = line.split(":", 2)
        version_2 = not controllers
        if not version_2 and "memory" not in controllers.split(","):
            continue
        root, name = ("", "memory.events") if version_2 else ("memory", "memory.oom_control")
        for entry in _lines(Path("/sys/fs/cgroup") / root / place.lstrip("/") / name):
            if match := re.fullmatch(r"oom_kill (\d+)", entry):
                return int(match[1])
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def package_versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def num_cores() -> int:
    """Cores that this process may use: those of its job, where a scheduler gives it a part of the machine."""
    return len(os.sched_getaffinity(0))


@cache
def code_state() -> tuple[str | None, str | None]:
    """Git commit of this package's checkout, and the SHA-256 of uncommitted changes to the package.

    None for what there is not, as where the package is installed into somebody else's repository.
    """
    return _code_state(Path(__file__).resolve().parent)


def _code_state(folder: Path) -> tuple[str | None, str | None]:
    note = folder / SNAPSHOT_NOTE
    if note.is_file():
        recorded = json.loads(note.read_text())
        return recorded["git_commit"], recorded["git_dirty_sha256"]

    def git(*arguments: str) -> bytes | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout

    commit = git("rev-parse", "HEAD") if git("ls-files", "--error-unmatch", Path(__file__).name) else None
    if commit is None:
        return None, None
    changes = git("diff", "HEAD", "--", ".") or b""
    new = git("ls-files", "--others", "--exclude-standard", "-z", "--", "*.py") or b""
    for name in filter(None, new.decode().split("\0")):
        changes += name.encode() + (folder / name).read_bytes()
    return commit.decode().strip(), hashlib.sha256(changes).hexdigest() if changes else None


def _processor() -> str:
    # The last four are what ARM says in the place of the first three.
    fields = ("vendor_id", "cpu family", "model\t", "CPU implementer", "CPU variant", "CPU part", "CPU revision")
    found = []
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if not line:
            break
        if line.startswith(fields):
            found.append(line.partition(":")[2].strip())
    return "-".join(found)
