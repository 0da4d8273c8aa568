"""Executing a program on the items of a cell, and scoring what it gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.cell import Evaluation
from pipeline.metrics import METRICS
from pipeline.protocols import Example, Task

SCORED_SPLITS = ("validation", "test")


def items_of(task: Task, evaluation: Evaluation) -> dict[str, Sequence[Example]]:
    """The items of each split that a cell is scored on."""
    return {
        "validation": task.split("validation")[: evaluation.validation_items],
        "test": task.split("test")[: evaluation.test_items],
    }


def split_outputs(outputs: Sequence[str], items: Mapping[str, Sequence[Example]]) -> dict[str, Sequence[str]]:
    """Outputs of the one stream that held all splits, by split."""
    parts, start = {}, 0
    for name, examples in items.items():
        parts[name] = outputs[start : start + len(examples)]
        start += len(examples)
    return parts


def score_split(task: Task, outputs: Sequence[str], examples: Sequence[Example]) -> dict[str, Any]:
    """Scores of one split in the columns of `schema.SPLIT_SCORES`."""
    per_item = [task.score(output, example) for output, example in zip(outputs, examples, strict=True)]
    statistics = {name: np.array([scores[name] for scores in per_item], dtype=float) for name in task.metrics}
    performance = {name: float(METRICS[name].aggregate(values.sum(axis=0))) for name, values in statistics.items()}
    first, *others = task.metrics
    return {
        "performance": performance[first],
        "num_items": len(examples),
        "item_scores": METRICS[first].per_item(statistics[first]).tolist(),
        "statistics": statistics[first].tolist(),
        "other_metrics": [{"metric": name, "performance": performance[name]} for name in others],
        "predictions": list(outputs),
    }
