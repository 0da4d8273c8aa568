"""How often 95% intervals hold the truth: simulated programs with known curves, through the functions that reduce.

    python benchmarks/coverage.py [--json] [--simulations 1000] [--resamples 2000] [--items 500] [--scenario dense]
                                  [--rejected]

Each simulation draws validation items, chooses the frontiers of two models (or of two sets of programs of one model) on
them, draws test items, and asks every interval of the tables whether it holds what is true of the chosen frontiers. A
program is right on an item if the item is easier than the program is good; `within` is how far the programs of one side
agree on what is easy (1: a better program is right on all that a worse one is right on), `across` likewise for the two
sides. With `--rejected` the last lines are methods that were tried and left, among them the percentile bootstrap of a
maximum.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from statistics import NormalDist

import numpy as np

from pipeline.metrics import METRICS
from pipeline.reduce import intervals
from pipeline.reduce.complexity import complexity_interval, complexity_rows
from pipeline.reduce.contrast import contrast_rows
from pipeline.reduce.curves import PROGRAM_COLUMNS, Curve, TaskScores, score_column
from pipeline.reduce.dominance import dominance_rows
from pipeline.reduce.frontier import pareto_frontier, shortest_reaching
from pipeline.reduce.intervals import Floats, percentile_interval, resampled_performances, wilson_interval
from pipeline.reduce.ratios import reduction_rows
from pipeline.reduce.staircases import Staircase, increasing, mean_difference, mean_log_ratio
from pipeline.reduce.targets import Target

ACCURACY, BLEU = METRICS["accuracy"], METRICS["bleu"]
EQUAL_PROGRAMS = 12

Check = tuple[str, bool]
"""Name of an interval, and whether it held the truth."""

Draw = Callable[[np.random.Generator], Iterator[Check]]
"""One simulation."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is true of the programs of two sides.

    Attributes:
        performances: true performance of each program of each side, in 0..100.
        lengths: their lengths in bits.
        target: the performance at which task complexities are compared.
        within: correlation of what programs of one side find easy.
        across: the same between the sides.
    """

    performances: tuple[Floats, Floats]
    lengths: tuple[Floats, Floats]
    target: float
    within: float = 1.0
    across: float = 0.5


def _dense(within: float, across: float) -> Scenario:
    return Scenario(
        performances=(np.linspace(20, 70, 60), np.linspace(17, 67, 60)),
        lengths=(np.geomspace(8e3, 8e6, 60).round(), np.geomspace(2.4e4, 2.4e7, 60).round()),
        target=45.0,
        within=within,
        across=across,
    )


def _plateau(heights: Floats, *, target: float = 50.0, within: float = 0.5) -> Scenario:
    return Scenario(
        performances=(np.array([20, 30, *heights]), np.array([15, 30, *heights])),
        lengths=(np.geomspace(8e3, 8e6, 14).round(), np.geomspace(2.4e4, 2.4e7, 14).round()),
        target=target,
        within=within,
    )


SCENARIOS = {
    "dense": _dense(1.0, 0.0),
    "dense, related sides": _dense(1.0, 0.5),
    "dense, within 0.9": _dense(0.9, 0.5),
    "dense, all unrelated": _dense(0.0, 0.0),
    "twelve equal": _plateau(np.full(EQUAL_PROGRAMS, 50.0)),
    "twelve equal and unrelated, just below the target": _plateau(
        np.full(EQUAL_PROGRAMS, 50.0), target=50.01, within=0.0
    ),
    "twelve nearly equal": _plateau(np.linspace(47, 53, EQUAL_PROGRAMS)),
    "wide": Scenario(
        performances=(np.array([20, 33, 47, 58, 70]), np.array([15, 30, 43, 55, 65])),
        lengths=(np.geomspace(8e3, 8e6, 5).round(), np.geomspace(2.4e4, 2.4e7, 5).round()),
        target=45.0,
    ),
    "wide, one of each side at the target": Scenario(
        performances=(np.array([20, 33, 45, 58, 70]), np.array([15, 30, 44.99, 55, 65])),
        lengths=(np.geomspace(8e3, 8e6, 5).round(), np.geomspace(2.4e4, 2.4e7, 5).round()),
        target=45.0,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """Frontiers of one simulation.

    Attributes:
        curves: one a side, of models `a` and `b`.
        resamples: test performance on resampled items, by cell id.
        truth: true performance, by cell id.
    """

    curves: list[Curve]
    resamples: dict[str, Floats]
    truth: dict[str, float]


def correct_items(scenario: Scenario, num_items: int, generator: np.random.Generator) -> list[Floats]:
    """Whether each program is right on each item, by side; shape [n_items, n_programs]."""
    common = generator.normal(size=(num_items, 1))
    sides = []
    for performances in scenario.performances:
        own = generator.normal(size=(num_items, 1))
        of_side = np.sqrt(scenario.across) * common + np.sqrt(1 - scenario.across) * own
        of_program = generator.normal(size=(num_items, len(performances))) if scenario.within < 1 else 0.0
        hardness = np.sqrt(scenario.within) * of_side + np.sqrt(1 - scenario.within) * of_program
        limits = np.array([NormalDist().inv_cdf(performance / 100) for performance in performances])
        sides.append((hardness < limits).astype(np.float64))
    return sides


def simulate(scenario: Scenario, num_items: int, generator: np.random.Generator) -> Simulated:
    """Choose frontiers on half as many validation items, then score their members on test items."""
    validation = correct_items(scenario, num_items // 2, generator)
    test = correct_items(scenario, num_items, generator)
    curves, columns, truth = [], {}, {}
    for side, model in enumerate("ab"):
        rows = [
            dict.fromkeys(name for name, _ in PROGRAM_COLUMNS)
            | {
                "cell_id": f"{model}{number}",
                "program_sha256": f"{model}{number}",
                "metric": "accuracy",
                "higher_is_better": True,
                "program_length_bits": int(scenario.lengths[side][number]),
                "validation_performance": 100 * float(validation[side][:, number].mean()),
                "test_performance": 100 * float(test[side][:, number].mean()),
                "test_num_items": num_items,
            }
            for number in range(len(scenario.performances[side]))
        ]
        frontier = pareto_frontier(rows, score_column("validation"))
        for row in frontier:
            number = int(row["cell_id"][1:])
            row["test_low"], row["test_high"] = wilson_interval(row["test_performance"], num_items)
            columns[row["cell_id"]] = np.stack([test[side][:, number], np.ones(num_items)], axis=1)
            truth[row["cell_id"]] = float(scenario.performances[side][number])
        largest = int(scenario.lengths[side][-1])
        curves.append(
            Curve(
                task="task",
                model=model,
                scope="all",
                is_imported=False,
                select="validation",
                num_programs=len(rows),
                largest_program_bits=largest,
                tried_up_to_bits=largest,
                frontier=frontier,
            )
        )
    performances = resampled_performances(ACCURACY, list(columns.values()))
    resamples = {name: values for name, values in zip(columns, performances, strict=True) if values is not None}
    return Simulated(curves=curves, resamples=resamples, truth=truth)


def checks(scenario: Scenario, it: Simulated) -> Iterator[Check]:
    """Every interval of the tables against what is true of the frontiers."""
    curve, reference = it.curves
    middle = curve.frontier[len(curve.frontier) // 2]
    yield "test score", _holds(it.truth[middle["cell_id"]], middle["test_low"], middle["test_high"])
    yield "task complexity", _holds_length(curve, scenario.target, it.truth)
    yield from _difference_checks(it)
    yield from _ratio_checks(scenario, it)
    views = [replace(one, model="a", scope=f"view:{name}") for name, one in (("x", curve), ("y", reference))]
    (row,) = dominance_rows(views, it.resamples)
    own, other = (_staircase(one, [it.truth[row["cell_id"]] for row in one.frontier]) for one in it.curves)
    if row["ratio"] is not None:
        yield "dominance ratio", _holds(float(np.exp(mean_log_ratio(own, other))), row["ratio_low"], row["ratio_high"])
    end = np.log(min(curve.tried_up_to_bits or 0, reference.tried_up_to_bits or 0))
    true_difference = float(mean_difference(own, other, end))
    yield "dominance difference", _holds(true_difference, row["difference_low"], row["difference_high"])


def rejected_checks(scenario: Scenario, it: Simulated) -> Iterator[Check]:
    """Methods that were tried and left: each is the percentile bootstrap of something, or its mirror image."""
    own, other = (
        _staircase(one, np.stack([it.resamples[row["cell_id"]] for row in one.frontier]).T) for one in it.curves
    )
    curve, reference = it.curves
    true_lengths = [_true_length(one, scenario.target, it.truth) for one in it.curves]
    crossings = []
    for side in (own, other):
        reaches = side.performances >= scenario.target
        crossings.append(np.where(reaches.any(-1), side.log_lengths[reaches.argmax(-1)], np.inf))
    low, high = np.quantile(crossings[0], [0.025, 0.975], method="inverted_cdf")
    yield "task complexity: bootstrap of the crossing", bool(low <= _log(true_lengths[0]) <= high)
    if None not in true_lengths:
        with np.errstate(invalid="ignore"):  # infinity less infinity
            logs = np.nan_to_num(crossings[1] - crossings[0], nan=np.inf, posinf=np.inf, neginf=-np.inf)
        low, high = np.quantile(logs, [0.025, 0.975], method="inverted_cdf")
        yield (
            "reduction ratio: bootstrap of the crossings",
            bool(low <= _log(true_lengths[1]) - _log(true_lengths[0]) <= high),
        )
    truths, scores = (
        [_staircase(one, [value(row) for row in one.frontier]) for one in (curve, reference)]
        for value in (lambda row: it.truth[row["cell_id"]], lambda row: row["test_performance"])
    )
    ends = percentile_interval(mean_log_ratio(own, other))
    estimate, true_ratio = float(mean_log_ratio(*scores)), float(mean_log_ratio(*truths))
    if None not in ends and np.isfinite(estimate):
        yield "dominance ratio: basic bootstrap", _holds(true_ratio, 2 * estimate - ends[1], 2 * estimate - ends[0])


def draw_maximum(num_items: int, generator: np.random.Generator) -> Iterator[Check]:
    """The best test score of twelve equal, unrelated programs: what it truly is, and what a bootstrap of it says."""
    items = (generator.random((num_items, EQUAL_PROGRAMS)) < 0.5).astype(np.float64)
    sides = [np.stack([column, np.ones(num_items)], axis=1) for column in items.T]
    best = np.max([values for values in resampled_performances(ACCURACY, sides) if values is not None], axis=0)
    yield "score of the best of twelve: bootstrap of the maximum", _holds(50.0, *percentile_interval(best))


def draw_corpus(num_items: int, generator: np.random.Generator) -> Iterator[Check]:
    """Test score of one program in a corpus metric, drawn from a population of 20,000 items."""
    population = bleu_population()
    truth = float(BLEU.aggregate(population.sum(axis=0)))
    sample = population[generator.integers(0, len(population), size=num_items)]
    yield "test score, BLEU", _holds(truth, *percentile_interval(resampled_performances(BLEU, [sample])[0]))


def coverage(draw: Draw, num_simulations: int) -> dict[str, float]:
    """Part of the simulations in which each interval held the truth."""
    generator = np.random.default_rng(1)
    found: dict[str, list[bool]] = {}
    for _ in range(num_simulations):
        for name, holds in draw(generator):
            found.setdefault(name, []).append(holds)
    return {name: float(np.mean(held)) for name, held in found.items()}


def draw_scenario(
    scenario: Scenario, num_items: int, generator: np.random.Generator, *, with_rejected: bool
) -> Iterator[Check]:
    """One simulation of a scenario."""
    simulated = simulate(scenario, num_items, generator)
    yield from checks(scenario, simulated)
    if with_rejected:
        yield from rejected_checks(scenario, simulated)


def _difference_checks(it: Simulated) -> Iterator[Check]:
    row = next(
        row for row in contrast_rows(it.curves, it.resamples) if row["model"] == "a" and row["is_largest_common"]
    )
    true = it.truth[row["cell_id"]] - it.truth[row["reference_cell_id"]]
    yield "difference at equal length", _holds(true, row["difference_low"], row["difference_high"])


def _ratio_checks(scenario: Scenario, it: Simulated) -> Iterator[Check]:
    scores = TaskScores(
        task="task",
        is_imported=False,
        select="validation",
        metric="accuracy",
        higher_is_better=True,
        floor=None,
        worst=0.0,
        best=100.0,
    )
    target = Target(name="target", performance=scenario.target)
    complexities = complexity_rows(it.curves, [scores], {("task", False): [target]})
    reference = it.curves[1]
    true_length, true_reference = (_true_length(one, scenario.target, it.truth) for one in it.curves)
    for row in reduction_rows(complexities, it.curves, it.resamples):
        if row["model"] == "a" and true_length is not None:
            true = (true_reference or reference.largest_program_bits or 0) / true_length
            yield "reduction ratio", _holds(true, row["ratio_low"], row["ratio_high"])


def _holds_length(curve: Curve, target: float, truth: dict[str, float]) -> bool:
    low, high = complexity_interval(curve.frontier, target)
    length = _true_length(curve, target, truth)
    if length is None:
        return high is None
    return low is not None and low <= length and (high is None or length <= high)


def _true_length(curve: Curve, target: float, truth: dict[str, float]) -> int | None:
    known = [row | {"truth": truth[row["cell_id"]]} for row in curve.frontier]
    member = shortest_reaching(known, "truth", target)
    return None if member is None else int(member["program_length_bits"])


def _holds(truth: float, low: float | None, high: float | None) -> bool:
    """Whether an interval holds the truth, up to rounding; an end that is not there excludes nothing."""
    slack = 1e-9 * max(1.0, abs(truth))
    return (low is None or low <= truth + slack) and (high is None or truth - slack <= high)


def _staircase(curve: Curve, performances: Sequence[float] | Floats) -> Staircase:
    return Staircase(
        log_lengths=np.log([row["program_length_bits"] for row in curve.frontier]),
        performances=increasing(np.asarray(performances, dtype=np.float64)),
    )


def _log(length: int | None) -> float:
    return float("inf") if length is None else float(np.log(length))


@cache
def bleu_population() -> Floats:
    """Statistics of 20,000 items whose quality and length vary, shape [20000, 10]."""
    generator = np.random.default_rng(1)
    lengths = generator.integers(8, 30, size=20_000)
    quality = np.clip(0.6 + generator.normal(0, 0.15, size=20_000), 0.02, 0.98)
    totals = [lengths - order for order in range(4)]
    correct = [generator.binomial(total, quality ** (order + 1)) for order, total in enumerate(totals)]
    return np.stack([lengths, lengths, *correct, *totals], axis=1, dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=intervals.NUM_RESAMPLES)
    parser.add_argument("--items", type=int, default=500, help="test items; half as many for validation")
    parser.add_argument("--scenario", choices=list(SCENARIOS), action="append", help="only this one; may be repeated")
    parser.add_argument("--rejected", action="store_true", help="also methods that were tried and left")
    options = parser.parse_args()
    intervals.NUM_RESAMPLES = options.resamples
    draws: dict[str, Draw] = {
        name: partial(draw_scenario, SCENARIOS[name], options.items, with_rejected=options.rejected)
        for name in options.scenario or SCENARIOS
    }
    draws["one program"] = partial(draw_corpus, options.items)
    if options.rejected:
        draws["twelve equal, unrelated"] = partial(draw_maximum, options.items)
    found = {}
    for name, draw in draws.items():
        found[name] = coverage(draw, options.simulations)
        if not options.json:
            print(
                f"{name}:",
                *(f"  {interval}: {part:.1%}" for interval, part in found[name].items()),
                sep="\n",
                flush=True,
            )
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
