"""The reduced tables as text for a terminal."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.cell import format_bytes
from pipeline.reduce.curves import ALL_SCOPE
from pipeline.reduce.merge import Completeness, Row
from pipeline.reduce.reduction import Reduction

_LISTED = 10
"""Lists of single cells are cut here; `curves/completeness.json` has all of them."""


def print_reduction(reduction: Reduction, console: Console) -> None:
    """Print frontiers, task complexities and contrasts of every task, and how complete the study is.

    Args:
        reduction: what `reduce_studies` returned.
        console: where to.
    """
    frontier = _by_task(reduction.frontier.to_pylist())
    complexity = _by_task(reduction.complexity.to_pylist())
    contrast = _by_task(reduction.contrast.to_pylist())
    if reduction.select == "test":
        console.print("[bold]selected on the test split[/bold]: scores are optimistic and have no intervals\n")
    varying = varying_parameters(reduction.points.select(["family", "parameters"]).to_pylist())
    for task in sorted(set(reduction.points["task"].to_pylist())):
        if task not in frontier:
            console.print(f"{escape(task)}: no program, all cells are infeasible\n")
            continue
        for table in frontier_tables(frontier[task], varying):
            console.print(table)
        console.print(complexity_table(complexity[task]))
        for line in contrast_lines(contrast[task]):
            console.print(escape(line), highlight=False)
        console.print()
    for line in completeness_lines(reduction.completeness):
        console.print(escape(line), highlight=False, soft_wrap=True)


def varying_parameters(points: Iterable[Row]) -> dict[str, set[str]]:
    """Parameters that programs of one family differ in, by family: the others would say the same on every line."""
    values: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in points:
        for name, value in json.loads(row["parameters"] or "{}").items():
            values[row["family"]][name].add(repr(value))
    return {family: {name for name, seen in of_family.items() if len(seen) > 1} for family, of_family in values.items()}


def frontier_tables(rows: Iterable[Row], varying: Mapping[str, set[str]]) -> list[Table]:
    """Frontier of each model of one task, scope `all`.

    Args:
        rows: members of the frontiers of one task.
        varying: what `varying_parameters` returned: the parameters that are shown.
    """
    of_model: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["scope"] == ALL_SCOPE:
            of_model[row["model"]].append(row)
    tables = []
    for model, members in sorted(of_model.items()):
        first = members[0]
        table = Table(title=escape(f"{first['task']} / {model}: frontier, {first['metric']}"), title_justify="left")
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
    """Targets x models of one task, scope `all`: C and the test score of the program that reaches the target."""
    cells: dict[float, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        if row["scope"] == ALL_SCOPE:
            cells[row["target_performance"]][row["model"]] = row
    every = [row for of_model in cells.values() for row in of_model.values()]
    models = sorted({row["model"] for row in every})
    task, metric = (every[0]["task"], every[0]["metric"]) if every else ("", "")
    table = Table(
        title=escape(f"{task}: task complexity ({metric} on {_select(every)})"),
        title_justify="left",
    )
    table.add_column("target", justify="right", no_wrap=True)
    for model in models:
        table.add_column(escape(model), justify="right")
    for target, of_model in cells.items():
        fraction = next(iter(of_model.values()))["target_fraction"]
        label = format_score(target) + (f" ({fraction:.0%})" if fraction is not None else "")
        table.add_row(label, *(escape(format_complexity(of_model[model])) for model in models))
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


def completeness_lines(completeness: Completeness) -> list[str]:
    """What is done, and what is not and why."""
    done = completeness.num_ok + completeness.num_infeasible
    lines = [
        f"{done} of {completeness.num_planned} cells done ({completeness.num_ok} programs, "
        f"{completeness.num_infeasible} infeasible), {len(completeness.failed)} failed, "
        f"{len(completeness.missing)} missing"
        + (f", {completeness.num_unresolved} without a staged model" if completeness.num_unresolved else "")
    ]
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
            lines += [f"  {entry}" for entry in entries[:_LISTED]]
            if len(entries) > _LISTED:
                lines.append(f"  ... and {len(entries) - _LISTED} more, see completeness.json")
    return lines


def format_score(score: float | None) -> str:
    """One decimal, more where that would hide a small score; a null score says so."""
    if score is None:
        return "none"
    if score == 0 or abs(score) >= 1:
        return f"{score:.1f}"
    return f"{score:.2f}" if abs(score) >= 0.01 else f"{score:.1g}"


def format_interval(low: float | None, high: float | None) -> str:
    """`[20.3, 42.2]`, and nothing where there is no interval."""
    return "" if low is None or high is None else f"[{format_score(low)}, {format_score(high)}]"


def format_complexity(row: Row) -> str:
    """`1.5 KiB, test 31.2`, or how far the search went without reaching the target."""
    if row["is_reached"]:
        return f"{format_bytes(row['task_complexity_bits'] // 8)}, test {format_score(row['test_performance'])}"
    if row["largest_program_bits"] is None:
        return "no program"
    return f"> {format_bytes(row['largest_program_bits'] // 8)} (largest program)"


def format_parameters(row: Row, shown: Collection[str]) -> str:
    """Budget, the shown parameters that are set, and seed of a program."""
    parameters: dict[str, Any] = json.loads(row["parameters"] or "{}")
    parts = [] if row["budget_bytes"] is None else [f"budget={format_bytes(row['budget_bytes'])}"]
    parts += [f"{name}={value}" for name, value in parameters.items() if name in shown and value is not None]
    if row["seed"] is not None:
        parts.append(f"seed={row['seed']}")
    return " ".join(parts)


def _by_task(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["task"]].append(row)
    return groups


def _last_line(message: str) -> str:
    """Of a traceback the last line says what happened."""
    return (message.strip().splitlines() or [""])[-1]


def _select(rows: list[Row]) -> str:
    return str(rows[0]["select"]) if rows else "validation"
