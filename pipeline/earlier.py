"""Programs that an earlier rung of the same search has made: a later rung executes them, and makes none anew."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.attempts import count_attempts
from pipeline.cell import Cell, Evaluation, canonical_json
from pipeline.machine import code_state, machine_class, package_versions
from pipeline.protocols import Encoded, Program
from pipeline.rows import read_row
from pipeline.search import rungs_before
from pipeline.store import Study, read_cells

COLUMNS = (
    "program_sha256",
    "decoder_bits",
    "payload_bits",
    "container_bits",
    "nll_bits",
    "coded_bits",
    "payload_text",
    "settings",
    "train_tokens",
    "encode_seconds",
)
MADE_BY = ("git_commit", "git_dirty_sha256", "machine_class", "package_versions")
"""What the same program depends on besides its cell and its data."""


def earlier_program(study: Study, cell: Cell, provenance: Mapping[str, Any]) -> Encoded | None:
    """The program of a cell that differs from this one in its evaluation alone, from a rung before this study.

    None where there is none, and where an attempt at the cell has failed: that one is made anew.

    Args:
        study: the study of the cell.
        cell: the cell.
        provenance: columns that say which data its program is made from.
    """
    rungs = rungs_before(study)
    if not rungs or count_attempts(study, [str(cell.cell_id)]):
        return None
    # If this process would not make the same, it is no program of this cell.
    made_by = (*code_state(), machine_class(), canonical_json(package_versions()))
    needed = {**dict(zip(MADE_BY, made_by, strict=True)), **provenance, "status": "ok"}
    for rung in rungs:
        if (cell_id := _cell_id_in(rung, cell)) is None:
            continue
        row = read_row(rung, cell_id, [*COLUMNS, *needed])
        if all(row[name] == value for name, value in needed.items()):
            return _encoded(rung, row, cell)
    return None


def _cell_id_in(rung: Study, cell: Cell) -> str | None:
    """Id of the cell under the evaluation of a rung, if it is done there."""
    if not rung.plan_path.exists():
        return None
    planned = read_cells(rung.plan_path).slice(0, 1).to_pylist()[0]
    evaluation = Evaluation(**{name: planned[name] for name in Evaluation.__dataclass_fields__})
    cell_id = str(dataclasses.replace(cell, evaluation=evaluation).cell_id)
    return cell_id if rung.valid_cells([cell_id]) else None


def _encoded(rung: Study, row: Mapping[str, Any], cell: Cell) -> Encoded | None:
    path = rung.program_path(row["program_sha256"])
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != row["program_sha256"]:
        return None
    program = Program(
        content=content,
        sha256=row["program_sha256"],
        **{f"{part}_bytes": row[f"{part}_bits"] // 8 for part in ("decoder", "payload", "container")},
    )
    return Encoded(
        cell=cell,
        program=program,
        settings=json.loads(row["settings"]),
        wall_seconds=row["encode_seconds"],
        **{name: row[name] for name in ("nll_bits", "coded_bits", "payload_text", "train_tokens")},
    )
