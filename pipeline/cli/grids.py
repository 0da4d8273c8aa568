"""Verbs on a grid: validate, plan, prefetch, run, submit."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from pipeline.cli.app import (
    AsJson,
    Cluster,
    GridName,
    Results,
    Settings,
    app,
    console,
    part_of,
    refuse_without_cluster,
    settings_of,
    show,
)


class Executor(StrEnum):
    """Where `tcx run` works."""

    local = "local"
    inline = "inline"


@app.command(epilog="Example: tcx validate jobs/quickstart.yaml")
def validate(grid: GridName, as_json: AsJson = False) -> None:
    """Check a grid: names, parameters, budgets, duplicates. Needs no network and no GPU."""
    from pipeline.grid import find_grid
    from pipeline.plan import check_grid

    show(check_grid(find_grid(grid)), as_json)


@app.command(epilog="Example: tcx families gains")
def families(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One family; else all of them.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the program families, or the parameters of one with their defaults."""
    from pipeline.family_notes import list_families, note_of_family

    show(list_families() if name is None else note_of_family(name), as_json)


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
    """Expand a grid and show what is done, what is to do and what it will cost. Makes no program."""
    from pipeline.grid import find_grid

    if cluster is None:
        from pipeline.plan import make_plan

        refuse_without_cluster(check=check, set=set_)
        show(make_plan(find_grid(grid), results), as_json)
        return
    from pipeline.cluster.forecast import forecast

    found = forecast(find_grid(grid), cluster, settings=settings_of(set_), results=results, check=check)
    show(found, as_json)
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
    show(library(find_grid(grid), update=update, console=console(stderr=as_json)), as_json)


@app.command(epilog="Example: tcx run jobs/quickstart.yaml --jobs 2")
def run(
    grid: GridName,
    results: Results = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, metavar="N", help="Groups of cells that run at the same time.")
    ] = None,
    cells: Annotated[
        str | None,
        typer.Option(
            "--cells",
            metavar="PATTERN",
            help="Only cells whose label matches (*lora*) or id starts so, and those made with them.",
        ),
    ] = None,
    executor: Annotated[
        Executor, typer.Option("--executor", help="Processes of this machine; or this process, for a debugger.")
    ] = Executor.local,
) -> None:
    """Run every cell of a grid that is not done on this machine, then reduce and draw. Saying it again resumes."""
    from pipeline.grid import find_grid
    from pipeline.run import run_grid

    summary = run_grid(
        find_grid(grid), results=results, jobs=jobs, console=console(), executor=executor.value, pattern=cells
    )
    raise typer.Exit(1 if summary.failed else 0)


@app.command(epilog="Example: tcx submit jobs/quickstart.yaml --cluster mila")
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
        settings=settings_of(set_),
        results=results,
        part=part_of(part),
        retry=cause_of(retry),
        reduce=reduce,
        max_cost=max_cost,
        console=console(stderr=as_json),
    )
    show(summary, as_json)
    raise typer.Exit(1 if summary.refused else 0)


def cause_of(text: str | None) -> str | None:
    """Cause, or group of causes, of `--retry`.

    Raises:
        UserError: there is no such cause.
    """
    from pipeline.cluster.selection import RETRY_GROUPS
    from pipeline.errors import CAUSES, UserError, unknown_name

    if text is not None and text not in (known := (*RETRY_GROUPS, *CAUSES)):
        raise UserError(unknown_name("cause", text, known))
    return text
