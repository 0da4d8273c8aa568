"""Commands of the package as people call them, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def tcx(folder: Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """The command `tcx` in a folder that has its cache and its results; fails where it ends with another status."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments, "--results", "results"],
        cwd=folder,
        env=os.environ | {"TCX_CACHE": str(folder / "cache"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    return done
