"""Task complexity at targets that are asked for later: from the table of points, without the shards."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pipeline import schema
from pipeline.reduce.candidates import Candidates
from pipeline.reduce.complexity import COMPLEXITY, complexity_rows
from pipeline.reduce.curves import curves_of, scores_of
from pipeline.reduce.labels import SETTING_COLUMNS
from pipeline.reduce.points_file import distinct_points, iter_points
from pipeline.reduce.targets import Targets, targets_by_origin


def complexity_at(points_path: Path, targets: Targets) -> pa.Table:
    """What `reduce_studies` gives with these targets, as `complexity.COMPLEXITY`; nothing is written.

    Args:
        points_path: the table of points of a reduced study, which is read in parts.
        targets: as `targets.targets_by_origin` reads them.

    Raises:
        UserError: a target that is none.
    """
    found = distinct_points(points_path, ["status", "select"])
    # Of imported rows alone it does not matter: they are chosen on test whatever is said here.
    select = next((row["select"] for row in found if row["status"] != schema.IMPORTED), "test")
    candidates = Candidates(select)
    for points in iter_points(points_path):
        candidates.add(points)
    # The table has the labels already.
    places = [SETTING_COLUMNS.index(name) for name in ("task", "model")]
    labels = {setting: (setting[places[0]], setting[places[1]]) for setting in candidates.settings}
    sets = candidates.sets(labels)
    curves, scores = candidates.complete(curves_of(sets, select), labels), scores_of(sets, select)
    rows = complexity_rows(curves, scores, targets_by_origin(curves, scores, targets))
    return pa.Table.from_pylist(rows, schema=COMPLEXITY)
