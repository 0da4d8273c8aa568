"""Makers of published rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Row = dict[str, Any]
WriteRows = Callable[[Sequence[Row | str]], Path]


def published(experiment: str, bits: int, performance: float, **hyperparameters: Any) -> Row:
    """A row of the mathematics task, as it is published."""
    return {
        "experiment_name": experiment,
        "dataset_name": "meta-math/MetaMathQA",
        "model_name": "smollm3-stage1",
        "performance": performance,
        "bits": bits,
        "seed": 1,
        "strategy_hparams": {"bits": bits, **hyperparameters},
    }


@pytest.fixture
def write_rows(tmp_path: Path) -> WriteRows:
    """Writer of a file of JSON lines; a text stands for itself."""

    def write(rows: Sequence[Row | str]) -> Path:
        path = tmp_path / "published.jsonl"
        path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
        return path

    return write
