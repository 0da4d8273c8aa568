"""Resources of jobs on a site: what Slurm is asked for, for which groups of cells."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.cluster.batches import SAFETY, Batch, Group, walltime_minutes
from pipeline.cluster.batches import pack as pack_batches
from pipeline.cluster.profile import Profile
from pipeline.resources import Resources


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Resources of one array task. Tasks of one array have one shape.

    Attributes:
        processes: processes of the task, one Slurm task each; the same number on every node.
        nodes: nodes that they are spread over.
        gpus_per_process: 0 or 1.
        cpus_per_process: CPUs of each process.
        memory_gib: memory of each **node**, as `--mem` counts it; None leaves it to the site.
        walltime_minutes: time limit.
    """

    processes: int
    nodes: int
    gpus_per_process: int
    cpus_per_process: int
    memory_gib: float | None
    walltime_minutes: int

    def __post_init__(self) -> None:
        if min(self.processes, self.nodes, self.cpus_per_process, self.walltime_minutes) < 1:
            raise ValueError(f"a job has at least one process, node, CPU and minute: {self}")
        if self.processes % self.nodes or self.gpus_per_process not in (0, 1):
            raise ValueError(f"the same number of processes on each node, each with one GPU or none: {self}")

    @property
    def processes_per_node(self) -> int:
        """Processes on each node."""
        return self.processes // self.nodes


def shape_of(
    profile: Profile,
    *,
    processes: int,
    walltime_minutes: int,
    nodes: int = 1,
    gpu: bool = True,
    memory_factor: int = 1,
) -> Shape:
    """The shape with the profile's CPUs and memory for each process; more memory as far as the profile allows."""
    memory = profile.memory_gib_per_gpu
    if memory is not None:
        memory = max(memory, min(memory_factor * memory, profile.max_memory_gib_per_gpu or memory))
    return Shape(
        processes=processes,
        nodes=nodes,
        gpus_per_process=int(gpu),
        cpus_per_process=profile.cpus_per_gpu,
        memory_gib=None if memory is None else memory * (processes // nodes),
        walltime_minutes=walltime_minutes,
    )


def allocated_gpus_per_node(profile: Profile, shape: Shape) -> int:
    """GPUs that each node of such a job occupies, which is what a site bills: all of them where nodes are whole."""
    if profile.whole_node:
        return profile.gpus_per_node or 0
    return shape.processes_per_node * shape.gpus_per_process


def array_shape(profile: Profile, batches: Sequence[Batch]) -> Shape:
    """Resources of each job of one array."""
    minutes = walltime_minutes(batches, profile.max_walltime_minutes)
    resources, memory = batches[0].kind
    return batch_shape(profile, resources, minutes, memory)


def pack_for(profile: Profile, groups: Sequence[Group]) -> list[Batch]:
    """What each job of a site works through: what the longest one ends, also when a guess was too low."""
    minutes = min(profile.ideal_walltime_minutes, (profile.max_walltime_minutes or math.inf) / SAFETY)
    return pack_batches(groups, 60.0 * minutes, lambda resources: lanes_of(profile, resources))


def lanes_of(profile: Profile, resources: Resources) -> int:
    """Groups that one job works on at the same time: one for each GPU where a site gives whole nodes."""
    return (profile.gpus_per_node or 1) if profile.whole_node and not resources.needs_team else 1


def batch_shape(profile: Profile, resources: Resources, minutes: int, memory: int = 1) -> Shape:
    """Resources of one job for Slurm: a process for each lane, or for each member of the team.

    Args:
        profile: the site.
        resources: of each group.
        minutes: time limit.
        memory: how many times the memory of the profile, as far as it allows.
    """
    shape = functools.partial(
        shape_of, profile, walltime_minutes=minutes, gpu=profile.gpu_request != "none", memory_factor=memory
    )
    if not resources.needs_team:
        return shape(processes=lanes_of(profile, resources))
    processes = resources.processes
    most = profile.gpus_per_node or processes
    # As few nodes as hold the processes, the same number on each.
    nodes = resources.nodes or next(
        nodes for nodes in range(-(-processes // most), processes + 1) if not processes % nodes
    )
    return shape(processes=processes, nodes=nodes)
