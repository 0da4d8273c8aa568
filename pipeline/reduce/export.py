"""The main reduced tables as Markdown and LaTeX, rounded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.files import write_atomically
from pipeline.reduce.curves import ALL_SCOPE
from pipeline.reduce.merge import Row
from pipeline.reduce.rounding import UNKNOWN, format_interval, format_score, round_length, round_ratio
from pipeline.store import Study

ROUNDING = (
    "Lengths are whole bytes, from 1 KiB (1,024 bytes) on in three significant digits; scores have one decimal, ratios "
    "two significant digits. "
    f"Brackets hold 95% intervals over test items; {UNKNOWN} is an end that is not established."
)
"""Stands under every table."""

_LATEX_CHARACTERS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "[": "{[}",  # after the end of a line it would be taken for an option
    "]": "{]}",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTable:
    """A table whose cells are text.

    Attributes:
        title: what it shows.
        header: names of the columns.
        rows: cells, as many as names.
        num_left: the first columns are names and stand to the left; the others are numbers and stand to the right.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_left: int


def write_text_tables(study: Study, tables: Mapping[str, pa.Table]) -> None:
    """Write `curves/NAME.md` and `curves/NAME.tex` of the tables in `TEXT_TABLES`; of scopes only `all`.

    Args:
        study: where to.
        tables: the reduced tables by name.
    """
    for name, make in TEXT_TABLES.items():
        table = tables[name]
        if "scope" in table.schema.names:
            table = table.filter(pc.equal(table["scope"], ALL_SCOPE))
        texts = make(table.to_pylist())
        for suffix, text in (("md", to_markdown(texts)), ("tex", to_latex(texts))):
            write_atomically(study.table_path(name, suffix), text.encode(), replace=True)


def to_markdown(tables: Iterable[TextTable]) -> str:
    """Tables as GitHub's Markdown."""
    parts = []
    for table in tables:
        rule = ["---"] * table.num_left + ["---:"] * (len(table.header) - table.num_left)
        lines = [table.header, rule, *table.rows]
        body = "\n".join("| " + " | ".join(map(_markdown_cell, line)) + " |" for line in lines)
        parts.append(f"**{_markdown_cell(table.title)}**\n\n{body}\n\n{ROUNDING}\n")
    return "\n".join(parts)


def to_latex(tables: Iterable[TextTable]) -> str:
    """Tables as `tabular` environments with the rules of the package booktabs."""
    parts = ["% needs \\usepackage{booktabs}\n"]
    for table in tables:
        width = len(table.header)
        lines = [
            f"\\begin{{tabular}}{{{'l' * table.num_left}{'r' * (width - table.num_left)}}}",
            f"\\multicolumn{{{width}}}{{l}}{{\\textbf{{{_latex_cell(table.title)}}}}} \\\\",
            "\\toprule",
            _latex_line(table.header),
            "\\midrule",
            *map(_latex_line, table.rows),
            "\\bottomrule",
            f"\\multicolumn{{{width}}}{{p{{0.9\\linewidth}}}}{{\\footnotesize {_latex_cell(ROUNDING)}}} \\\\",
            "\\end{tabular}",
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _frontier(rows: Sequence[Row]) -> list[TextTable]:
    return [
        TextTable(
            title=f"{task}, {model}: frontier ({_metric(of_model[0])}){_origin(of_model[0])}{_choice(of_model)}",
            header=["family", "length", "validation", "test", "95%"],
            rows=[
                [
                    row["family"],
                    round_length(row["program_length_bits"]),
                    format_score(row["validation_performance"]),
                    format_score(row["test_performance"]),
                    format_interval(row["test_low"], row["test_high"]),
                ]
                for row in of_model
            ],
            num_left=1,
        )
        for (task, _, model), of_model in _grouped(rows, "task", "is_imported", "model").items()
    ]


def _complexity(rows: Sequence[Row]) -> list[TextTable]:
    tables = []
    for (task, _), of_task in _grouped(rows, "task", "is_imported").items():
        of_model = _grouped(of_task, "model")
        targets = next(iter(of_model.values()))  # the same for every model, and in the same order
        tables.append(
            TextTable(
                title=f"{task}: task complexity ({_metric(of_task[0])} on {of_task[0]['select']})"
                f"{_origin(of_task[0])}{_choice(of_task)}",
                header=["model", *map(target_label, targets)],
                rows=[[str(model), *map(_complexity_cell, of_targets)] for (model,), of_targets in of_model.items()],
                num_left=1,
            )
        )
    return tables


def _reduction(rows: Sequence[Row]) -> list[TextTable]:
    # Of the two orders of a pair the one in which the model needs less is enough.
    rows = [
        row for row in rows if row["is_lower_bound"] or (-row["ratio"], row["model"]) < (-1, row["reference_model"])
    ]
    return [
        TextTable(
            title=f"{task}: times shorter than the reference at {target_label(of_target[0])}"
            f"{_origin(of_target[0])}{_choice(of_target)}",
            header=["model", "reference", "length", "of reference", "ratio", "95%"],
            rows=[
                [
                    row["model"],
                    row["reference_model"],
                    round_length(row["task_complexity_bits"]),
                    _length_or_more(row["reference_complexity_bits"], row["reference_largest_program_bits"]),
                    ("> " if row["is_lower_bound"] else "") + round_ratio(row["ratio"]),
                    format_interval(row["ratio_low"], row["ratio_high"], round_ratio),
                ]
                for row in of_target
            ],
            num_left=2,
        )
        for (task, _, _), of_target in _grouped(rows, "task", "is_imported", "target_name").items()
    ]


def _dominance(rows: Sequence[Row]) -> list[TextTable]:
    rows = [row for row in rows if row["ratio"] is not None or row["difference"] is not None]
    return [
        TextTable(
            title=f"{task}: times shorter at equal {_metric(of_task[0])}, better by at equal length{_choice(of_task)}",
            header=["model", "programs", "reference", "range", "ratio", "95%", "least to most", "better by", "95%"],
            rows=[
                [
                    row["model"],
                    row["programs"] + _origin(row),
                    row["reference_programs"] + (", imported" if row["reference_is_imported"] else ""),
                    _span(row["performance_from"], row["performance_to"], format_score),
                    "none" if row["ratio"] is None else round_ratio(row["ratio"]),
                    format_interval(row["ratio_low"], row["ratio_high"], round_ratio),
                    _span(row["ratio_min"], row["ratio_max"], round_ratio),
                    format_score(row["difference"]),
                    format_interval(row["difference_low"], row["difference_high"]),
                ]
                for row in of_task
            ],
            num_left=3,
        )
        for (task,), of_task in _grouped(rows, "task").items()
    ]


TEXT_TABLES: dict[str, Callable[[Sequence[Row]], list[TextTable]]] = {
    "frontier": _frontier,
    "complexity": _complexity,
    "reduction": _reduction,
    "dominance": _dominance,
}
"""Name of a reduced table -> how its rows become text."""


def target_label(row: Row) -> str:
    """Header of a target: `31.2`, or `31.2 (75%)` where it was not given as a number."""
    score, name = format_score(row["target_performance"]), row["target_name"]
    is_number = name == f"{row['target_performance']:.12g}"
    return score if is_number else f"{score} ({name})"


def _complexity_interval(row: Row) -> str:
    if not row["has_interval"]:
        return ""
    if row["complexity_low_bits"] is None:
        return "[none]"
    high = row["complexity_high_bits"]
    return f"[{round_length(row['complexity_low_bits'])}, {UNKNOWN if high is None else round_length(high)}]"


def _complexity_cell(row: Row) -> str:
    if row["largest_program_bits"] is None:
        return "no program"
    length = _length_or_more(row["task_complexity_bits"], row["largest_program_bits"])
    return f"{length} {_complexity_interval(row)}".rstrip()


def _length_or_more(bits: int | None, largest_bits: int) -> str:
    """A length, or that it is beyond the largest program that was tried."""
    return f"> {round_length(largest_bits)}" if bits is None else round_length(bits)


def _span(low: float | None, high: float | None, form: Callable[[float], str]) -> str:
    return "none" if low is None or high is None else f"{form(low)} to {form(high)}"


def _grouped(rows: Iterable[Row], *columns: str) -> dict[tuple[Hashable, ...], list[Row]]:
    """Rows by the values of some columns, groups and rows in the order in which they come."""
    groups: dict[tuple[Hashable, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in columns)].append(row)
    return groups


def _metric(row: Row) -> str:
    return row["metric"] or "no score"


def _origin(row: Row) -> str:
    """Says of imported rows that they are."""
    return ", imported" if row["is_imported"] else ""


def _choice(rows: Iterable[Row]) -> str:
    """Says so where our own programs were chosen on test; imported ones always are."""
    return ", chosen on test" if any(row["select"] == "test" and not row["is_imported"] for row in rows) else ""


def _markdown_cell(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "\\<").replace("*", "\\*").split())


def _latex_line(cells: Iterable[str]) -> str:
    return " & ".join(map(_latex_cell, cells)) + " \\\\"


def _latex_cell(text: str) -> str:
    return "".join(_LATEX_CHARACTERS.get(character, character) for character in text)
