"""Intervals of a ratio of task complexities."""

from __future__ import annotations

import pytest

from pipeline.reduce import reduce_studies

from .conftest import MakeStudy, Row, correct, shard_row

TWIN = {"model": "twin", "model_identity": "2" * 64}


def curve(name: str, lengths_bytes: tuple[int, ...], counts: tuple[int, ...], **changes: object) -> list[Row]:
    """Programs that are right on so many of 400 items, on validation and on test."""
    return [
        shard_row(
            f"{name} {size}", length_bytes=size, validation=correct(count, 400), test=correct(count, 400), **changes
        )
        for size, count in zip(lengths_bytes, counts, strict=True)
    ]


def ratios(make_study: MakeStudy, rows: list[Row], target: float, **options: object) -> dict[str, Row]:
    reduction = reduce_studies([make_study(rows).folder], targets=[target], **options)  # type: ignore[arg-type]
    return {row["model"]: row for row in reduction.reduction.to_pylist() if row["scope"] == "all"}


def test_certain_lengths_give_a_certain_ratio(make_study: MakeStudy) -> None:
    rows = [*curve("a", (100, 200), (40, 300)), *curve("b", (100, 800), (40, 300), **TWIN)]
    found = ratios(make_study, rows, 50.0)
    assert (found["tiny"]["ratio"], found["tiny"]["ratio_low"], found["tiny"]["ratio_high"]) == (4, 4, 4)
    assert (found["twin"]["ratio"], found["twin"]["ratio_low"], found["twin"]["ratio_high"]) == (0.25, 0.25, 0.25)


def test_an_unsure_length_widens_one_side(make_study: MakeStudy) -> None:
    # 204 of 400 is hardly above 50: the program of 200 bytes may fall short, and the one of 300 does not.
    rows = [*curve("a", (100, 200, 300), (40, 204, 300)), *curve("b", (100, 900), (40, 300), **TWIN)]
    found = ratios(make_study, rows, 50.0)
    assert (found["tiny"]["ratio"], found["tiny"]["ratio_low"], found["tiny"]["ratio_high"]) == (4.5, 3, 4.5)
    low, high = found["twin"]["ratio_low"], found["twin"]["ratio_high"]
    assert (low, high) == pytest.approx((1 / 4.5, 1 / 3))


def test_evidence_adds_up_over_both_sides(make_study: MakeStudy) -> None:
    """Either side may be wrong by itself; that both are wrong in opposite ways is ruled out."""
    # Standard scores of 1.5 on either side (215 of 400 are 1.5 above 200): 2.1 together, more for items in common.
    rows = [*curve("a", (100, 200, 300), (40, 215, 300)), *curve("b", (100, 600, 900), (40, 185, 300), **TWIN)]
    found = ratios(make_study, rows, 50.0)["tiny"]
    # Possible: 900/200, 600/200 (both reach), 900/300 (neither); ruled out: 600/300.
    assert (found["ratio"], found["ratio_low"], found["ratio_high"]) == (4.5, 3, 4.5)


def test_a_reference_that_falls_short_bounds_one_side(make_study: MakeStudy) -> None:
    rows = [*curve("a", (100, 200), (40, 300)), *curve("b", (100, 800), (40, 100), **TWIN)]
    found = ratios(make_study, rows, 50.0)
    assert set(found) == {"tiny"}
    row = found["tiny"]
    assert (row["ratio"], row["is_lower_bound"], row["ratio_low"], row["ratio_high"]) == (4, True, 4, None)


def test_what_is_not_established_has_no_bound(make_study: MakeStudy) -> None:
    # The model's best program may fall short of the target, so it may need any length.
    rows = [*curve("a", (100, 200), (40, 204)), *curve("b", (100, 800), (40, 300), **TWIN)]
    row = ratios(make_study, rows, 50.0)["tiny"]
    assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == (4, None, 4)


def test_none_where_programs_were_chosen_on_test(make_study: MakeStudy) -> None:
    rows = [*curve("a", (100, 200), (40, 300)), *curve("b", (100, 800), (40, 300), **TWIN)]
    row = ratios(make_study, rows, 50.0, select="test")["tiny"]
    assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == (4, None, None)
