"""Looks at the node before work begins: a broken one would fail one cell after the other within seconds each."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from pipeline.errors import ProgramError
from pipeline.machine import node_name

DRIVER = Path("/proc/driver/nvidia/gpus")
"""Has an entry for each GPU that the driver of the node knows."""
LEAST_FREE_BYTES = 64 * 2**20


@cache
def check_node() -> None:
    """Once a process: room for temporary files, and a GPU that computes where the job was given one.

    Raises:
        ProgramError: the cause is `node`, the message names the node and what is wrong with it.
    """
    folder = tempfile.gettempdir()
    if (free := shutil.disk_usage(folder).free) < LEAST_FREE_BYTES:
        raise _broken(f"{folder} has {free:,} bytes left, less than {LEAST_FREE_BYTES:,}")
    if os.environ.get("CUDA_VISIBLE_DEVICES") and DRIVER.is_dir() and any(DRIVER.iterdir()):
        _check_gpu()


def _check_gpu() -> None:
    import torch

    try:
        # Whole numbers this small are exact in every format, so that any other sum is a fault.
        ones = torch.ones(512, 512, device="cuda")
        product = (ones @ ones).sum().item()
    except (RuntimeError, AssertionError) as error:
        raise _broken(f"its GPU does not compute: {str(error).splitlines()[0]}") from error
    if product != 512**3:
        raise _broken(f"its GPU gave {product} for a sum that is {512**3}")


def _broken(what: str) -> ProgramError:
    return ProgramError("node", f"node {node_name()}: {what}")
