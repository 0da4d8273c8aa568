"""Targets as they are given, and what they stand for on each task."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.reduce import reduce_studies
from pipeline.reduce.targets import DEFAULT_TARGETS

from .conftest import MakeStudy, Row, imported_row, shard_row

Found = dict[tuple[str, bool], list[tuple[str, float, float | None]]]


def two_tasks() -> list[Row]:
    """Floors, and two families of one model; of the second task only one family; counts are of 20 items."""
    return [
        shard_row("floor", family="trivial", view="floor", length_bytes=100, validation=2, test=1),
        shard_row("icl", length_bytes=200, validation=8, test=9),
        shard_row("subset", family="subset", view="data", length_bytes=450, validation=18, test=16),
        shard_row("other icl", task="other", length_bytes=200, validation=4, test=5),
    ]


def targets_of(folder: Path, targets: list[float | str] | None) -> Found:
    """Name, performance and fraction of the targets by task and origin, in the order of the table."""
    found: Found = {}
    for row in reduce_studies([folder], targets=targets).complexity.to_pylist():
        if row["scope"] == "all":
            entry = row["target_name"], row["target_performance"], row["target_fraction"]
            found.setdefault((row["task"], row["is_imported"]), []).append(entry)
    return found


def test_every_form(make_study: MakeStudy) -> None:
    study = make_study([*two_tasks(), imported_row("theirs", 1000, 30.0)])
    found = targets_of(study.folder, [20, "42.5", "75%", "tiny", "tiny/icl"])
    assert found["sums", False] == [
        ("20", 20.0, None),
        ("42.5", 42.5, None),
        ("75%", 70.0, 0.75),  # from the floor's 10 to the best 90
        ("tiny", 90.0, None),
        ("tiny/icl", 40.0, None),
    ]
    assert found["other", False][2:] == [("75%", 20.0, 0.75), ("tiny", 20.0, None), ("tiny/icl", 20.0, None)]
    assert found["sums", True][3:] == [("tiny", 30.0, None), ("tiny/icl", 30.0, None)]


def test_a_program_that_one_task_lacks_is_no_target_there(make_study: MakeStudy) -> None:
    found = targets_of(make_study(two_tasks()).folder, ["tiny/subset"])
    assert found == {("sums", False): [("tiny/subset", 90.0, None)]}


def test_the_program_that_is_named_reaches_its_target(make_study: MakeStudy) -> None:
    rows = reduce_studies([make_study(two_tasks()).folder], targets=["tiny/icl"]).complexity.to_pylist()
    (row,) = [row for row in rows if row["scope"] == "all" and row["task"] == "sums"]
    assert (row["task_complexity_bits"], row["family"]) == (1600, "icl")


def test_a_model_whose_name_has_a_slash(make_study: MakeStudy) -> None:
    rows = [
        shard_row("a", model="lab/tiny", validation=8),
        shard_row("b", model="lab/tiny", family="lora", validation=9),
    ]
    found = targets_of(make_study(rows).folder, ["lab/tiny", "lab/tiny/icl"])
    assert [performance for _, performance, _ in found["sums", False]] == [45.0, 40.0]


def test_equal_targets_stand_once(make_study: MakeStudy) -> None:
    found = targets_of(make_study(two_tasks()).folder, [20, "20", "20.0"])
    assert found["sums", False] == [("20", 20.0, None)]


def test_default_targets_are_named_by_their_fractions(make_study: MakeStudy) -> None:
    found = targets_of(make_study(two_tasks()).folder, None)
    assert [name for name, _, _ in found["sums", False]] == list(DEFAULT_TARGETS)
    # Of equal ones the highest fraction stands: the only program of this task is its best and its worst.
    assert found["other", False] == [("100%", 20.0, 1.0)]


@pytest.mark.parametrize("given", ["101%", "-1%", "%", "nan", "inf", "", "tyny/icl", "tiny/lora"])
def test_bad_targets_are_told_in_one_message(make_study: MakeStudy, given: str) -> None:
    with pytest.raises(UserError, match="a target is a number") as caught:
        reduce_studies([make_study(two_tasks()).folder], targets=[given])
    assert repr(given) in str(caught.value)


def test_near_matches(make_study: MakeStudy) -> None:
    folder = make_study(two_tasks()).folder
    with pytest.raises(UserError, match="did you mean tiny/icl"):
        reduce_studies([folder], targets=["tyny/icl"])
    with pytest.raises(UserError, match="models here: tiny;"):
        reduce_studies([folder], targets=["xxxxxxxx"])
