"""A whole data set with a tiny random teacher: what is in it, and what is left after kills and beside other jobs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.errors import UserError
from pipeline.make_data.command import MadeData, make_data
from pipeline.make_data.layout import MANIFEST, PROMPTS, TRAIN, VALIDATION, shard_path, shards_there
from pipeline.tasks.ifeval import MADE_VARIABLE, TASK

from .conftest import WriteConfig, prompts

RESULT = (TRAIN, VALIDATION, MANIFEST)


def run(config: Path, **options: Any) -> MadeData:
    return make_data(config, console=Console(quiet=True), **options)


def content(folder: Path) -> dict[str, bytes]:
    shards = {f"shard {number}": shard_path(folder, number).read_bytes() for number in shards_there(folder)}
    return shards | {name: (folder / name).read_bytes() for name in RESULT}


def rows(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def test_what_is_kept(write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run(write_config(prompts()))
    out = tmp_path / "out"
    samples = [row for number in range(7) for row in rows(shard_path(out, number))]
    assert (made.shards, made.made, made.missing) == (7, 7, 0)
    assert len(samples) == made.counts["samples"] == 56 * 3
    assert {row["sample"] for row in samples} == {0, 1, 2}
    for row in samples:
        assert row["tokens"] == 48 or row["is_finished"]
        assert row["is_accepted"] == (row["is_finished"] and bool(row["response"]) and "," not in row["response"])
    accepted = {(row["prompt"], row["response"]) for row in samples if row["is_accepted"]}
    kept = rows(out / TRAIN)
    assert 0 < made.counts["accepted"] < made.counts["finished"] < made.counts["samples"]
    assert len(kept) == made.counts["responses"] <= made.counts["accepted"]
    assert {(row["prompt"], row["response"]) for row in kept} <= accepted
    assert not {row["prompt"] for row in kept} & {row["prompt"] for row in rows(out / VALIDATION)}

    monkeypatch.setenv(MADE_VARIABLE, str(out))
    assert len(TASK.split("train")) == len(kept)
    assert len(TASK.split("validation")) == 4


def test_manifest(write_config: WriteConfig, tmp_path: Path, tiny_model: Path) -> None:
    made = run(write_config(prompts(), max_prompts=3))
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["teacher"] == str(tiny_model)
    assert len(manifest["settings"]["teacher_identity"]) == 64
    assert manifest["settings"]["temperature"] == 1.0
    assert manifest["counts"] == made.counts
    assert manifest["counts"]["rows"] == 60
    assert [(entry["shards"], entry["batch"]) for entry in manifest["shards"]] == [(1, "4")]
    assert manifest["shards"][0]["engine"].startswith("transformers ")


def test_samples_differ_by_seed_and_by_shard(write_config: WriteConfig, tmp_path: Path) -> None:
    run(write_config(prompts(), out="one"))
    run(write_config(prompts(), out="two", seed=2))
    first, second = ([row["response"] for row in rows(shard_path(tmp_path / name, 0))] for name in ("one", "two"))
    assert first != second
    assert first != [row["response"] for row in rows(shard_path(tmp_path / "one", 1))]


def test_an_interrupted_run_goes_on_to_the_same_bytes(write_config: WriteConfig, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from rich.console import Console\n"
        "from pipeline.make_data.command import make_data\nmake_data(Path(sys.argv[1]), console=Console())"
    )

    def start(config: Path) -> subprocess.Popen[bytes]:
        # The manifest names the commits of the hub that a process has read: those of other tests are in this one.
        return subprocess.Popen([sys.executable, "-c", code, str(config)])

    assert start(write_config(prompts(), out="whole")).wait() == 0
    broken = write_config(prompts(), name="broken.yaml", out="broken")
    worker = start(broken)
    deadline = time.monotonic() + 300
    while len(shards_there(tmp_path / "broken")) < 2 and worker.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    there = shards_there(tmp_path / "broken")
    assert 2 <= len(there) < 7
    assert not (tmp_path / "broken" / MANIFEST).exists()
    kept = {number: shard_path(tmp_path / "broken", number).stat().st_mtime_ns for number in there}

    made = run(broken)
    assert made.made == 7 - len(there)
    assert {number: shard_path(tmp_path / "broken", number).stat().st_mtime_ns for number in there} == kept
    assert content(tmp_path / "broken") == content(tmp_path / "whole")
    assert run(broken).made == 0


def test_parts_share_the_shards(write_config: WriteConfig, tmp_path: Path) -> None:
    run(write_config(prompts(), out="whole"))
    config = write_config(prompts(), name="parts.yaml", out="parts")
    first = run(config, part=(1, 3))
    assert (first.made, first.missing, first.counts) == (3, 4, {})
    assert shards_there(tmp_path / "parts") == {0, 3, 6}
    assert not (tmp_path / "parts" / MANIFEST).exists()
    second, third = run(config, part=(2, 3)), run(config, part=(3, 3))
    assert (second.made, second.missing) == (2, 2)
    assert (third.made, third.missing) == (2, 0)
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
    for part in ((0, 3), (4, 3)):
        with pytest.raises(UserError, match="the first number is one of 1 to 3"):
            run(config, part=part)


def test_what_is_prepared_needs_the_prompts_no_more(write_config: WriteConfig, tmp_path: Path) -> None:
    config = write_config(prompts(), max_prompts=3)
    made = run(config, prepare_only=True)
    assert (made.shards, made.made, made.missing) == (1, 0, 1)
    (tmp_path / "prompts.jsonl").write_text("")
    assert run(config).missing == 0
    assert len(rows(tmp_path / "out" / PROMPTS)) == 3


def test_other_settings_need_another_folder(write_config: WriteConfig) -> None:
    run(write_config(prompts(), max_prompts=3))
    assert run(write_config(prompts(), max_prompts=3, batch=1)).made == 0
    with pytest.raises(UserError, match=r"temperature: 1\.0 there, 0\.5 here"):
        run(write_config(prompts(), max_prompts=3, temperature=0.5))


def test_a_prompt_that_does_not_fit_gets_no_sample(write_config: WriteConfig, tmp_path: Path) -> None:
    long = {**prompts()[0], "prompt": "Count: " + " ".join(map(str, range(300)))}
    run(write_config([*prompts()[1:3], long], validation_prompts=0))
    found = {row["prompt"]: row for row in rows(shard_path(tmp_path / "out", 0))}
    assert len(found) == 3
    assert (found[long["prompt"]]["tokens"], found[long["prompt"]]["is_finished"]) == (0, False)


def test_reading_a_configuration_loads_no_torch() -> None:
    code = "import sys, pipeline.make_data.command; print({'torch', 'transformers', 'lm_eval'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
