"""From published rows to shards."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline import schema
from pipeline.errors import InvalidShardError, NewerShardError, UserError
from pipeline.imported import Import, import_sah
from pipeline.shards import read_shard
from pipeline.show import show
from pipeline.store import Study
from tests.small_shards import make_newer

from .conftest import Row, WriteRows, published

BASELINE = published("baseline", 0, 0.25)
ONE_SHOT = published("icl", 300, 0.5, total_samples=1, updated=False)
IMPOSSIBLE = published("icl", 0, 0.1, total_samples=2, updated=False)


def shards(study: Study) -> list[Row]:
    return [read_shard(path, path.stem) for path in sorted(study.shard_files())]


def run(path: Path, tmp_path: Path) -> Import:
    return import_sah(path, "sah", results=str(tmp_path / "results"))


def test_a_row_becomes_a_shard(write_rows: WriteRows, tmp_path: Path) -> None:
    path = write_rows([ONE_SHOT])
    done = run(path, tmp_path)
    assert (done.num_rows, done.num_new, done.num_present, done.rejected) == (1, 1, 0, ())
    assert done.study.folder == tmp_path / "results" / "sah"
    (row,) = shards(done.study)
    assert row["status"] == "imported" and "arXiv 2602.15829" in row["status_reason"]
    assert [row[name] for name in ("task", "model", "family", "view", "parameters", "seed")] == [
        "gsm8k-metamath", "smollm3-stage1", "icl", "inference", '{"shots":1}', 1,
    ]  # fmt: skip
    lengths = ("program_length_bits", "decoder_bits", "payload_bits", "container_bits")
    assert [row[name] for name in lengths] == [4004, 3704, 300, 0]
    assert (row["metric"], row["higher_is_better"], row["test"]["performance"]) == ("accuracy", True, 50.0)
    assert json.loads(row["settings"]) == {
        "experiment": "icl",
        "source_line": 1,
        "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    known = {*lengths, "task", "model", "family", "view", "parameters", "seed", "settings", "metric", "test"}
    known |= {"schema_version", "cell_id", "status", "status_reason", "higher_is_better"}
    assert {name for name, value in row.items() if value is not None} == known
    assert {name for name, value in row["test"].items() if value is not None} == {"performance"}


def test_show_tells_length_and_score(write_rows: WriteRows, tmp_path: Path) -> None:
    import_sah(write_rows([published("lora", 30_000, 0.5, lr=1e-4, r=1, lora_alpha=8)]), "sah", results=str(tmp_path))
    (shard,) = Study(tmp_path / "sah").shard_files()
    console = Console(file=io.StringIO(), width=200)
    show(shard.stem[:12], results=str(tmp_path)).render(console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "32,832 bits" in text and "decoder 2,832 + payload 30,000 + container 0" in text
    assert "accuracy 50.00" in text
    assert "there is no program file" in text


def test_importing_again_does_nothing(write_rows: WriteRows, tmp_path: Path) -> None:
    path = write_rows([BASELINE, ONE_SHOT])
    first = run(path, tmp_path)
    before = {file: file.stat().st_mtime_ns for file in first.study.shard_files()}
    again = run(path, tmp_path)
    assert (again.num_new, again.num_present) == (0, 2)
    assert {file: file.stat().st_mtime_ns for file in again.study.shard_files()} == before
    assert "2 were imported before; nothing to do" in rendered(again)


def test_a_damaged_shard_is_imported_again(write_rows: WriteRows, tmp_path: Path) -> None:
    path = write_rows([BASELINE, ONE_SHOT])
    study = run(path, tmp_path).study
    damaged = next(study.shard_files())
    damaged.write_bytes(damaged.read_bytes()[:-9])
    again = run(path, tmp_path)
    assert (again.num_new, again.num_present) == (1, 1)
    assert len(shards(study)) == 2 and len(list(study.quarantine.glob("*.parquet"))) == 1


def rendered(done: Import) -> str:
    console = Console(file=io.StringIO(), width=200)
    done.render(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_impossible_rows_are_rejected_by_name(write_rows: WriteRows, tmp_path: Path) -> None:
    done = run(write_rows([BASELINE, "\n", IMPOSSIBLE, ONE_SHOT]), tmp_path)
    assert (done.num_rows, done.num_new) == (3, 2)
    (rejected,) = done.rejected
    assert (rejected.line, rejected.reason) == (3, "zero-length-prompt")
    text = rendered(done)
    assert "1 rejected, zero-length-prompt: a prompt with demonstrations cannot have zero length" in text
    assert "line 3: gsm8k-metamath / smollm3-stage1 / icl (shots=2)" in text
    content = json.loads(json.dumps(done.to_json()))
    assert content["rows"] == 3 and content["imported"] == 2
    assert [(row["line"], row["reason"]) for row in content["rejected"]] == [(3, "zero-length-prompt")]
    # A bare script is no prompt with demonstrations: its 0 bits are beside the script.
    assert sorted(row["program_length_bits"] for row in shards(done.study)) == [2952, 4004]


def test_the_first_of_two_equal_rows_counts(write_rows: WriteRows, tmp_path: Path) -> None:
    other_score = BASELINE | {"performance": 0.9}
    done = run(write_rows([BASELINE, other_score, BASELINE | {"seed": 2}]), tmp_path)
    assert [(row.line, row.reason) for row in done.rejected] == [(2, "repeated")]
    assert [row["test"]["performance"] for row in shards(done.study)] == [25.0, 25.0]


def test_another_result_of_a_row_is_not_taken_for_the_same(write_rows: WriteRows, tmp_path: Path) -> None:
    run(write_rows([BASELINE]), tmp_path)
    done = run(write_rows([ONE_SHOT, BASELINE | {"performance": 0.9}]), tmp_path)
    assert (done.num_new, done.num_present) == (1, 0)
    assert [(row.line, row.reason) for row in done.rejected] == [(2, "differs")]
    assert sorted(row["test"]["performance"] for row in shards(done.study)) == [25.0, 50.0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("experiment_name,bits\n", "line 2: this is no JSON"),
        ("[1, 2]\n", "line 2: a JSON object is wanted on each line; list given"),
        (json.dumps({"experiment_name": "icl"}), "line 2: the column 'dataset_name' is missing"),
        (json.dumps(BASELINE | {"bits": -8}), "line 2: 'bits' must be a whole number from 0 to 10^18; -8 given"),
        (json.dumps(BASELINE | {"bits": 10**30}), "line 2: 'bits' must be a whole number from 0 to 10^18"),
        (json.dumps(BASELINE | {"seed": -(10**30)}), "line 2: 'seed' must be a whole number up to 10^18"),
        ("[" * 100_000, "line 2: this is no JSON"),
        (json.dumps(BASELINE | {"bits": 1.5}), "line 2: 'bits' must be a whole number"),
        (json.dumps(BASELINE | {"performance": None}), "line 2: 'performance' must be a number from 0 to 100; None"),
        (json.dumps(BASELINE | {"performance": 10**400}), "line 2: 'performance' must be a number from 0 to 100"),
        (json.dumps(BASELINE | {"performance": float("nan")}), "line 2: 'performance' must be a number"),
        (json.dumps(BASELINE | {"model_name": ""}), "line 2: 'model_name' must be text"),
        (json.dumps(BASELINE | {"experiment_name": "magic"}), "line 2: unknown experiment 'magic'"),
    ],
)
def test_a_file_that_is_something_else(write_rows: WriteRows, tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        run(write_rows([BASELINE, line]), tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()


def test_nothing_to_import(write_rows: WriteRows, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no rows"):
        run(write_rows(["\n"]), tmp_path)
    with pytest.raises(UserError, match="cannot read"):
        run(tmp_path / "absent.jsonl", tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read"):
        run(binary, tmp_path)
    with pytest.raises(UserError, match="a study is named by"):
        import_sah(write_rows([BASELINE]), "../sah", results=str(tmp_path))


def test_a_shard_of_a_later_version_is_not_imported_again(write_rows: WriteRows, tmp_path: Path) -> None:
    path = write_rows([ONE_SHOT])
    (shard,) = run(path, tmp_path).study.shard_files()
    make_newer(shard)
    with pytest.raises(NewerShardError, match="update task-complexity"):
        run(path, tmp_path)
    assert shard.exists()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"payload_bits": 301}, "do not sum"),
        ({"program_length_bits": 0, "decoder_bits": 0, "payload_bits": 0}, "all of them are 0"),
        ({"decoder_bits": -1, "payload_bits": 4005}, "below 0"),
        ({"program_sha256": "0" * 64}, "no program file"),
        ({"validation": {"performance": 1.0}}, "no validation score"),
        ({"test": None}, "test score is missing"),
        ({"test": {field.name: None for field in schema.SPLIT_SCORES}}, "test score is missing"),
    ],
)
def test_rules_of_an_imported_shard(write_rows: WriteRows, tmp_path: Path, change: dict[str, Any], rule: str) -> None:
    (row,) = shards(run(write_rows([ONE_SHOT]), tmp_path).study)
    schema.check_row(row)
    with pytest.raises(InvalidShardError, match=rule):
        schema.check_row(row | change)


def test_an_imported_shard_has_no_items(write_rows: WriteRows, tmp_path: Path) -> None:
    (row,) = shards(run(write_rows([ONE_SHOT]), tmp_path).study)
    with pytest.raises(InvalidShardError, match="no items"):
        schema.check_row(row | {"test": row["test"] | {"num_items": 1319}})
