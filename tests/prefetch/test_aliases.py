"""`tcx prefetch` of models by alias: the branch of the catalogue is asked for, and locked at its commit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from .conftest import Hub, World, serve

REPO, BRANCH = "HuggingFaceTB/SmolLM3-3B-checkpoints", "stage1-step-40000"
GRID = """\
study: aliases
tasks: [chain-sum]
models: [smollm3-step40k, smollm3-step40k@random-3]
programs: [{family: baseline}]
evaluation: {validation_items: 1, test_items: 1}
"""


class BranchedHub(Hub):
    """Has the published branch beside main, on which there is another commit."""

    branch = ""

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        return super().answer(path.replace(BRANCH, self.branch))


@pytest.fixture
def world(tiny_model: Path, tmp_path: Path) -> Iterator[World]:
    hub = BranchedHub()
    files = {path.name: path.read_bytes() for path in sorted(tiny_model.iterdir())}
    hub.branch = hub.push(REPO, files)
    hub.push(REPO, {**files, "model.safetensors": b"later weights"})
    server = serve(hub)
    (tmp_path / "grid.yaml").write_text(GRID)
    yield World(tmp_path, hub, hub.address)
    server.shutdown()
    server.server_close()


def test_an_alias_is_locked_at_the_commit_of_its_branch(world: World) -> None:
    unlocked = world.json("validate", "grid.yaml")
    assert world.hub.asked == [] and "smollm3-step40k" in json.dumps(unlocked)
    world.json("prefetch", "grid.yaml")
    models = yaml.safe_load(world.lock.read_text())["models"]
    assert models.keys() == {"smollm3-step40k", "smollm3-step40k@random-3"}
    assert isinstance(world.hub, BranchedHub)
    for entry in models.values():
        assert (entry["repo"], entry["revision"], entry["commit"]) == (REPO, BRANCH, world.hub.branch)
    assert world.hub.branch != world.hub.main[REPO]
    assert len({entry["identity"] for entry in models.values()}) == 2
    asked = len(world.hub.asked)
    assert world.json("plan", "grid.yaml")["cells"] == 2
    assert len(world.hub.asked) == asked
