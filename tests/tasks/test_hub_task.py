"""The rule of versions, and what a task says when its rows are not there or not the published ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipeline import hub
from pipeline.errors import UserError
from pipeline.protocols import Example, Split
from pipeline.tasks.gsm8k import Gsm8k
from pipeline.tasks.hub_task import HubTask, Rows, Source
from pipeline.tasks.lima import Lima
from pipeline.tasks.rows import Layout
from pipeline.tasks.splits import carve, example_text

COMMIT = "a" * 40


class Words(HubTask):
    """A task on ten rows."""

    name = "words"
    plain_version = 3
    sources: ClassVar[Mapping[str, Source]] = {
        "all": Source(
            repo="acme/words", layouts=(Layout(pattern="words.jsonl", columns={"word": "word"}),), num_rows=10
        )
    }

    def make_splits(self, rows: Rows) -> Mapping[Split, Sequence[Example]]:
        """A fifth each."""
        items = [Example(input={"word": row["word"]}, target="") for row in rows["all"]]
        test, rest = carve(items, example_text, "test", 2)
        validation, train = carve(rest, example_text, "validation", 1)
        return {"train": train, "validation": validation, "test": test}


def words(count: int) -> list[dict[str, Any]]:
    return [{"word": f"word {number}", "unused": number} for number in range(count)]


def put_into_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]) -> None:
    """What `tcx prefetch` leaves of a repository of one file."""
    monkeypatch.setenv("TCX_CACHE", str(folder / "cache"))
    path = hub.commit_folder("acme/words", COMMIT) / "words.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    note = {"patterns": ["words.jsonl"], "files": {"words.jsonl": path.stat().st_size}}
    path.parent.with_suffix(".json").write_text(json.dumps(note))
    hub.pin({"acme/words": COMMIT}, may_download=False)


def test_published_counts_are_the_plain_version(local_hub: Any) -> None:
    local_hub.json_lines("acme/words/words.jsonl", words(10))
    task = Words()
    assert task.version == 3
    assert [len(task.split(name)) for name in ("train", "validation", "test")] == [7, 1, 2]


def test_a_sample_is_another_version(local_hub: Any) -> None:
    local_hub.json_lines("acme/words/words.jsonl", words(9))
    assert Words().version != 3
    assert len(Words().split("train")) == 7


def test_another_order_and_an_unused_column_are_the_same_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = []
    samples = (words(9), words(9)[::-1], [{"word": row["word"]} for row in words(9)], words(8), words(9)[1:] + words(1))
    for number, sample in enumerate((*samples, [{"word": "other"}, *words(8)])):
        path = tmp_path / str(number) / "acme/words/words.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in sample))
        monkeypatch.setenv("TCX_DATA", str(tmp_path / str(number)))
        versions.append(Words().version)
    assert versions[0] == versions[1] == versions[2] == versions[4]
    assert len(set(versions)) == 3


def test_the_version_of_the_hub_needs_no_rows() -> None:
    hub.pin({}, may_download=False)
    assert Words().version == 3
    with pytest.raises(UserError, match="no commit of the data acme/words is locked"):
        Words().split("train")


def test_other_rows_of_the_hub_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_into_the_cache(tmp_path, monkeypatch, words(11))
    with pytest.raises(UserError, match=r"version 3 stands for 10 all rows of acme/words, and 11 were read.*TCX_DATA"):
        Words().split("train")


def test_rows_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_into_the_cache(tmp_path, monkeypatch, words(10))
    assert len(Words().split("train")) == 7
    assert hub.used_commits()["acme/words"] == COMMIT


def test_a_wrong_layout_says_what_was_expected(local_hub: Any) -> None:
    local_hub.json_lines("acme/words/other.jsonl", words(10))
    with pytest.raises(UserError) as caught:
        _ = Words().version
    for said in ("words: the folder", "words.jsonl with word", "acme/words/words.jsonl", "TCX_DATA"):
        assert said in str(caught.value)


def test_too_few_rows(local_hub: Any) -> None:
    local_hub.json_lines("acme/words/words.jsonl", words(3))
    with pytest.raises(UserError, match=r"words: the \w+ split has no items"):
        Words().split("train")


@pytest.mark.parametrize("repo", ["openai/gsm8k", "GAIR/lima"])
def test_a_row_without_a_value_is_told_in_one_message(local_hub: Any, repo: str) -> None:
    local_hub.json_lines("openai/gsm8k/main/train.jsonl", [{"question": f"{n}?", "answer": None} for n in range(30)])
    local_hub.json_lines("openai/gsm8k/main/test.jsonl", [{"question": "Why?", "answer": "#### 1"}])
    local_hub.json_lines("GAIR/lima/train.jsonl", [{"conversations": [f"Ask {n}?", None]} for n in range(30)])
    task: HubTask = {"openai/gsm8k": Gsm8k, "GAIR/lima": Lima}[repo]()
    with pytest.raises(UserError, match=f"a row of {repo} has no value, or one of another kind"):
        task.split("train")


@pytest.mark.parametrize("note", ['{"patterns": ["wor', "[]", "{}"])
def test_a_damaged_note_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: str) -> None:
    put_into_the_cache(tmp_path, monkeypatch, words(10))
    hub.commit_folder("acme/words", COMMIT).with_suffix(".json").write_text(note)
    with pytest.raises(UserError, match="lacks every file; `tcx prefetch GRID`"):
        hub.data_folder("acme/words", ["words.jsonl"])


class TestLocalFolder:
    """TCX_DATA: which repositories it stands in for."""

    def test_only_those_that_are_there(self, local_hub: Any) -> None:
        local_hub.json_lines("acme/words/words.jsonl", words(10))
        assert hub.local_folder("acme/words") == local_hub.folder.resolve() / "acme/words"
        assert hub.local_folder("acme/other") is None
        assert hub.repos_of(Words()) == ()

    def test_it_wins_over_a_locked_commit(self, local_hub: Any) -> None:
        local_hub.json_lines("acme/words/words.jsonl", words(10))
        hub.pin({"acme/words": COMMIT}, may_download=False)
        assert hub.data_folder("acme/words", ["words.jsonl"]) == local_hub.folder.resolve() / "acme/words"

    def test_without_it_the_hub_is_read(self) -> None:
        assert hub.local_folder("acme/words") is None
        assert hub.repos_of(Words()) == ("acme/words",)

    def test_no_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TCX_DATA", str(tmp_path / "nowhere"))
        with pytest.raises(UserError, match=r"TCX_DATA is .*nowhere.*, which is no folder"):
            hub.local_folder("acme/words")
