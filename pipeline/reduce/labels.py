"""Labels of tasks and base models, such that rows with equal labels may be compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline import schema

SETTING_COLUMNS = ("task", "task_version", "validation_items", "test_items", "model", "model_identity", "status")
"""What labels are made of: rows that agree in these have the same."""

Setting = tuple[Any, ...]
"""The values of `SETTING_COLUMNS`."""


def distinct_labels(settings: Iterable[Setting]) -> Mapping[Setting, tuple[str, str]]:
    """Labels of task and model for each setting.

    Two task versions, or scores on different numbers of items, are not on one curve: where a task occurs in several
    ways its label says which (`gsm8k v2 128/256`). Likewise two base models with one name get the start of their
    identity. Imported rows tell neither, and keep the plain names.

    Args:
        settings: of all rows.
    """
    found = [dict(zip(SETTING_COLUMNS, setting, strict=True)) for setting in set(settings)]
    ways: dict[str, set[Setting]] = defaultdict(set)
    identities: dict[str, set[str]] = defaultdict(set)
    for it in found:
        if it["status"] != schema.IMPORTED:
            ways[it["task"]].add(_way(it))
            identities[it["model"]].add(it["model_identity"])

    def task_label(it: Mapping[str, Any]) -> str:
        if it["status"] == schema.IMPORTED or len(ways[it["task"]]) == 1:
            return str(it["task"])
        version, validation_items, test_items = (part if part is not None else "all" for part in _way(it))
        return f"{it['task']} v{version} {validation_items}/{test_items}"

    def model_label(it: Mapping[str, Any]) -> str:
        is_alone = it["status"] == schema.IMPORTED or len(identities[it["model"]]) == 1
        return str(it["model"]) if is_alone else f"{it['model']} ({str(it['model_identity'])[:8]})"

    return {tuple(it.values()): (task_label(it), model_label(it)) for it in found}


def _way(it: Mapping[str, Any]) -> Setting:
    return it["task_version"], it["validation_items"], it["test_items"]
