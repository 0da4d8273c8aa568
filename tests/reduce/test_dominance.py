"""One set of programs against another: small studies with every number computed by hand."""

from __future__ import annotations

import math

import pytest

from pipeline.errors import UserError
from pipeline.reduce import reduce_studies
from pipeline.reduce.dominance import FamilyPair, parse_pair

from .conftest import MakeStudy, Row, correct, imported_row, shard_row

DATA = {"family": "subset", "view": "data"}


def programs(name: str, sizes: dict[int, int], **changes: object) -> list[Row]:
    """Programs by size in bytes, right on so many of 40 items on validation and on test."""
    return [
        shard_row(
            f"{name} {size}", length_bytes=size, validation=correct(count, 40), test=correct(count, 40), **changes
        )
        for size, count in sizes.items()
    ]


def two_views() -> list[Row]:
    """In common are 10 to 40 percent, and 200 to 800 bytes; data is twice as long everywhere."""
    return [
        *programs("icl", {100: 4, 200: 8, 400: 16}),
        *programs("subset", {200: 4, 400: 8, 800: 16}, **DATA),
        shard_row("floor", family="trivial", view="floor", length_bytes=90, validation=0, test=0),
    ]


def rows_of(make_study: MakeStudy, rows: list[Row], *pairs: str, **options: object) -> list[Row]:
    pairs_given = [parse_pair(pair) for pair in pairs]
    reduction = reduce_studies([make_study(rows).folder], dominance=pairs_given, **options)  # type: ignore[arg-type]
    return reduction.dominance.to_pylist()


def test_views_by_default(make_study: MakeStudy) -> None:
    (row,) = rows_of(make_study, two_views())
    assert (row["programs"], row["reference_programs"]) == ("view:data", "view:inference")  # and no floor
    assert (row["performance_from"], row["performance_to"]) == pytest.approx((10, 40))
    assert (row["ratio"], row["ratio_min"], row["ratio_max"]) == pytest.approx((0.5, 0.5, 0.5))
    assert row["shorter_share"] == 0
    assert row["ratio_low"] <= 0.5 <= row["ratio_high"]
    assert (row["length_from_bits"], row["length_to_bits"]) == (1600, 3200)
    # From 200 to 400 bytes 10 against 20; what lies behind the largest common length does not count.
    assert (row["difference"], row["difference_min"], row["difference_max"]) == pytest.approx((-10, -10, -10))
    assert row["difference_low"] <= -10 <= row["difference_high"] <= 0
    assert (row["better_share"], row["not_better_bits"]) == (0, "1600-3200")


def test_where_it_does_not_hold(make_study: MakeStudy) -> None:
    rows = [
        *programs("icl", {100: 4, 200: 12, 1600: 20}),
        *programs("subset", {100: 2, 400: 16, 800: 24}, **DATA),
    ]
    (row,) = rows_of(make_study, rows)
    # Data needs 400 bytes up to 40, then 800; inference needs 200 up to 30, then 1600.
    assert (row["performance_from"], row["performance_to"]) == pytest.approx((10, 50))
    logs = [math.log(200 / 400)] * 2 + [math.log(1600 / 400), math.log(1600 / 800)]
    assert row["ratio"] == pytest.approx(math.exp(sum(logs) / 4))
    assert (row["ratio_min"], row["ratio_max"], row["shorter_share"]) == pytest.approx((0.5, 4, 0.5))
    # Shorter than 400 bytes inference is better.
    assert row["not_better_bits"] == "800-3200"
    assert row["better_share"] == pytest.approx(1 / 3)  # one of three doublings, up to the 800 bytes of data


def test_sets_of_families(make_study: MakeStudy) -> None:
    rows = [*two_views(), *programs("lora", {50: 8}, family="lora", view="parametric")]
    row = rows_of(make_study, rows, "lora, subset / icl")[-1]
    assert (row["programs"], row["reference_programs"]) == ("lora,subset", "icl")
    # The set's frontier is lora at 20 percent and subset at 40; in common are 20 to 40.
    assert (row["performance_from"], row["performance_to"], row["ratio"]) == pytest.approx((20, 40, 0.5))


def test_flat_tops_are_no_luck(make_study: MakeStudy) -> None:
    """A member that falls behind on test is averaged with its neighbour, and takes no credit."""
    rows = [
        *programs("icl", {100: 4, 400: 16}),
        shard_row("one", **DATA, length_bytes=100, validation=correct(4, 40), test=correct(4, 40)),
        shard_row("two", **DATA, length_bytes=200, validation=correct(15, 40), test=correct(18, 40)),
        shard_row("three", **DATA, length_bytes=400, validation=correct(16, 40), test=correct(14, 40)),
    ]
    (row,) = rows_of(make_study, rows)
    assert row["performance_to"] == pytest.approx(40)  # the mean of 45 and 35
    assert row["ratio"] == pytest.approx(2)


def test_one_program_a_side_has_the_other_reading(make_study: MakeStudy) -> None:
    rows = [*programs("icl", {100: 4}), *programs("subset", {200: 8}, budget_bytes=256, **DATA)]
    rows[0]["budget_bytes"] = 512
    (row,) = rows_of(make_study, rows)
    assert row["ratio"] is row["performance_from"] is row["shorter_share"] is None
    assert (row["length_from_bits"], row["length_to_bits"]) == (1600, 2048)
    assert row["difference"] == pytest.approx(10) and row["not_better_bits"] == ""


def test_ours_beside_imported_has_no_interval(make_study: MakeStudy) -> None:
    theirs = [imported_row("a", 1600, 10.0), imported_row("b", 6400, 40.0)]
    rows = rows_of(make_study, [*two_views(), *theirs], "icl/subset", "subset/icl")
    (row,) = [row for row in rows if row["programs"] == row["reference_programs"] == "all"]
    assert (row["is_imported"], row["reference_is_imported"]) == (False, True)
    assert row["ratio"] is not None and row["ratio"] > 1
    assert row["ratio_low"] is row["ratio_high"] is row["difference_low"] is None
    pairs = [(row["programs"], row["reference_is_imported"]) for row in rows if row["programs"] in ("icl", "subset")]
    assert pairs == [("icl", False), ("subset", False), ("subset", True)]


def test_lower_is_better(make_study: MakeStudy) -> None:
    lower = {"metric": "errors", "higher_is_better": False}
    rows = [
        *programs("icl", {100: 36, 400: 20, 900: 18}, **lower),
        *programs("subset", {200: 36, 800: 20}, **DATA, **lower),
    ]
    (row,) = rows_of(make_study, rows)
    assert (row["performance_from"], row["performance_to"], row["ratio"]) == pytest.approx((90, 50, 0.5))
    # From 200 to 400 bytes 90 against 90, from 400 to 800 bytes 90 against 50.
    assert row["difference"] == pytest.approx(40 / 2)
    assert row["better_share"] == 0


def test_no_interval_where_programs_were_chosen_on_test(make_study: MakeStudy) -> None:
    (row,) = rows_of(make_study, two_views(), select="test")
    assert row["ratio"] == pytest.approx(0.5) and row["ratio_low"] is row["difference_low"] is None


def test_pairs_as_given() -> None:
    assert parse_pair(" subset,lora/ urial , icl") == FamilyPair(
        families=("lora", "subset"), reference=("icl", "urial")
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("subset", "wanted are two sets"),
        ("subset/icl/urial", "wanted are two sets"),
        ("/icl", "wanted are two sets"),
        ("subset,icl/icl", "has icl on both sides"),
    ],
)
def test_bad_pairs(given: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_pair(given)


def test_unknown_family(make_study: MakeStudy) -> None:
    with pytest.raises(UserError, match="unknown program family 'subsets'; did you mean subset"):
        rows_of(make_study, two_views(), "subsets/icl")
