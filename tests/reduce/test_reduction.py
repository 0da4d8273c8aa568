"""Shards in, tables out: small studies with every number computed by hand."""

from __future__ import annotations

from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UserError
from pipeline.metrics import METRICS
from pipeline.reduce import Reduction, reduce_studies, stream
from pipeline.reduce.reduction import TABLES

from .conftest import MakeStudy, Row, correct, shard_row, split_scores

TRAINED, TWIN = "tiny", "tiny@random-1"


def small_study() -> list[Row]:
    """One floor and three sizes of a trained model, two sizes of its twin; counts are of 20 items (5 points each)."""
    twin = {"model": TWIN, "model_identity": "2" * 64}
    return [
        shard_row("floor", family="trivial", view="floor", length_bytes=100, validation=2, test=1),
        shard_row("icl", length_bytes=200, budget_bytes=256, validation=8, test=9),
        shard_row("icl long", length_bytes=400, budget_bytes=512, validation=8, test=20),
        shard_row("subset", family="subset", view="data", length_bytes=450, budget_bytes=512, validation=18, test=16),
        shard_row("none", family="lora", view="parametric", status="infeasible", budget_bytes=128),
        shard_row("twin icl", **twin, length_bytes=210, budget_bytes=256, validation=1, test=2),
        shard_row(
            "twin subset",
            **twin,
            family="subset",
            view="data",
            length_bytes=500,
            budget_bytes=512,
            validation=4,
            test=3,
        ),
    ]


def rows_of(table: Any, **wanted: Any) -> list[Row]:
    """Rows of a table with these values."""
    return [row for row in table.to_pylist() if all(row[name] == value for name, value in wanted.items())]


@pytest.fixture
def reduction(make_study: MakeStudy) -> Reduction:
    return reduce_studies([make_study(small_study()).folder])


def test_points(reduction: Reduction) -> None:
    points = {row["family"] + row["model"]: row for row in reduction.points.to_pylist()}
    assert reduction.points.num_rows == 7
    subset = points["subset" + TRAINED]
    assert (subset["validation_performance"], subset["test_performance"]) == (90.0, 80.0)
    assert (subset["test_low"], subset["test_high"]) == pytest.approx((58.4, 91.9), abs=0.1)
    assert subset["test_num_items"] == 20
    assert subset["test_other_metrics"] == '{"chrf++":40}'
    infeasible = points["lora" + TRAINED]
    assert infeasible["status"] == "infeasible" and infeasible["status_reason"] == "over budget"
    assert infeasible["program_length_bits"] is infeasible["test_performance"] is infeasible["test_low"] is None
    assert [row["is_floor"] for row in points.values()].count(True) == 1


def members(reduction: Reduction, model: str, scope: str) -> list[tuple[int, float, float]]:
    return [
        (row["program_length_bits"] // 8, row["performance"], row["test_performance"])
        for row in rows_of(reduction.frontier, model=model, scope=scope)
    ]


def test_frontier_is_chosen_on_validation_and_shown_at_test(reduction: Reduction) -> None:
    # `icl long` has the best test score, and is no member: its validation score equals that of a shorter program.
    assert members(reduction, TRAINED, "all") == [(100, 10, 5), (200, 40, 45), (450, 90, 80)]


def test_floor_is_a_candidate_of_every_model(reduction: Reduction) -> None:
    assert members(reduction, TWIN, "all") == [(100, 10, 5), (500, 20, 15)]
    assert members(reduction, TWIN, "family:icl") == [(210, 5, 10)]
    assert members(reduction, TWIN, "family:trivial") == []


def test_scopes(reduction: Reduction) -> None:
    assert members(reduction, TRAINED, "view:inference") == [(200, 40, 45)]
    assert members(reduction, TRAINED, "view:floor") == [(100, 10, 5)]
    scopes = set(reduction.frontier["scope"].to_pylist())
    families, views = ("trivial", "icl", "subset"), ("floor", "inference", "data")
    assert scopes == {"all", *(f"family:{name}" for name in families), *(f"view:{name}" for name in views)}


def test_default_targets_and_complexity(reduction: Reduction) -> None:
    # From the floor's 10 to the best 90.
    rows = rows_of(reduction.complexity, scope="all", model=TRAINED)
    assert [(row["target_fraction"], row["target_performance"]) for row in rows] == [
        (0.25, 30), (0.5, 50), (0.75, 70), (0.9, 82), (1.0, 90),
    ]  # fmt: skip
    assert [row["task_complexity_bits"] for row in rows] == [1600, 3600, 3600, 3600, 3600]
    assert [row["test_performance"] for row in rows] == [45, 80, 80, 80, 80]
    for row in rows_of(reduction.complexity, scope="all", model=TWIN):
        assert not row["is_reached"]
        assert row["task_complexity_bits"] is row["test_performance"] is None
        assert row["largest_program_bits"] == 4000


def test_given_targets(make_study: MakeStudy) -> None:
    reduction = reduce_studies([make_study(small_study()).folder], targets=[5.0, 15.0])
    found = {
        (row["model"], row["target_performance"]): row["task_complexity_bits"]
        for row in rows_of(reduction.complexity, scope="all")
    }
    assert found == {(TRAINED, 5.0): 800, (TRAINED, 15.0): 1600, (TWIN, 5.0): 800, (TWIN, 15.0): 4000}
    ratios = rows_of(reduction.reduction, scope="all", target_performance=15.0)
    assert {(row["model"], row["ratio"], row["is_lower_bound"]) for row in ratios} == {
        (TRAINED, 2.5, False),
        (TWIN, 0.4, False),
    }


def test_reduction_is_a_lower_bound_where_the_reference_fails(reduction: Reduction) -> None:
    (row,) = rows_of(reduction.reduction, scope="all", target_fraction=0.25)
    assert (row["model"], row["reference_model"]) == (TRAINED, TWIN)
    assert row["reference_complexity_bits"] is None
    assert row["ratio"] == 4000 / 1600 and row["is_lower_bound"]


def test_both_unreached_gives_no_ratio(make_study: MakeStudy) -> None:
    reduction = reduce_studies([make_study(small_study()).folder], targets=[99.0])
    assert reduction.reduction.num_rows == 0


def test_contrast(reduction: Reduction) -> None:
    rows = rows_of(reduction.contrast, model=TRAINED)
    assert [(row["max_length_bits"] // 8, row["difference"]) for row in rows] == [
        (100, 0), (200, 40), (450, 75), (500, 65), (512, 65),
    ]  # fmt: skip
    assert [row["is_largest_common"] for row in rows] == [False, False, False, False, True]
    # The first 3 items are right under both, the next 13 under one: 65 is the mean of 13 in 20 items.
    summary = rows[-1]
    assert summary["difference_low"] == pytest.approx(45, abs=5.01)
    assert summary["difference_high"] == pytest.approx(85, abs=5.01)
    same = rows[0]
    # No item tells them apart: how far others would is not known.
    assert (same["difference_low"], same["difference_high"]) == (None, None)
    mirrored = rows_of(reduction.contrast, model=TWIN)[-1]
    assert mirrored["difference"] == -65
    assert (mirrored["difference_low"], mirrored["difference_high"]) == pytest.approx(
        (-summary["difference_high"], -summary["difference_low"])
    )


def test_contrast_is_paired(make_study: MakeStudy) -> None:
    """Two programs that are right on the same items but one: an unpaired interval would be tens of points wide."""
    other = {"model": "other", "model_identity": "2" * 64}
    rows = [shard_row("a", test=correct(200, 400)), shard_row("b", **other, test=correct(201, 400))]
    (row,) = rows_of(reduce_studies([make_study(rows).folder]).contrast, model="other")
    assert row["difference"] == 0.25
    assert row["difference_low"] == 0 and row["difference_high"] < 1.1


def test_lower_is_better(make_study: MakeStudy) -> None:
    lower = {"higher_is_better": False, "metric": "errors"}
    rows = [
        shard_row("floor", **lower, view="floor", family="trivial", length_bytes=100, validation=20, test=20),
        shard_row("good", **lower, length_bytes=200, validation=4, test=5),
        shard_row("bad", **lower, length_bytes=300, validation=6, test=1),
    ]
    reduction = reduce_studies([make_study(rows).folder])
    assert members(reduction, TRAINED, "all") == [(100, 100, 100), (200, 20, 25)]
    complexity = rows_of(reduction.complexity, scope="all")
    assert [row["target_performance"] for row in complexity] == [80, 60, 40, 28, 20]
    assert {row["task_complexity_bits"] for row in complexity} == {1600}
    # A metric that this version does not know: scores, and no interval.
    assert reduction.points["test_low"].null_count == 3


def test_corpus_metric_has_bootstrap_intervals(make_study: MakeStudy) -> None:
    items = [(10, 10, 8, 6, 4, 2 + number % 2, 10, 9, 8, 7) for number in range(20)]
    performance = float(METRICS["bleu"].aggregate([sum(column) for column in zip(*items, strict=True)]))
    rows = [shard_row("a", metric="bleu", test=split_scores(items, performance))]
    (point,) = reduce_studies([make_study(rows).folder]).points.to_pylist()
    assert point["test_low"] < point["test_performance"] < point["test_high"]


def test_select_test_is_marked_and_has_no_intervals(make_study: MakeStudy) -> None:
    reduction = reduce_studies([make_study(small_study()).folder], select="test")
    assert members(reduction, TRAINED, "all") == [(100, 5, 5), (200, 45, 45), (400, 100, 100)]
    for name in TABLES:
        table = getattr(reduction, name)
        assert set(table["select"].to_pylist()) <= {"test"}
    assert reduction.frontier["test_low"].null_count == reduction.frontier.num_rows
    assert reduction.points["test_high"].null_count == reduction.points.num_rows
    assert reduction.contrast["difference_low"].null_count == reduction.contrast.num_rows


def test_seeds_have_scopes_of_their_own(make_study: MakeStudy) -> None:
    rows = [shard_row("floor", view="floor", family="trivial", validation=1)]
    rows += [shard_row(f"seed {seed}", seed=seed, length_bytes=200, validation=10 + seed) for seed in (1, 2)]
    reduction = reduce_studies([make_study(rows).folder])
    assert [row[1] for row in members(reduction, TRAINED, "seed:1")] == [5, 55]
    assert [row[1] for row in members(reduction, TRAINED, "seed:2")] == [5, 60]
    assert [row[1] for row in members(reduction, TRAINED, "all")] == [5, 60]


def test_what_cannot_be_compared_gets_labels_of_its_own(make_study: MakeStudy) -> None:
    rows = [
        shard_row("a"),
        shard_row("b", task_version=2),
        shard_row("c", task="other", validation_items=20),
        shard_row("d", task="other", model_identity="2" * 64, validation_items=20),
    ]
    points = reduce_studies([make_study(rows).folder]).points
    assert set(points["task"].to_pylist()) == {"sums v1 all/all", "sums v2 all/all", "other"}
    assert set(points["model"].to_pylist()) == {"tiny (11111111)", "tiny (22222222)"}


def test_infeasible_only(make_study: MakeStudy) -> None:
    reduction = reduce_studies([make_study([shard_row("a", status="infeasible")]).folder], targets=[50.0])
    assert reduction.complexity["scope"].to_pylist() == ["all", "family:icl", "view:inference"]
    for row in reduction.complexity.to_pylist():
        assert row["task_complexity_bits"] is row["largest_program_bits"] is None
        assert not row["is_reached"] and row["num_programs"] == 0
    assert reduction.frontier.num_rows == reduction.contrast.num_rows == 0


def test_several_folders_are_one_study(make_study: MakeStudy) -> None:
    rows = small_study()
    whole = reduce_studies([make_study(rows, name="whole").folder])
    first, second = make_study(rows[:4], name="first"), make_study(rows[4:], name="second")
    parts = reduce_studies([first.folder, second.folder], out=first.folder.parent / "out")
    assert parts.frontier.equals(whole.frontier) and parts.contrast.equals(whole.contrast)
    assert parts.study.curves.is_dir() and not first.curves.exists()


def test_files(reduction: Reduction) -> None:
    for name in TABLES:
        table = getattr(reduction, name)
        assert pq.ParquetFile(reduction.study.table_path(name, "parquet")).read().equals(table)
        assert pyarrow.csv.read_csv(reduction.study.table_path(name, "csv")).num_rows == table.num_rows
    assert "path" not in reduction.points.schema.names and "predictions" not in reduction.points.schema.names


def test_no_spreadsheet_of_very_many_points(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(small_study())
    path = reduce_studies([study.folder]).study.table_path("points", "csv")
    assert path.is_file()
    monkeypatch.setattr(stream, "CSV_POINTS", 6)
    assert reduce_studies([study.folder]).points.num_rows == 7
    assert not path.exists()
    assert "7 points: points.parquet only, no points.csv above 6" in capsys.readouterr().err


def test_same_bytes_when_reduced_twice(reduction: Reduction) -> None:
    before = {path.name: path.read_bytes() for path in reduction.study.curves.iterdir()}
    reduce_studies([reduction.study.folder])
    assert before == {path.name: path.read_bytes() for path in reduction.study.curves.iterdir()}


def test_bad_input(make_study: MakeStudy) -> None:
    with pytest.raises(UserError, match="no study folder"):
        reduce_studies([])
    with pytest.raises(UserError, match="allowed are validation and test"):
        reduce_studies([make_study([]).folder], select="train")  # type: ignore[arg-type]
