"""The folder of a made data set: names and columns of its files. Imports no heavy library."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.models.spec import cache_folder

TRAIN = "train.parquet"
"""Accepted samples: `prompt`, `response`, `target`, `sample`."""
VALIDATION = "validation.parquet"
"""Prompts that were set aside before anything was sampled: `prompt`, `target`."""
PROMPTS = "prompts.parquet"
"""Prompts to sample for, in the order of the shards: `prompt`, `target`."""
MANIFEST = "manifest.json"
"""Teacher, settings, and counts at each filter. It is written last: without it the folder is not complete."""
SETTINGS = "settings.json"
"""What the folder is made with; another run with other settings is refused."""

_SHARDS = "shards"
_SHARD_NAME = re.compile(r"\d{6}\.parquet")


def made_folder(name: str) -> Path:
    """Where a made data set of this name is, unless its configuration says otherwise."""
    return cache_folder() / "made" / name


def shard_path(folder: Path, number: int) -> Path:
    """Place of all samples for the prompts of one shard."""
    return folder / _SHARDS / f"{number:06}.parquet"


def shards_there(folder: Path) -> set[int]:
    """Numbers of the shards that are there."""
    return {int(path.stem) for path in (folder / _SHARDS).glob("*.parquet") if _SHARD_NAME.fullmatch(path.name)}
