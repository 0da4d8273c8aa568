"""Programs that a cell has under another evaluation: they are executed on the items of this one, and not made anew.

They are of an earlier rung of the same search, or of the same study before its grid asked for other items.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.attempts import count_attempts
from pipeline.cell import Cell, canonical_json
from pipeline.errors import InvalidShardError
from pipeline.evaluations import known_evaluations
from pipeline.machine import code_state, machine_class, package_versions
from pipeline.protocols import Encoded, Program
from pipeline.rows import read_row
from pipeline.search import rungs_before
from pipeline.store import Study

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
_MACHINE = ("machine_class", "package_versions")
"""Where a payload was coded under the model, it can be decoded with the same sums alone."""
_MADE_BY = ("git_commit", "git_dirty_sha256", *_MACHINE)
"""What the same program depends on besides its cell and its data."""


def earlier_programs(study: Study, cells: Sequence[Cell], provenance: Mapping[str, Any]) -> dict[str | None, Encoded]:
    """By cell id, programs of cells that differ from these in their evaluation alone.

    Those of rungs before this study must be what this process would make. Of the study itself a row counts, as all rows
    do, whichever code and lock made it, as long as its data are of the same commits. Cells of which an attempt has
    failed are left out: they are made anew.

    Args:
        study: the study of the cells, which have one evaluation.
        cells: the cells.
        provenance: columns that say which data their programs are made from.
    """
    rungs = [rung for rung in rungs_before(study) if rung.plan_path.exists()]
    of_rungs = [(rung, it) for rung in rungs for it in known_evaluations(rung.plan_path)]
    of_study = [(study, it) for it in known_evaluations(study.plan_path) if it != cells[0].evaluation]
    if not of_rungs and not of_study:
        return {}
    failed = count_attempts(study, [str(cell.cell_id) for cell in cells])
    here = dict(zip(_MADE_BY, (*code_state(), machine_class(), canonical_json(package_versions())), strict=True))
    needed = {**here, **provenance, "status": "ok"}
    found: dict[str | None, Encoded] = {}
    for source, evaluation in [*of_rungs, *of_study]:
        left = [cell for cell in cells if cell.cell_id not in found and not failed[str(cell.cell_id)]]
        cell_of = {str(dataclasses.replace(cell, evaluation=evaluation).cell_id): cell for cell in left}
        for earlier_id in source.valid_cells(cell_of):
            try:
                row = read_row(source, earlier_id, [*COLUMNS, *needed])
            except (InvalidShardError, FileNotFoundError):
                continue  # damaged, or moved aside meanwhile: the program of another evaluation, or a new one, will do
            may_differ = {*_MADE_BY, "lock_sha256"} if source is study else set()
            if row["coded_bits"]:
                may_differ -= {*_MACHINE}
            is_same = all(row[name] == value for name, value in needed.items() if name not in may_differ)
            if is_same and (encoded := _encoded(source, row, cell_of[earlier_id])):
                found[encoded.cell.cell_id] = encoded
    return found


def num_made(study: Study, cells: Iterable[Cell]) -> int:
    """How many of the cells have a row of the study under another evaluation."""
    known = known_evaluations(study.plan_path)
    others = [
        {str(dataclasses.replace(cell, evaluation=it).cell_id) for it in known if it != cell.evaluation}
        for cell in cells
        if cell.cell_id is not None
    ]
    made = study.valid_cells(set().union(*others)) if any(others) else set()
    return sum(not made.isdisjoint(of_cell) for of_cell in others)


def _encoded(source: Study, row: Mapping[str, Any], cell: Cell) -> Encoded | None:
    path = source.program_path(row["program_sha256"])
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
