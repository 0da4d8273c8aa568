"""`python -m pipeline.cli`, where the command `tcx` is not on the path."""

from pipeline.cli import main

main()
