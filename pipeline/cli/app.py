"""What all verbs share: the application, options that several have, and how results are printed."""

from __future__ import annotations

import errno
import json
import sys
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
        except OSError as error:
            # A pipe that is closed is no fault: click ends without a word. Without a number it is none of the system's.
            if error.errno in (None, errno.EPIPE):
                raise
            typer.echo(f"tcx: {error}; mend that and say the same again: what is done is kept", err=True)
            raise typer.Exit(2) from error
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


def console(stderr: bool = False) -> Console:
    """Console of standard output, or of standard error, where progress does not mix with JSON."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPE_WIDTH)


def show(result: Any, as_json: bool) -> None:
    """Prints a result for people or for scripts."""
    if as_json:
        print_json(result.to_json())
    else:
        result.render(console())


def print_json(content: Any) -> None:
    """One JSON object on standard output."""
    typer.echo(json.dumps(content, indent=2))


def settings_of(texts: list[str] | None) -> dict[str, str]:
    """Pairs of `--set`.

    Raises:
        UserError: one of them has no equals sign.
    """
    from pipeline.errors import UserError

    pairs = [text.partition("=") for text in texts or ()]
    wrong = [f"{key!r}" for key, sign, _ in pairs if not sign]
    if wrong:
        raise UserError(f"--set wants KEY=VALUE, such as account=def-ada; {', '.join(wrong)} given")
    return {key: value for key, _, value in pairs}


def refuse_without_cluster(**options: object) -> None:
    """Refuses options that are about a cluster where no profile is given.

    Raises:
        UserError: one of them is set; the first one is named.
    """
    from pipeline.errors import UserError

    for name, value in options.items():
        if value:
            raise UserError(f"--{name} is about a cluster: give --cluster PROFILE with it")


def part_of(text: str) -> tuple[int, int]:
    """Number of a part and of all parts, of `--part`.

    Raises:
        UserError: it is no such pair.
    """
    from pipeline.errors import UserError

    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UserError(f"--part wants I/N with I from 1 to N, such as 2/3; {text!r} given")
    return int(part), int(parts)
