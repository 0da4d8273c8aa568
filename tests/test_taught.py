"""Family `taught`: programs hold the weights they were coded with, keep their budgets, and resume to the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.coding.template import Template
from pipeline.decoder_parts.adapt import add_adapter, train
from pipeline.decoder_parts.base import load
from pipeline.errors import StoppedError
from pipeline.families.common import shuffled_train, train_rows
from pipeline.families.taught import FAMILY, Parameters
from pipeline.protocols import Encoded
from tests.tiny_cells import SEED, TASK, OtherSplits, long_example, run_here, tiny_cell, tiny_context
from tests.tiny_models import save_tiny_llama


def encode(folder: Path, model: Path, *budgets: int | None, stop: bool = False, **parameters: Any) -> list[Encoded]:
    """Programs of one group of cells."""
    settings = {"examples": None if budgets[0] else 20, "epochs": 2, "shown": 2, **parameters}
    cells = [tiny_cell(FAMILY, budget, **settings) for budget in budgets]
    return list(FAMILY.encode(tiny_context(folder, model, load(str(model)), stops=stop), cells))


def test_a_program_has_the_demonstrations_and_the_trained_weights(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the encoder meant: two examples shown, twenty trained on behind them in blocks of 8, 8 and 4."""
    import torch
    from peft import PeftModel

    (encoded,) = encode(tmp_path, tiny_model, None, epochs=1)
    assert encoded.program is not None
    names = run_here(encoded.program.content, tmp_path, tiny_model, monkeypatch)
    (program,) = (value for value in names.values() if isinstance(value, PeftModel))
    decoded = [weight for weight in program.parameters() if weight.requires_grad]

    model, tokenizer = load(str(tiny_model))
    rows = train_rows(TASK, tokenizer, SEED, 22)
    head = tokenizer(Template.of(TASK).head).input_ids
    prefix = [*head, *rows[0], *head, *rows[1], *head]
    adapted, adapter = add_adapter(model, SEED, 8, 8, "all-linear")
    optimizer = torch.optim.AdamW(adapter, 1e-3)
    for start, end in ((2, 10), (10, 18), (18, 22)):
        train(adapted, optimizer, prefix, rows[start:end])
    for weight, expected in zip(decoded, adapter, strict=True):
        assert torch.equal(weight, expected)


def test_budgets_are_kept_and_filled(tmp_path: Path, tiny_model: Path) -> None:
    programs = {encoded.cell.budget_bytes: encoded for encoded in encode(tmp_path, tiny_model, 2100, 2500, 300)}
    small, large, none = programs[2100], programs[2500], programs[300]
    assert none.program is None
    assert "one example" in str(none.infeasible)
    for encoded, budget in ((small, 2100), (large, 2500)):
        assert encoded.program is not None
        assert budget - 40 < len(encoded.program.content) <= budget
    assert small.settings["examples"] < large.settings["examples"]


def test_a_stopped_coding_goes_on_to_the_same_bytes(tmp_path: Path, tiny_model: Path) -> None:
    (whole,) = encode(tmp_path / "whole", tiny_model, None)
    with pytest.raises(StoppedError):
        encode(tmp_path / "stopped", tiny_model, None, stop=True)
    (resumed,) = encode(tmp_path / "stopped", tiny_model, None)
    assert whole.program is not None
    assert resumed.program == whole.program


def test_what_does_not_fit_into_the_context_is_infeasible(tmp_path: Path) -> None:
    model = save_tiny_llama(tmp_path / "model", max_position_embeddings=48)
    (encoded,) = encode(tmp_path, model, None)
    assert "the context has room for 48" in str(encoded.infeasible)


def test_a_train_row_that_is_not_used_refuses_nothing(tmp_path: Path, tiny_model: Path) -> None:
    train = list(TASK.split("train"))[:50]
    order = list(shuffled_train(OtherSplits(train=train), SEED))
    of_task = OtherSplits(train=[long_example(row) if row == order[-1] else row for row in train])
    context = tiny_context(tmp_path, tiny_model, load(str(tiny_model)), of_task)
    few, all_of_them = (
        next(iter(FAMILY.encode(context, [tiny_cell(FAMILY, examples=examples, epochs=1, shown=2)])))
        for examples in (4, "all")
    )
    assert few.program is not None
    assert "the context has room for" in str(all_of_them.infeasible)


def test_a_budget_takes_the_rows_before_the_first_one_that_does_not_fit(tmp_path: Path, tiny_model: Path) -> None:
    train = list(TASK.split("train"))[:60]
    order = shuffled_train(OtherSplits(train=train), SEED)
    cells = [tiny_cell(FAMILY, budget, epochs=1, shown=2) for budget in (1550, 100_000)]
    made = []
    for place in (None, 50, 25):
        of_task = OtherSplits(
            train=[long_example(row) if place is not None and row == order[place] else row for row in train]
        )
        context = tiny_context(tmp_path / str(place), tiny_model, load(str(tiny_model)), of_task)
        made.append([*FAMILY.encode(context, cells)])
    assert made[0][0].settings["examples"] < 23
    assert [programs[0].program for programs in made] == [made[0][0].program] * 3
    assert [programs[1].settings["examples"] for programs in made] == [58, 48, 23]


def test_no_demonstration_is_refused() -> None:
    with pytest.raises(ValueError, match="shown is 0; it must be at least 1"):
        Parameters(shown=0)
