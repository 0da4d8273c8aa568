"""What a person reads in the terminal."""

from __future__ import annotations

import io

from rich.console import Console

from pipeline.reduce import Reduction, reduce_studies
from pipeline.reduce.terminal import contrast_lines, dominance_lines, print_reduction, varying_parameters

from .conftest import MakeStudy, Row, shard_row


def printed(reduction: Reduction) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_reduction(reduction, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def two_models() -> list[Row]:
    twin = {"model": "tiny@random-1", "model_identity": "2" * 64, "parameters": '{"lr":0.2,"rank":8}'}
    return [
        shard_row(
            "a", length_bytes=1000, budget_bytes=1024, validation=18, test=17, parameters='{"lr":0.1,"rank":8}', seed=1
        ),
        shard_row("b", **twin, length_bytes=1010, budget_bytes=1024, validation=2, test=3),
        shard_row("c", task="impossible", status="infeasible", parameters='{"lr":0.1,"rank":8}'),
    ]


def test_all_parts(make_study: MakeStudy) -> None:
    rows = two_models()
    text = printed(reduce_studies([make_study(rows, planned=[*rows, shard_row("late", seed=7)]).folder]))
    assert "sums / tiny: frontier, accuracy" in text
    for part in ("1000 B", "8,000", "90.0", "85.0", "[64.0, 94.8]", "budget=1 KiB lr=0.1 seed=1"):
        assert part in text
    assert "rank" not in text  # the same for all
    assert "> 1010 B" in text and "from 1000 B" in text and "none reaches" in text
    assert "sums: at <= 1 KiB tiny is above tiny@random-1 by 70.0 [50.0, 90.0] points of accuracy" in text
    assert "impossible: no program, all cells are infeasible" in text
    assert "3 of 4 cells done (2 programs, 1 infeasible), 0 failed, 1 missing" in text
    assert "sums / tiny / icl (seed=7)" in text


def test_test_selection_is_marked(make_study: MakeStudy) -> None:
    assert "selected on the test split" in printed(reduce_studies([make_study(two_models()).folder], select="test"))


def test_empty_study(make_study: MakeStudy) -> None:
    assert "0 of 0 cells done" in printed(reduce_studies([make_study([]).folder]))


def contrast(difference: float, low: float | None, high: float | None, *, higher_is_better: bool = True) -> Row:
    return {
        "task": "sums",
        "model": "a",
        "reference_model": "b",
        "metric": "accuracy",
        "higher_is_better": higher_is_better,
        "max_length_bits": 8192,
        "is_largest_common": True,
        "difference": difference,
        "difference_low": low,
        "difference_high": high,
    }


def test_contrast_lines() -> None:
    start = "sums: at <= 1 KiB a"
    end = "points of accuracy"
    assert contrast_lines([contrast(5.0, 1.0, 9.0)]) == [f"{start} is above b by 5.0 [1.0, 9.0] {end}"]
    assert contrast_lines([contrast(5.0, None, None)]) == [f"{start} is above b by 5.0 {end}"]
    assert contrast_lines([contrast(5.0, -1.0, 11.0)]) == [f"{start} is not told apart from b: 5.0 [-1.0, 11.0] {end}"]
    assert contrast_lines([contrast(-5.0, -9.0, -1.0)]) == []  # the line of the other order says it
    lower = contrast(-5.0, -9.0, -1.0, higher_is_better=False)
    assert contrast_lines([lower]) == [f"{start} is below (better than) b by 5.0 [1.0, 9.0] {end}"]
    assert contrast_lines([contrast(5.0, 1.0, 9.0) | {"is_largest_common": False}]) == []


def dominance(ratio: float | None, low: float | None, high: float | None, **changes: object) -> Row:
    return {
        "task": "sums",
        "model": "tiny",
        "programs": "view:data",
        "reference_programs": "view:inference",
        "is_imported": False,
        "reference_is_imported": False,
        "select": "validation",
        "metric": "accuracy",
        "performance_from": 10.0,
        "performance_to": 45.0,
        "ratio": ratio,
        "ratio_low": low,
        "ratio_high": high,
    } | changes


def test_dominance_lines() -> None:
    data, inference, end = "view:data", "view:inference", "accuracy 10.0 to 45.0"
    assert dominance_lines([dominance(2.31, 1.8, 3.0)]) == [
        f"sums / tiny: {data} is 2.3 [1.8, 3.0] times shorter than {inference}, {end}"
    ]
    assert dominance_lines([dominance(0.25, 0.2, 0.5)]) == [
        f"sums / tiny: {inference} is 4.0 [2.0, 5.0] times shorter than {data}, {end}"
    ]
    assert dominance_lines([dominance(0.25, 0.2, None)]) == [
        f"sums / tiny: {inference} may be 4.0 [?, 5.0] times shorter than {data}, {end}"
    ]
    assert dominance_lines([dominance(1.5, 0.9, 2.0)]) == [
        f"sums / tiny: {data} may be 1.5 [0.90, 2.0] times shorter than {inference}, {end}"
    ]
    assert dominance_lines([dominance(1.5, 1.2, None)]) == [
        f"sums / tiny: {data} is 1.5 [1.2, ?] times shorter than {inference}, {end}"
    ]
    assert dominance_lines([dominance(2.7, None, None)]) == [
        f"sums / tiny: {data} may be 2.7 [?, ?] times shorter than {inference}, {end}"
    ]
    assert dominance_lines([dominance(2.7, None, None, select="test")]) == [
        f"sums / tiny: {data} is 2.7 times shorter than {inference}, {end}"
    ]
    assert dominance_lines([dominance(1500.0, None, None, is_imported=True, reference_is_imported=True)]) == [
        f"sums / tiny: {data} is 1,500 times shorter than {inference}, {end}, imported"
    ]
    assert dominance_lines(
        [dominance(3.0, None, None, programs="all", reference_programs="all", reference_is_imported=True)]
    ) == [f"sums / tiny: all is 3.0 times shorter than all, imported, {end}"]
    assert dominance_lines([dominance(None, None, None)]) == []


def test_fits_into_100_columns(make_study: MakeStudy) -> None:
    twin = {"model": "smollm2-135m@random-1", "model_identity": "2" * 64}
    rows = [
        shard_row("a", model="smollm2-135m", length_bytes=1000, validation=18, test=17),
        shard_row("b", **twin, length_bytes=70_000, validation=2, test=3),
    ]
    console = Console(file=io.StringIO(), width=100)
    print_reduction(reduce_studies([make_study(rows).folder]), console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert any(line.count("from 1000 B") == 5 for line in lines)  # no cell is folded


def test_a_parameter_that_some_rows_do_not_have_tells_them_apart() -> None:
    texts = [('{"kept":9}', "ok"), ('{"kept":9,"beams":2}', "ok"), ('{"numbers":7}', "imported")]
    rows = [{"family": "gains", "parameters": text, "status": status} for text, status in texts]
    assert varying_parameters(rows) == {"gains": {"beams"}}
