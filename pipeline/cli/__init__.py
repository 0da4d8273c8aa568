"""The command `tcx`: parses, calls the library, prints.

Everything heavier than the parser is imported by the verb that needs it, so that `--help` answers at once.
"""

# Importing a room registers its verbs; `tcx --help` lists them in this order.
from pipeline.cli import grids, studies, upkeep, sources, machines  # noqa: F401, I001
from pipeline.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the command `tcx`."""
    app(prog_name="tcx")
