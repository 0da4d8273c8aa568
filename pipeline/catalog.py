"""The names that a grid may use, as tables of import paths. Nothing is imported before it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from pipeline.errors import UserError, unknown_name
from pipeline.protocols import Family, Task

TASKS = {
    "chain-sum": "pipeline.tasks.chain_sum:TASK",
    "en-fr-software": "pipeline.tasks.en_fr_software:TASK",
    "esnli": "pipeline.tasks.esnli:TASK",
    "flores-en-fr": "pipeline.tasks.flores_en_fr:TASK",
    "gsm8k": "pipeline.tasks.gsm8k:TASK",
    "gsm8k-metamath": "pipeline.tasks.gsm8k_metamath:TASK",
    "gsm8k-symbolic": "pipeline.tasks.gsm8k_symbolic:TASK",
    "lima": "pipeline.tasks.lima:TASK",
    "mmlu": "pipeline.tasks.mmlu:TASK",
    "openthoughts": "pipeline.tasks.openthoughts:TASK",
    "piqa": "pipeline.tasks.piqa:TASK",
    "ifeval": "pipeline.tasks.ifeval:TASK",
}

FAMILIES = {
    "trivial": "pipeline.families.trivial:FAMILY",
    "baseline": "pipeline.families.baseline:FAMILY",
    "urial": "pipeline.families.urial:FAMILY",
    "icl": "pipeline.families.icl:FAMILY",
    "sampled": "pipeline.families.sampled:FAMILY",
    "prompt-search": "pipeline.families.prompt_search:FAMILY",
    "subset": "pipeline.families.subset:FAMILY",
    "taught": "pipeline.families.taught:FAMILY",
    "plain-subset": "pipeline.families.plain_subset:FAMILY",
    "lora": "pipeline.families.lora:FAMILY",
    "blora": "pipeline.families.blora:FAMILY",
    "tuner": "pipeline.families.tuner:FAMILY",
    "gains": "pipeline.families.gains:FAMILY",
    "scales": "pipeline.families.scales:FAMILY",
    "lm-head": "pipeline.families.lm_head:FAMILY",
    "full": "pipeline.families.full:FAMILY",
    "reweight": "pipeline.families.reweight:FAMILY",
}

TASK_FILES = (".yaml", ".yml")
TASK_ENTRY_POINTS = "task_complexity.tasks"
FAMILY_ENTRY_POINTS = "task_complexity.families"


def task_names() -> list[str]:
    """Names of all tasks, those of installed plug-ins included."""
    return sorted({**TASKS, **_plugins(TASK_ENTRY_POINTS)})


def family_names() -> list[str]:
    """Names of all program families, those of installed plug-ins included."""
    return sorted({**FAMILIES, **_plugins(FAMILY_ENTRY_POINTS)})


def task(name: str) -> Task:
    """The task of this name, or of this path of a YAML file.

    Raises:
        UserError: unknown name, with near matches; or a mistake in the file.
    """
    if name.endswith(TASK_FILES):
        from pipeline.tasks.from_file import read_task

        return read_task(name, taken=TASKS)
    return cast(Task, _find("task", name, TASKS, TASK_ENTRY_POINTS))


def planned_task(source: str) -> Task:
    """The task that a plan was made with, by its source there.

    Raises:
        UserError: as `task`; or its file is not where the grid was planned, with what to do.
    """
    if source.endswith(TASK_FILES) and not Path(source).is_file():
        raise UserError(
            f"there is no task file {source}, which the plan names; `tcx plan GRID`, where the grid is now, writes the "
            "new place"
        )
    return task(source)


def family(name: str) -> Family:
    """The program family of this name.

    Raises:
        UserError: unknown name, with near matches.
    """
    return cast(Family, _find("program family", name, FAMILIES, FAMILY_ENTRY_POINTS))


def _plugins(group: str) -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=group)}


def _find(kind: str, name: str, own: Mapping[str, str], group: str) -> Any:
    # Looking for plug-ins reads the metadata of every installed package, so it is done for foreign names only.
    table = own if name in own else {**_plugins(group), **own}
    if name not in table:
        raise UserError(unknown_name(kind, name, table))
    module, attribute = table[name].split(":")
    return getattr(import_module(module), attribute)
