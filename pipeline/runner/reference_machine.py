"""The reference machine: the public packages that a program gets for free, and a folder that holds just these."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path

REFERENCE_MACHINE = "2026.11"
"""Version of `PACKAGES`; part of every cell, since another list may change what a program gives."""

PACKAGES = {
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "tokenizers": "0.23.3",
    "safetensors": "0.8.0",
    "peft": "0.21.2",
    "accelerate": "1.15.0",
    "bitsandbytes": "0.50.2",
    "numpy": "2.4.6",
    "constriction": "0.5.0",
}
"""Package -> version. Free besides: the standard library, and whatever these packages themselves require."""


def check_reference_machine() -> tuple[str, ...]:
    """One sentence for each package of the reference machine that is missing here or has another version.

    Builds of one version (`2.13.0+cpu`, `2.13.0+cu130`) count as equal: `machine_class` tells them apart.
    """
    problems = []
    for name, version in PACKAGES.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{name} {version} is not installed")
            continue
        if found.partition("+")[0] != version:
            problems.append(f"{name} is {found}, the reference machine {REFERENCE_MACHINE} has {version}")
    return tuple(problems)


def closure() -> dict[str, Distribution]:
    """Installed distributions of the reference machine by name: `PACKAGES` and what they require, without extras."""
    from packaging.requirements import Requirement

    found: dict[str, Distribution] = {}
    absent: set[str] = set()
    todo = list(PACKAGES)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found or name in absent:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            absent.add(name)
            continue
        for line in found[name].requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    return dict(sorted(found.items()))


def build_view(cache_folder: Path) -> Path:
    """Folder of links to the top-level entries of the reference machine's packages, and to nothing else.

    With it as the only third-party entry of `sys.path`, no other installed package can be imported. It is made once
    for one state of the environment; two processes may build it at the same time.

    Args:
        cache_folder: where views are kept; made if it is not there.
    """
    distributions = closure()
    view = cache_folder.absolute() / f"view-{REFERENCE_MACHINE}-{_digest(distributions)[:16]}"
    if view.is_dir():
        return view
    cache_folder.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache_folder))
    try:
        for distribution in distributions.values():
            for relative, target in _entries(distribution):
                link = unfinished / relative
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.is_symlink():
                    link.symlink_to(target)
        unfinished.chmod(0o755)
        try:
            unfinished.rename(view)
        except OSError:
            if not view.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return view


def view_targets(view: Path) -> tuple[str, ...]:
    """Real paths of all entries of a view."""
    return tuple(sorted(str(link.resolve()) for link in links_below(view)))


def links_below(folder: Path) -> Iterator[Path]:
    """Symbolic links in a folder and its own subfolders."""
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink():
                yield path


def _digest(distributions: dict[str, Distribution]) -> str:
    digest = hashlib.sha256()
    for name, distribution in distributions.items():
        record = distribution.read_text("RECORD") or ""
        digest.update(f"{name}\n{distribution.version}\n{distribution.locate_file('')}\n{record}\n".encode())
    return digest.hexdigest()


def _entries(distribution: Distribution) -> Iterator[tuple[str, Path]]:
    """Paths inside the view and their targets.

    A folder without `__init__.py` may be shared with packages that are not free (a namespace), so it is not linked
    as a whole; its entries are.
    """
    seen: set[str] = set()
    for file in distribution.files or ():
        parts = file.parts
        if parts[0] == ".." or "__pycache__" in parts or (len(parts) == 1 and file.suffix == ".pth"):
            continue
        depth = 1
        while depth < len(parts) and not _is_owned(distribution, "/".join(parts[:depth])):
            depth += 1
        relative = "/".join(parts[:depth])
        target = Path(str(distribution.locate_file(relative)))
        if relative not in seen and target.exists():
            seen.add(relative)
            yield relative, target.resolve()


def _is_owned(distribution: Distribution, folder: str) -> bool:
    if folder.endswith(".dist-info"):
        return True
    return Path(str(distribution.locate_file(folder))).joinpath("__init__.py").is_file()
