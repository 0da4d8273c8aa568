"""A node without room is found before work begins, and is a fault of the node."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import ProgramError
from pipeline.preflight import check_node


@pytest.fixture(autouse=True)
def first_time() -> Iterator[None]:
    check_node.cache_clear()
    yield
    check_node.cache_clear()


def test_this_machine_is_well() -> None:
    check_node()


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setenv("SLURMD_NODENAME", "node7")
        with pytest.raises(ProgramError, match=r"node node7: .* has [\d,]+ bytes left") as raised:
            check_node()
        assert raised.value.cause == "node"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
