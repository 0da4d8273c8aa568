"""Families and tasks of other packages, found through entry points; the examples are those of the documentation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.shards import read_shard
from pipeline.store import Study

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """Folder with a package as `pip install --target` leaves it: modules, and metadata with entry points."""
    folder = tmp_path / "site"
    package = folder / "my_families"
    package.mkdir(parents=True)
    text = (ROOT / "docs" / "families.md").read_text()
    for name, code in re.findall(r"```python\n# my_families/(\w+\.py)\n(.*?)```", text, re.DOTALL):
        (package / name).write_text(code)
    (package / "__init__.py").touch()
    information = folder / "my_families-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-families\nVersion: 1.0\n")
    entry_points = re.search(r"```toml\n\[project\.entry-points\.\"([\w.]+)\"\]\n(\w+) = \"([\w.:]+)\"", text)
    assert entry_points
    group, name, value = entry_points.groups()
    (information / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    return folder


def test_the_family_of_the_documentation_makes_programs(plugins: Path, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "grid.yaml").write_text(
        f"study: plug\ntasks: [en-fr-software]\nmodels: [{tiny_model}]\nprograms: [{{family: shout}}]\n"
        "evaluation: {validation_items: 2, test_items: 3}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "run", "grid.yaml", "--results", "results"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(plugins), "TCX_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = Study(tmp_path / "results" / "plug").shard_files()
    row = read_shard(path, path.stem)
    assert row["family"] == "shout"
    assert all(text == text.upper() for text in row["test"]["predictions"])
