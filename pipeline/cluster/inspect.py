"""Looks at a profile: where its values came from, and whether the cluster agrees with it."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cluster.environment import clean_environment
from pipeline.cluster.profile import DEFAULT_SOURCE, KEYS, MERGED_KEYS, Profile, load_profile
from pipeline.cluster.values import Billing
from pipeline.doctor import Finding
from pipeline.errors import UserError

ASK_SECONDS = 60
"""A controller that is busy for longer counts as not reached."""
ASSOCIATION_FIELDS = ("Account", "Partition", "QOS", "MaxSubmitJobs")
UNLIMITED = frozenset({"", "UNLIMITED", "INFINITE", "(null)", "NONE", "N/A"})
DURATION = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits to submit within; None where there is none.

    Attributes:
        max_array_size: array tasks per job.
        max_submit_jobs: jobs in the queue at the same time, each array task counting.
        max_walltime_minutes: longest job.
    """

    max_array_size: int | None
    max_submit_jobs: int | None
    max_walltime_minutes: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SlurmFacts:
    """What the commands of Slurm say of a cluster.

    Attributes:
        config: `scontrol show config`.
        partitions: `scontrol show partition`, by name.
        associations: `sacctmgr show assoc` of this user; None where there is no accounting.
    """

    config: Mapping[str, str]
    partitions: Mapping[str, Mapping[str, str]]
    associations: tuple[Mapping[str, str], ...] | None


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


def ask_slurm() -> SlurmFacts:
    """What this cluster says of itself.

    Raises:
        UserError: there is no Slurm here, or it does not answer.
    """
    config = _ask("scontrol", "show", "config")
    partitions = _ask("scontrol", "--oneliner", "show", "partition")
    return SlurmFacts(
        config=dict(_pair(line) for line in config.splitlines() if " = " in line),
        partitions={
            pairs["PartitionName"]: pairs
            for line in partitions.splitlines()
            if "PartitionName" in (pairs := dict(_pair(word) for word in line.split() if "=" in word))
        },
        associations=_associations(),
    )


def limits_of(profile: Profile, facts: SlurmFacts | None = None) -> Limits:
    """The profile's limits; Slurm is asked for those that it leaves open.

    Raises:
        UserError: Slurm must be asked and does not answer.
    """
    known = own_limits(profile)
    if None not in (known.max_array_size, known.max_submit_jobs, known.max_walltime_minutes):
        return known
    facts = facts or ask_slurm()
    return Limits(
        max_array_size=known.max_array_size or _number(facts.config.get("MaxArraySize", "")),
        max_submit_jobs=known.max_submit_jobs or _submit_limit(profile, facts),
        max_walltime_minutes=known.max_walltime_minutes or _minutes(_partition_values(profile, facts, "MaxTime", "")),
    )


def own_limits(profile: Profile) -> Limits:
    """What the profile itself says."""
    return Limits(
        max_array_size=profile.max_array_size,
        max_submit_jobs=profile.max_submit_jobs,
        max_walltime_minutes=profile.max_walltime_minutes,
    )


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
    name = profile.partition or next(
        (key for key, pairs in facts.partitions.items() if pairs.get("Default") == "YES"), None
    )
    listed = ", ".join(facts.partitions) or "none"
    if name is None:
        return Finding(name="partition", ok=False, text=f"there is no default one: give --set partition=... ({listed})")
    # One may name several, of which Slurm takes the first that is free.
    lost = [part for part in name.split(",") if part not in facts.partitions]
    if lost:
        return Finding(name="partition", ok=False, text=f"Slurm has no {' and no '.join(lost)}; there are {listed}")
    down = [part for part in name.split(",") if facts.partitions[part].get("State") != "UP"]
    if down:
        return Finding(name="partition", ok=False, text=f"{', '.join(down)} takes no jobs now (not UP)")
    return Finding(name="partition", ok=True, text=name if profile.partition else f"{name}, the default one")


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
    limit = _minutes(_partition_values(profile, facts, "MaxTime", ""))
    asked = profile.max_walltime_minutes or profile.ideal_walltime_minutes
    allowed = "any length" if limit is None else f"{limit} minutes"
    text = f"the profile goes up to {asked} minutes; the partition allows {allowed}"
    return Finding(name="walltime", ok=limit is None or asked <= limit, text=text)


def _array_size(profile: Profile, facts: SlurmFacts) -> Finding:
    return _limit("max_array_size", profile.max_array_size, _number(facts.config.get("MaxArraySize", "")))


def _submit_jobs(profile: Profile, facts: SlurmFacts) -> Finding:
    return _limit("max_submit_jobs", profile.max_submit_jobs, _submit_limit(profile, facts))


def _limit(key: str, own: int | None, limit: int | None) -> Finding:
    says = "Slurm sets none" if limit is None else f"Slurm says {limit}"
    text = says if own is None else f"{own}; {says}"
    return Finding(name=key, ok=own is None or limit is None or own <= limit, text=text)


def _gpus(profile: Profile, facts: SlurmFacts) -> Finding:
    if profile.gpu_request == "none":
        return Finding(name="gpus", ok=True, text="none asked for")
    tres = _partition_values(profile, facts, "TRES", "")
    if "gpu" not in facts.config.get("GresTypes", ""):
        return Finding(name="gpus", ok=False, text="Slurm knows no GPUs here (GresTypes): set 'gpu_request: none'")
    # Where TRES are not tracked by type the partition says nothing, so silence is no mistake.
    return Finding(
        name="gpus", ok=True, text=f"asked for by {profile.gpu_request}; the partition has {tres or 'no TRES'}"
    )


def _preemption(profile: Profile, facts: SlurmFacts) -> Finding:
    mode = _partition_values(profile, facts, "PreemptMode", "OFF")
    if mode == "REQUEUE" and not profile.requeue:
        text = "preempted jobs go back into the queue here, and the profile forbids it: they end; 'requeue: true' helps"
        return Finding(name="preemption", ok=False, text=text)
    return Finding(name="preemption", ok=True, text=f"{mode.lower()}; requeue is {str(profile.requeue).lower()}")


# what Slurm says


def _ask(*command: str) -> str:
    if shutil.which(command[0]) is None:
        raise UserError(f"{command[0]} is not installed here: run this on a login node of the cluster")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ASK_SECONDS, env=clean_environment(os.environ), check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{' '.join(command)} gave no answer within {ASK_SECONDS} seconds") from error
    if done.returncode != 0:
        reason = done.stderr.strip() or f"exit status {done.returncode}"
        raise UserError(f"{' '.join(command)} failed: {reason}")
    return done.stdout


def _associations() -> tuple[Mapping[str, str], ...] | None:
    fields = f"format={','.join(ASSOCIATION_FIELDS)}"
    try:
        answer = _ask(
            "sacctmgr", "--noheader", "--parsable2", "show", "assoc", "where", f"user={getpass.getuser()}", fields
        )
    except UserError:
        return None
    rows = [line.split("|") for line in answer.splitlines()]
    return tuple(dict(zip(ASSOCIATION_FIELDS, row, strict=True)) for row in rows if len(row) == len(ASSOCIATION_FIELDS))


def _submit_limit(profile: Profile, facts: SlurmFacts) -> int | None:
    """The smallest limit among the associations that such a job could run under."""
    found = [
        limit
        for pairs in facts.associations or ()
        if profile.account in (None, pairs["Account"])
        and (not pairs["Partition"] or profile.partition in (None, pairs["Partition"]))
        and (limit := _number(pairs["MaxSubmitJobs"])) is not None
    ]
    return min(found, default=None)


def _partition_values(profile: Profile, facts: SlurmFacts, key: str, fallback: str) -> str:
    for name, pairs in facts.partitions.items():
        if name == profile.partition or (profile.partition is None and pairs.get("Default") == "YES"):
            return pairs.get(key, fallback)
    return fallback


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key.strip(), value.strip()


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _minutes(text: str) -> int | None:
    """Minutes of `7-00:00:00`, `100:00:00`, `30:00`, `1-12` or `60`; None where there is no limit."""
    match = DURATION.fullmatch(text)
    if text.upper() in UNLIMITED or match is None:
        return None
    days, first, second, seconds = (None if part is None else int(part) for part in match.groups())
    if days is not None:
        return days * 1440 + (first or 0) * 60 + (second or 0)
    # Without days, three parts are hours, minutes and seconds, two are minutes and seconds, and one is minutes.
    return (first or 0) * 60 + (second or 0) if seconds is not None else first


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
