"""The proof: everything of a grid is loaded by its local path, in a process that has no network.

Run as `python -m pipeline.prefetch.prove`: reads one JSON object and prints one. Imports are late: the network goes
before any library is there to keep a connection or a thread.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def leave_network() -> str:
    """Blocks the network for this process and its children.

    Returns:
        `kernel` where native code cannot get round it either, else `audit`: Python's own hook alone.
    """
    from pipeline.runner.launch import audit, kernel

    blocked = kernel.leave_network()
    audit.refuse_network()
    return "kernel" if blocked else "audit"


def main() -> None:
    """Proves item after item; prints the isolation, and what is wrong with each item that does not load."""
    # The real standard output is for the answer alone; what libraries print goes to standard error.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    isolation = leave_network()
    problems = {}
    for prove, items in ((_prove_model, request["models"]), (_prove_task, request["tasks"])):
        for item in items:
            try:
                problem = prove(item)
            except Exception as error:
                # Whatever library it comes from: it would come in the job too.
                problem = f"{type(error).__name__}: {error}"
            if problem is not None:
                problems[item["name"]] = problem
    print(json.dumps({"isolation": isolation, "problems": problems}), file=out, flush=True)


def _prove_model(item: dict[str, Any]) -> str | None:
    """What is wrong with a staged folder, None for nothing."""
    from safetensors import SafetensorError, safe_open
    from transformers import AutoConfig, AutoTokenizer

    from pipeline.models.spec import folder_identity

    folder = Path(item["folder"])
    index = folder / "model.safetensors.index.json"
    parts = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else set()
    paths = {*folder.glob("*.safetensors"), *(folder / name for name in parts)}
    if not paths:
        return f"there are no *.safetensors in {folder}"
    for path in sorted(paths):
        try:
            with safe_open(path, framework="np") as weights:  # compares the size of the file with its header
                weights.keys()
        except (SafetensorError, OSError) as error:
            return f"{path} cannot be read: {error}"
    AutoConfig.from_pretrained(folder, local_files_only=True)
    AutoTokenizer.from_pretrained(folder, local_files_only=True)
    found = folder_identity(folder)
    if found != item["identity"]:
        return f"the files in {folder} have identity {found[:12]}, not {item['identity'][:12]}"
    return None


def _prove_task(item: dict[str, Any]) -> str | None:
    """What is wrong with the items of a task, None for nothing."""
    from pipeline import catalog, hub
    from pipeline.tasks.splits import items_sha256

    hub.pin(item["hub"], may_download=False)
    task = catalog.task(item["source"])
    if task.version != item["version"]:
        return f"it is version {task.version}, not {item['version']}"
    found = items_sha256(task)
    return None if found == item["items_sha256"] else f"its items are {found[:12]}, not {item['items_sha256'][:12]}"


if __name__ == "__main__":
    main()
