"""The frontiers of a stream of points are those of all points at once."""

from __future__ import annotations

import hashlib
import itertools
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.reduce import candidates as module
from pipeline.reduce.candidates import Candidates
from pipeline.reduce.curves import build_curves, curves_of, scores_of, task_scores
from pipeline.reduce.frontier import frontier_candidates, pareto_frontier
from pipeline.reduce.labels import distinct_labels
from pipeline.reduce.points import POINTS

Row = dict[str, Any]
COLUMNS = pa.schema([*POINTS, ("path", pa.string())])

NONE = np.zeros(0, np.int64)

programs = st.tuples(st.integers(0, 3), st.integers(1, 6), st.integers(0, 5))


@given(st.lists(programs, max_size=40), st.booleans())
@settings(deadline=None)
def test_frontier_of_what_the_filter_leaves_is_the_frontier(found: list[tuple[int, int, int]], higher: bool) -> None:
    rows = [
        {
            "cell_id": f"{place:03}",
            "program_sha256": f"{place * 7 % 5}",
            "program_length_bits": length,
            "score": float(score),
            "higher_is_better": higher,
            "group": group,
        }
        for place, (group, length, score) in enumerate(found)
    ]
    groups, lengths, scores = (
        np.array([row[name] for row in rows]) for name in ("group", "program_length_bits", "score")
    )
    places = frontier_candidates(
        groups.astype(np.int64), lengths.astype(np.int64), scores.astype(np.float64) * (1 if higher else -1)
    )
    left = [rows[place] for place in places]
    for chosen in ({0}, {1}, {2, 3}, {0, 1, 2, 3}):
        whole = pareto_frontier([row for row in rows if row["group"] in chosen], "score")
        assert pareto_frontier([row for row in left if row["group"] in chosen], "score") == whole
    # Nothing stays that is beaten in its own group.
    for row in left:
        of_group = [it for it in rows if it["group"] == row["group"]]
        best = pareto_frontier(of_group, "score")
        assert any(
            (it["program_length_bits"], it["score"]) == (row["program_length_bits"], row["score"]) for it in best
        )


def some_points(chance: random.Random) -> list[Row]:
    """Points of two tasks, two models and four families, many of them equal in length or score, or without one."""
    families = [("trivial", "floor"), ("icl", "inference"), ("urial", "inference"), ("lora", "parametric")]
    rows = []
    for number in range(chance.randint(1, 60)):
        task = chance.choice(["sums", "words"])
        family, view = chance.choice(families)
        is_imported = chance.random() < 0.1
        length = chance.choice([None, 1, 2, 3, 4, 5, 6])
        score = chance.choice([None, 0, 1, 2, 3, 4, 5]) if length else None
        row: Row = dict.fromkeys(COLUMNS.names) | {
            "cell_id": hashlib.sha256(str(number).encode()).hexdigest(),
            "task": task,
            "task_version": 1,
            "model": chance.choice(["tiny", "twin"]),
            "family": family,
            "view": view,
            "is_floor": view == "floor",
            "seed": None if view == "floor" else chance.choice([None, 1, 2]),
            "status": "imported" if is_imported else "ok" if length else "infeasible",
            "select": "test" if is_imported else "validation",
            "budget_bytes": chance.choice([None, 1, 2, 3]),
            "program_length_bits": length and 8 * length,
            # One program has one length and one score.
            "program_sha256": f"{chance.randrange(5)}{length}{score}" if length and not is_imported else None,
            "metric": "accuracy" if length else None,
            "higher_is_better": (task == "sums") if length else None,
            "validation_performance": None if is_imported or score is None else float(score),
            "test_performance": None if score is None else float(score if is_imported else score % 3),
            "path": "somewhere",
        }
        rows.append(row)
    return sorted(rows, key=lambda row: str(row["cell_id"]))


@pytest.mark.parametrize("select", ["validation", "test"])
@pytest.mark.parametrize("seed", range(25))
def test_stream(seed: int, select: str) -> None:
    chance = random.Random(seed)
    rows = some_points(chance)
    table = pa.Table.from_pylist(rows, schema=COLUMNS)
    ends = sorted({chance.randint(1, len(rows)) for _ in range(3)} | {len(rows)})
    found = Candidates(select)
    for start, end in itertools.pairwise([0, *ends]):
        found.add(table.slice(start, end - start))
    labels = distinct_labels(found.settings)
    sets = found.sets(labels)
    assert scores_of(sets, select) == task_scores(rows, select)
    curves = found.complete(curves_of(sets, select), labels)
    assert curves == build_curves(rows, select)


def test_many_waiting_candidates_are_united(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FEW", 2)
    rows: list[Row] = []
    for number in range(300):
        length, score = 8 * (1 + number * 7919 % 300), float(number * 104729 % 301)
        ids = {"cell_id": f"{number:064x}", "program_sha256": f"{number:064x}", "path": "somewhere"}
        same = {
            "task": "sums",
            "model": "tiny",
            "family": "icl",
            "view": "inference",
            "status": "ok",
            "is_floor": False,
        }
        scores = {"validation_performance": score, "test_performance": score, "metric": "m", "higher_is_better": True}
        rows.append(dict.fromkeys(COLUMNS.names) | ids | same | scores | {"program_length_bits": length})
    found = Candidates("validation")
    for start in range(0, 300, 10):
        found.add(pa.Table.from_pylist(rows[start : start + 10], schema=COLUMNS))
    labels = distinct_labels(found.settings)
    (curve, *_) = found.complete(curves_of(found.sets(labels), "validation"), labels)
    assert list(curve.frontier) == list(build_curves(rows, "validation")[0].frontier)
