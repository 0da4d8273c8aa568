"""Task `chain-sum`: the data that reasoning-gym makes, and the scorer."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

import pytest

from pipeline.protocols import SPLITS, Example, Split
from pipeline.tasks.chain_sum import TASK

Digest = Callable[[Sequence[Example]], str]
VERSIONS = {"reasoning_gym": "0.1.25"}
DIGESTS: dict[Split, tuple[int, str]] = {
    "train": (2000, "de7493d508dee965"),
    "validation": (300, "d957c3b688a27097"),
    "test": (500, "29a1015013d34da9"),
}


@pytest.mark.parametrize("name", SPLITS)
def test_data_have_not_changed(name: Split, digest: Digest) -> None:
    installed = {package: version(package) for package in VERSIONS}
    items = TASK.split(name)
    assert (len(items), digest(items)) == DIGESTS[name], (
        f"the items changed (digests made with {VERSIONS}, installed {installed}): raise the version of the task"
    )


def test_targets_are_the_values() -> None:
    for name in SPLITS:
        for item in TASK.split(name):
            left, operator, right = item.input["sum"].split()
            value = int(left) + int(right) if operator == "+" else int(left) - int(right)
            assert item.target == str(value)


def test_no_sum_occurs_twice() -> None:
    """A sum and its turned-round form are the same sum; a difference and its turned-round form are not."""
    seen = set()
    for name in SPLITS:
        for item in TASK.split(name):
            left, operator, right = item.input["sum"].split()
            seen.add((operator, *(sorted((left, right)) if operator == "+" else (left, right))))
    assert len(seen) == sum(len(TASK.split(name)) for name in SPLITS)


@pytest.mark.parametrize("name", SPLITS)
def test_prefixes_are_fair(name: Split) -> None:
    """One-digit sums and differences are as frequent in the first fifth as in all splits, to 4 standard errors."""
    everything = [item for split in SPLITS for item in TASK.split(split)]
    items = TASK.split(name)
    for property_of in (lambda item: len(item.input["sum"]) == 5, lambda item: "-" in item.input["sum"]):
        share = sum(map(property_of, everything)) / len(everything)
        for part in (items[: len(items) // 5], items):
            found = sum(map(property_of, part)) / len(part)
            assert abs(found - share) < 4 * (share * (1 - share) / len(part)) ** 0.5


def test_fields() -> None:
    for item in TASK.split("train"):
        assert re.fullmatch(r"\d{1,2} [+-] \d{1,2}", item.input["sum"])
        assert TASK.stop not in item.input["sum"] + item.target
    assert TASK.template.format(sum="12 + 7") == "Calculate: 12 + 7 ="


@pytest.mark.parametrize(
    ("output", "target", "correct"),
    [
        (" 19\n", "19", 1),
        ("19", "19", 1),
        (" 19.", "19", 1),
        ("\n19", "19", 1),
        ("12 + 7 = 19", "19", 1),
        ("The answer is 19", "19", 1),
        ("19 because 12 and 7", "19", 1),
        ("019", "19", 1),
        ("-7", "-7", 1),
        ("−7", "-7", 1),
        ("12 - 19 = -7", "-7", 1),
        ("7", "-7", 0),
        ("190", "19", 0),
        ("19.5", "19", 0),
        ("12 + 7", "19", 0),
        ("20\n19", "19", 0),
        ("nineteen", "19", 0),
        ("", "19", 0),
    ],
)
def test_score(output: str, target: str, correct: int) -> None:
    assert TASK.score(output, Example(input={"sum": ""}, target=target)) == {"accuracy": [correct, 1]}


def test_import_is_light() -> None:
    code = "import sys, pipeline.tasks.chain_sum; print({'reasoning_gym', 'sacrebleu', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
