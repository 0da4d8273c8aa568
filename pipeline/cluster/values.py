"""Readers of single values of a cluster profile: from what YAML gives to what the profile holds, or what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UserError, unknown_name
from pipeline.yaml_values import is_whole, shown, value_as

GPU_REQUESTS = {"gres": ("gres", "gpu:"), "gpus-per-node": ("gpus-per-node", ""), "none": None}
"""Style -> option of sbatch and what stands before `type:count` in its value; None asks for nothing."""

_OWN = "set by tcx"
_GPUS = "use the keys 'gpu_request', 'gpu_type' and 'gpus_per_node' (gres and gpus options exclude each other)"
_SHAPE = "set by tcx from the shape of a job"
OWNED_OPTIONS = {
    "account": "use the key 'account'",
    "array": "set by tcx; use the keys 'max_array_size' and 'array_parallelism'",
    "comment": _OWN,
    "constraint": "use the key 'constraint'",
    "clusters": "set SLURM_CLUSTERS in the shell, so that every command of Slurm asks the same cluster",
    "cpus-per-gpu": "use the key 'cpus_per_gpu'",
    "cpus-per-task": "use the key 'cpus_per_gpu'",
    "dependency": _OWN,
    "error": _OWN,
    "exclude": _OWN,
    "exclusive": "use the key 'whole_node'",
    "export": "use the key 'environment'",
    "export-file": "use the key 'environment'",
    "gpus": _GPUS,
    "gpus-per-node": _GPUS,
    "gpus-per-socket": _GPUS,
    "gpus-per-task": _GPUS,
    "gres": _GPUS,
    "job-name": _OWN,
    "mem": "use the key 'memory_gib_per_gpu'",
    "mem-per-cpu": "use the key 'memory_gib_per_gpu'",
    "mem-per-gpu": "use the key 'memory_gib_per_gpu'",
    "no-requeue": "use the key 'requeue'",
    "nodes": _SHAPE,
    "ntasks": _SHAPE,
    "ntasks-per-gpu": _SHAPE,
    "ntasks-per-node": _SHAPE,
    "open-mode": _OWN,
    "output": _OWN,
    "parsable": _OWN,
    "partition": "use the key 'partition'",
    "qos": "use the key 'qos'",
    "requeue": "use the key 'requeue'",
    "signal": "use the key 'signal_lead_seconds'",
    "test-only": _OWN,
    "time": "set by tcx; use the keys 'max_walltime_minutes' and 'ideal_walltime_minutes'",
    "wait": _OWN,
    "wrap": _OWN,
}
"""Options of sbatch that a profile must not pass through -> what to do instead."""

OPTION_NAME = re.compile(r"[a-z][a-z0-9-]+")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
BILLING_KEYS = ("unit", "per_node_hour", "per_gpu_hour")


@dataclass(frozen=True, kw_only=True, slots=True)
class Billing:
    """What a site charges, for every allocated node or for every allocated GPU.

    Attributes:
        unit: name of the unit, such as node-hours.
        per_node_hour: units for one node and hour; 0 where GPUs are billed.
        per_gpu_hour: units for one GPU and hour; 0 where nodes are billed.
    """

    unit: str
    per_node_hour: float = 0.0
    per_gpu_hour: float = 0.0

    def units(self, *, node_hours: float, gpu_hours: float) -> float:
        """Units for so many hours of allocated nodes and GPUs."""
        return self.per_node_hour * node_hours + self.per_gpu_hour * gpu_hours


def text(value: Any) -> str:
    """One line of text. Slurm wants text where YAML makes numbers of digits, such as accounts."""
    if is_whole(value):
        return str(value)
    if not isinstance(value, str) or not value.strip() or len(value.splitlines()) != 1:
        raise UserError(
            f"must be one line of text (in quotes where YAML reads it as something else); {shown(value)} given"
        )
    return value


def texts(value: Any) -> tuple[str, ...]:
    """A list of lines of text."""
    if not isinstance(value, list):
        raise UserError(f"must be a list of lines; {shown(value)} given")
    lines: list[str] = []
    for number, item in enumerate(value, start=1):
        try:
            lines.append(text(item))
        except UserError as error:
            raise UserError(f"item {number} {error}") from error
    return tuple(lines)


def flag(value: Any) -> bool:
    """True or false."""
    return bool(value_as(value, (bool,)))


def whole(smallest: int, largest: int | None = None) -> Callable[[Any], int]:
    """Reader of whole numbers of this range."""
    wanted = f"of at least {smallest}" if largest is None else f"from {smallest} to {largest}"

    def read(value: Any) -> int:
        if not is_whole(value) or value < smallest or (largest is not None and value > largest):
            raise UserError(f"must be a whole number {wanted}; {shown(value)} given")
        return int(value)

    return read


def above_zero(largest: float | None = None) -> Callable[[Any], float]:
    """Reader of numbers above 0."""
    wanted = "above 0" if largest is None else f"above 0 and at most {largest:g}"

    def read(value: Any) -> float:
        number = value_as(value, (float,))
        if not isinstance(number, float) or number <= 0 or (largest is not None and number > largest):
            raise UserError(f"must be a number {wanted}; {shown(value)} given")
        return number

    return read


hours_back = above_zero(10 * 365 * 24)
"""Hours to look back for, not more than ten years."""


def gpu_request(value: Any) -> str:
    """One of the styles of asking for GPUs."""
    if not isinstance(value, str) or value not in GPU_REQUESTS:
        raise UserError(f"must be one of {', '.join(GPU_REQUESTS)}; {shown(value)} given")
    return value


def billing(value: Any) -> Billing:
    """Unit, and price of a node-hour or of a GPU-hour."""
    if not isinstance(value, dict):
        raise UserError(f"must be a mapping with the keys {', '.join(BILLING_KEYS)}; {shown(value)} given")
    wrong = [unknown_name("key", key, BILLING_KEYS) for key in value if key not in BILLING_KEYS]
    read: dict[str, Any] = {}
    for key, reader in zip(BILLING_KEYS, (text, above_zero(), above_zero()), strict=True):
        try:
            read |= {key: reader(value[key])} if value.get(key) is not None else {}
        except UserError as error:
            wrong.append(f"{key!r} {error}")
    if not wrong and ("unit" not in read or len(read) != 2):
        wrong.append("give 'unit', and either 'per_node_hour' or 'per_gpu_hour'")
    if wrong:
        raise UserError(f"is not right: {'; '.join(wrong)}")
    return Billing(**read)


def variable(name: str, value: Any) -> tuple[str, str | None]:
    """One entry of `environment`; None removes the variable."""
    if not VARIABLE_NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name of a variable: letters, digits and '_', the first no digit")
    return name, None if value is None else _entry(name, value)


def option(name: str, value: Any) -> tuple[str, str | None]:
    """One entry of `options`; empty text for an option without a value, None removes the option."""
    plain = name.removeprefix("--").replace("_", "-")
    if plain in OWNED_OPTIONS:
        raise UserError(f"{name!r} cannot be passed through: {OWNED_OPTIONS[plain]}")
    if not OPTION_NAME.fullmatch(plain):
        raise UserError(f"{name!r} is no long name of an option of sbatch, such as 'licenses'")
    if value is None or value is False:
        return plain, None
    return plain, "" if value is True else _entry(name, value)


def _entry(name: str, value: Any) -> str:
    # Empty text is a value here, unlike in the fields of a profile.
    if value == "":
        return ""
    try:
        return text(value)
    except UserError as error:
        raise UserError(f"{name!r} {error}") from error
