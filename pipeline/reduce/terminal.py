"""The reduced tables as text for a terminal."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline import schema
from pipeline.cell import format_bytes
from pipeline.reduce.completeness import Completeness
from pipeline.reduce.curves import ALL_SCOPE
from pipeline.reduce.export import target_label
from pipeline.reduce.merge import Row
from pipeline.reduce.reduction import Reduction
from pipeline.reduce.rounding import UNKNOWN, format_interval, format_score, round_length, round_ratio

INTERVAL_NOTE = (
    "from, to: 95% over test items, for the shortest program here that truly reaches the target; "
    f"{UNKNOWN}: not established"
)

_LISTED = 10
"""Lists of single cells and of pairs of models are cut here; the files of `curves` have all of them."""


def print_reduction(reduction: Reduction, console: Console) -> None:
    """Print frontiers, task complexities and comparisons of every task, and how complete the study is.

    Args:
        reduction: what `reduce_studies` returned.
        console: where to.
    """
    frontier = _by_task(reduction.frontier.to_pylist())
    complexity = _by_task(reduction.complexity.to_pylist())
    contrast = _by_task(reduction.contrast.to_pylist())
    dominance = _by_task(reduction.dominance.to_pylist())
    if reduction.select == "test":
        console.print("[bold]selected on the test split[/bold]: scores are optimistic and have no intervals\n")
    varying = varying_parameters(reduction.distinct_points(["family", "parameters", "status"]))
    origins = {(row["task"], row["status"] == schema.IMPORTED) for row in reduction.distinct_points(["task", "status"])}
    for key in sorted(origins):
        if key not in frontier:
            console.print(f"{escape(key[0])}: no program, all cells are infeasible\n")
            continue
        for table in frontier_tables(frontier[key], varying):
            console.print(table)
        console.print(complexity_table(complexity[key]))
        for line in _cut(contrast_lines(contrast[key]), "contrast.csv"):
            console.print(escape(line), highlight=False)
        for line in _cut(dominance_lines(dominance[key]), "dominance.csv"):
            console.print(escape(line), highlight=False)
        console.print()
    for line in completeness_lines(reduction.completeness):
        console.print(escape(line), highlight=False, soft_wrap=True)


def varying_parameters(points: Iterable[Row]) -> dict[str, set[str]]:
    """Parameters that programs of one family differ in, by family: the others would say the same on every line."""
    found: dict[tuple[str, bool], set[str]] = defaultdict(set)
    for row in points:
        found[row["family"], row["status"] == schema.IMPORTED].add(row["parameters"] or "{}")
    varying: dict[str, set[str]] = defaultdict(set)
    for (family, _), texts in found.items():
        settings = [json.loads(text) for text in texts]
        names = {name for parameters in settings for name in parameters}
        # One that was added to the family stands only where it is not the default.
        varying[family] |= {name for name in names if len({repr(it.get(name)) for it in settings}) > 1}
    return varying


def frontier_tables(rows: Iterable[Row], varying: Mapping[str, set[str]]) -> list[Table]:
    """Frontier of each model of one task, scope `all`.

    Args:
        rows: members of the frontiers of one task, imported or not.
        varying: what `varying_parameters` returned: the parameters that are shown.
    """
    of_model: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["scope"] == ALL_SCOPE:
            of_model[row["model"]].append(row)
    tables = []
    for model, members in sorted(of_model.items()):
        first = members[0]
        title = f"{first['task']} / {model}: frontier, {first['metric']}{_origin(first)}"
        table = Table(title=escape(title), title_justify="left")
        for header in ("length", "bits", "validation", "test"):
            table.add_column(header, justify="right", no_wrap=True)
        table.add_column("95% of items", no_wrap=True)
        table.add_column("family", no_wrap=True)
        table.add_column("parameters", overflow="fold")
        for row in members:
            table.add_row(
                format_bytes(row["program_length_bits"] // 8),
                f"{row['program_length_bits']:,}",
                format_score(row["validation_performance"]),
                format_score(row["test_performance"]),
                format_interval(row["test_low"], row["test_high"]),
                escape(row["family"]),
                escape(format_parameters(row, varying.get(row["family"], set()))),
            )
        tables.append(table)
    return tables


def complexity_table(rows: Iterable[Row]) -> Table:
    """Models x targets of one task, scope `all`: C and the test score of the program that reaches the target."""
    of_model: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["scope"] == ALL_SCOPE:
            of_model[row["model"]].append(row)
    targets = next(iter(of_model.values()), [])  # the same for every model, and in the same order
    title = "task complexity"
    if targets:
        first = targets[0]
        title = f"{first['task']}: {title} ({first['metric']} on {first['select']}){_origin(first)}"
    note = INTERVAL_NOTE if any(row["has_interval"] for row in targets) else None
    table = Table(title=escape(title), title_justify="left", caption=note, caption_justify="left")
    table.add_column("model", no_wrap=True)
    for row in targets:
        table.add_column(escape(target_label(row)), justify="right")
    for model, of_targets in sorted(of_model.items()):
        table.add_row(escape(model), *(escape(format_complexity(row)) for row in of_targets))
    return table


def contrast_lines(rows: Iterable[Row]) -> list[str]:
    """One line for each pair of models of one task at the largest length that both were tried at."""
    lines = []
    for row in rows:
        if not row["is_largest_common"]:
            continue
        gain = row["difference"] if row["higher_is_better"] else -row["difference"]
        # Of the two orders of a pair the one with the better model first is printed; of equal models, one.
        if gain < 0 or (gain == 0 and row["model"] > row["reference_model"]):
            continue
        size = format_bytes(row["max_length_bits"] // 8)
        low, high = row["difference_low"], row["difference_high"]
        if not row["higher_is_better"] and low is not None:
            low, high = -high, -low
        if low is not None and low <= 0 <= high:
            verb = "is not told apart from"
        elif gain == 0:
            verb = "equals"
        else:
            verb = "is above" if row["higher_is_better"] else "is below (better than)"
        interval = f" {format_interval(low, high)}" if low is not None else ""
        lines.append(
            f"{row['task']}: at <= {size} {row['model']} {verb} {row['reference_model']}"
            f"{':' if 'told' in verb else ' by'} {format_score(gain)}{interval} points of {row['metric']}"
        )
    return lines


def dominance_lines(rows: Iterable[Row]) -> list[str]:
    """One line for each pair of sets of programs that reach a common range of performance, the shorter set first."""
    lines = []
    for row in rows:
        ratio, low, high = row["ratio"], row["ratio_low"], row["ratio_high"]
        is_between = row["is_imported"] != row["reference_is_imported"]
        if ratio is None:
            continue
        programs, reference = (
            row[f"{side}programs"] + (", imported" if is_between and row[f"{side}is_imported"] else "")
            for side in ("", "reference_")
        )
        if ratio < 1:
            programs, reference, ratio = reference, programs, 1 / ratio
            low, high = None if high is None else 1 / high, None if low is None else 1 / low
        # An end that too many resamples do not have is not established: it may lie on the other side of 1.
        has_interval = row["select"] == "validation" and not (row["is_imported"] or row["reference_is_imported"])
        is_unclear = has_interval and (low is None or low <= 1) and (high is None or high >= 1)
        interval = format_interval(low, high, round_ratio) or (f"[{UNKNOWN}, {UNKNOWN}]" if has_interval else "")
        lines.append(
            f"{row['task']} / {row['model']}: {programs} {'may be' if is_unclear else 'is'} {round_ratio(ratio)} "
            f"{interval}{' ' if interval else ''}times shorter than {reference}, "
            f"{row['metric']} {format_score(row['performance_from'])} to {format_score(row['performance_to'])}"
            f"{'' if is_between else _origin(row)}"
        )
    return lines


def completeness_lines(completeness: Completeness) -> list[str]:
    """What is done, and what is not and why."""
    done = completeness.num_ok + completeness.num_infeasible
    lines = [
        f"{done} of {completeness.num_planned} cells done ({completeness.num_ok} programs, "
        f"{completeness.num_infeasible} infeasible), {completeness.num_failed} failed, "
        f"{completeness.num_missing} missing"
        + (f", {completeness.num_unresolved} without a staged model" if completeness.num_unresolved else "")
    ]
    if completeness.num_imported:
        lines.append(
            f"{completeness.num_imported:,} imported rows: published lengths and test scores, without programs; "
            "their frontiers are apart from ours, chosen on test, and have no intervals"
        )
    sections = {
        "failed": [
            f"{failure.label}: {failure.cause} ({failure.num_attempts} "
            f"attempt{'s' if failure.num_attempts != 1 else ''}): {_last_line(failure.message)}"
            for failure in completeness.failed
        ],
        "missing": list(completeness.missing),
        "moved to quarantine": [f"{path}: {reason}" for path, reason in completeness.quarantined],
        "outside of the plan, left out": list(completeness.outside),
        "found twice": [
            f"{duplicate.kept} counts, not {duplicate.dropped}"
            + (" (same program)" if duplicate.is_same_program else " (another program)")
            for duplicate in completeness.duplicates
        ],
    }
    for title, entries in sections.items():
        if entries:
            lines.append(f"{title}:")
            lines += [f"  {entry}" for entry in _cut(entries, "completeness.json")]
    return lines


def format_complexity(row: Row) -> str:
    """Short lines: the length and its test score, or how far the search went without reaching the target; interval."""
    if row["largest_program_bits"] is None:
        return "no program"
    if row["is_reached"]:
        lines = [format_bytes(row["task_complexity_bits"] // 8), f"test {format_score(row['test_performance'])}"]
    else:
        lines = [f"> {format_bytes(row['largest_program_bits'] // 8)}"]
    if row["has_interval"]:
        low, high = row["complexity_low_bits"], row["complexity_high_bits"]
        lines.append("none reaches" if low is None else f"from {round_length(low)}")
        lines += [] if low is None else [f"to {UNKNOWN if high is None else round_length(high)}"]
    return "\n".join(lines)


def format_parameters(row: Row, shown: Collection[str]) -> str:
    """Budget, the shown parameters that are set, and seed of a program."""
    parameters: dict[str, Any] = json.loads(row["parameters"] or "{}")
    parts = [] if row["budget_bytes"] is None else [f"budget={format_bytes(row['budget_bytes'])}"]
    parts += [f"{name}={value}" for name, value in parameters.items() if name in shown and value is not None]
    if row["seed"] is not None:
        parts.append(f"seed={row['seed']}")
    return " ".join(parts)


def _by_task(rows: Iterable[Row]) -> dict[tuple[str, bool], list[Row]]:
    """Rows by task and by whether they are imported."""
    groups: dict[tuple[str, bool], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["task"], row["is_imported"]].append(row)
    return groups


def _origin(row: Row) -> str:
    """End of a title: says of imported rows that they are."""
    return ", imported" if row["is_imported"] else ""


def _cut(lines: Sequence[str], file_name: str) -> list[str]:
    """The first lines, and how many more there are."""
    rest = len(lines) - _LISTED
    return [*lines[:_LISTED], f"... and {rest} more, see {file_name}"] if rest > 0 else list(lines)


def _last_line(message: str) -> str:
    """Of a traceback the last line says what happened."""
    return (message.strip().splitlines() or [""])[-1]
