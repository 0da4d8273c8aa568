"""What all tests share: one thread, and a tiny model whose programs run in seconds."""

from __future__ import annotations

import os
import signal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_models import save_tiny_llama

# A shell that starts tests in the background has them, and all that they start, ignore Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

ON_SLURM = ("tests/slurm/test_[a-k]*", "tests/slurm/*")
"""Tests that share a cluster: a process for the first half of the files, by name, and one for the others."""
LONGEST_FIRST = (
    "tests/slurm/",
    "tests/test_end_to_end.py",
    "tests/prefetch/test_prefetch.py",
    "tests/adapt/test_adapt.py",
    "tests/matrix/",
    "tests/models/test_nf4.py",
    "tests/runner/",
)
"""Where the tests are that take a minute or more, so that no process works alone on one of these at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first."""
    items.sort(
        key=lambda item: next(
            (place for place, start in enumerate(LONGEST_FIRST) if item.nodeid.startswith(start)), len(LONGEST_FIRST)
        )
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Shares the tests out over processes: those on Slurm by `ON_SLURM`, all others by file."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((half for half in ON_SLURM if fnmatchcase(nodeid, half)), nodeid.split("::")[0])

    return ByFile(config, log)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama of two layers."""
    return save_tiny_llama(tmp_path_factory.mktemp("tiny") / "model")
