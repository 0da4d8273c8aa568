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
Cluster = Annotated[
    str,
    typer.Option("--cluster", metavar="PROFILE", help="Cluster profile: name of one in slurm/, or path of your own."),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Value that wins over the profile's; repeatable.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for scripts.")]


class Executor(StrEnum):
    """Where `tcx run` works."""

    local = "local"
    inline = "inline"


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


@app.command(epilog="Example: tcx plan jobs/quickstart.yaml --cluster mila --check")
def plan(
    grid: GridName,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="PROFILE", help="Show jobs and costs on this cluster: a name, or a path."),
    ] = None,
    set_: Settings = None,
    check: Annotated[
        bool, typer.Option("--check", help="Give the scripts to `sbatch --test-only`, which submits nothing.")
    ] = False,
    results: Results = None,
    as_json: AsJson = False,
) -> None:
    """Expand a grid and show what is done, what is to do and what it will cost. Runs nothing."""
    from pipeline.errors import UserError
    from pipeline.grid import find_grid

    if cluster is None:
        from pipeline.plan import make_plan

        if check or set_:
            raise UserError(f"{'--check' if check else '--set'} is about a cluster: give --cluster PROFILE with it")
        _show(make_plan(find_grid(grid), results), as_json)
        return
    from pipeline.cluster.forecast import forecast

    found = forecast(find_grid(grid), cluster, settings=_settings(set_), results=results, check=check)
    _show(found, as_json)
    raise typer.Exit(0 if found.ok else 1)


@app.command(epilog="Example: tcx prefetch jobs/quickstart.yaml")
def prefetch(
    grid: GridName,
    update: Annotated[
        bool, typer.Option("--update", help="Resolve branches and tags anew, and take what has changed into the lock.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch what a grid reads, prove that it loads without a network, and write its lock. For login nodes."""
    from pipeline.grid import find_grid
    from pipeline.prefetch.command import prefetch as library

    # Progress must not mix with the JSON object on stdout.
    _show(library(find_grid(grid), update=update, console=_console(stderr=as_json)), as_json)


@app.command(epilog="Example: tcx run jobs/quickstart.yaml --jobs 2")
def run(
    grid: GridName,
    results: Results = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, metavar="N", help="Groups of cells that run at the same time.")
    ] = None,
    cells: Annotated[
        str | None,
        typer.Option("--cells", metavar="PATTERN", help="Only cells whose label matches (*lora*) or id starts so."),
    ] = None,
    executor: Annotated[
        Executor, typer.Option("--executor", help="Processes of this machine; or this process, for a debugger.")
    ] = Executor.local,
) -> None:
    """Run every cell of a grid that is not done on this machine, then reduce and draw. Saying it again resumes."""
    from pipeline.grid import find_grid
    from pipeline.run import run_grid

    summary = run_grid(
        find_grid(grid), results=results, jobs=jobs, console=_console(), executor=executor.value, pattern=cells
    )
    raise typer.Exit(1 if summary.failed else 0)


@app.command(epilog="Example: tcx submit jobs/quickstart.yaml --cluster mila --set account=def-ada")
def submit(
    grid: GridName,
    cluster: Cluster,
    set_: Settings = None,
    results: Results = None,
    part: Annotated[
        str, typer.Option("--part", metavar="I/N", help="Only part i of n, for a study on several clusters.")
    ] = "1/1",
    retry: Annotated[
        str | None,
        typer.Option(
            "--retry",
            metavar="CAUSE",
            help="Only cells that failed with this cause; 'oom' for all want of memory, 'failed' for any cause.",
        ),
    ] = None,
    reduce: Annotated[
        bool, typer.Option("--reduce", help="Add a job that reduces when all others have ended.")
    ] = False,
    max_cost: Annotated[
        float | None,
        typer.Option(
            "--max-cost", min=0, metavar="N", help="Refuse when the rest may cost more, in the profile's billing unit."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hand what is neither done nor queued to Slurm, and return. Saying it again resumes."""
    from pipeline.cluster.submit import submit as library
    from pipeline.grid import find_grid

    summary = library(
        find_grid(grid),
        cluster,
        settings=_settings(set_),
        results=results,
        part=_part(part),
        retry=_cause(retry),
        reduce=reduce,
        max_cost=max_cost,
        console=_console(stderr=as_json),
    )
    _show(summary, as_json)
    raise typer.Exit(1 if summary.refused else 0)


@app.command(epilog="Example: tcx logs quickstart 3f9a --attempt 1")
def logs(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Name or folder of a study.")],
    cell: Annotated[str, typer.Argument(metavar="CELL", help="Start of the id of a cell.")],
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=1, metavar="N", help="Only the job that made this attempt.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Of the last job, print new lines until it has ended, or Ctrl-C.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, metavar="N", help="Lines from the end of each.")] = 40,
    results: Results = None,
) -> None:
    """Show the logs of the jobs that worked on a cell, oldest job first."""
    from pipeline.cluster.logs import show_logs

    show_logs(study, cell, results=results, attempt=attempt, follow=follow, num_lines=lines, console=_console())


@app.command(epilog="Example: tcx cancel quickstart --pending")
def cancel(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Name or folder of a study.")],
    pending: Annotated[bool, typer.Option("--pending", help="Only jobs that wait.")] = False,
    running: Annotated[bool, typer.Option("--running", help="Only jobs that run.")] = False,
    cells: Annotated[
        str | None,
        typer.Option(
            "--cells", metavar="PATTERN", help="Only jobs with a cell whose label matches (*lora*) or id starts so."
        ),
    ] = None,
    graceful: Annotated[
        bool, typer.Option("--graceful", help="Let jobs that run save a checkpoint first, in up to 20 seconds.")
    ] = False,
    results: Results = None,
    as_json: AsJson = False,
) -> None:
    """Cancel jobs of a study in the queue. Their cells wait for `tcx submit --retry cancelled`."""
    from pipeline.cluster.control import cancel as library

    # Neither means both.
    states = {True} if running and not pending else {False} if pending and not running else {True, False}
    found = library(study, results=results, running_states=states, pattern=cells, graceful=graceful)
    _show(found, as_json)


@app.command(epilog="Example: tcx nodes quickstart --hours 48")
def nodes(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Name or folder of a study.")],
    hours: Annotated[
        float, typer.Option("--hours", min=0, metavar="N", help="How far back; a profile's exclude_nodes_hours.")
    ] = 24,
    results: Results = None,
    as_json: AsJson = False,
) -> None:
    """Show the nodes that lost cells by their own fault: which are avoided, and what to tell your administrators."""
    from pipeline.cluster.nodes import report_nodes

    _show(report_nodes(study, hours, results), as_json)


@app.command(epilog="Example: tcx profile mila --set account=def-ada")
def profile(
    name: Annotated[str, typer.Argument(metavar="PROFILE", help="Name or path of a cluster profile.")],
    set_: Settings = None,
) -> None:
    """Show a cluster profile: every value and the file that it comes from."""
    from pipeline.cluster.inspect import show_profile

    show_profile(name, _console(), _settings(set_))


@app.command(epilog="Example: tcx status quickstart --why 3f9a")
def status(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Name or folder of a study.")],
    why: Annotated[
        str | None,
        typer.Option("--why", metavar="CELL", help="Last attempts of one cell, given by the start of its id."),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it anew until nothing is queued or running, or Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", min=1, metavar="SECONDS", help="Time between looks of --watch.")
    ] = 30,
    results: Results = None,
    as_json: AsJson = False,
) -> None:
    """Show how many cells of a study are done, failed (by cause) and to do."""
    from pipeline import status as library
    from pipeline.errors import UserError

    if watch:
        if as_json or why is not None:
            raise UserError("--watch shows the table of a study; leave --json and --why out")
        library.watch(study, results, every, _console())
        return
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


@app.command(epilog="Example: tcx doctor --cluster mila")
def doctor(
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="PROFILE", help="Compare this profile with the cluster instead.")
    ] = None,
    set_: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Show what works on this machine, or with a cluster profile, what is missing, and how to mend it."""
    from pipeline.doctor import Diagnosis, diagnose

    if cluster is None:
        diagnosis = diagnose()
    else:
        from pipeline.cluster.inspect import check_profile
        from pipeline.cluster.profile import load_profile

        diagnosis = Diagnosis(findings=tuple(check_profile(load_profile(cluster, _settings(set_)))))
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


def _settings(texts: list[str] | None) -> dict[str, str]:
    from pipeline.errors import UserError

    pairs = [text.partition("=") for text in texts or ()]
    wrong = [f"{key!r}" for key, sign, _ in pairs if not sign]
    if wrong:
        raise UserError(f"--set wants KEY=VALUE, such as account=def-ada; {', '.join(wrong)} given")
    return {key: value for key, _, value in pairs}


def _part(text: str) -> tuple[int, int]:
    from pipeline.errors import UserError

    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise UserError(f"--part wants I/N with I from 1 to N, such as 2/3; {text!r} given")
    return int(part), int(parts)


def _cause(text: str | None) -> str | None:
    from pipeline.catalog import unknown_name
    from pipeline.cluster.selection import RETRY_GROUPS
    from pipeline.errors import CAUSES, UserError

    if text is not None and text not in (known := (*RETRY_GROUPS, *CAUSES)):
        raise UserError(unknown_name("cause", text, known))
    return text


if __name__ == "__main__":
    main()
