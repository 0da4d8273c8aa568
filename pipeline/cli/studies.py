"""Verbs on a study: status, logs, cancel, nodes, show, reduce, report, verify."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.app import AsJson, Results, app, console, print_json, show


class Select(StrEnum):
    """Split that frontiers are chosen on."""

    validation = "validation"
    test = "test"


@app.command(epilog="Example: tcx status quickstart --why 3f9a")
def status(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Name or folder of a study.")],
    why: Annotated[
        str | None,
        typer.Option("--why", metavar="CELL", help="Last attempts of one cell, given by the start of its id."),
    ] = None,
    cells: Annotated[
        str | None,
        typer.Option(
            "--cells", metavar="PATTERN", help="List the cells whose label matches (*lora*, or * for all), with ids."
        ),
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

    if (why is not None) + (cells is not None) + watch > 1 or (watch and as_json):
        raise UserError("--why, --cells and --watch show different things, and --watch no JSON: give one of them")
    if watch:
        library.watch(study, results, every, console())
    elif cells is not None:
        show(library.list_cells(study, cells, results), as_json)
    else:
        show(library.study_status(study, results) if why is None else library.why(study, why, results), as_json)


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

    show_logs(study, cell, results=results, attempt=attempt, follow=follow, num_lines=lines, console=console())


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
    show(found, as_json)


@app.command(epilog="Example: tcx nodes quickstart --hours 48")
def nodes(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Name or folder of a study.")],
    hours: Annotated[
        float,
        typer.Option("--hours", metavar="N", help="How far back; a profile's exclude_nodes_hours."),
    ] = 24,
    results: Results = None,
    as_json: AsJson = False,
) -> None:
    """Show the nodes that lost cells by their own fault: which are avoided, and what to tell your administrators."""
    from pipeline.cluster.nodes import report_nodes

    show(report_nodes(study, hours, results), as_json)


@app.command(name="show", epilog="Example: tcx show results/quickstart/programs/3f/3f9a....pyz")
def show_(
    name: Annotated[str, typer.Argument(metavar="CELL|PROGRAM", help="Id of a cell, or path of a program file.")],
    results: Results = None,
    as_json: AsJson = False,
) -> None:
    """Show one program: the parts of its length, its decoder, its payload, its scores, how to run it."""
    from pipeline.show import show as library

    show(library(name, results=results), as_json)


@app.command(name="reduce", epilog="Example: tcx reduce quickstart --targets 20,75%,smollm2-135m/icl")
def reduce_(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY...", help="Names or folders of studies.")],
    targets: Annotated[
        str | None,
        typer.Option(
            "--targets",
            metavar="P,P",
            help="Performances at which task complexity is reported: 20, 75% of the way to the best score, or "
            "what MODEL or MODEL/FAMILY reaches.",
        ),
    ] = None,
    dominance: Annotated[
        list[str] | None,
        typer.Option(
            "--dominance",
            metavar="A,B/C,D",
            help="Two sets of program families to be compared, besides the views; may be given again.",
        ),
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
    from pipeline.reduce.dominance import parse_pair
    from pipeline.reduce.terminal import print_reduction
    from pipeline.report.figures import draw_figures
    from pipeline.store import open_study

    folders = [open_study(study, results).folder for study in studies]
    reduction = reduce_studies(
        folders,
        targets=None if targets is None else [target.strip() for target in targets.split(",")],
        dominance=[parse_pair(pair) for pair in dominance or ()],
        select=select.value,
        out=out,
    )
    figures = draw_figures(reduction.study)
    if as_json:
        completeness = json.loads(reduction.study.table_path("completeness", "json").read_text())
        print_json(
            {
                "study_folder": str(reduction.study.folder),
                "curves": str(reduction.study.curves),
                "figures": [str(path) for path in figures],
                "completeness": completeness,
            }
        )
        return
    print_reduction(reduction, console())
    typer.echo(f"tables: {reduction.study.curves}\nfigures: {reduction.study.figures}")


@app.command(epilog="Example: tcx report quickstart")
def report(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY...", help="Names or folders of reduced studies.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The page; else report.html of the first study.")
    ] = None,
    results: Results = None,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page, which needs no network, of one or several reduced studies."""
    from pipeline.report.page import write_page
    from pipeline.store import open_study

    page = write_page([open_study(study, results) for study in studies], out)
    if as_json:
        print_json({"page": str(page), "size_bytes": page.stat().st_size})
    else:
        typer.echo(f"page: {page} ({page.stat().st_size / 1e6:.1f} MB)")


@app.command(epilog="Example: tcx verify quickstart")
def verify(
    targets: Annotated[list[str], typer.Argument(metavar="STUDY|PROGRAM...", help="Studies, or program files.")],
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, metavar="N", help="Programs at the same time.")] = None,
    results: Results = None,
    as_json: AsJson = False,
) -> None:
    """Execute programs cold and isolated; compare length, digest, outputs and scores with their shards."""
    from pipeline.verify import verify as library

    # Progress must not mix with the JSON object on stdout.
    summary = library(targets, results=results, jobs=jobs, console=console(stderr=as_json))
    if as_json:
        print_json(summary.to_json())
    raise typer.Exit(1 if summary.failed else 0)
