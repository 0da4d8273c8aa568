"""Family `subset`: cells that share a coding pass share all that is the same in their programs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pipeline.cell import Cell
from pipeline.coding.examples import Coded
from pipeline.decoder_parts.base import load
from pipeline.families.subset import FAMILY
from pipeline.protocols import Encoded
from tests.tiny_cells import tiny_cell, tiny_context


def encode(folder: Path, model: Path, cells: list[Cell]) -> list[Encoded]:
    return list(FAMILY.encode(tiny_context(folder, model, load(str(model))), cells))


def test_a_payload_is_made_once_a_length_and_only_where_a_program_has_it(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Counter[int] = Counter()
    payload = Coded.payload

    def counted(self: Coded, rows: list[list[int]]) -> bytes:
        made[len(rows)] += 1
        return payload(self, rows)

    monkeypatch.setattr(Coded, "payload", counted)
    sized = [tiny_cell(FAMILY, examples=examples, epochs=epochs) for examples in (8, 16, 20) for epochs in (1, 2)]
    together = encode(tmp_path / "sized", tiny_model, sized)
    assert made == {8: 1, 16: 1, 20: 1}

    made.clear()
    budgets = encode(tmp_path / "budgets", tiny_model, [tiny_cell(FAMILY, budget, epochs=1) for budget in (2000, 2500)])
    sizes = [encoded.settings["examples"] for encoded in budgets]
    assert 16 < sizes[0] < sizes[1]
    assert min(made) >= sizes[0]
    assert max(made.values()) == 1

    (alone,) = encode(tmp_path / "alone", tiny_model, [tiny_cell(FAMILY, examples=20, epochs=2)])
    assert alone.program == together[-1].program
    (alone,) = encode(tmp_path / "alone", tiny_model, [tiny_cell(FAMILY, 2500, epochs=1)])
    assert alone.program == budgets[1].program
