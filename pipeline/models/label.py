"""The parts of a model's name in a grid: `NAME[@REVISION][@random-SEED][+LOADING]`. Nothing is looked up here."""

from __future__ import annotations

import re
from typing import NamedTuple

LOADINGS = ("nf4",)
"""How weights may be loaded other than as they are: `nf4` is 4-bit NormalFloat (arXiv 2305.14314)."""

LOCAL = (".", "/", "~")
"""What the name of a file or folder starts with."""


class Label(NamedTuple):
    """A model's name, taken apart.

    Attributes:
        name: alias, hub name or path.
        revision: branch, tag or commit; empty, and so a mistake, where nothing stands behind the `@`.
        random_seed: weights are drawn anew from this seed.
        loading: one of `LOADINGS` if the label is right; not checked.
    """

    name: str
    revision: str | None
    random_seed: int | None
    loading: str | None

    @property
    def is_path(self) -> bool:
        """Whether the name is that of a local file or folder."""
        return self.name.startswith(LOCAL)


def split_label(label: str) -> Label:
    """The parts of a label.

    In the name of a file a plus is a plus, unless a known loading stands behind it, and an at sign is an at sign,
    unless a seed does; elsewhere they have no other meaning.
    """
    rest, plus, loading = label.rpartition("+")
    if not plus or (loading not in LOADINGS and label.startswith(LOCAL)):
        rest, loading = label, ""
    random_seed = None
    if match := re.fullmatch(r"(.*)@random-(\d+)", rest):
        rest, random_seed = match[1], int(match[2])
    name, at, revision = (rest, "", "") if label.startswith(LOCAL) else rest.partition("@")
    return Label(name, revision if at else None, random_seed, loading or None)
