"""Test performance of the members of frontiers on resampled items: what intervals of comparisons are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.reduce.curves import Curve
from pipeline.reduce.intervals import Floats
from pipeline.reduce.points import by_test_items, resampled_by_cell

Resamples = Mapping[str, Floats]
"""Cell id -> test performance on each resample, shape [NUM_RESAMPLES]; members of one task share their resamples."""


def resampled_members(curves: Sequence[Curve]) -> Resamples:
    """Test performance of frontier members on resampled items.

    Args:
        curves: what `build_curves` gave. Of programs that were chosen on test there are no resamples: their scores are
            the best of many, and no resampling of items tells how much of that is luck.

    Returns:
        Members whose items are unknown, or are none, are absent.
    """
    members = {row["cell_id"]: row for curve in curves if curve.select == "validation" for row in curve.frontier}
    resampled: dict[str, Floats] = {}
    for group in by_test_items(list(members.values())):
        resampled |= {name: values for name, values in resampled_by_cell(group).items() if values is not None}
    return resampled
