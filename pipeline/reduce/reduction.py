"""Shards in, tables out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import pyarrow as pa

from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.reduce.completeness import Completeness
from pipeline.reduce.complexity import COMPLEXITY, complexity_rows
from pipeline.reduce.contrast import CONTRAST, contrast_rows
from pipeline.reduce.curves import FRONTIER, frontier_rows
from pipeline.reduce.dominance import DOMINANCE, FamilyPair, dominance_rows
from pipeline.reduce.export import write_text_tables
from pipeline.reduce.merge import Row
from pipeline.reduce.points_file import distinct_points
from pipeline.reduce.ratios import REDUCTION, reduction_rows
from pipeline.reduce.resamples import resampled_members
from pipeline.reduce.seeds import SEEDS, seed_rows
from pipeline.reduce.sources import StartAgain
from pipeline.reduce.stream import stream_points
from pipeline.reduce.targets import Targets, targets_by_origin
from pipeline.store import Study

Select = Literal["validation", "test"]

TABLES = {
    "frontier": FRONTIER,
    "complexity": COMPLEXITY,
    "reduction": REDUCTION,
    "contrast": CONTRAST,
    "dominance": DOMINANCE,
    "seeds": SEEDS,
}
"""Name of a table that is made of curves -> its columns. The tables `points` and `completeness` stand beside them."""


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """The reduced tables of a study, which also stand in its `curves` folder.

    Attributes:
        study: where the tables were written.
        select: split that the frontiers of our own programs were chosen on.
        frontier: `curves.FRONTIER`.
        complexity: `complexity.COMPLEXITY`.
        reduction: `ratios.REDUCTION`.
        contrast: `contrast.CONTRAST`.
        dominance: `dominance.DOMINANCE`.
        seeds: `seeds.SEEDS`.
        completeness: what became of the plan.
        num_points: rows of the table `points`.
    """

    study: Study
    select: Select
    frontier: pa.Table
    complexity: pa.Table
    reduction: pa.Table
    contrast: pa.Table
    dominance: pa.Table
    seeds: pa.Table
    completeness: Completeness
    num_points: int

    @cached_property
    def points(self) -> pa.Table:
        """All of `points.POINTS`, read from disk: it may be larger than memory."""
        return self.study.read_table("points")

    def distinct_points(self, columns: Sequence[str]) -> list[Row]:
        """The different values that points have in some columns."""
        return distinct_points(self.study.table_path("points", "parquet"), columns)


def reduce_studies(
    folders: Sequence[Path],
    *,
    targets: Targets | None = None,
    dominance: Sequence[FamilyPair] = (),
    select: Select = "validation",
    out: Path | None = None,
) -> Reduction:
    """Merge the shards of study folders and write points, frontiers, complexities, reductions and contrasts.

    Args:
        folders: study folders; several are parts of one study, as from several clusters, or studies to be compared.
        targets: performances at which task complexity is reported: in the units of the metric, or as
            `targets.targets_by_origin` reads them; None for `targets.DEFAULT_TARGETS` of each task.
        dominance: sets of program families that are compared, besides the views.
        select: split that frontiers are chosen on. `test` reproduces papers that choose on the test split: its tables
            are marked and hold no intervals. Imported rows have a test score only: their frontiers, apart from ours,
            are always chosen on it, and marked likewise.
        out: study folder that gets the tables; None for the first of `folders`.

    Returns:
        The tables, and how complete the study is.

    Raises:
        UserError: no folders, one of them twice, an unknown split, a target or program family that is not there, or a
            plan that cannot be read.
    """
    if not folders:
        raise UserError("no study folder given")
    given = [folder.resolve() for folder in folders]
    twice = sorted({folder.name for folder in given if given.count(folder) > 1})
    if twice:
        raise UserError(f"{', '.join(twice)} is given twice; its rows count once")
    if select not in ("validation", "test"):
        raise UserError(f"cannot select on {select!r}; allowed are validation and test")
    study = Study(out or folders[0])
    while True:
        streamed = stream_points(study, [Study(folder) for folder in folders], select)
        with suppress(StartAgain):  # files have been compacted since
            resamples = resampled_members(streamed.curves)
            break
    curves, scores = streamed.curves, streamed.scores
    complexities = complexity_rows(curves, scores, targets_by_origin(curves, scores, targets))
    rows: dict[str, list[Row]] = {
        "frontier": frontier_rows(curves),
        "complexity": complexities,
        "reduction": reduction_rows(complexities, curves, resamples),
        "contrast": contrast_rows(curves, resamples),
        "dominance": dominance_rows(curves, resamples, dominance),
        "seeds": seed_rows(curves),
    }
    tables = {name: _table(rows[name], columns) for name, columns in TABLES.items()}
    for name, table in tables.items():
        study.write_table(name, table)
    write_text_tables(study, tables)
    write_atomically(study.table_path("completeness", "json"), _json(streamed.completeness), replace=True)
    return Reduction(
        study=study,
        select=select,
        completeness=streamed.completeness,
        num_points=streamed.num_points,
        **tables,
    )


def _table(rows: Sequence[Row], columns: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(cast(list[dict[str, Any]], rows), schema=columns)


def _json(completeness: Completeness) -> bytes:
    return (json.dumps(asdict(completeness) | {"is_complete": completeness.is_complete}, indent=1) + "\n").encode()
