"""Family `plain-subset`: programs train on the examples in their text, keep and fill their budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.coding.template import Template
from pipeline.decoder_parts.adapt import train
from pipeline.decoder_parts.base import load
from pipeline.families.common import train_rows
from pipeline.families.plain_subset import FAMILY, Parameters
from pipeline.protocols import Encoded, Example, Split, Task
from pipeline.tasks.chain_sum import ChainSum
from tests.tiny_cells import SEED, TASK, run_here, tiny_cell, tiny_context
from tests.tiny_models import save_tiny_llama


class WithHeads(ChainSum):
    """Half of its train examples hold the head of the template."""

    __slots__ = ()

    def split(self, name: Split) -> Sequence[Example]:
        """The split of the task of the same name."""
        if name == "test":
            raise AssertionError("the test split was read")
        plain = TASK.split(name)[:20]
        return [it for one in plain for it in (Example(input={"sum": f"Calculate: {one.input}"}, target="1"), one)]


def encode(folder: Path, model: Path, *budgets: int | None, task: Task = TASK, **parameters: Any) -> list[Encoded]:
    """Programs of one group of cells."""
    settings = {"examples": None if budgets[0] else 10, "epochs": 2, **parameters}
    cells = [tiny_cell(FAMILY, budget, **settings) for budget in budgets]
    return list(FAMILY.encode(tiny_context(folder, model, load(str(model)), task), cells))


def test_a_program_trains_all_weights_on_its_examples_behind_those_shown(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    import transformers

    (encoded,) = encode(tmp_path, tiny_model, None, shown=1)
    assert encoded.program is not None
    names = run_here(encoded.program.content, tmp_path, tiny_model, monkeypatch)
    (base,) = (value for value in names.values() if isinstance(value, transformers.Pipeline))

    model, tokenizer = load(str(tiny_model))
    rows = train_rows(TASK, tokenizer, SEED, 11)
    head = tokenizer(Template.of(TASK).head).input_ids
    optimizer = torch.optim.AdamW(model.parameters(), 5e-5)
    for _ in range(2):
        train(model, optimizer, [*head, *rows[0], *head], rows[1:])
    for weight, expected in zip(base.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(weight, expected)


def test_budgets_are_kept_and_filled(tmp_path: Path, tiny_model: Path) -> None:
    small, large, none = encode(tmp_path, tiny_model, 1200, 1500, 300)
    assert none.program is None
    assert "one example" in str(none.infeasible)
    for encoded, budget in ((small, 1200), (large, 1500)):
        assert encoded.program is not None
        assert budget - 16 < len(encoded.program.content) <= budget
        (one_more,) = encode(tmp_path, tiny_model, None, examples=encoded.settings["examples"] + 1)
        assert one_more.program is not None
        assert len(one_more.program.content) > budget


def test_examples_that_hold_the_head_are_left_out_and_test_is_not_read(tmp_path: Path, tiny_model: Path) -> None:
    (encoded,) = encode(tmp_path, tiny_model, None, task=WithHeads(), examples="all")
    assert encoded.settings["examples"] == 20
    assert encoded.payload_text is not None
    assert encoded.payload_text.count("Calculate:") == 20


class WithOverlaps(ChainSum):
    """One train example of three ends in such a way that the head of the template begins in it, too."""

    __slots__ = ()

    template, stop = "a a{sum} =", " "

    def split(self, name: Split) -> Sequence[Example]:
        """Behind the target `1 a` and the stop text, the head is found two letters early."""
        plain = TASK.split(name)[:30]
        return [replace(one, target="1 a" if place % 3 == 0 else "1") for place, one in enumerate(plain)]


def test_examples_that_run_into_the_head_are_left_out(tmp_path: Path, tiny_model: Path) -> None:
    (encoded,) = encode(tmp_path, tiny_model, None, task=WithOverlaps(), examples="all")
    assert encoded.settings["examples"] == 20
    assert encoded.payload_text is not None
    assert len(encoded.payload_text.split(WithOverlaps.template[:3])) == 21


def test_what_does_not_fit_into_the_context_is_infeasible(tmp_path: Path) -> None:
    model = save_tiny_llama(tmp_path / "model", max_position_embeddings=48)
    (encoded,) = encode(tmp_path, model, None, shown=5)
    assert "room for 48" in str(encoded.infeasible)


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="shown is -1; it must be at least 0"):
        Parameters(shown=-1)
