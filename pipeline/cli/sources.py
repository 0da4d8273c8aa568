"""Verbs that bring something in: import, make-data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.app import AsJson, Results, app, console, part_of, show

imports = typer.Typer(name="import", help="Bring in results that were measured elsewhere.", no_args_is_help=True)
app.add_typer(imports)


@imports.callback()
def _group() -> None:
    pass


@imports.command(epilog="Example: tcx import sah final-results.jsonl --study sah")
def sah(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Published rows of arXiv 2602.15829, JSON lines.")],
    study: Annotated[str, typer.Option("--study", metavar="NAME", help="Study that they are written to.")],
    results: Results = None,
    as_json: AsJson = False,
) -> None:
    """Import published rows as results of their own kind, which tables and figures set beside ours."""
    from pipeline.imported import import_sah

    show(import_sah(file, study, results=results), as_json)


@app.command(name="make-data", epilog="Example: tcx make-data data.yaml --part 1/4")
def make_data(
    config: Annotated[
        Path,
        typer.Argument(metavar="CONFIG", help="YAML file: prompts, teacher, verifier, sizes; see docs/make-data.md."),
    ],
    part: Annotated[
        str, typer.Option("--part", metavar="I/N", help="Only part i of n of the shards, for several jobs at once.")
    ] = "1/1",
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only read, filter and set aside prompts; sample nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make instruction data: a teacher samples, a verifier accepts. Saying it again resumes."""
    from pipeline.make_data.command import make_data as library

    # Progress must not mix with the JSON object on stdout.
    made = library(config, part=part_of(part), prepare_only=prepare, console=console(stderr=as_json))
    show(made, as_json)
