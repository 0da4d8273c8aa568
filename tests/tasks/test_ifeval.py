"""Task `ifeval`: the published test prompts, made train and validation items, and the score."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import hub
from pipeline.errors import UserError
from pipeline.make_data.layout import MANIFEST, TRAIN, VALIDATION
from pipeline.metrics import METRICS
from pipeline.protocols import Example
from pipeline.tasks.from_file import read_task
from pipeline.tasks.ifeval import HUB_REPO, MADE_VARIABLE, SCORING, TASK
from pipeline.tasks.ifeval_checkers import Instructions

Digest = Callable[[Sequence[Example]], str]
NO_COMMA = Instructions.of(["punctuation:no_comma"], [{}]).text()


def write_made(folder: Path, train: list[tuple[str, str]], validation: list[str]) -> Path:
    """A data set as `tcx make-data` leaves it, as far as the task reads it."""
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist([{"prompt": p, "response": r} for p, r in train]), folder / TRAIN)
    pq.write_table(pa.Table.from_pylist([{"prompt": p, "target": NO_COMMA} for p in validation]), folder / VALIDATION)
    (folder / MANIFEST).write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's own settings."""
    monkeypatch.delenv(MADE_VARIABLE, raising=False)
    monkeypatch.delenv(hub.LOCAL_VARIABLE, raising=False)
    monkeypatch.setenv("TCX_CACHE", str(tmp_path / "cache"))


class TestPublishedPrompts:
    """The file of the package."""

    def test_counts(self) -> None:
        items = TASK.split("test")
        assert len(items) == len({item.input["prompt"] for item in items}) == 541
        assert sum(len(Instructions.from_text(item.target).ids) for item in items) == 834

    def test_data_have_not_changed(self, digest: Digest) -> None:
        assert digest(TASK.split("test")) == "ad3a9122aef22fa5"

    def test_a_fixed_reply_is_the_floor(self) -> None:
        """Counts of the official program for this reply to all prompts."""
        scores = [TASK.score("I do not know.", item) for item in TASK.split("test")]
        sums = {name: np.sum([score[name] for score in scores], axis=0).tolist() for name in TASK.metrics}
        assert sums["prompts-strict"] == [65, 541]
        assert {name: round(float(METRICS[name].aggregate(value)), 2) for name, value in sums.items()} == {
            "instructions-loose": 23.38,
            "instructions-strict": 23.38,
            "prompts-loose": 12.01,
            "prompts-strict": 12.01,
        }

    def test_no_prompt_ends_an_answer(self) -> None:
        assert not [item for item in TASK.split("test") if TASK.stop in item.input["prompt"]]

    @pytest.mark.parametrize("kwargs", [None, [{}, {}], [5]])
    def test_a_broken_row_of_a_local_copy(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kwargs: Any) -> None:
        path = tmp_path / HUB_REPO / "data.jsonl"
        path.parent.mkdir(parents=True)
        row = {"prompt": "Why?", "instruction_id_list": ["punctuation:no_comma"], "kwargs": kwargs}
        path.write_text(json.dumps(row))
        monkeypatch.setenv(hub.LOCAL_VARIABLE, str(tmp_path))
        with pytest.raises(UserError, match="no list of instructions with as many kwargs"):
            TASK.split("test")

    def test_a_local_copy_of_the_hub_has_nulls(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a file of columns an instruction has all arguments there are, most of them null."""
        rows = [json.loads(item.target) | {"prompt": item.input["prompt"]} for item in TASK.split("test")]
        for row in rows:
            row["kwargs"] = [{"num_words": None, "keywords": None, **one} for one in row["kwargs"]]
        write_copy(tmp_path, rows[::-1])
        expected = TASK.split("test")
        monkeypatch.setenv(hub.LOCAL_VARIABLE, str(tmp_path))
        assert TASK.split("test") == expected


def write_copy(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / HUB_REPO).mkdir(parents=True)
    text = "\n".join(json.dumps(row) for row in rows)
    (folder / HUB_REPO / "ifeval_input_data.jsonl").write_text(text, encoding="utf-8")


class TestMadeData:
    """Train and validation items."""

    def test_splits(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        train = [(f"Name a bird {number}.", f"Owl {number}") for number in range(20)]
        monkeypatch.setenv(MADE_VARIABLE, str(write_made(tmp_path / "made", train, ["Name a fish."])))
        assert sorted((item.input["prompt"], item.target) for item in TASK.split("train")) == sorted(train)
        assert [(dict(item.input), item.target) for item in TASK.split("validation")] == [
            ({"prompt": "Name a fish."}, NO_COMMA)
        ]

    def test_order_does_not_depend_on_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        train = [(f"Name a bird {number}.", f"Owl {number}") for number in range(20)]
        monkeypatch.setenv(MADE_VARIABLE, str(write_made(tmp_path / "one", train, ["Name a fish."])))
        first, version = TASK.split("train"), TASK.version
        monkeypatch.setenv(MADE_VARIABLE, str(write_made(tmp_path / "two", train[::-1], ["Name a fish."])))
        assert TASK.split("train") == first
        assert TASK.version == version

    def test_a_grid_can_be_counted_before_the_data_is_made(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(MADE_VARIABLE, str(tmp_path / "nothing"))
        assert TASK.version == SCORING
        with pytest.raises(UserError, match="make-data"):
            TASK.split("train")
        monkeypatch.setenv(
            MADE_VARIABLE, str(write_made(tmp_path / "made", [("Name a bird.", "Owl")], ["Name a fish."]))
        )
        assert TASK.version != SCORING

    @pytest.mark.parametrize(
        ("train", "validation"),
        [([("Name a bird.", "Eagle")], ["Name a fish."]), ([("Name a bird.", "Owl")], ["Name a cat."])],
    )
    def test_other_data_are_another_version(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: list[tuple[str, str]], validation: list[str]
    ) -> None:
        monkeypatch.setenv(
            MADE_VARIABLE, str(write_made(tmp_path / "one", [("Name a bird.", "Owl")], ["Name a fish."]))
        )
        version = TASK.version
        monkeypatch.setenv(MADE_VARIABLE, str(write_made(tmp_path / "two", train, validation)))
        assert TASK.version != version

    def test_other_test_prompts_are_another_version(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(
            MADE_VARIABLE, str(write_made(tmp_path / "one", [("Name a bird.", "Owl")], ["Name a fish."]))
        )
        version = TASK.version
        write_copy(tmp_path / "copies", [{"prompt": "Say hi."} | json.loads(NO_COMMA)])
        monkeypatch.setenv(hub.LOCAL_VARIABLE, str(tmp_path / "copies"))
        assert [item.input["prompt"] for item in TASK.split("test")] == ["Say hi."]
        assert TASK.version != version

    def test_without_them_the_message_says_how_to_make_them(self, tmp_path: Path) -> None:
        with pytest.raises(UserError) as caught:
            TASK.split("train")
        for words in ("tcx make-data", str(tmp_path / "cache"), MADE_VARIABLE):
            assert words in str(caught.value)

    def test_a_data_set_that_is_being_made_is_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = write_made(tmp_path / "made", [("Name a bird.", "Owl")], ["Name a fish."])
        (folder / MANIFEST).unlink()
        monkeypatch.setenv(MADE_VARIABLE, str(folder))
        with pytest.raises(UserError, match="no complete data set"):
            TASK.split("validation")

    def test_a_response_with_the_stop_text_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = write_made(tmp_path / "made", [("Name a bird.", "Owl<|im_end|>")], ["Name a fish."])
        monkeypatch.setenv(MADE_VARIABLE, str(folder))
        with pytest.raises(UserError, match="im_end"):
            TASK.split("train")


def test_score_counts_instructions_and_prompts() -> None:
    wanted = Instructions.of(["punctuation:no_comma", "startend:quotation"], [{}, {}])
    example = Example(input={"prompt": "Name two birds."}, target=wanted.text())
    assert TASK.score('Here:\n"Owl and crow."', example) == {
        "instructions-strict": [1, 2],
        "prompts-strict": [0, 1],
        "instructions-loose": [2, 2],
        "prompts-loose": [1, 1],
    }
    assert TASK.score("Owl, crow.", example)["instructions-loose"] == [0, 2]


def test_instructions_are_weighed_alike() -> None:
    """A prompt with three instructions counts three times: 3 of 4, not the mean of 1 and 0."""
    metric = METRICS["instructions-loose"]
    assert not metric.is_proportion
    assert float(metric.aggregate(np.sum([[3, 3], [0, 1]], axis=0))) == 75
    assert metric.per_item([[3, 3], [0, 1]]).tolist() == [100, 0]
    assert METRICS["prompts-strict"].is_proportion


def test_its_metrics_are_not_for_tasks_from_files(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("name: own\nmetrics: prompts-loose\n")
    with pytest.raises(UserError, match="unknown metric 'prompts-loose'"):
        read_task(tmp_path / "task.yaml")


def test_import_is_light() -> None:
    code = "import sys, pipeline.tasks.ifeval; print({'datasets', 'pyarrow', 'lm_eval', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
