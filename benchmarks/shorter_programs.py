"""Families of this package against those of arXiv 2602.15829 on programs that were run: lengths and performances.

    python benchmarks/shorter_programs.py STUDY... [--results DIR] [--figure FILE.png] [--json | --programs]

Compared are programs of one task and base model (`jobs/frontier*.yaml`), chosen on validation and reported on test:

* ours against the paper's families, built by the same packer and coder;
* ours against what the paper's formulas would charge for those programs of its families: the size of a script, stated
  once a family, plus the ideal bits of texts and 16 bits a number (`blora`: what the gates say). No such file exists,
  and the script leans on packages that it does not hold.

Of the paper's families only those of the study take part. Choose settings on other items than these: `test_items` are
the first of the test split.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pipeline.api import read_study
from pipeline.cell import format_bytes
from pipeline.imported.mapping import FAMILIES
from pipeline.reduce.curves import Curve, score_column
from pipeline.reduce.dominance import FamilyPair, dominance_rows
from pipeline.reduce.frontier import best_within, direction, pareto_frontier
from pipeline.reduce.intervals import percentile_interval
from pipeline.reduce.points import FLOOR_VIEW
from pipeline.reduce.resamples import Resamples, resampled_members
from pipeline.reduce.terminal import format_parameters, varying_parameters
from pipeline.report.axes import metric_label, set_length_axis
from pipeline.report.curves import constant, draw_intervals, draw_members, draw_steps, line_handle
from pipeline.report.palette import length_styles
from pipeline.report.style import figure_bytes, house_style
from pipeline.store import open_study

Row = dict[str, Any]

OURS, PAPERS, CHARGED = "ours", "paper's families", "paper's formulas"
LIMITS_BYTES = (1024, 4096, 16384, 65536)
SCRIPT_BITS = {it.family: it.script_bits for it in reversed(FAMILIES.values())}
"""Family -> what the paper's figures add to its bits; of two published names of a family the first one counts."""
BITS_A_NUMBER = 16


def charged_bits(row: Row) -> int:
    """What the paper's formula charges for a program of one of its families."""
    settings = json.loads(row["settings"] or "{}")
    numbers = settings.get("bits_a_number", BITS_A_NUMBER) * settings.get("numbers", 0)
    text = row["nll_bits"] or settings.get("prompt_bits", 0.0)
    return SCRIPT_BITS[row["family"]] + round(numbers + text)


def curves(points: Sequence[Row]) -> dict[str, Curve]:
    """The frontier of each side of one task and base model."""
    papers = [row for row in points if row["family"] in SCRIPT_BITS]
    sides = {
        OURS: [row for row in points if row["family"] not in SCRIPT_BITS],
        PAPERS: papers,
        CHARGED: [row | {"program_length_bits": charged_bits(row)} for row in papers],
    }
    return {name: _curve(name, rows) for name, rows in sides.items() if rows}


def compared(sides: Mapping[str, Curve]) -> Row:
    """Dominance over both references, and the best performance within each limit."""
    resamples = resampled_members(list(sides.values()))
    pairs = [FamilyPair(families=(OURS,), reference=(name,)) for name in (PAPERS, CHARGED)]
    wanted = dominance_rows(list(sides.values()), resamples, pairs)
    limits = [_within(sides, resamples, limit) for limit in LIMITS_BYTES]
    return {"dominance": wanted, "within": [row for row in limits if row is not None]}


def programs_table(points: Sequence[Row]) -> str:
    """A line of Markdown a setting: bytes and scores of its seeds, the shortest setting first."""
    varying = varying_parameters(points)
    settings: dict[str, list[Row]] = {}
    for row in sorted(points, key=lambda row: row["seed"] or 0):
        title = f"`{row['family']}` {format_parameters(row | {'seed': None}, varying.get(row['family'], ()))}".rstrip()
        settings.setdefault(title, []).append(row)
    lines = ["| program | bytes | validation | test |", "|---|---|---|---|"]
    for title, rows in sorted(settings.items(), key=lambda item: min(row["program_length_bits"] for row in item[1])):
        columns = [
            [f"{row['program_length_bits'] // 8:,}" for row in rows],
            [f"{row['validation_performance']:.1f}" for row in rows],
            [f"{row['test_performance']:.1f}" for row in rows],
        ]
        lines.append(f"| {title} | {' | '.join('; '.join(column) for column in columns)} |")
    return "\n".join(lines)


def draw(axes: Any, sides: Mapping[str, Curve]) -> list[Any]:
    """The frontiers of both sides with intervals, and that of the formulas as a line."""
    # From the palette of lengths, so that the sides stay apart in grey.
    styles = dict(zip((CHARGED, PAPERS, OURS), length_styles(3), strict=True))
    end = max(curve.tried_up_to_bits or 0 for curve in sides.values()) / 8
    for name, curve in sides.items():
        style_of, is_charged = constant(styles[name]), name == CHARGED
        draw_steps(axes, curve.frontier, style_of, end_bytes=end, width=1.4, imported=is_charged, zorder=3)
        if not is_charged:
            draw_intervals(axes, curve.frontier, constant(styles[name].color), zorder=4)
            draw_members(axes, curve.frontier, style_of, zorder=5, size=4)
    return [line_handle(name, styles[name], width=1.4, marker=name != CHARGED) for name in sides]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", metavar="STUDY")
    parser.add_argument("--results")
    parser.add_argument("--figure", type=Path)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--programs", action="store_true", help="list all programs, the seeds of a setting together")
    options = parser.parse_args()
    groups: dict[tuple[str, str], list[Row]] = {}
    for name in options.studies:
        study = open_study(name, options.results)
        compacted = {cell: path for path, cells in study.compacted_cells().items() for cell in cells}
        for row in read_study(name, results=options.results).arrow("points").to_pylist():
            if row["program_length_bits"] is not None and row["view"] != FLOOR_VIEW:
                path = str(compacted.get(row["cell_id"], study.shard_path(row["cell_id"])))
                groups.setdefault((row["task"], row["model"]), []).append(row | {"path": path})
    if options.programs:
        for (task, model), rows in sorted(groups.items()):
            print(f"\n{task}, {model}\n\n{programs_table(rows)}")
        return
    found = {key: curves(rows) for key, rows in sorted(groups.items())}
    for (task, model), sides in list(found.items()):
        if sides.keys() != {OURS, PAPERS, CHARGED}:
            print(f"{task}, {model}: programs of {' and '.join(sides)} only; nothing to compare", file=sys.stderr)
            del found[task, model]
    results = [{"task": task, "model": model} | compared(sides) for (task, model), sides in found.items()]
    if options.json:
        print(json.dumps(results, indent=1))
    else:
        for result in results:
            _print(result)
    if options.figure and found:
        options.figure.write_bytes(_figure(found))


def _curve(name: str, rows: Sequence[Row]) -> Curve:
    largest = max(row["program_length_bits"] for row in rows)
    first = rows[0]
    return Curve(
        task=first["task"],
        model=first["model"],
        scope=f"family:{name}",
        is_imported=False,
        select="validation",
        num_programs=len(rows),
        largest_program_bits=largest,
        tried_up_to_bits=largest,
        frontier=[row | {"is_imported": False} for row in pareto_frontier(rows, score_column("validation"))],
    )


def _within(sides: Mapping[str, Curve], resamples: Resamples, limit: int) -> Row | None:
    own, other = (best_within(sides[name].frontier, 8 * limit) for name in (OURS, PAPERS))
    if own is None or other is None:
        return None
    sign = direction([own, other])
    low, high = percentile_interval(sign * (resamples[own["cell_id"]] - resamples[other["cell_id"]]))
    return {
        "limit_bytes": limit,
        **{name: _described(row) for name, row in ((PAPERS, other), (OURS, own))},
        "better_by": sign * (own["test_performance"] - other["test_performance"]),
        "better_by_low": low,
        "better_by_high": high,
    }


def _described(row: Row) -> Row:
    names = ("family", "parameters", "seed", "cell_id", "validation_performance")
    return {
        "bytes": row["program_length_bits"] // 8,
        "test": row["test_performance"],
        "test_low": row["test_low"],
        "test_high": row["test_high"],
        **{name: row[name] for name in names},
    }


def _print(result: Row) -> None:
    print(f"\n{result['task']}, {result['model']}")
    for row in result["dominance"]:
        # Lengths as a part of the reference's: the inverse of the table's ratio.
        ratios = [row[name] for name in ("ratio", "ratio_high", "ratio_low")]
        part, low, high = (None if ratio is None else 1 / ratio for ratio in ratios)
        if part is None:
            print(f"  against the {row['reference_programs']}: no performance that both reach")
            continue
        interval = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
        print(
            f"  length over that of the {row['reference_programs']}: {part:.3f}{interval}, test "
            f"{row['performance_from']:.1f} to {row['performance_to']:.1f}, shorter over {row['shorter_share']:.0%}"
        )
        if row["difference"] is not None:
            print(
                f"  at equal length better by {row['difference']:.1f} "
                f"({row['difference_low']:.1f} to {row['difference_high']:.1f}), "
                f"{row['length_from_bits']:,} to {row['length_to_bits']:,} bits, over {row['better_share']:.0%}; "
                f"not better at {row['not_better_bits'] or 'none'}"
            )
    print("  | at most | paper's families | ours | better by |\n  |---|---|---|---|")
    for row in result["within"]:
        cells = [
            f"{it['test']:.1f} ({it['test_low']:.1f}, {it['test_high']:.1f}), `{it['family']}`, {it['bytes']:,} B"
            for it in (row[PAPERS], row[OURS])
        ]
        gain = f"{row['better_by']:+.1f} ({row['better_by_low']:+.1f}, {row['better_by_high']:+.1f})"
        print(f"  | {format_bytes(row['limit_bytes'])} | {cells[0]} | {cells[1]} | {gain} |")


def _figure(found: Mapping[tuple[str, str], Mapping[str, Curve]]) -> bytes:
    with house_style():
        figure = Figure(figsize=(3.3 * len(found), 2.8), layout="constrained")
        handles: list[Any] = []
        for number, ((task, model), sides) in enumerate(found.items()):
            axes = figure.add_subplot(1, len(found), number + 1)
            handles = draw(axes, sides)
            sizes = [row["program_length_bits"] / 8 for curve in sides.values() for row in curve.frontier]
            set_length_axis(axes, min(sizes), 1.5 * max(sizes), inches=2.7)  # so that the last step is seen
            first = sides[OURS].frontier[0]
            axes.set_xlabel("program length")
            axes.set_ylabel(metric_label(first["metric"], first["higher_is_better"], "validation"))
            axes.set_title(f"{task.partition(':')[0]}, {model}", loc="left")
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
        return figure_bytes(figure)["png"]


if __name__ == "__main__":
    main()
