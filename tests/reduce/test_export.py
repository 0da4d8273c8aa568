"""Tables as Markdown and LaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.reduce import Reduction, reduce_studies
from pipeline.reduce.export import ROUNDING, TEXT_TABLES, TextTable, to_latex, to_markdown

from .conftest import MakeStudy, Row, imported_row, shard_row

TWIN = {"model": "twin_2", "model_identity": "2" * 64}
SPECIAL = TextTable(
    title="100% of {this} & that_1",
    header=["a|b", "$c"],
    rows=[["x\\y <z>", "[1.0, ?]"], ["[first]", "~^#"]],
    num_left=1,
)


def study_rows() -> list[Row]:
    data = {"family": "subset", "view": "data"}
    return [
        shard_row("floor", family="trivial", view="floor", length_bytes=100, validation=1, test=1),
        shard_row("icl", length_bytes=200, validation=4, test=5),
        shard_row("long icl", length_bytes=900, validation=12, test=12),
        shard_row("subset", **data, length_bytes=300, validation=5, test=4),
        shard_row("long subset", **data, length_bytes=4000, validation=18, test=16),
        shard_row("twin", **TWIN, length_bytes=5000, validation=8, test=9),
        imported_row("theirs", 9005, 30.0),
    ]


@pytest.fixture
def reduction(make_study: MakeStudy) -> Reduction:
    return reduce_studies([make_study(study_rows()).folder])


def text(reduction: Reduction, name: str, suffix: str) -> str:
    return reduction.study.table_path(name, suffix).read_text()


def test_markdown_by_hand() -> None:
    assert to_markdown([SPECIAL]) == (
        "**100% of {this} & that_1**\n\n"
        "| a\\|b | $c |\n| --- | ---: |\n| x\\\\y \\<z> | [1.0, ?] |\n| [first] | ~^# |\n\n"
        f"{ROUNDING}\n"
    )


def test_latex_by_hand() -> None:
    lines = to_latex([SPECIAL]).splitlines()
    assert lines[2:8] == [
        "\\begin{tabular}{lr}",
        "\\multicolumn{2}{l}{\\textbf{100\\% of \\{this\\} \\& that\\_1}} \\\\",
        "\\toprule",
        "a|b & \\$c \\\\",
        "\\midrule",
        "x\\textbackslash{}y \\textless{}z\\textgreater{} & {[}1.0, ?{]} \\\\",
    ]
    assert lines[-3] == "\\bottomrule" and lines[-1] == "\\end{tabular}"


def test_cells_are_rounded(reduction: Reduction) -> None:
    frontier = text(reduction, "frontier", "md")
    assert "| subset | 3.91 KiB | 90.0 | 80.0 | [58.4, 91.9] |" in frontier
    assert (
        "**sums, tiny: frontier (accuracy), imported**" in frontier and "| icl | 1.1 KiB | none | 30.0 |  |" in frontier
    )
    complexity = text(reduction, "complexity", "md")
    assert "| model | 26.2 (25%) | 47.5 (50%) |" in complexity
    assert "| twin\\_2 |" in complexity or "| twin_2 |" in complexity
    assert "> 4.88 KiB [" in complexity  # the largest program of the twin, which reaches 40
    assert re.search(
        r"\| tiny \| twin_2 \| 900 B \| 4\.88 KiB \| 5\.6 \| \[[\d.]+, [\d.?]+\] \|", text(reduction, "reduction", "md")
    )
    assert re.search(
        r"\| tiny \| view:data \| view:inference \| 25\.0 to 60\.0 \| ", text(reduction, "dominance", "md")
    )


def test_only_all_programs_of_a_model(reduction: Reduction) -> None:
    assert text(reduction, "frontier", "md").count("**") // 2 == 3  # two models of ours, one imported


@pytest.mark.parametrize("name", TEXT_TABLES)
def test_structure(reduction: Reduction, name: str) -> None:
    """Every line of a table has as many cells as its header, and every environment is closed."""
    for part in text(reduction, name, "md").split("\n\n"):
        if part.startswith("|"):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in part.splitlines()}) == 1
    latex = text(reduction, name, "tex")
    tables = re.findall(r"\\begin\{tabular\}\{([lr]+)\}\n(.*?)\\end\{tabular\}", latex, re.DOTALL)
    assert len(tables) == latex.count("\\begin{") == latex.count("\\end{") > 0
    for columns, body in tables:
        lines = [line for line in body.splitlines() if line.endswith("\\\\") and not line.startswith("\\multicolumn")]
        assert len(lines) > 1 and {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {len(columns)}
        assert body.count("rule") - body.lower().count("rules") >= 3


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(reduction: Reduction, tmp_path: Path) -> None:
    body = "\n\n".join(text(reduction, name, "tex") for name in TEXT_TABLES) + to_latex([SPECIAL])
    document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n" + body + "\n\\end{document}\n"
    (tmp_path / "tables.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-2000:]


def test_an_empty_study_has_empty_texts(make_study: MakeStudy) -> None:
    reduction = reduce_studies([make_study([]).folder])
    assert text(reduction, "complexity", "md") == "" and "tabular" not in text(reduction, "complexity", "tex")


@pytest.mark.parametrize("name", TEXT_TABLES)
def test_what_was_chosen_on_test_says_so(make_study: MakeStudy, name: str) -> None:
    study = make_study(study_rows())
    for select, is_marked in (("test", True), ("validation", False)):
        reduction = reduce_studies([study.folder], select=select)
        for suffix, start in (("md", "**sums"), ("tex", "\\multicolumn")):
            titles = [
                line for line in text(reduction, name, suffix).splitlines() if line.startswith(start) and "sums" in line
            ]
            own = [title for title in titles if "imported" not in title]
            assert own and all(("chosen on test" in title) == is_marked for title in own)
