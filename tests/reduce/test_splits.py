"""The tables do not depend on which files the rows are in, nor on the order in which folders are given."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import schema
from pipeline.compacted import write_compacted
from pipeline.metrics import METRICS
from pipeline.reduce import reduce_studies
from pipeline.store import Study

from .conftest import Row, imported_row, shard_row, split_scores

NUM_FOLDERS = 3
NUM_FILES = 3
"""In each folder: shards of their own, and compacted files."""


def all_rows() -> list[Row]:
    """Everything that makes tables differ: floors, seeds, two settings of a task, infeasible and published rows."""
    twin = {"model": "twin", "model_identity": "2" * 64}
    rows = [
        shard_row("floor", family="trivial", view="floor", validation=2, test=1),
        shard_row(
            "floor of twin", **twin, family="trivial", view="floor", validation=2, test=1, program_sha256="9" * 64
        ),
        shard_row("infeasible", status="infeasible", family="lora", view="parametric"),
        shard_row("version 2", task_version=2, length_bytes=300, validation=3),
        imported_row("theirs", 1000, 12.5),
        imported_row("theirs, longer", 2000, 17.5, family="lora", view="parametric"),
    ]
    for number in range(9):
        sizes = {"length_bytes": 150 + 50 * number, "budget_bytes": 1024, "seed": 1 + number % 2}
        rows.append(shard_row(f"ours {number}", **sizes, validation=4 + number, test=(7 * number) % 20))
        rows.append(shard_row(f"twin {number}", **twin, **sizes, validation=3 + number // 2, test=3 + number))
    for number in range(4):
        items = [(10, 10, 8, 6 - number, 4, 2 + item % 2, 10, 9, 8, 7) for item in range(20)]
        performance = float(METRICS["bleu"].aggregate([sum(column) for column in zip(*items, strict=True)]))
        scores = split_scores(items, performance)
        rows.append(
            shard_row(
                f"bleu {number}", task="words", metric="bleu", length_bytes=500 - number, validation=scores, test=scores
            )
        )
    return rows


def repeated_rows(rows: Sequence[Row]) -> list[Row]:
    """Other results of cells that have one: a later attempt, another program, and the same program at another speed."""
    by_name = {row["cell_id"]: row for row in rows}
    first, second, third = (by_name[shard_row(f"ours {number}")["cell_id"]] for number in range(3))
    return [
        first | {"attempt": 2, "program_sha256": "0" * 64},
        second | {"program_sha256": "0" * 64, "wall_seconds": 9.0},
        third | {"wall_seconds": 0.5},
    ]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Row, Path]]:
    """Rows, each with a shard of its own."""
    rows = all_rows()
    found = []
    for number, of_study in enumerate((rows, repeated_rows(rows))):
        study = Study(tmp_path_factory.mktemp("shards") / str(number))
        for row in of_study:
            assert study.commit_shard(row)
            found.append((row, study.shard_path(row["cell_id"])))
    return found


def tables(folders: Sequence[Path], out: Path) -> dict[str, bytes]:
    study = reduce_studies(folders, out=out, targets=[20.0, 45.0]).study
    return {path.name: path.read_bytes() for path in study.curves.iterdir() if path.stem != "completeness"}


@pytest.fixture(scope="module")
def expected(shards: list[tuple[Row, Path]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tables of the two folders that the shards were made in."""
    folders = sorted({path.parents[2] for _, path in shards})
    found = tables(folders, tmp_path_factory.mktemp("expected"))
    assert {"points.parquet", "points.csv", "frontier.parquet", "complexity.parquet", "contrast.csv"} <= found.keys()
    return found


@given(chance=st.randoms(use_true_random=False))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_split(
    shards: list[tuple[Row, Path]], expected: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, chance: object
) -> None:
    folder = tmp_path_factory.mktemp("split")
    studies = [Study(folder / f"part {number}") for number in range(NUM_FOLDERS)]
    compacted: dict[Path, dict[str, Row]] = {}
    for row, path in chance.sample(shards, len(shards)):
        # A file holds a cell once: of a cell with two results the second goes where the first is not.
        places = [(study, number) for study in studies for number in range(NUM_FILES)]
        for study, number in chance.sample(places, len(places)):
            cell_id = row["cell_id"]
            if number == 0 and not study.shard_path(cell_id).exists():
                study.shard_path(cell_id).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, study.shard_path(cell_id))
                break
            if number and cell_id not in compacted.setdefault(study.compacted_path(str(number)), {}):
                compacted[study.compacted_path(str(number))][cell_id] = row
                break
    for path, of_file in compacted.items():
        rows = [of_file[cell_id] for cell_id in sorted(of_file)]
        write_compacted(path, [schema.table_of(rows, schema.SHARD)])
    folders = [study.folder for study in studies]
    found = tables(chance.sample(folders, len(folders)), folder / "out")
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
