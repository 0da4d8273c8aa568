"""Shards in, tables out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pyarrow as pa

from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.reduce.complexity import COMPLEXITY, complexity_rows
from pipeline.reduce.contrast import CONTRAST, contrast_rows
from pipeline.reduce.curves import FRONTIER, build_curves, frontier_rows, task_scores
from pipeline.reduce.merge import Completeness, Row, merge_shards
from pipeline.reduce.points import POINTS, point_rows
from pipeline.reduce.ratios import REDUCTION, reduction_rows
from pipeline.store import Study

Select = Literal["validation", "test"]

TABLES = {
    "points": POINTS,
    "frontier": FRONTIER,
    "complexity": COMPLEXITY,
    "reduction": REDUCTION,
    "contrast": CONTRAST,
}
"""Name of a reduced table -> its columns."""


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """The reduced tables of a study, which also stand in its `curves` folder.

    Attributes:
        study: where the tables were written.
        select: split that the frontiers of our own programs were chosen on.
        points: `points.POINTS`.
        frontier: `curves.FRONTIER`.
        complexity: `complexity.COMPLEXITY`.
        reduction: `ratios.REDUCTION`.
        contrast: `contrast.CONTRAST`.
        completeness: what became of the plan.
    """

    study: Study
    select: Select
    points: pa.Table
    frontier: pa.Table
    complexity: pa.Table
    reduction: pa.Table
    contrast: pa.Table
    completeness: Completeness


def reduce_studies(
    folders: Sequence[Path],
    *,
    targets: Sequence[float] | None = None,
    select: Select = "validation",
    out: Path | None = None,
) -> Reduction:
    """Merge the shards of study folders and write points, frontiers, complexities, reductions and contrasts.

    Args:
        folders: study folders; several are parts of one study, as from several clusters, or studies to be compared.
        targets: performances at which task complexity is reported, in the units of the metric; None for
            `complexity.default_targets` of each task.
        select: split that frontiers are chosen on. `test` reproduces papers that choose on the test split: its tables
            are marked and hold no intervals. Imported rows have a test score only: their frontiers, apart from ours,
            are always chosen on it, and marked likewise.
        out: study folder that gets the tables; None for the first of `folders`.

    Returns:
        The tables, and how complete the study is.

    Raises:
        UserError: no folders, an unknown split, or a plan that cannot be read.
    """
    if not folders:
        raise UserError("no study folder given")
    if select not in ("validation", "test"):
        raise UserError(f"cannot select on {select!r}; allowed are validation and test")
    study = Study(out or folders[0])
    merged = merge_shards([Study(folder) for folder in folders])
    points = point_rows(merged.rows, select)
    curves = build_curves(points, select)
    complexities = complexity_rows(curves, task_scores(points, select), targets)
    rows: dict[str, list[Row]] = {
        "points": points,
        "frontier": frontier_rows(curves),
        "complexity": complexities,
        "reduction": reduction_rows(complexities),
        "contrast": contrast_rows(curves),
    }
    tables = {name: _table(rows[name], columns) for name, columns in TABLES.items()}
    for name, table in tables.items():
        study.write_table(name, table)
    write_atomically(study.table_path("completeness", "json"), _json(merged.completeness), replace=True)
    return Reduction(study=study, select=select, completeness=merged.completeness, **tables)


def _table(rows: Sequence[Row], columns: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(cast(list[dict[str, Any]], rows), schema=columns)


def _json(completeness: Completeness) -> bytes:
    return (json.dumps(asdict(completeness) | {"is_complete": completeness.is_complete}, indent=1) + "\n").encode()
