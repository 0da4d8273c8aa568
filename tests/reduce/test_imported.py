"""Imported rows beside ours: in every table, on no common curve, and marked."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from pipeline.reduce import Reduction, reduce_studies
from pipeline.reduce.reduction import TABLES
from pipeline.reduce.terminal import print_reduction

from .conftest import MakeStudy, Row, imported_row, merge, shard_row

TRAINED, TWIN = "tiny", "tiny@random-1"


def published() -> list[Row]:
    """Four rows of the trained model, the third worse than a shorter one, and two of its twin."""
    return [
        imported_row("script", 1000, 4.0, family="baseline"),
        imported_row("one shot", 1301, 20.0),
        imported_row("two shots", 1703, 15.0),
        imported_row("examples", 9005, 60.0, family="subset", view="data"),
        imported_row("twin script", 1000, 0.0, model=TWIN, family="baseline"),
        imported_row("twin examples", 50_000, 20.0, model=TWIN, family="subset", view="data"),
    ]


def ours() -> list[Row]:
    """A floor, and two programs of the trained model."""
    return [
        shard_row("floor", family="trivial", view="floor", length_bytes=100, validation=2, test=1),
        shard_row("icl", length_bytes=150, validation=8, test=9),
        shard_row("subset", family="subset", view="data", length_bytes=900, validation=18, test=16),
    ]


def rows_of(table: Any, **wanted: Any) -> list[Row]:
    return [row for row in table.to_pylist() if all(row[name] == value for name, value in wanted.items())]


def members(reduction: Reduction, *, is_imported: bool, model: str = TRAINED) -> list[tuple[int, float, float]]:
    rows = rows_of(reduction.frontier, scope="all", model=model, is_imported=is_imported)
    return [(row["program_length_bits"], row["performance"], row["test_performance"]) for row in rows]


def printed(reduction: Reduction) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_reduction(reduction, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_imported_rows_alone_need_no_option(make_study: MakeStudy) -> None:
    reduction = reduce_studies([make_study(published()).folder])
    assert members(reduction, is_imported=True) == [(1000, 4, 4), (1301, 20, 20), (9005, 60, 60)]
    assert reduction.completeness.num_imported == 6
    assert reduction.completeness.num_planned == 0 and reduction.completeness.is_complete
    for name in TABLES:
        table = getattr(reduction, name)
        assert set(table["select"].to_pylist()) <= {"test"}
    for name in ("frontier", "complexity", "reduction", "contrast"):
        assert set(getattr(reduction, name)["is_imported"].to_pylist()) == {True}
    assert reduction.points["test_low"].null_count == reduction.points["validation_performance"].null_count == 6
    assert reduction.contrast["difference_low"].null_count == reduction.contrast.num_rows > 0


@pytest.mark.parametrize("in_one_folder", [True, False])
def test_beside_ours_on_no_common_frontier(make_study: MakeStudy, in_one_folder: bool) -> None:
    own, others = ours(), published()
    if in_one_folder:
        studies = [make_study([*own, *others], planned=own)]
    else:
        studies = [make_study(own, planned=own, name="ours"), make_study(others, name="published")]
    reduction = reduce_studies([study.folder for study in studies])
    # Ours are those that there would be without the others, and the other way round.
    alone = reduce_studies([make_study(own, name="alone").folder])
    assert members(reduction, is_imported=False) == members(alone, is_imported=False)
    assert members(reduction, is_imported=False) == [(800, 10, 5), (1200, 40, 45), (7200, 90, 80)]
    assert members(reduction, is_imported=True) == [(1000, 4, 4), (1301, 20, 20), (9005, 60, 60)]
    assert {(row["is_imported"], row["select"]) for row in reduction.frontier.to_pylist()} == {
        (False, "validation"),
        (True, "test"),
    }
    statuses = [(row["status"], row["select"]) for row in reduction.points.to_pylist()]
    assert statuses.count(("ok", "validation")) == 3 and statuses.count(("imported", "test")) == 6
    # The plan knows nothing of them, and they are not outside of it.
    completeness = reduction.completeness
    assert (completeness.num_planned, completeness.num_ok, completeness.num_imported) == (3, 3, 6)
    assert completeness.outside == () and completeness.is_complete


def test_no_floor_of_ours_is_lent_to_them(make_study: MakeStudy) -> None:
    reduction = reduce_studies([make_study([*ours(), *published()]).folder])
    assert members(reduction, is_imported=True, model=TWIN) == [(1000, 0, 0), (50_000, 20, 20)]
    assert rows_of(reduction.frontier, is_imported=True, family="trivial") == []


def test_targets_and_complexities_are_their_own(make_study: MakeStudy) -> None:
    reduction = reduce_studies([make_study([*ours(), *published()]).folder])
    targets = {
        is_imported: [
            row["target_performance"]
            for row in rows_of(reduction.complexity, scope="all", model=TRAINED, is_imported=is_imported)
        ]
        for is_imported in (False, True)
    }
    # From our floor's 10 to our best 90; from the worst published 0 to the best 60.
    assert targets == {False: [30, 50, 70, 82, 90], True: [15, 30, 45, 54, 60]}
    given = reduce_studies([make_study([*ours(), *published()], name="given").folder], targets=[20.0])
    found = {
        row["is_imported"]: row["task_complexity_bits"] for row in rows_of(given.complexity, scope="all", model=TRAINED)
    }
    assert found == {False: 1200, True: 1301}


def test_published_rows_that_are_equal_are_the_same_program(make_study: MakeStudy) -> None:
    folders = [make_study(published(), name=name).folder for name in ("one", "two")]
    completeness = reduce_studies(folders).completeness
    assert completeness.num_duplicates == len(published())
    assert all(it.is_same_program for it in completeness.duplicates)


def test_reduction_between_their_checkpoints(make_study: MakeStudy) -> None:
    reduction = reduce_studies([make_study([*ours(), *published()]).folder], targets=[20.0, 60.0])
    rows = rows_of(reduction.reduction, scope="all", model=TRAINED)
    assert [(row["is_imported"], row["select"], row["target_performance"]) for row in rows] == [
        (True, "test", 20.0),
        (True, "test", 60.0),
    ]
    assert [(row["ratio"], row["is_lower_bound"]) for row in rows] == [(50_000 / 1301, False), (50_000 / 9005, True)]


def test_contrasts_are_within_one_origin(make_study: MakeStudy) -> None:
    twin = shard_row("twin", model=TWIN, model_identity="2" * 64, length_bytes=900, validation=1, test=2)
    reduction = reduce_studies([make_study([*ours(), twin, *published()]).folder])
    lengths = {
        is_imported: {row["max_length_bits"] for row in rows_of(reduction.contrast, is_imported=is_imported)}
        for is_imported in (False, True)
    }
    assert lengths == {False: {800, 1200, 7200}, True: {1000, 1301, 9005, 50_000}}
    assert all(row["difference_low"] is None for row in rows_of(reduction.contrast, is_imported=True))
    own = [row["difference_low"] for row in rows_of(reduction.contrast, is_imported=False) if row["difference"]]
    assert own and None not in own


def test_names_stay_plain_beside_versions_and_identities(make_study: MakeStudy) -> None:
    rows = [*ours(), shard_row("newer", task_version=2), shard_row("other", model_identity="2" * 64), *published()]
    points = reduce_studies([make_study(rows).folder]).points
    imported = [row for row in points.to_pylist() if row["status"] == "imported"]
    assert {row["task"] for row in imported} == {"sums"} and {row["model"] for row in imported} == {TRAINED, TWIN}
    own = [row for row in points.to_pylist() if row["status"] == "ok"]
    assert {row["task"] for row in own} == {"sums v1 all/all", "sums v2 all/all"}
    assert {row["model"] for row in own} == {"tiny (11111111)", "tiny (22222222)"}


def test_what_is_printed(make_study: MakeStudy) -> None:
    text = printed(reduce_studies([make_study([*ours(), *published()], planned=ours()).folder]))
    assert "sums / tiny: frontier, accuracy\n" in text.replace(" \n", "\n").replace("  ", "")
    assert "sums / tiny: frontier, accuracy, imported" in text
    assert "sums: task complexity (accuracy on test), imported" in text
    assert "3 of 3 cells done" in text
    assert "6 imported rows: published lengths and test scores, without programs" in text
    assert "imported" not in printed(reduce_studies([make_study(ours(), name="ours").folder]))


def test_many_models_do_not_flood_the_terminal(make_study: MakeStudy) -> None:
    rows = [imported_row(f"model {number}", 1000, float(number), model=f"m{number:02}") for number in range(7)]
    text = printed(reduce_studies([make_study(rows).folder]))
    assert text.count(" is above ") == 10
    assert "... and 11 more, see contrast.csv" in text


def test_a_damaged_imported_shard_is_quarantined(make_study: MakeStudy) -> None:
    study = make_study(published())
    damaged = next(study.shard_files())
    damaged.write_bytes(damaged.read_bytes()[:-30])
    _, completeness = merge([study])
    assert completeness.num_imported == 5 and len(completeness.quarantined) == 1


def test_same_bytes_when_reduced_twice(make_study: MakeStudy) -> None:
    study = make_study([*ours(), *published()])
    reduce_studies([study.folder])
    before = {path.name: path.read_bytes() for path in study.curves.iterdir()}
    reduce_studies([study.folder])
    assert before == {path.name: path.read_bytes() for path in study.curves.iterdir()}
