"""What the commands of Slurm say of a cluster, and the limits that follow for a profile."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.cluster.environment import clean_environment
from pipeline.cluster.profile import Profile
from pipeline.errors import UserError

ASK_SECONDS = 60
"""A controller that is busy for longer counts as not reached."""
ASSOCIATION_FIELDS = ("Account", "Partition", "QOS", "DefaultQOS", "MaxSubmitJobs")
QOS_FIELDS = ("Name", "MaxSubmitPU", "MaxSubmitPA")
UNLIMITED = frozenset({"", "UNLIMITED", "INFINITE", "(null)", "NONE", "N/A"})
GPUS = re.compile(r"gpu:(?:([^:,(]+):)?(\d+)")
"""`gpu:4`, `gpu:a100:4(S:0-1)`."""
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


class NodeKind(NamedTuple):
    """Nodes of one partition that are alike.

    Attributes:
        partition: the partition.
        gres: what they have beside CPUs and memory, as Slurm writes it.
        cpus: of each of them.
        memory_mib: of each of them.
    """

    partition: str
    gres: str
    cpus: int
    memory_mib: int

    def gpus(self, kind: str | None) -> int:
        """GPUs of a type, or of any."""
        return sum(int(count) for name, count in GPUS.findall(self.gres) if kind in (None, name))


@dataclass(frozen=True, kw_only=True, slots=True)
class SlurmFacts:
    """What the commands of Slurm say of a cluster.

    Attributes:
        config: `scontrol show config`.
        partitions: `scontrol show partition`, by name.
        nodes: `sinfo`.
        associations: `sacctmgr show assoc` of this user; None where there is no accounting.
        qos: `sacctmgr show qos`; None as well.
    """

    config: Mapping[str, str]
    partitions: Mapping[str, Mapping[str, str]]
    nodes: tuple[NodeKind, ...]
    associations: tuple[Mapping[str, str], ...] | None
    qos: tuple[Mapping[str, str], ...] | None


def ask_slurm() -> SlurmFacts:
    """What this cluster says of itself.

    Raises:
        UserError: there is no Slurm here, or it does not answer.
    """
    config = _ask("scontrol", "show", "config")
    partitions = _ask("scontrol", "--oneliner", "show", "partition")
    nodes = _ask("sinfo", "--noheader", "--all", "--exact", "--format=%R|%G|%c|%m")
    return SlurmFacts(
        config=dict(_pair(line) for line in config.splitlines() if " = " in line),
        partitions={
            pairs["PartitionName"]: pairs
            for line in partitions.splitlines()
            if "PartitionName" in (pairs := dict(_pair(word) for word in line.split() if "=" in word))
        },
        nodes=tuple(map(_node_kind, nodes.splitlines())),
        associations=_accounting("assoc", ASSOCIATION_FIELDS, "where", f"user={getpass.getuser()}"),
        qos=_accounting("qos", QOS_FIELDS),
    )


def limits_of(profile: Profile, facts: SlurmFacts | None = None) -> Limits:
    """The profile's limits; Slurm is asked for those that it leaves open.

    Raises:
        UserError: Slurm must be asked and does not answer.
    """
    own = own_limits(profile)
    if None not in (own.max_array_size, own.max_submit_jobs, own.max_walltime_minutes):
        return own
    said = said_limits(profile, facts or ask_slurm())
    return Limits(
        max_array_size=own.max_array_size or said.max_array_size,
        max_submit_jobs=own.max_submit_jobs or said.max_submit_jobs,
        max_walltime_minutes=own.max_walltime_minutes or said.max_walltime_minutes,
    )


def own_limits(profile: Profile) -> Limits:
    """What the profile itself says."""
    return Limits(
        max_array_size=profile.max_array_size,
        max_submit_jobs=profile.max_submit_jobs,
        max_walltime_minutes=profile.max_walltime_minutes,
    )


def said_limits(profile: Profile, facts: SlurmFacts) -> Limits:
    """What Slurm itself says of jobs of this profile."""
    return Limits(
        max_array_size=_number(facts.config.get("MaxArraySize", "")),
        max_submit_jobs=_submit_limit(profile, facts),
        max_walltime_minutes=_least(map(_minutes, partition_values(profile, facts, "MaxTime"))),
    )


def partition_names(profile: Profile, facts: SlurmFacts) -> list[str]:
    """Partitions that Slurm may choose from; the default one where the profile names none."""
    if profile.partition is not None:
        return profile.partition.split(",")
    return [name for name, pairs in facts.partitions.items() if pairs.get("Default") == "YES"]


def partition_values(profile: Profile, facts: SlurmFacts, key: str) -> list[str]:
    """What those of these partitions that there are have for a key, as far as they have it."""
    found = (facts.partitions.get(name, {}) for name in partition_names(profile, facts))
    return [pairs[key] for pairs in found if key in pairs]


# how it is asked


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


def _accounting(what: str, fields: Sequence[str], *where: str) -> tuple[Mapping[str, str], ...] | None:
    try:
        answer = _ask("sacctmgr", "--noheader", "--parsable2", "show", what, *where, f"format={','.join(fields)}")
    except UserError:
        return None
    rows = [line.split("|") for line in answer.splitlines()]
    return tuple(dict(zip(fields, row, strict=True)) for row in rows if len(row) == len(fields))


def _submit_limit(profile: Profile, facts: SlurmFacts) -> int | None:
    """The smallest limit of the associations that such a job could run under, of their QOS, and of the partitions'."""
    partitions = partition_names(profile, facts)
    associations = [
        pairs
        for pairs in facts.associations or ()
        if profile.account in (None, pairs["Account"]) and pairs["Partition"] in ("", *partitions)
    ]
    names = {_qos_of(profile, pairs) for pairs in associations}.union(partition_values(profile, facts, "QoS"))
    of_qos = [pairs[key] for pairs in facts.qos or () if pairs["Name"] in names for key in QOS_FIELDS[1:]]
    return _least(map(_number, [*of_qos, *(pairs["MaxSubmitJobs"] for pairs in associations)]))


def _qos_of(profile: Profile, association: Mapping[str, str]) -> str:
    """The QOS that Slurm gives to a job, which need not name one."""
    only = association["QOS"] if "," not in association["QOS"] else ""
    return profile.qos or association["DefaultQOS"] or only or "normal"


def _node_kind(line: str) -> NodeKind:
    partition, gres, cpus, memory_mib = line.split("|")
    return NodeKind(partition, gres, int(cpus), int(memory_mib))


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key.strip(), value.strip()


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _least(numbers: Iterable[int | None]) -> int | None:
    return min((number for number in numbers if number is not None), default=None)


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
