"""This machine: what works, what is missing, and how to mend it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.cell import format_bytes
from pipeline.machine import INSTALL, missing_packages, num_cores
from pipeline.models.spec import PACKAGED, cache_folder, known_identity, parse_model
from pipeline.runner import check_reference_machine

SMALLEST_FREE_BYTES = 2 * 1024**3


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what was looked at.
        ok: whether it is as it should be.
        text: what was found, and how to mend it.
    """

    name: str
    ok: bool
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """All findings."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether everything works."""
        return all(finding.ok for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {"ok": self.ok, "findings": [asdict(finding) for finding in self.findings]}

    def render(self, console: Console) -> None:
        """Print for people."""
        for finding in self.findings:
            mark = "[green]ok  [/]" if finding.ok else "[red]miss[/]"
            console.print(f"{mark} {finding.name:<18}", end="")
            console.print(finding.text, markup=False, highlight=False)


def diagnose() -> Diagnosis:
    """Looks at Python, packages, isolation, base models and disk. Loads no torch."""
    checks: tuple[Callable[[], Finding], ...] = (_python, _training, _reference_machine, _isolation, _models, _disk)
    return Diagnosis(findings=tuple(check() for check in checks))


def _python() -> Finding:
    text = f"Python {sys.version.split()[0]}, {num_cores()} cores"
    return Finding(name="python", ok=sys.version_info >= (3, 11), text=text)


def _training() -> Finding:
    if missing := missing_packages():
        text = f"{', '.join(missing)} not installed: {INSTALL}; reducing works without"
    else:
        text = "packages for running cells are installed"
    return Finding(name="training", ok=not missing, text=text)


def _reference_machine() -> Finding:
    problems = check_reference_machine()
    return Finding(name="reference machine", ok=not problems, text="; ".join(problems) or "all packages as pinned")


def _isolation() -> Finding:
    """Runs a program that does nothing, the way every program is run."""
    from pipeline.errors import ProgramError
    from pipeline.runner import Runner

    if not (find_spec("zopfli") and find_spec("deflate")):
        return Finding(name="isolation", ok=False, text="not tried: packages for running cells are missing")
    from pipeline.packing import pack

    program = pack("pipeline.decoders.constant", {"REPLY": "1"})
    empty = cache_folder() / "empty-model"
    empty.mkdir(parents=True, exist_ok=True)
    try:
        with Runner(cache_folder(), warm=False) as runner:
            isolation = runner.execute(program.content, empty, [{"text": "0"}], time_limit_seconds=60).isolation
    except ProgramError as error:
        return Finding(name="isolation", ok=False, text=str(error))
    text = {
        "kernel": "programs run under Landlock in a network of their own",
        "audit": "the kernel gives no Landlock or no network namespace here; only the audit hook guards programs",
    }[isolation]
    return Finding(name="isolation", ok=isolation == "kernel", text=text)


def _models() -> Finding:
    states = {name: known_identity(parse_model(name, Path())) for name in PACKAGED}
    text = ", ".join(
        f"{name} {'staged ' + found[:12] if found else 'not staged yet'}" for name, found in states.items()
    )
    return Finding(name="packaged models", ok=True, text=f"{text} (in {cache_folder()})")


def _disk() -> Finding:
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{format_bytes(free)} free for the cache; staging a model needs its size twice"
    return Finding(name="disk", ok=free > SMALLEST_FREE_BYTES, text=text)
