"""One set of programs against another on one task and base model: lengths at equal performance, and the reverse."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa

from pipeline.errors import UserError, unknown_name
from pipeline.reduce.curves import ALL_SCOPE, METRIC_COLUMNS, Curve, score_column
from pipeline.reduce.frontier import direction, pareto_frontier
from pipeline.reduce.intervals import NO_INTERVAL, percentile_interval
from pipeline.reduce.merge import Row
from pipeline.reduce.points import FLOOR_VIEW
from pipeline.reduce.resamples import Resamples
from pipeline.reduce.staircases import (
    Staircase,
    Step,
    difference_steps,
    increasing,
    log_ratio_steps,
    mean_difference,
    mean_log_ratio,
)

_Pair = tuple[Staircase, Staircase]

DOMINANCE = pa.schema(
    [
        ("task", pa.string()),
        ("model", pa.string()),
        ("programs", pa.string()),  # `view:NAME`, `all`, or the families: `lora,subset`
        ("reference_programs", pa.string()),
        ("is_imported", pa.bool_()),
        ("reference_is_imported", pa.bool_()),
        ("select", pa.string()),
        *METRIC_COLUMNS,
        ("performance_from", pa.float64()),  # the range of test performance that both reach; null where there is none
        ("performance_to", pa.float64()),
        ("ratio", pa.float64()),  # reference / programs, geometric mean: above 1 the programs are shorter
        ("ratio_low", pa.float64()),
        ("ratio_high", pa.float64()),
        ("ratio_min", pa.float64()),
        ("ratio_max", pa.float64()),
        ("shorter_share", pa.float64()),  # part of the range of performance over which the programs are shorter
        ("length_from_bits", pa.int64()),  # the range of lengths at which both have a program
        ("length_to_bits", pa.int64()),
        ("difference", pa.float64()),  # test performance, mean over the logarithm of the length: programs - reference
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("difference_min", pa.float64()),
        ("difference_max", pa.float64()),
        ("better_share", pa.float64()),  # part of the range of log lengths over which the programs are better
        ("not_better_bits", pa.string()),  # where they are not: `800-1600;7200-8192`, ends included and excluded
    ]
)
"""One row for each task, base model and pair of sets of programs that both have programs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FamilyPair:
    """Two sets of program families without a common one.

    Attributes:
        families: names of the families whose programs are judged.
        reference: names of the families that they are held against.
    """

    families: tuple[str, ...]
    reference: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Side:
    """Programs of one set, and what they are.

    Attributes:
        name: as in the table.
        is_imported: whether others published them.
        select: split that the frontier was chosen on.
        frontier: members with a test score, shortest first.
        tried_up_to_bits: the largest length that was tried.
    """

    name: str
    is_imported: bool
    select: str
    frontier: Sequence[Row]
    tried_up_to_bits: int


def parse_pair(text: str) -> FamilyPair:
    """A pair of sets of families from `subset,lora/icl,urial`.

    Raises:
        UserError: there are not two sets, one is empty, or they share a family.
    """
    sides = [tuple(sorted({name.strip() for name in side.split(",")} - {""})) for side in text.split("/")]
    form = "wanted are two sets of program families with / between them, such as subset,lora/icl,urial"
    if len(sides) != 2 or not all(sides):
        raise UserError(f"{form}; {text!r} given")
    common = sorted(set(sides[0]) & set(sides[1]))
    if common:
        raise UserError(f"{form}, without a common one; {text!r} has {', '.join(common)} on both sides")
    return FamilyPair(families=sides[0], reference=sides[1])


def dominance_rows(curves: Sequence[Curve], resamples: Resamples, pairs: Sequence[FamilyPair] = ()) -> list[Row]:
    """Comparisons of sets of programs, with the columns of `DOMINANCE`.

    Always compared are every two views (less the floor, which ignores the base model), and all programs of ours with
    all that others published; and the pairs that are asked for, within one origin and ours with published ones. A
    comparison with published rows has no interval: nothing is known of their items, and they were chosen on test.

    Args:
        curves: what `build_curves` gave.
        resamples: what `resampled_members` gave for them.
        pairs: sets of families that are compared, too.

    Raises:
        UserError: a family has no programs in any of the curves.
    """
    known = {curve.scope.removeprefix("family:") for curve in curves if curve.scope.startswith("family:")}
    for name in sorted({name for pair in pairs for name in (*pair.families, *pair.reference)}):
        if name not in known:
            raise UserError(unknown_name("program family", name, known))
    of_model: dict[tuple[str, str], dict[bool, dict[str, Curve]]] = defaultdict(lambda: {False: {}, True: {}})
    for curve in curves:
        of_model[curve.task, curve.model][curve.is_imported][curve.scope] = curve
    rows = []
    for (task, model), scopes in sorted(of_model.items()):
        rows += [
            {"task": task, "model": model} | _comparison(side, reference, resamples)
            for side, reference in _sides(scopes, pairs)
            if side is not None and reference is not None
        ]
    return rows


def _sides(
    scopes: Mapping[bool, Mapping[str, Curve]], pairs: Sequence[FamilyPair]
) -> list[tuple[_Side | None, _Side | None]]:
    sides = []
    for of_origin in scopes.values():
        views = [scope for scope in sorted(of_origin) if scope.startswith("view:") and scope != f"view:{FLOOR_VIEW}"]
        sides += [(_side(one, of_origin, [one]), _side(two, of_origin, [two])) for one, two in combinations(views, 2)]
    sides.append((_side(ALL_SCOPE, scopes[False], [ALL_SCOPE]), _side(ALL_SCOPE, scopes[True], [ALL_SCOPE])))
    for pair in pairs:
        sides += [
            (_families(pair.families, scopes[first]), _families(pair.reference, scopes[second]))
            for first, second in ((False, False), (True, True), (False, True))
        ]
    return sides


def _families(names: Sequence[str], scopes: Mapping[str, Curve]) -> _Side | None:
    return _side(",".join(names), scopes, [f"family:{name}" for name in names])


def _side(name: str, scopes: Mapping[str, Curve], wanted: Sequence[str]) -> _Side | None:
    """The frontier over some scopes of one model; None where it has no members with a test score."""
    curves = [scopes[scope] for scope in wanted if scope in scopes]
    candidates = [row for curve in curves for row in curve.frontier if row["test_performance"] is not None]
    if not candidates:
        return None
    return _Side(
        name=name,
        is_imported=curves[0].is_imported,
        select=curves[0].select,
        # The frontier of a union is that of the frontiers' union.
        frontier=pareto_frontier(candidates, score_column(curves[0].select)),
        tried_up_to_bits=max(it.tried_up_to_bits for it in curves if it.tried_up_to_bits is not None),
    )


def _comparison(side: _Side, reference: _Side, resamples: Resamples) -> Row:
    members = [*side.frontier, *reference.frontier]
    sign = direction(members)
    staircases = _staircase(side, sign), _staircase(reference, sign)
    resampled = None
    if side.is_imported == reference.is_imported and all(row["cell_id"] in resamples for row in members):
        resampled = _staircase(side, sign, resamples), _staircase(reference, sign, resamples)
    log_end = math.log(min(side.tried_up_to_bits, reference.tried_up_to_bits))
    return {
        "programs": side.name,
        "reference_programs": reference.name,
        "is_imported": side.is_imported,
        "reference_is_imported": reference.is_imported,
        "select": side.select,
        **{name: members[0][name] for name, _ in METRIC_COLUMNS},
        **_by_performance(staircases, resampled, sign),
        **_by_length(staircases, resampled, sign, log_end),
    }


def _staircase(side: _Side, sign: int, resamples: Resamples | None = None) -> Staircase:
    """Frontier of a side at its test scores, or at those on resampled items, which lie along the first axis."""
    performances = [
        row["test_performance"] if resamples is None else resamples[row["cell_id"]] for row in side.frontier
    ]
    return Staircase(
        log_lengths=np.log([row["program_length_bits"] for row in side.frontier]),
        performances=increasing(sign * np.array(performances, dtype=np.float64).T),
    )


def _by_performance(staircases: _Pair, resampled: _Pair | None, sign: int) -> Row:
    """Lengths at equal performance, over the range of performance that both reach."""
    columns = ("performance_from", "performance_to", "ratio", "ratio_low", "ratio_high", "ratio_min", "ratio_max")
    steps = log_ratio_steps(*staircases)
    if not steps:
        return dict.fromkeys([*columns, "shorter_share"])
    low, high = NO_INTERVAL if resampled is None else percentile_interval(mean_log_ratio(*resampled))
    values = (
        sign * steps[0].start,
        sign * steps[-1].end,
        math.exp(mean_log_ratio(*staircases)),
        None if low is None else math.exp(low),
        None if high is None else math.exp(high),
        math.exp(min(step.value for step in steps)),
        math.exp(max(step.value for step in steps)),
    )
    return dict(zip(columns, values, strict=True)) | {"shorter_share": _positive_share(steps)}


def _by_length(staircases: _Pair, resampled: _Pair | None, sign: int, log_end: float) -> Row:
    """Best performance within equal length, over the range of lengths at which both have programs."""
    steps = difference_steps(*staircases, log_end)
    ends = ("length_from_bits", "length_to_bits")
    columns = ("difference", "difference_low", "difference_high", "difference_min", "difference_max")
    if not steps:
        return dict.fromkeys([*ends, *columns, "better_share", "not_better_bits"])
    interval = NO_INTERVAL if resampled is None else percentile_interval(sign * mean_difference(*resampled, log_end))
    differences = [sign * step.value for step in steps]
    mean = sign * float(mean_difference(*staircases, log_end)) + 0.0  # no negative zero
    return {
        **dict(zip(ends, (_bits(steps[0].start), _bits(steps[-1].end)), strict=True)),
        **dict(zip(columns, (mean, *interval, min(differences), max(differences)), strict=True)),
        "better_share": _positive_share(steps),
        "not_better_bits": _not_better(steps),
    }


def _positive_share(steps: Sequence[Step]) -> float:
    return sum(step.end - step.start for step in steps if step.value > 0) / (steps[-1].end - steps[0].start)


def _not_better(steps: Sequence[Step]) -> str:
    """Ranges of length over which there is no gain, neighbours joined."""
    ranges: list[list[int]] = []
    for step in steps:
        if step.value <= 0:
            if ranges and ranges[-1][1] == _bits(step.start):
                ranges[-1][1] = _bits(step.end)
            else:
                ranges.append([_bits(step.start), _bits(step.end)])
    return ";".join(f"{start}-{end}" for start, end in ranges)


def _bits(log_length: float) -> int:
    return round(math.exp(log_length))
