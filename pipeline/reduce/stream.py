"""From the files of study folders to the table of points and the frontiers, in one pass over the rows."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from pyarrow.csv import write_csv

from pipeline.files import write_atomically
from pipeline.reduce.candidates import Candidates
from pipeline.reduce.completeness import Account, Completeness, Quarantined
from pipeline.reduce.curves import Curve, TaskScores, curves_of, scores_of
from pipeline.reduce.labels import distinct_labels
from pipeline.reduce.merge import merged_rows
from pipeline.reduce.points import points_table
from pipeline.reduce.points_file import iter_points, relabelled, write_points
from pipeline.reduce.sources import StartAgain, set_aside
from pipeline.store import Study

CSV_POINTS = 100_000
"""Up to so many points there is a `points.csv`: what reads more is no spreadsheet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Streamed:
    """What is left of the rows once the points are written.

    Attributes:
        curves: frontiers of every task, model and scope.
        scores: range of the scores of each task.
        completeness: what became of the plan.
        num_points: rows of the table `points`.
    """

    curves: Sequence[Curve]
    scores: Sequence[TaskScores]
    completeness: Completeness
    num_points: int


def stream_points(study: Study, studies: Sequence[Study], select: str) -> Streamed:
    """Merge rows, write the tables `points` and `completeness`, and find the frontiers, all in one pass.

    Args:
        study: gets the tables.
        studies: the folders whose rows are merged.
        select: split that frontiers are chosen on.
    """
    quarantined: Quarantined = {}
    left_out: set[Path] = set()
    while True:
        try:
            candidates, completeness, num_points = _one_pass(study, studies, select, quarantined, left_out)
            break
        except StartAgain as again:
            if again.path is not None:
                (home,) = {it for it in studies if it.compacted == again.path.parent}
                reason = set_aside(home, again.path, again.reason, is_newer=again.is_newer)
                quarantined[str(again.path), ""] = reason
                left_out.add(again.path)
    labels = distinct_labels(candidates.settings)
    path = study.table_path("points", "parquet")
    if any(setting[0] != task or setting[4] != model for setting, (task, model) in labels.items()):
        tables = relabelled(iter_points(path), labels)
        write_atomically(path, lambda file: write_points(file, tables), replace=True)
    _write_csv(study, num_points)
    sets = candidates.sets(labels)
    return Streamed(
        scores=scores_of(sets, select),
        curves=candidates.complete(curves_of(sets, select), labels),
        completeness=completeness,
        num_points=num_points,
    )


def _one_pass(
    study: Study, studies: Sequence[Study], select: str, quarantined: Quarantined, left_out: Container[Path]
) -> tuple[Candidates, Completeness, int]:
    candidates = Candidates(select)
    completeness: Completeness
    num_points = 0

    def points(account: Account) -> Iterator[pa.Table]:
        for rows in merged_rows(studies, account, left_out):
            table = points_table(rows, select)
            candidates.add(table)
            yield table

    def write(file: BinaryIO) -> None:
        nonlocal completeness, num_points
        with Account(studies, file, quarantined) as account:

            def write_all(points_file: BinaryIO) -> None:
                nonlocal num_points
                num_points = write_points(points_file, points(account))

            write_atomically(study.table_path("points", "parquet"), write_all, replace=True)
            completeness = account.completeness()

    write_atomically(study.table_path("completeness", "parquet"), write, replace=True)
    return candidates, completeness, num_points


def _write_csv(study: Study, num_points: int) -> None:
    path = study.table_path("points", "csv")
    if num_points <= CSV_POINTS:
        points = study.read_table("points")
        write_atomically(path, lambda file: write_csv(points, file), replace=True)
        return
    path.unlink(missing_ok=True)  # that of an earlier and smaller study says something else
    print(f"{num_points:,} points: points.parquet only, no points.csv above {CSV_POINTS:,}", file=sys.stderr)
