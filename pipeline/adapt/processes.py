"""Several processes that adapt one model together: who they are, that they hear each other, and what they agree on."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from pipeline.errors import ProgramError
from pipeline.machine import node_name

PREFLIGHT_SECONDS = 120
"""Long enough for the slowest process to import torch and load the model, short against a job."""
PATIENCE = timedelta(hours=1)
"""How long a process waits for the others in training; saving a large model takes minutes."""


def world_size() -> int:
    """Number of processes."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Number of this process."""
    return int(os.environ.get("RANK", 0))


def backend() -> str:
    """What carries the collectives: NCCL between GPUs, gloo between processors."""
    return "nccl" if torch.cuda.is_available() else "gloo"


def join() -> None:
    """Finds the other processes, which `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` describe.

    Raises:
        ProgramError: they do not hear each other; the cause is `node`, the message names this node.
    """
    if "MASTER_ADDR" not in os.environ or dist.is_initialized():
        return
    me = f"process {rank()} of {world_size()} on {node_name()}"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    soon = timedelta(seconds=PREFLIGHT_SECONDS)
    try:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        store = dist.TCPStore(  # type: ignore[attr-defined]
            address, port, world_size(), rank() == 0, soon
        )
        dist.init_process_group(backend(), store=store, rank=rank(), world_size=world_size(), timeout=PATIENCE)
        _preflight(soon)
    except (RuntimeError, ValueError) as error:
        raise ProgramError(
            "node",
            f"{me} cannot talk to the others by {backend()} through {address}:{port}: {str(error).splitlines()[0]}; "
            "look at the node, and at the network interface (GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME, under "
            "`environment` of the profile)",
        ) from error


def leave() -> None:
    """Ends what `join` began."""
    if dist.is_initialized():
        dist.destroy_process_group()


def agree(value: Any) -> Any:
    """The value of the first process, in all of them."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def _preflight(soon: timedelta) -> None:
    """One collective with little patience: a broken network is found before hours of work, not in the middle."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    present = torch.zeros(world_size(), device=device)
    present[rank()] = 1
    group = dist.new_group(timeout=soon)
    dist.all_reduce(present, group=group)
    dist.destroy_process_group(group)
    if int(present.sum()) != world_size():
        raise RuntimeError(f"a sum over the processes gave {present.tolist()}")
