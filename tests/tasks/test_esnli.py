"""Task `esnli`: both layouts, the label of an output, and pairs that are in two splits."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.protocols import Example
from pipeline.tasks.esnli import LABELS, Esnli, stated_label


def rows(split: str, count: int) -> list[dict[str, Any]]:
    return [
        {
            "premise": f"A {split} dog runs {n} miles.",
            "hypothesis": f"An animal\nmoves ({n}).",
            "label": n % 3,
            "explanation_1": f"A dog is an animal {n}",
            "explanation_2": "unused",
        }
        for n in range(count)
    ]


def sheet(row: dict[str, Any]) -> dict[str, Any]:
    """The same row as the published CSV files have it."""
    return {
        "gold_label": LABELS[row["label"]],
        "Sentence1": row["premise"],
        "Sentence2": row["hypothesis"],
        "Explanation_1": row["explanation_1"],
    }


def write(local_hub: Any, layout: str, train: list[dict[str, Any]]) -> Esnli:
    validation, test = rows("dev", 9), rows("test", 12)
    if layout == "csv":
        local_hub.csv("esnli/esnli/esnli_train_1.csv", [sheet(row) for row in train[:20]])
        local_hub.csv("esnli/esnli/esnli_train_2.csv", [sheet(row) for row in train[20:]])
        local_hub.csv("esnli/esnli/esnli_dev.csv", [sheet(row) for row in validation])
        local_hub.csv("esnli/esnli/esnli_test.csv", [sheet(row) for row in test])
    else:
        for name, part in (("train", train), ("validation", validation), ("test", test)):
            local_hub.parquet(f"esnli/esnli/plain_text/{name}/0000.parquet", part)
    return Esnli()


@pytest.mark.parametrize("layout", ["csv", "parquet"])
def test_splits(local_hub: Any, check_task: Any, layout: str) -> None:
    task = write(local_hub, layout, rows("train", 30))
    assert task.version != 1
    check_task(task, {"train": 30, "validation": 9, "test": 12})
    example = next(item for item in task.split("train") if "runs 4 miles" in item.input["premise"])
    assert example.target == "A dog is an animal 4. So the answer is neutral."
    assert example.input == {"premise": "A train dog runs 4 miles.", "hypothesis": "An animal moves (4)."}


def test_both_layouts_are_the_same_items(local_hub: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(local_hub, "csv", rows("train", 30)).split("train")
    other = type(local_hub)(tmp_path / "other")
    monkeypatch.setenv("TCX_DATA", str(tmp_path / "other"))
    assert write(other, "parquet", rows("train", 30)).split("train") == first


def test_shared_pairs_and_missing_explanations_are_left_out(local_hub: Any, check_task: Any) -> None:
    train = rows("train", 30)
    train[3] |= {key: rows("test", 1)[0][key] for key in ("premise", "hypothesis")}
    train[5]["explanation_1"] = " "
    check_task(write(local_hub, "csv", train), {"train": 28, "validation": 9, "test": 12})


def test_an_unknown_label(local_hub: Any) -> None:
    train = rows("train", 30)
    train[7]["label"] = -1
    with pytest.raises(UserError, match="a row has the label -1; allowed: entailment"):
        write(local_hub, "parquet", train).split("train")


@pytest.mark.parametrize(
    ("output", "label"),
    [
        ("A dog is an animal. So the answer is entailment.", "entailment"),
        ("The answer is: **Neutral**", "neutral"),
        ("The answer is 'contradiction'", "contradiction"),
        ("The answer is neutral. The answer is entailment.", "neutral"),
        ("It is no contradiction, so the answer is neutral", "neutral"),
        ("neutral", "neutral"),
        (" Contradiction.\n", "contradiction"),
        ("This is neutral, not entailment", None),
        ("neutral\nentailment", "neutral"),
        ("The answer is yes", None),
        ("neutrally", None),
        ("", None),
    ],
)
def test_stated_label(output: str, label: str | None) -> None:
    assert stated_label(output) == label


def test_score() -> None:
    example = Example(input={"premise": "", "hypothesis": ""}, target="So. So the answer is neutral.")
    assert Esnli().score("I guess. So the answer is neutral", example) == {"accuracy": [1, 1]}
    assert Esnli().score("I guess. So the answer is entailment", example) == {"accuracy": [0, 1]}
    stating = Example(input={}, target="Some say the answer is entailment. So the answer is neutral.")
    assert Esnli().score("So the answer is neutral.", stating) == {"accuracy": [1, 1]}
    assert Esnli().score("So the answer is entailment.", stating) == {"accuracy": [0, 1]}
    assert Esnli().score("I do not know.", stating) == {"accuracy": [0, 1]}
