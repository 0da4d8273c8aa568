"""Programs that an earlier rung of the same search has made: a later rung executes them, and makes none anew."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.attempts import count_attempts
from pipeline.cell import Cell, canonical_json
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


def earlier_programs(study: Study, cells: Sequence[Cell], provenance: Mapping[str, Any]) -> dict[str | None, Encoded]:
    """By cell id, programs of cells that differ from these in their evaluation alone, from rungs before this study.

    Cells of which an attempt has failed are left out: they are made anew.

    Args:
        study: the study of the cells.
        cells: the cells.
        provenance: columns that say which data their programs are made from.
    """
    rungs = [rung for rung in rungs_before(study) if rung.plan_path.exists()]
    if not rungs:
        return {}
    failed = count_attempts(study, [str(cell.cell_id) for cell in cells])
    # If this process would not make the same, it is no program of the cell.
    made_by = (*code_state(), machine_class(), canonical_json(package_versions()))
    needed = {**dict(zip(MADE_BY, made_by, strict=True)), **provenance, "status": "ok"}
    found: dict[str | None, Encoded] = {}
    for rung in rungs:
        evaluation = Cell.from_row(read_cells(rung.plan_path).slice(0, 1).to_pylist()[0]).evaluation
        left = [cell for cell in cells if cell.cell_id not in found and not failed[str(cell.cell_id)]]
        cell_of = {str(dataclasses.replace(cell, evaluation=evaluation).cell_id): cell for cell in left}
        for earlier_id in rung.valid_cells(cell_of):
            row = read_row(rung, earlier_id, [*COLUMNS, *needed])
            is_same = all(row[name] == value for name, value in needed.items())
            if is_same and (encoded := _encoded(rung, row, cell_of[earlier_id])):
                found[encoded.cell.cell_id] = encoded
    return found


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
