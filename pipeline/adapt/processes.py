"""Several processes that adapt one model together: who they are, that they hear each other, and what they agree on.

torch is imported where there is more than one: a worker asks who it is before it knows whether it needs a model.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from pipeline.errors import ProgramError
from pipeline.machine import node_name

ARRIVE_SECONDS = 600
"""For the slowest process to start and import torch: minutes, where a node reads it for the first time."""
PREFLIGHT_SECONDS = 120
"""For a sum of a few numbers once all are there: connections are made first. Short against a job."""
PATIENCE = timedelta(hours=1)
"""How long a process waits for the others at work: loading and saving a large model take minutes."""
DETAILS = {"nccl": "; NCCL_DEBUG=INFO there writes details into the log of the worker", "gloo": ""}
"""Backend -> how to find out more."""


def world_size() -> int:
    """Number of processes."""
    return int(os.environ.get("WORLD_SIZE", 1))


def num_devices() -> int:
    """Accelerators that this work holds: one a process, or all that a process alone sees."""
    import torch

    return max(world_size(), torch.cuda.device_count()) if torch.cuda.is_available() else 0


def rank() -> int:
    """Number of this process."""
    return int(os.environ.get("RANK", 0))


def backend() -> str:
    """What carries the collectives: NCCL between GPUs, gloo between processors."""
    import torch

    return "nccl" if torch.cuda.is_available() else "gloo"


def join() -> None:
    """Finds the other processes, which `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` describe.

    Comes before the model is loaded: that takes longer on some nodes than on others, and for a team that does not come
    together it is in vain.

    Raises:
        ProgramError: they did not all come, or do not hear each other: the cause is `node`, the message names this
            node. It is `code` where another program has the port; new processes take a new one.
    """
    if "MASTER_ADDR" not in os.environ:
        return
    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        return
    me = f"process {rank()} of {world_size()} on {node_name()}"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    look = (
        "look at the node, and at the network interface (GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME, under "
        "`environment` of the profile"
    )
    soon = timedelta(seconds=ARRIVE_SECONDS)
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            address, port, world_size(), rank() == 0, soon, wait_for_workers=False
        )
        # The store itself lets the first process alone wait for the others.
        store.set(f"process {rank()}", "is here")
        for number in range(world_size()):
            store.wait([f"process {number}"], soon)  # one by one, so that the error names who is missing
    except RuntimeError as error:
        if rank() == 0 and "EADDRINUSE" in str(error):
            taken = f"{me}: port {port} was free a moment ago and is taken now; the next try takes another one"
            raise ProgramError("code", taken) from error
        raise ProgramError(
            "node", f"{me}: not all came to {address}:{port} within {ARRIVE_SECONDS} s: {_gist(error)}; {look})"
        ) from error
    try:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        _preflight(store)
        store.set_timeout(PATIENCE)
        _make_group(store, "work", PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise ProgramError(
            "node",
            f"{me} cannot talk to the others by {backend()} through {address}:{port}: {_gist(error)}; "
            f"{look}{DETAILS[backend()]})",
        ) from error


def agree(value: Any) -> Any:
    """The value of the first process, in all of them."""
    if world_size() == 1:
        return value
    import torch.distributed as dist

    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def _preflight(store: Any) -> None:
    """One collective with little patience: a broken network is found before hours of work, not in the middle."""
    import torch
    import torch.distributed as dist

    soon = timedelta(seconds=PREFLIGHT_SECONDS)
    store.set_timeout(soon)
    _make_group(store, "preflight", soon)
    present = torch.zeros(world_size(), device="cuda" if torch.cuda.is_available() else "cpu")
    present[rank()] = 1
    dist.all_reduce(present)
    if int(present.sum()) != world_size():
        raise RuntimeError(f"a sum over the processes gave {present.tolist()}")
    dist.destroy_process_group()


def _make_group(store: Any, name: str, patience: timedelta) -> None:
    """The group of all processes. Its patience holds for making it, too."""
    import torch.distributed as dist

    dist.init_process_group(
        backend(),
        store=dist.PrefixStore(name, store),  # type: ignore[attr-defined]
        rank=rank(),
        world_size=world_size(),
        timeout=patience,
    )


def _gist(error: Exception) -> str:
    """What an error of torch says, in one line and without its stack."""
    return " ".join(str(error).partition("Exception raised from")[0].split())
