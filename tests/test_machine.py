"""What a row says of the code that made it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pipeline.machine import _code_state


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def test_the_state_of_the_code_is_that_of_the_package(tmp_path: Path) -> None:
    package = tmp_path / "pipeline"
    package.mkdir()
    (package / "machine.py").write_text("1\n")
    (tmp_path / "README.md").write_text("1\n")
    assert _code_state(package) == (None, None)
    git(tmp_path, "init", "-q")
    # As where a package is installed into the folder of another project.
    (tmp_path / "grid.yaml").write_text("1\n")
    git(tmp_path, "add", "grid.yaml", "README.md")
    git(tmp_path, "commit", "-qm", "one")
    assert _code_state(package) == (None, None)
    git(tmp_path, "add", "pipeline")
    git(tmp_path, "commit", "-qm", "two")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert _code_state(package) == (commit, None)
    (tmp_path / "README.md").write_text("2\n")
    assert _code_state(package) == (commit, None)
    (package / "machine.py").write_text("2\n")
    changed = _code_state(package)
    (package / "family.py").write_text("1\n")
    with_new = _code_state(package)
    (package / "family.py").write_text("2\n")
    with_other = _code_state(package)
    assert {commit} == {state[0] for state in (changed, with_new, with_other)}
    assert len({None, changed[1], with_new[1], with_other[1]}) == 4
