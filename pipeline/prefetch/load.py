"""Loads the items of one task, from the network where need be: `python -m pipeline.prefetch.load SOURCE PINS`."""

from __future__ import annotations

import json
import os
import sys

from pipeline import catalog, hub
from pipeline.errors import UserError
from pipeline.tasks.splits import items_sha256


def main() -> None:
    """Prints an entry of the lock as JSON."""
    # The real standard output is for the entry alone; what libraries print goes to standard error.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    hub.pin(json.loads(sys.argv[2]), may_download=True)
    task = catalog.task(sys.argv[1])
    entry = {
        "version": task.version,
        "items_sha256": items_sha256(task),
        "train_items": len(task.split("train")),
        "hub": hub.used_commits(),
    }
    print(json.dumps(entry), file=out, flush=True)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
