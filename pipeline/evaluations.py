"""Evaluations that the plans of a study had: under each of them its cells may have programs to execute again."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.cell import Evaluation

_KEY = b"evaluations"
_COLUMNS = [field.name for field in fields(Evaluation)]


def known_evaluations(plan_path: Path) -> list[Evaluation]:
    """Evaluations of a plan and of those that it took the place of; none where no plan can be read."""
    try:
        file = pq.ParquetFile(plan_path)
        noted = (file.schema_arrow.metadata or {}).get(_KEY, b"[]")
        own = _evaluations(file.read(columns=_COLUMNS))
    except (OSError, pa.ArrowException):
        return []
    return list(dict.fromkeys([*(Evaluation(**content) for content in json.loads(noted)), *own]))


def noting_evaluations(plan: pa.Table, plan_path: Path) -> pa.Table:
    """A plan that knows the evaluations of the one whose place it takes, and its own."""
    known = dict.fromkeys([*known_evaluations(plan_path), *_evaluations(plan)])
    return plan.replace_schema_metadata({_KEY: json.dumps([asdict(evaluation) for evaluation in known])})


def _evaluations(plan: pa.Table) -> list[Evaluation]:
    rows = plan.select(_COLUMNS).group_by(_COLUMNS).aggregate([]).to_pylist()
    return sorted((Evaluation(**row) for row in rows), key=str)
