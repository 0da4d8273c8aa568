"""What arrays of jobs will take of a site: expected, and at the worst, when every job runs to its time limit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.cluster.batches import Batch
from pipeline.cluster.profile import Profile
from pipeline.cluster.shapes import Shape, allocated_gpus_per_node
from pipeline.errors import UserError


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Time of allocated nodes and GPUs.

    Attributes:
        node_hours: hours of nodes, a job counting all nodes that it has a part of.
        gpu_hours: hours of GPUs.
        units: the same in the unit that the site bills; None where the profile says of no billing.
    """

    node_hours: float
    gpu_hours: float
    units: float | None

    def to_json(self) -> dict[str, float | None]:
        """Plain dictionary for scripts."""
        return {"node_hours": self.node_hours, "gpu_hours": self.gpu_hours, "units": self.units}


def expected_cost(profile: Profile, arrays: Iterable[tuple[Sequence[Batch], Shape]]) -> Cost:
    """Cost if every job takes as long as is expected."""
    return _cost(
        profile,
        [(shape, sum(batch.expected_seconds for batch in batches) / 3600) for batches, shape in arrays],
    )


def worst_cost(profile: Profile, arrays: Iterable[tuple[Sequence[Batch], Shape]]) -> Cost:
    """Cost if every job runs to its time limit; one that needs more goes back into the queue and runs on."""
    return _cost(
        profile,
        [
            (shape, sum(max(batch.expected_seconds / 3600, shape.walltime_minutes / 60) for batch in batches))
            for batches, shape in arrays
        ],
    )


def check_cost(profile: Profile, worst: Cost, most: float) -> None:
    """Refuses what may cost more than somebody is ready to pay.

    Raises:
        UserError: it may; or the profile says of no billing, so that nobody knows.
    """
    if profile.billing is None or worst.units is None:
        raise UserError(f"--max-cost {most:g}: profile {profile.name!r} has no 'billing', so that costs are not known")
    if worst.units > most:
        raise UserError(
            f"this may cost up to {worst.units:,.4g} {profile.billing.unit} (every job running to its time limit), "
            f"more than --max-cost {most:g}: nothing was submitted. Allow more, or submit a part, such as --part 1/2"
        )


def _cost(profile: Profile, hours: Iterable[tuple[Shape, float]]) -> Cost:
    """Cost of so many hours of jobs of each shape."""
    node_hours = gpu_hours = 0.0
    for shape, job_hours in hours:
        node_hours += shape.nodes * job_hours
        gpu_hours += shape.nodes * allocated_gpus_per_node(profile, shape) * job_hours
    billing = profile.billing
    units = None if billing is None else billing.units(node_hours=node_hours, gpu_hours=gpu_hours)
    return Cost(node_hours=node_hours, gpu_hours=gpu_hours, units=units)
