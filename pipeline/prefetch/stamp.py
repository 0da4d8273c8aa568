"""The stamp of a proof: what was proven on this disk, by which packages, and the sizes of the files then."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.cell import canonical_json
from pipeline.files import write_atomically
from pipeline.hub import changed_files
from pipeline.lock import Lock
from pipeline.machine import package_versions
from pipeline.models.spec import cache_folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """A proof that held.

    Attributes:
        isolation: what blocked the network, `kernel` or `audit`.
        files: name of a model or task -> path -> size of all files of the cache that it is read from.
    """

    isolation: str
    files: Mapping[str, Mapping[str, int]]

    def changed(self) -> dict[str, list[str]]:
        """Model or task -> its files that are gone or have another size now."""
        found = {name: changed_files(sizes) for name, sizes in self.files.items()}
        return {name: paths for name, paths in found.items() if paths}


def read_stamp(lock: Lock) -> Stamp | None:
    """The stamp of this lock and of the packages of this environment, None where there is none or a damaged one."""
    try:
        return Stamp(**json.loads(stamp_path(lock).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_stamp(lock: Lock, stamp: Stamp) -> None:
    """Keeps a proof."""
    write_atomically(stamp_path(lock), json.dumps(asdict(stamp), indent=1).encode(), replace=True)


def stamp_path(lock: Lock) -> Path:
    """Place of the stamp; changes with the lock and with the packages."""
    key = canonical_json({"lock": lock.sha256, "packages": package_versions()})
    return cache_folder() / "proofs" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
