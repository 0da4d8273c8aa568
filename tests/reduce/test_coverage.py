"""95% intervals hold the truth about so often in simulated studies, through the functions that reduce.

Few simulations, so that it takes seconds: `benchmarks/coverage.py` makes many, of more kinds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "coverage.py"
NUM_SIMULATIONS = 200

Coverage = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def coverage() -> Coverage:
    sizes = ["--simulations", str(NUM_SIMULATIONS), "--resamples", "400", "--items", "300"]
    chosen = ["--scenario", "dense", "--scenario", "twelve equal and unrelated, just below the target"]
    command = [sys.executable, str(BENCHMARK), "--json", "--rejected", *sizes, *chosen]
    found: Coverage = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


@pytest.mark.parametrize(
    "interval",
    [
        "test score",
        "difference at equal length",
        "task complexity",
        "reduction ratio",
        "dominance ratio",
        "dominance difference",
    ],
)
def test_dense_curves(coverage: Coverage, interval: str) -> None:
    assert 0.90 <= coverage["dense"][interval] <= 0.99


def test_corpus_metric(coverage: Coverage) -> None:
    assert 0.90 <= coverage["one program"]["test score, BLEU"] <= 0.99


def test_nearly_equal_programs(coverage: Coverage) -> None:
    """None of twelve equal programs reaches a target just above all of them: an upper end would be a false claim."""
    found = coverage["twelve equal and unrelated, just below the target"]
    assert found["task complexity"] >= 0.95
    assert 0.90 <= found["dominance ratio"] <= 0.99


def test_the_bootstrap_of_a_maximum_is_no_interval(coverage: Coverage) -> None:
    assert coverage["twelve equal, unrelated"]["score of the best of twelve: bootstrap of the maximum"] < 0.1
