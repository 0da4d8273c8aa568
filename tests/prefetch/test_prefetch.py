"""`tcx prefetch` against a hub on this machine: locks, moving branches, the proof, and work without a network."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import pipeline.hub
from pipeline.errors import CAUSES, UserError
from pipeline.prefetch.children import prove
from pipeline.shards import read_shard
from pipeline.store import Study
from pipeline.worker import _cause, _task

from .conftest import DATA, GRID, MODEL, ROOT, Hub, World, data_files

DEAD = "http://127.0.0.1:9"
"""Nobody listens there: the hub is gone."""
CONNECT = """\
import ctypes, socket, struct, sys
from pipeline.prefetch.prove import leave_network
port, blocked = int(sys.argv[1]), sys.argv[2] == "blocked"
if blocked:
    print(leave_network())
for where in ("127.0.0.1", "localhost"):
    try:
        socket.create_connection((where, port), 5).close()
        print("python connected")
    except PermissionError as error:
        print("python:", error)
libc = ctypes.CDLL(None, use_errno=True)
handle = libc.socket(2, 1, 0)
address = struct.pack("=H", 2) + struct.pack("!H", port) + bytes([127, 0, 0, 1]) + bytes(8)
print("native connected" if handle >= 0 and libc.connect(handle, address, 16) == 0 else "native: nothing")
"""


def copied(world: World, folder: Path, *, cache: bool = True, **changes: Any) -> World:
    """The same grid, lock and (unless `cache` is false) cache in another folder."""
    for name in ("grid.yaml", "grid.lock"):
        shutil.copy(world.folder / name, folder / name)
    if cache:
        # The stamp holds the paths of the files.
        shutil.copytree(world.cache, folder / "cache")
        for stamp in (folder / "cache" / "proofs").iterdir():
            stamp.write_text(stamp.read_text().replace(str(world.folder), str(folder)))
    return dataclasses.replace(world, folder=folder, **changes)


def content_of(lock: Path) -> Any:
    return yaml.safe_load(lock.read_text())


@pytest.fixture
def no_pins_afterwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("TCX_DATA", raising=False)
    yield
    pipeline.hub.pin({}, may_download=True)


@pytest.fixture
def moved_hub(hub: Hub) -> Any:
    """Both branches have moved; back again afterwards."""
    before = dict(hub.main)
    files = hub.commits[MODEL][hub.main[MODEL]]
    weights = bytearray(files["model.safetensors"])
    weights[-4:] = b"\0\0\0\0"
    hub.push(MODEL, {**files, "model.safetensors": bytes(weights)})
    hub.push(DATA, data_files(first=50_000))
    yield before
    hub.main.update(before)


def test_the_lock_has_what_the_hub_said(fetched: World) -> None:
    lock = content_of(fetched.lock)
    (model,), (task,) = lock["models"].items(), lock["tasks"].items()
    assert (model[0], model[1]["repo"], model[1]["commit"]) == ("acme/tiny", MODEL, fetched.hub.main[MODEL])
    assert "revision" not in model[1]  # none was asked for
    assert task == ("gsm8k", task[1] | {"version": 4, "hub": {"openai/gsm8k": fetched.hub.main[DATA]}})
    (staged,) = (fetched.cache / "models").glob("*/staged.json")
    facts = json.loads(staged.read_text())
    assert (facts["identity"], facts["revision"]) == (model[1]["identity"], model[1]["commit"])
    assert not any("README" in path for path in fetched.hub.asked)


def test_again_does_nothing_and_asks_nobody(fetched: World) -> None:
    before, text = len(fetched.hub.asked), fetched.lock.read_text()
    done = fetched.tcx("prefetch", "grid.yaml")
    assert "nothing to do" in done.stdout
    content = fetched.json("prefetch", "grid.yaml")
    assert (content["lock_written"], content["proven_now"]) == (False, False)
    sizes = {row["item"]: row["bytes"] for row in content["items"]}
    assert sizes["model acme/tiny"] > 140_000 and sizes["task gsm8k"] > 100_000
    assert len(fetched.hub.asked) == before and fetched.lock.read_text() == text


def test_a_branch_that_moves_changes_nothing_until_update(fetched: World, tmp_path: Path, moved_hub: Any) -> None:
    world = copied(fetched, tmp_path, cache=False)
    old = content_of(fetched.lock)
    content = world.json("prefetch", "grid.yaml")  # everything is fetched once more, at the locked commits
    assert (content["lock_written"], content["proven_now"]) == (False, True)
    assert content_of(world.lock) == old
    # A new label of a locked repository is the locked commit as well.
    (world.folder / "grid.yaml").write_text(GRID.replace("[acme/tiny]", "[acme/tiny, acme/tiny@random-1]"))
    assert world.json("prefetch", "grid.yaml")["lock_written"]
    models = content_of(world.lock)["models"]
    assert models["acme/tiny"] == old["models"]["acme/tiny"]
    assert models["acme/tiny@random-1"]["commit"] == moved_hub[MODEL]
    (world.folder / "grid.yaml").write_text(GRID)
    assert world.json("plan", "grid.yaml")["states"]["to_do"] == 1  # the label that is too many does not matter
    world.tcx("prefetch", "grid.yaml", "--update")
    new = content_of(world.lock)
    assert list(new["models"]) == ["acme/tiny"]
    assert new["models"]["acme/tiny"]["commit"] == world.hub.main[MODEL] != moved_hub[MODEL]
    assert new["models"]["acme/tiny"]["identity"] != old["models"]["acme/tiny"]["identity"]
    assert new["tasks"]["gsm8k"]["hub"] == {"openai/gsm8k": world.hub.main[DATA]}
    assert new["tasks"]["gsm8k"]["items_sha256"] != old["tasks"]["gsm8k"]["items_sha256"]
    for commit in (moved_hub[DATA], world.hub.main[DATA]):
        assert (world.cache / "data" / "openai--gsm8k" / commit / "main").is_dir()


@pytest.mark.parametrize(
    ("model", "said"),
    [("acme/none", "RepositoryNotFoundError"), ("acme/tiny@v9", "RevisionNotFoundError")],
)
def test_names_that_the_hub_does_not_know(hub: Hub, tmp_path: Path, model: str, said: str) -> None:
    world = World(tmp_path, hub, hub.address)
    (tmp_path / "grid.yaml").write_text(GRID.replace("acme/tiny", model))
    message = world.tcx("prefetch", "grid.yaml", status=2).stderr
    assert message.startswith(f"tcx: model {model} cannot be fetched from the hub ({said}")
    assert not world.lock.exists()


def test_without_the_hub_cells_are_planned_and_run(fetched: World, tmp_path: Path) -> None:
    world = copied(fetched, tmp_path, endpoint=DEAD)
    planned = world.json("plan", "grid.yaml")
    assert planned["states"]["to_do"] == 1 and not planned["unresolved_models"]
    world.tcx("run", "grid.yaml")
    study = Study(world.folder / "results" / "fetched")
    (path,) = study.shard_files()
    row = read_shard(path, path.stem)
    lock = content_of(world.lock)
    assert json.loads(row["hub_commits"]) == {
        MODEL: lock["models"]["acme/tiny"]["commit"],
        DATA: fetched.hub.main[DATA],
    }
    assert row["model_identity"] == lock["models"]["acme/tiny"]["identity"]
    assert study.lock_path.read_text() == world.lock.read_text()
    assert row["lock_sha256"] == world.json("prefetch", "grid.yaml")["lock_sha256"]
    assert world.json("verify", "fetched")["verified"] == 1
    (packed,) = re.findall(r'id="packed-details">([^<]+)<', study.page_path.read_text())
    assert b"What is " in zlib.decompress(base64.b64decode(packed)), "items of the test split"


def test_a_lock_gives_ids_where_nothing_is_staged(fetched: World, tmp_path: Path) -> None:
    world = copied(fetched, tmp_path, cache=False, endpoint=DEAD)
    planned = [other.json("plan", "grid.yaml") for other in (world, fetched)]
    assert planned[0]["states"] == planned[1]["states"]
    world.lock.unlink()
    unlocked = world.json("plan", "grid.yaml")
    assert unlocked["unresolved_models"] == ["acme/tiny"] and unlocked["states"]["unresolved"] == 1
    assert not (world.folder / "results" / "fetched" / "lock.yaml").exists()
    said = world.tcx("run", "grid.yaml", status=2).stderr
    assert "model acme/tiny cannot be fetched from the hub" in said and "Traceback" not in said


def test_other_content_than_the_locks_is_refused(fetched: World, tmp_path: Path) -> None:
    world = copied(fetched, tmp_path)
    text = world.lock.read_text()
    identity = content_of(world.lock)["models"]["acme/tiny"]["identity"]
    world.lock.write_text(text.replace(identity, "a" * 64))
    for verb in ("plan", "run"):
        said = world.tcx(verb, "grid.yaml", status=2).stderr
        assert f"'acme/tiny' is staged here as {identity[:12]} and the lock says aaaaaaaaaaaa" in said
        assert "tcx prefetch GRID --update" in said
    digest = content_of(fetched.lock)["tasks"]["gsm8k"]["items_sha256"]
    world.lock.write_text(text.replace(digest, "b" * 64))
    assert "the items of task gsm8k are" in world.tcx("prefetch", "grid.yaml", status=2).stderr
    world.tcx("run", "grid.yaml", status=1)
    assert world.json("status", "fetched")["failed_by_cause"] == {"data": 1}
    shutil.rmtree(world.cache / "data")
    world.lock.write_text(text)
    plan = world.tcx("plan", "grid.yaml", "--cluster", "generic").stdout
    assert f"data openai/gsm8k at {fetched.hub.main[DATA][:12]}: not on this machine: every file" in plan


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[:-100], "model.safetensors cannot be read"),
        (lambda content: content[:-1] + b"!", "have identity"),
        (lambda content: None, "there are no *.safetensors"),
    ],
)
def test_the_proof_names_the_damaged_file(fetched: World, tmp_path: Path, damage: Any, said: str) -> None:
    (source,) = (fetched.cache / "models").glob("*/files")
    folder = shutil.copytree(source, tmp_path / "files")
    weights = folder / "model.safetensors"
    changed = damage(weights.read_bytes())
    weights.unlink()
    if changed is not None:
        weights.write_bytes(changed)
    identity = content_of(fetched.lock)["models"]["acme/tiny"]["identity"]
    items = [("good", source), ("bad", folder)]
    request = {"models": [{"name": name, "folder": str(at), "identity": identity} for name, at in items], "tasks": []}
    isolation, problems = prove(request)
    assert isolation == "kernel"
    assert list(problems) == ["bad"] and said in problems["bad"] and str(folder) in problems["bad"]


def test_a_failed_proof_leaves_the_lock_and_no_stamp(fetched: World, tmp_path: Path) -> None:
    world = copied(fetched, tmp_path, endpoint=DEAD)
    (weights,) = (world.cache / "models").glob("*/files/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")  # as long as before
    (stamp,) = (world.cache / "proofs").iterdir()
    stamp.unlink()
    said = world.tcx("prefetch", "grid.yaml", status=1).stderr
    assert "model acme/tiny: the files in" in said and str(weights.parent) in said and "Traceback" not in said
    assert world.lock.read_text() == fetched.lock.read_text()
    assert not stamp.exists()


@pytest.mark.parametrize("blocked", [True, False])
def test_the_proof_has_no_network(hub: Hub, blocked: bool) -> None:
    port = hub.address.rpartition(":")[2]
    command = [sys.executable, "-c", CONNECT, port, "blocked" if blocked else "open"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    if not blocked:
        assert done.stdout.splitlines() == ["python connected", "python connected", "native connected"]
        return
    isolation, *python, native = done.stdout.splitlines()
    assert isolation == "kernel" and native == "native: nothing"
    assert len(python) == 2 and all("there is no network here" in line for line in python)


def test_a_worker_takes_the_planned_data_or_none(
    fetched: World, monkeypatch: pytest.MonkeyPatch, no_pins_afterwards: None
) -> None:
    monkeypatch.setenv("TCX_CACHE", str(fetched.cache))
    commits = {"acme/tiny": "1" * 40, DATA: fetched.hub.main[DATA]}
    row = {"task_source": "gsm8k", "task_version": 4, "hub_commits": json.dumps(commits), "items_sha256": None}
    assert len(_task(row).split("test")) == 1319
    assert pipeline.hub.used_commits()["openai/gsm8k"] == commits[DATA]
    for change, message in (
        ({"items_sha256": "0" * 64}, "the lock of the grid says 000000000000"),
        ({"task_version": 1}, "gsm8k is version 4 now, it was 1 when planned"),
    ):
        with pytest.raises(UserError, match=message):
            _task(row | change)
    for other, message in (
        (json.dumps({DATA: "3" * 40}), "data openai/gsm8k at 333333333333: .* lacks every file"),
        (None, "no commit of the data openai/gsm8k is locked"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            _task(row | {"hub_commits": other}).split("train")
        assert _cause(caught.value) == "data" in CAUSES


class TestSubmit:
    """What is refused before Slurm is asked; there is none here."""

    OFFLINE = ("--cluster", "generic", "--set", "offline=true")

    def test_hub_names_without_a_lock_are_refused_everywhere(self, fetched: World, tmp_path: Path) -> None:
        world = copied(fetched, tmp_path, cache=False)
        world.lock.unlink()
        for options in (self.OFFLINE, ("--cluster", "generic")):
            said = world.tcx("submit", "grid.yaml", *options, status=2).stderr
            assert "say `tcx prefetch grid.yaml` first" in said
            assert "model acme/tiny: its commit is not locked" in said
            assert "task gsm8k: the commit of its data openai/gsm8k is not locked" in said
        missing = world.json("plan", "grid.yaml", *self.OFFLINE)["cluster"]["missing"]
        assert len(missing) == 2
        assert not (world.folder / "results" / "fetched" / "submissions").exists()

    def test_offline_nodes_want_a_proof_that_still_holds(self, fetched: World, tmp_path: Path) -> None:
        world = copied(fetched, tmp_path)
        assert world.json("plan", "grid.yaml", *self.OFFLINE)["cluster"]["missing"] == []
        (stamp,) = (world.cache / "proofs").iterdir()
        kept = stamp.read_text()
        stamp.unlink()
        (gap,) = world.json("plan", "grid.yaml", *self.OFFLINE)["cluster"]["missing"]
        assert gap.startswith("proof: ")
        assert world.json("plan", "grid.yaml", "--cluster", "generic")["cluster"]["missing"] == []
        stamp.write_text(kept)
        (weights,) = (world.cache / "models").glob("*/files/model.safetensors")
        (test_rows,) = (world.cache / "data").glob("*/*/main/test-*")
        weights.unlink()
        test_rows.write_bytes(test_rows.read_bytes()[:-1])
        said = world.tcx("submit", "grid.yaml", *self.OFFLINE, status=2).stderr
        assert "model acme/tiny: model.safetensors is gone or has changed" in said
        assert f"not on this machine: {test_rows.name}" in said
        # What submit says to do mends it.
        done = world.tcx("prefetch", "grid.yaml")
        assert "it is staged anew" in done.stdout
        assert world.json("plan", "grid.yaml", *self.OFFLINE)["cluster"]["missing"] == []

    def test_packages_and_folders_need_a_proof_on_offline_nodes_only(
        self, tmp_path: Path, tiny_model: Path, hub: Hub
    ) -> None:
        world = World(tmp_path, hub, DEAD)
        grid = GRID.replace("gsm8k", "chain-sum").replace("acme/tiny", f"{tiny_model}, {tiny_model}@random-1")
        (tmp_path / "grid.yaml").write_text(grid)
        assert world.json("plan", "grid.yaml", "--cluster", "generic")["cluster"]["missing"] == []
        assert len(world.json("plan", "grid.yaml", *self.OFFLINE)["cluster"]["missing"]) == 3
        content = world.json("prefetch", "grid.yaml")
        assert [row["commits"] for row in content["items"]] == [{}, {}, {}]
        assert world.json("plan", "grid.yaml", *self.OFFLINE)["cluster"]["missing"] == []
        lock = content_of(world.lock)
        assert set(lock["models"]) == {str(tiny_model), f"{tiny_model}@random-1"}
        assert "hub" not in lock["tasks"]["chain-sum"]
