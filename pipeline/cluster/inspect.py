"""Looks at a profile: where its values came from, and whether the cluster agrees with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cluster.facts import SlurmFacts, ask_slurm, partition_names, partition_values, said_limits
from pipeline.cluster.profile import DEFAULT_SOURCE, KEYS, MERGED_KEYS, Profile, load_profile
from pipeline.cluster.shapes import shape_of
from pipeline.cluster.values import Billing
from pipeline.doctor import Finding
from pipeline.errors import UserError


def show_profile(name: str, console: Console, overrides: Mapping[str, str] | None = None) -> None:
    """Prints what is merged in which order, then every value and where it came from."""
    profile = load_profile(name, overrides)
    console.print(f"profile {profile.name}: {profile.description}", markup=False, highlight=False)
    console.print("merged in this order, later ones win:", highlight=False)
    for number, source in enumerate(profile.sources, start=1):
        console.print(f"  {number}. {source}", markup=False, highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for title in ("key", "value", "from"):
        table.add_column(title, overflow="fold")
    numbers = {source: str(number) for number, source in enumerate(profile.sources, start=1)}
    for key, value in _rows(profile):
        # As texts, since brackets in a shell line are no markup.
        table.add_row(Text(key), Text(value), Text(numbers[profile.origins.get(key, DEFAULT_SOURCE)]))
    console.print(table)
    try:
        profile.check_complete()
    except UserError as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)


def check_profile(profile: Profile) -> list[Finding]:
    """Compares a profile with the cluster that this machine belongs to."""
    findings = [_required(profile)]
    try:
        facts = ask_slurm()
    except UserError as error:
        return [*findings, Finding(name="slurm", ok=False, text=str(error))]
    checks: Sequence[Callable[[Profile, SlurmFacts], Finding]] = (
        _slurm,
        _partition,
        _account,
        _qos,
        _walltime,
        _array_size,
        _submit_jobs,
        _gpus,
        _nodes,
        _preemption,
    )
    return [*findings, *(check(profile, facts) for check in checks)]


# what is checked


def _required(profile: Profile) -> Finding:
    try:
        profile.check_complete()
    except UserError as error:
        return Finding(name="required keys", ok=False, text=str(error))
    return Finding(name="required keys", ok=True, text=", ".join(profile.required) or "none")


def _slurm(profile: Profile, facts: SlurmFacts) -> Finding:
    version = facts.config.get("SLURM_VERSION", "of unknown version")
    return Finding(
        name="slurm", ok=True, text=f"{version}, cluster {facts.config.get('ClusterName', 'without a name')}"
    )


def _partition(profile: Profile, facts: SlurmFacts) -> Finding:
    names = partition_names(profile, facts)
    listed = ", ".join(facts.partitions) or "none"
    if not names:
        return Finding(name="partition", ok=False, text=f"there is no default one: give --set partition=... ({listed})")
    lost = [name for name in names if name not in facts.partitions]
    if lost:
        return Finding(name="partition", ok=False, text=f"Slurm has no {' and no '.join(lost)}; there are {listed}")
    down = [name for name in names if facts.partitions[name].get("State") != "UP"]
    if down:
        return Finding(name="partition", ok=False, text=f"{', '.join(down)} takes no jobs now (not UP)")
    return Finding(name="partition", ok=True, text=profile.partition or f"{names[0]}, the default one")


def _account(profile: Profile, facts: SlurmFacts) -> Finding:
    return _of_associations("account", profile.account, facts, lambda pairs: [pairs["Account"]])


def _qos(profile: Profile, facts: SlurmFacts) -> Finding:
    return _of_associations("qos", profile.qos, facts, lambda pairs: pairs["QOS"].split(","))


def _of_associations(
    key: str, value: str | None, facts: SlurmFacts, read: Callable[[Mapping[str, str]], list[str]]
) -> Finding:
    if facts.associations is None:
        return Finding(name=key, ok=True, text=f"{value or 'the default one'}; no accounting that could be asked")
    known = sorted({name for pairs in facts.associations for name in read(pairs) if name})
    text = f"{value or 'the default one'}; yours: {', '.join(known) or 'none'}"
    return Finding(name=key, ok=value is None or value in known, text=text)


def _walltime(profile: Profile, facts: SlurmFacts) -> Finding:
    limit = said_limits(profile, facts).max_walltime_minutes
    own = profile.max_walltime_minutes
    asked = "" if own is None else f"the profile goes up to {own} minutes; "
    allowed = "any length" if limit is None else f"{limit} minutes"
    return Finding(
        name="walltime",
        ok=own is None or limit is None or own <= limit,
        text=f"{asked}the partition allows {allowed}",
    )


def _array_size(profile: Profile, facts: SlurmFacts) -> Finding:
    return _limit("max_array_size", profile.max_array_size, said_limits(profile, facts).max_array_size)


def _submit_jobs(profile: Profile, facts: SlurmFacts) -> Finding:
    return _limit("max_submit_jobs", profile.max_submit_jobs, said_limits(profile, facts).max_submit_jobs)


def _limit(key: str, own: int | None, limit: int | None) -> Finding:
    says = "Slurm sets none" if limit is None else f"Slurm says {limit}"
    text = says if own is None else f"{own}; {says}"
    return Finding(name=key, ok=own is None or limit is None or own <= limit, text=text)


def _gpus(profile: Profile, facts: SlurmFacts) -> Finding:
    if profile.gpu_request == "none":
        return Finding(name="gpus", ok=True, text="none asked for")
    tres = "; ".join(partition_values(profile, facts, "TRES"))
    if "gpu" not in facts.config.get("GresTypes", ""):
        return Finding(name="gpus", ok=False, text="Slurm knows no GPUs here (GresTypes): set 'gpu_request: none'")
    # Where TRES are not tracked by type the partition says nothing, so silence is no mistake.
    return Finding(
        name="gpus", ok=True, text=f"asked for by {profile.gpu_request}; the partition has {tres or 'no TRES'}"
    )


def _nodes(profile: Profile, facts: SlurmFacts) -> Finding:
    """Whether some node has what a job on all of a node asks for."""
    processes = profile.gpus_per_node or 1
    shape = shape_of(profile, processes=processes, walltime_minutes=1, gpu=profile.gpu_request != "none")
    gpus, cpus = processes * shape.gpus_per_process, processes * shape.cpus_per_process
    memory_mib = round(1024 * (shape.memory_gib or 0))
    # Where the profile names no partition, a site may choose another one than its default.
    names = facts.partitions if profile.partition is None else profile.partition.split(",")
    nodes = [node for node in facts.nodes if node.partition in names]
    fits = [
        node.gpus(profile.gpu_type) >= gpus and node.cpus >= cpus and node.memory_mib >= memory_mib for node in nodes
    ]
    kinds = dict.fromkeys(f"{node.gres}, {node.cpus} CPUs, {node.memory_mib} MiB" for node in nodes)
    kind = f"{profile.gpu_type} GPUs" if profile.gpu_type else "GPUs"
    text = f"a whole one is {gpus} {kind}, {cpus} CPUs, {memory_mib} MiB; there are {'; '.join(kinds) or 'none'}"
    return Finding(name="nodes", ok=not nodes or any(fits), text=text)


def _preemption(profile: Profile, facts: SlurmFacts) -> Finding:
    modes = sorted(set(partition_values(profile, facts, "PreemptMode"))) or ["OFF"]
    if "REQUEUE" in modes and not profile.requeue:
        text = "preempted jobs go back into the queue here, and the profile forbids it: they end; 'requeue: true' helps"
        return Finding(name="preemption", ok=False, text=text)
    return Finding(
        name="preemption", ok=True, text=f"{', '.join(modes).lower()}; requeue is {str(profile.requeue).lower()}"
    )


def _rows(profile: Profile) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key in KEYS:
        value = getattr(profile, key)
        if key in MERGED_KEYS and value:
            rows += [(f"{key}.{name}", text) for name, text in value.items()]
        else:
            rows.append((key, _shown(value, key in profile.missing)))
    return rows


def _shown(value: Any, missing: bool) -> str:
    if missing:
        return "REQUIRED"
    if isinstance(value, tuple):
        return "\n".join(value) or "-"
    if isinstance(value, Billing):
        return ", ".join(
            f"{name} {price:g}" if name else value.unit
            for name, price in (("", 0.0), ("per_node_hour", value.per_node_hour), ("per_gpu_hour", value.per_gpu_hour))
            if price or not name
        )
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value in (None, "", {}) else str(value)
