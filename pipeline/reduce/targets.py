"""Targets of task complexity: numbers, parts of the way to the best score, and what another program reaches."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import UserError
from pipeline.reduce.curves import ALL_SCOPE, Curve, TaskScores, score_column

DEFAULT_TARGETS = ("25%", "50%", "75%", "90%", "100%")
"""Parts of the way from the best floor to the best score on a task."""

Targets = float | str | Sequence[float | str]
"""One target or several."""

Origin = tuple[str, bool]
"""Label of a task, and whether its rows are imported: what has targets in common."""

_FORMS = (
    "a target is a number (20), a part of the way from the floor to the best score (75%), or a base model, or "
    "MODEL/FAMILY, whose best score is to be reached (smollm2-135m/icl)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A performance to be reached on one task.

    Attributes:
        name: what it was called: `20`, `75%`, `smollm2-135m/icl`.
        performance: in the units of the metric.
        fraction: part of the way from the best floor to the best score, None where it was not given as one.
    """

    name: str
    performance: float
    fraction: float | None = None


def targets_by_origin(
    curves: Sequence[Curve], scores: Sequence[TaskScores], targets: Targets | None
) -> dict[Origin, list[Target]]:
    """Targets of every task, imported rows apart.

    What a program reaches is the score that frontiers are chosen by: that of the best member of its model's frontier
    over all programs, or over those of the family. Where a task has no such program it has no such target.

    Args:
        curves: what `build_curves` gave.
        scores: what `task_scores` gave, for the same points.
        targets: as `--targets` has them; None for `DEFAULT_TARGETS` from easy to hard, equal performances once.

    Raises:
        UserError: a target is none of the forms, or names programs that no task has.
    """
    if isinstance(targets, str | int | float):
        targets = [targets]
    if targets is None:
        return {(it.task, it.is_imported): _default_targets(it) for it in scores}
    reached = _reached(curves)
    names = {name for of_origin in reached.values() for name in of_origin}
    resolved: dict[Origin, list[Target]] = {(it.task, it.is_imported): [] for it in scores}
    for given in targets:
        number, fraction = _number(given), _fraction(given)
        if number is None and fraction is None and given not in names:
            raise UserError(_unknown(str(given), names))
        for it in scores:
            origin = it.task, it.is_imported
            performance = number
            if fraction is not None:
                performance = _way(it, fraction)
            elif number is None:
                performance = reached.get(origin, {}).get(str(given))
            if performance is not None:
                name = f"{number:.12g}" if number is not None else str(given)
                resolved[origin].append(Target(name=name, performance=performance, fraction=fraction))
    return {origin: list({it.name: it for it in given}.values()) for origin, given in resolved.items()}


def _default_targets(scores: TaskScores) -> list[Target]:
    targets: dict[float, Target] = {}
    for name in reversed(DEFAULT_TARGETS):
        fraction = _fraction(name)
        assert fraction is not None
        performance = _way(scores, fraction)
        if performance is not None:
            targets.setdefault(performance, Target(name=name, performance=performance, fraction=fraction))
    return list(reversed(targets.values()))


def _way(scores: TaskScores, fraction: float) -> float | None:
    """Performance after a part of the way to the best score; without a floor the way starts at the worst one."""
    if scores.best is None or scores.worst is None:
        return None
    start = scores.worst if scores.floor is None else scores.floor
    # Not computed at the end of the way: rounding could put the target above the best score.
    return scores.best if fraction == 1 else start + fraction * (scores.best - start)


def _reached(curves: Sequence[Curve]) -> dict[Origin, dict[str, float]]:
    """Best score by task and name, `MODEL` or `MODEL/FAMILY`."""
    reached: dict[Origin, dict[str, float]] = {}
    for curve in curves:
        kind, _, family = curve.scope.partition(":")
        if curve.frontier and (curve.scope == ALL_SCOPE or kind == "family"):
            name = f"{curve.model}/{family}" if family else curve.model
            best = float(curve.frontier[-1][score_column(curve.select)])
            reached.setdefault((curve.task, curve.is_imported), {})[name] = best
    return reached


def _number(given: float | str) -> float | None:
    try:
        number = float(given)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _fraction(given: float | str) -> float | None:
    """A part of the way, None where it is not given as a percentage of 0 to 100."""
    number = _number(given[:-1]) if isinstance(given, str) and given.endswith("%") else None
    return number / 100 if number is not None and 0 <= number <= 100 else None


def _unknown(given: str, names: set[str]) -> str:
    near = difflib.get_close_matches(given, sorted(names), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"models here: {', '.join(sorted(_models(names)))}"
    return f"target {given!r} is no number, no percentage of 0% to 100%, and no program here; {hint}; {_FORMS}"


def _models(names: set[str]) -> set[str]:
    """Names that stand for a model: those that are no other name with a family behind it."""
    return {name for name in names if name.rpartition("/")[0] not in names} or {"none"}
