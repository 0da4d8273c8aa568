"""Family `subset`: cells that share a coding pass share all that is the same in their programs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalog import family
from pipeline.cell import Cell
from pipeline.coding.examples import Coded
from pipeline.decoder_parts.base import load
from pipeline.families.common import shuffled_train
from pipeline.families.subset import FAMILY
from pipeline.protocols import Encoded
from pipeline.worker import _encode
from tests.tiny_cells import SEED, TASK, OtherSplits, long_example, tiny_cell, tiny_context

TRAIN = list(TASK.split("train"))[:40]


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


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("subset", {"examples": 12}),
        ("plain-subset", {"examples": 12}),
        ("lora", {"bits": 4, "examples": 12}),
        ("reweight", {"bits": 4, "updates": 2}),
    ],
)
def test_an_example_that_the_model_has_no_positions_for_is_told(
    tmp_path: Path, tiny_model: Path, name: str, sizes: dict[str, Any]
) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    of_family = family(name)
    tokenizer = load(str(tiny_model))[1]
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2)).eval()
    tenth = shuffled_train(OtherSplits(train=TRAIN), SEED)[9]
    of_task = OtherSplits(train=[long_example(row) if row == tenth else row for row in TRAIN])
    context = tiny_context(tmp_path, tiny_model, (model, tokenizer), of_task)
    (none,) = _encode(of_family, context, [tiny_cell(of_family, epochs=1, **sizes)])
    assert none.program is None
    assert "1024" in str(none.infeasible).replace(",", "")
    if "subset" in name:
        few, budget = _encode(
            of_family,
            context,
            [tiny_cell(of_family, epochs=1, examples=4), tiny_cell(of_family, 100_000, epochs=1)],
        )
        assert few.program is not None
        assert budget.settings["examples"] == 9


@pytest.mark.parametrize("pattern", ["q_proj", ".*norm"])
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("subset", {"examples": 4}),
        ("plain-subset", {"examples": 4, "weights": "adapter"}),
        ("lora", {"bits": 4}),
        ("tuner", {"bits": 4, "tuner": "vera"}),
        ("reweight", {"bits": 4}),
    ],
)
def test_modules_that_cannot_be_adapted_are_told_with_some_that_can(
    tmp_path: Path, tiny_model: Path, pattern: str, name: str, sizes: dict[str, Any]
) -> None:
    context = tiny_context(tmp_path, tiny_model, load(str(tiny_model)))
    (none,) = _encode(family(name), context, [tiny_cell(family(name), target_modules=pattern, **sizes)])
    assert none.program is None
    assert repr(pattern) in str(none.infeasible)
    assert "must match the whole names of modules" in str(none.infeasible)
    assert "model.layers.0.self_attn.q_proj" in str(none.infeasible)
