"""Task `gsm8k-metamath`: descendants of scored questions are gone, whatever was made of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.protocols import SPLITS, Example
from pipeline.tasks.gsm8k import Gsm8k
from pipeline.tasks.gsm8k_metamath import METAMATH, Gsm8kMetamath
from pipeline.tasks.splits import normalised

NUM_TRAIN, NUM_TEST = 40, 10
KINDS = ("AnsAug", "Rephrased", "SV", "FOBAR")


def gsm8k_rows(count: int, first: int) -> list[dict[str, str]]:
    return [
        {"question": f"Ada has {n} pens and buys 2 more.  How many?", "answer": f"{n}+2={n + 2}\n#### {n + 2}"}
        for n in range(first, first + count)
    ]


def descendants(row: dict[str, str]) -> list[dict[str, str]]:
    """One of each kind. The original is told by another case and other blanks than GSM8K has, as may be."""
    original = row["question"].replace("  ", " ").upper()
    queries = (row["question"], f"[{row['answer']}] asked anew", "Ada has x pens ...", "... what is the value of x?")
    return [
        {
            "type": f"GSM_{kind}",
            "query": query,
            "response": f"It is so.\n\n{row['answer']}\nThe answer is: {row['answer'].split()[-1]}",
            "original_question": original,
        }
        for kind, query in zip(KINDS, queries, strict=True)
    ]


@pytest.fixture
def task(local_hub: Any) -> Gsm8kMetamath:
    train, test = gsm8k_rows(NUM_TRAIN, 0), gsm8k_rows(NUM_TEST, 1000)
    local_hub.json_lines("openai/gsm8k/main/train.jsonl", train)
    local_hub.json_lines("openai/gsm8k/main/test.jsonl", test)
    rows = [made for row in (*train, *test) for made in descendants(row)]
    rows.append(
        {
            "type": "MATH_AnsAug",
            "query": "What is $1/2$?",
            "response": "The answer is: $1/2$",
            "original_question": "What is $1/2$?",
        }
    )
    local_hub.path("meta-math/MetaMathQA/MetaMathQA-395K.json").write_text(json.dumps(rows))
    return Gsm8kMetamath()


def test_splits(task: Gsm8kMetamath, check_task: Any) -> None:
    validation = NUM_TRAIN // 5
    check_task(task, {"train": 4 * (NUM_TRAIN - validation) + 1, "validation": validation, "test": NUM_TEST})
    assert task.version != task.plain_version


def test_no_descendant_of_a_scored_question_is_left(task: Gsm8kMetamath) -> None:
    scored = {item.input["question"] for name in ("validation", "test") for item in task.split(name)}
    answers = {f"#### {int(question.split()[2]) + 2}" for question in scored}
    kept = [item.target.split("\n")[-2] for item in task.split("train") if "####" in item.target]
    assert not answers & set(kept)
    assert sorted(kept) == sorted(4 * list(set(kept)))  # all four kinds of every other question are there


def test_published_rows_without_the_origins_are_refused(task: Gsm8kMetamath) -> None:
    """With another spelling of the origins nothing would be left out, and nobody would see it."""
    of_gsm8k = {"train": gsm8k_rows(NUM_TRAIN, 0), "test": gsm8k_rows(NUM_TEST, 1000)}
    row = {"query": "What is 1/2?", "response": "The answer is: 1/2", "original_question": "(see the other file)"}
    with pytest.raises(UserError, match="only 0 of 8 validation questions are an original_question"):
        task.make_splits({"metamath": [row] * METAMATH.num_rows, **of_gsm8k})


def test_scored_items_are_those_of_gsm8k(task: Gsm8kMetamath) -> None:
    for name in ("validation", "test"):
        assert task.split(name) == Gsm8k().split(name)
    questions = {normalised(item.input["question"]) for name in SPLITS for item in task.split(name)}
    assert "what is 1 2" in questions


def test_score() -> None:
    target = Example(input={"question": ""}, target="48+24=72\n#### 72")
    assert Gsm8kMetamath().score("48+24=72\n#### 72\nThe answer is: 72", target) == {"accuracy": [1, 1]}
    assert Gsm8kMetamath().score("The answer is: 73", target) == {"accuracy": [0, 1]}
