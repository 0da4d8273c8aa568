"""The command `tcx`: parses, calls the library, prints.

Everything heavier than the parser is imported by the command that needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 160
"""Columns of output that goes to a file or a pipe, where nothing tells the width."""


class _Group(TyperGroup):
    """Turns errors that are meant for the user into one message and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        from pipeline.errors import TaskComplexityError, UserError

        try:
            return super().invoke(ctx)
        except TaskComplexityError as error:
            typer.echo(f"tcx: {error}", err=True)
            raise typer.Exit(2 if isinstance(error, UserError) else 1) from error
        except KeyboardInterrupt as error:
            typer.echo("\ntcx: interrupted; what is done is kept, the same command goes on from there", err=True)
            raise typer.Exit(130) from error


app = typer.Typer(
    cls=_Group,
    name="tcx",
    help="Measures how little information adapts a language model to a task.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

GridName = Annotated[str, typer.Argument(metavar="GRID", help="Grid file, or name of one in jobs/.")]
Results = Annotated[
    str | None,
    typer.Option("--results", metavar="DIR", help="Folder of the studies; else $TCX_RESULTS, else ./results."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for scripts.")]


class Select(StrEnum):
    """Split that frontiers are chosen on."""

    validation = "validation"
    test = "test"


def _print_version(asked: bool) -> None:
    if not asked:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        typer.echo(f"tcx {version('task-complexity')}")
    except PackageNotFoundError:
        typer.echo("tcx, from a checkout that is not installed")
    raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: tcx validate jobs/quickstart.yaml")
def validate(grid: GridName, as_json: AsJson = False) -> None:
    """Check a grid: names, parameters, budgets, duplicates. Needs no network and no GPU."""
    from pipeline.grid import find_grid
    from pipeline.plan import check_grid

    _show(check_grid(find_grid(grid)), as_json)


@app.command(epilog="Example: tcx plan jobs/quickstart.yaml --results /scratch/results")
def plan(grid: GridName, results: Results = None, as_json: AsJson = False) -> None:
    """Expand a grid and show what is done, what is to do and what it will cost. Runs nothing."""
    from pipeline.grid import find_grid
    from pipeline.plan import make_plan

    _show(make_plan(find_grid(grid), results), as_json)


@app.command(epilog="Example: tcx run jobs/quickstart.yaml --jobs 2")
def run(
    grid: GridName,
    results: Results = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, metavar="N", help="Groups of cells that run at the same time.")
    ] = None,
) -> None:
    """Run every cell of a grid that is not done on this machine, then reduce and draw. Saying it again resumes."""
    from pipeline.grid import find_grid
    from pipeline.run import run_grid

    summary = run_grid(find_grid(grid), results=results, jobs=jobs, console=_console())
    raise typer.Exit(1 if summary.failed else 0)


@app.command(epilog="Example: tcx status quickstart --why 3f9a")
def status(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Name or folder of a study.")],
    why: Annotated[
        str | None,
        typer.Option("--why", metavar="CELL", help="Last attempts of one cell, given by the start of its id."),
    ] = None,
    results: Results = None,
    as_json: AsJson = False,
) -> None:
    """Show how many cells of a study are done, failed (by cause) and to do."""
    from pipeline import status as library

    _show(library.study_status(study, results) if why is None else library.why(study, why, results), as_json)


@app.command(epilog="Example: tcx show results/quickstart/programs/3f/3f9a....pyz")
def show(
    name: Annotated[str, typer.Argument(metavar="CELL|PROGRAM", help="Id of a cell, or path of a program file.")],
    results: Results = None,
    as_json: AsJson = False,
) -> None:
    """Show one program: the parts of its length, its decoder, its payload, its scores, how to run it."""
    from pipeline.show import show as library

    _show(library(name, results=results), as_json)


@app.command(name="reduce", epilog="Example: tcx reduce quickstart --targets 10,20")
def reduce_(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY...", help="Names or folders of studies.")],
    targets: Annotated[
        str | None,
        typer.Option("--targets", metavar="P,P", help="Performances at which task complexity is reported."),
    ] = None,
    select: Annotated[
        Select, typer.Option("--select", help="Split that frontiers are chosen on; test only to reproduce papers.")
    ] = Select.validation,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of the tables; else the first study.")
    ] = None,
    results: Results = None,
    as_json: AsJson = False,
) -> None:
    """Merge the shards of one or many studies into complexity curves, tables and figures. Needs no GPU."""
    from pipeline.reduce import reduce_studies
    from pipeline.reduce.terminal import print_reduction
    from pipeline.report.figures import draw_figures
    from pipeline.store import open_study

    folders = [open_study(study, results).folder for study in studies]
    reduction = reduce_studies(folders, targets=_numbers(targets), select=select.value, out=out)
    figures = draw_figures(reduction.study)
    if as_json:
        completeness = json.loads(reduction.study.table_path("completeness", "json").read_text())
        _print_json(
            {
                "study_folder": str(reduction.study.folder),
                "curves": str(reduction.study.curves),
                "figures": [str(path) for path in figures],
                "completeness": completeness,
            }
        )
        return
    print_reduction(reduction, _console())
    typer.echo(f"tables: {reduction.study.curves}\nfigures: {reduction.study.figures}")


@app.command(epilog="Example: tcx verify quickstart")
def verify(
    targets: Annotated[list[str], typer.Argument(metavar="STUDY|PROGRAM...", help="Studies, or program files.")],
    results: Results = None,
    as_json: AsJson = False,
) -> None:
    """Execute programs cold and isolated; compare length, digest, outputs and scores with their shards."""
    from pipeline.verify import verify as library

    # Progress must not mix with the JSON object on stdout.
    summary = library(targets, results=results, console=_console(stderr=as_json))
    if as_json:
        _print_json(summary.to_json())
    raise typer.Exit(1 if summary.failed else 0)


@app.command(epilog="Example: tcx doctor --json")
def doctor(as_json: AsJson = False) -> None:
    """Show what works on this machine, what is missing, and how to mend it."""
    from pipeline.doctor import diagnose

    diagnosis = diagnose()
    _show(diagnosis, as_json)
    raise typer.Exit(0 if diagnosis.ok else 1)


def main() -> None:
    """Entry point of the command `tcx`."""
    app(prog_name="tcx")


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPE_WIDTH)


def _show(result: Any, as_json: bool) -> None:
    if as_json:
        _print_json(result.to_json())
    else:
        result.render(_console())


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2))


def _numbers(text: str | None) -> list[float] | None:
    from pipeline.errors import UserError

    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"--targets wants numbers with commas between them, such as 10,20; {text!r} given") from error


if __name__ == "__main__":
    main()
