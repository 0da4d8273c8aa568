"""Verbs that look after a study: rescore, compact, gc."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.app import AsJson, Results, app, console, show

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Name or folder of a study.")]


@app.command(epilog="Example: tcx rescore quickstart")
def rescore(
    study: StudyName,
    same_items: Annotated[
        bool,
        typer.Option(
            "--same-items", help="You know that only the scorer has changed, where the study itself cannot tell."
        ),
    ] = False,
    results: Results = None,
    as_json: AsJson = False,
) -> None:
    """Score kept answers anew where the scorer of a task has changed. Makes and executes no program."""
    from pipeline.rescore import rescore as library

    # Progress must not mix with the JSON object on stdout.
    show(library(study, results=results, same_items=same_items, console=console(stderr=as_json)), as_json)


@app.command(epilog="Example: tcx compact quickstart")
def compact(study: StudyName, results: Results = None, as_json: AsJson = False) -> None:
    """Put the rows of all shards into one file, checked before the small files go. Workers may go on meanwhile."""
    from pipeline.compact import compact as library

    # Progress must not mix with the JSON object on stdout.
    show(library(study, results=results, console=console(stderr=as_json)), as_json)


@app.command(epilog="Example: tcx gc quickstart --dry-run")
def gc(
    study: StudyName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing; show what would go.")] = False,
    results: Results = None,
    as_json: AsJson = False,
) -> None:
    """Delete what resuming no longer needs: old checkpoints, leases, temporary files, code, logs, unnamed programs."""
    from pipeline.gc import collect

    show(collect(study, results=results, is_dry=dry_run), as_json)
