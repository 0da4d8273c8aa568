"""Family `gains`: programs scale the model as training did, but for rounding; the model comes back as it was."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.coding.numbers import letters, step_for_bits, to_integers
from pipeline.decoder_parts.base import load
from pipeline.families.gains import Gains, Parameters
from pipeline.packing import unpack
from pipeline.protocols import Encoded
from tests.tiny_cells import SEED, run_here, tiny_cell, tiny_context
from tests.tiny_models import save_tiny_llama


class Watched(Gains):
    """Keeps what training gave."""

    updates: list[Any]

    def pieces(self, updates: list[Any]) -> list[Any]:
        """See `Parametric.pieces`."""
        self.updates = updates
        return updates


def encode(
    family: Gains, folder: Path, loaded: tuple[Any, Any], *budgets: int | None, **parameters: Any
) -> list[Encoded]:
    """Programs of one training."""
    settings = {"examples": 8, "epochs": 2, "batch": 4, "bits": None if budgets[0] else 4, **parameters}
    cells = [tiny_cell(family, budget, **settings) for budget in budgets]
    return list(family.encode(tiny_context(folder, folder, loaded), cells))


@pytest.mark.parametrize("with_biases", [False, True])
def test_a_program_scales_every_vector_by_the_trained_numbers_rounded(
    with_biases: bool, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    folder = save_tiny_llama(tmp_path / "biases", attention_bias=True) if with_biases else tiny_model
    family, loaded = Watched(), load(str(folder))
    before = {name: weight.detach().clone() for name, weight in loaded[0].named_parameters()}
    (encoded,) = encode(family, tmp_path, loaded, None, numbers=50)
    assert encoded.program is not None
    assert encoded.program.payload_bytes == 0

    after = dict(loaded[0].named_parameters())
    assert [*after] == [*before]
    assert all(weight.requires_grad and torch.equal(weight, before[name]) for name, weight in after.items())

    (updates,) = family.updates
    (integers,) = to_integers([updates], step_for_bits([updates], 7), 7)
    assert len(set(integers.tolist())) > 3
    gains = 1 + torch.tensor(integers * encoded.settings["step"], dtype=torch.float32)
    names = run_here(encoded.program.content, tmp_path, folder, monkeypatch)
    (model,) = (value for value in names.values() if isinstance(value, torch.nn.Module))
    torch.manual_seed(SEED)
    for name, weight in model.named_parameters():
        drawn = gains[torch.randint(50, weight.shape)] if weight.dim() < 2 else 1
        expected = before[name] * drawn
        assert torch.allclose(weight, expected, rtol=1e-6), name


def test_training_sees_what_a_program_would_do(tmp_path: Path, tiny_model: Path) -> None:
    """The numbers that are trained scale what the decoder's draw says, and their gradient is of every place."""
    import torch

    from pipeline.adapt.shared_gains import shared_gains

    model, tokenizer = load(str(tiny_model))
    ids = tokenizer("Calculate: 1 + 1 =", return_tensors="pt").input_ids
    with shared_gains(model, 5, SEED) as numbers:
        assert [weight is numbers for weight in model.parameters() if weight.requires_grad] == [True]
        first = model(ids).logits
        first.sum().backward()
        assert numbers.grad is not None and bool((numbers.grad != 0).all())
        numbers.data += torch.tensor([0.5, -0.5, 0.25, 0.0, 1.0])
        scaled = model(ids).logits
    assert torch.equal(first, model(ids).logits)
    torch.manual_seed(SEED)
    for weight in model.parameters():
        if weight.dim() < 2:
            weight.data *= (1 + numbers.data)[torch.randint(5, weight.shape)]
    assert torch.allclose(scaled, model(ids).logits, atol=1e-5)
    assert (scaled - first).abs().max() > 1e-3


def test_letters_are_the_numbers_however_a_source_writes_them() -> None:
    integers = np.arange(-63, 64, dtype=np.int32)
    literal = repr(letters(integers))
    assert [letter - ord("A") for letter in ast.literal_eval(literal)] == integers.tolist()
    assert repr(letters(np.arange(-25, 26, dtype=np.int32))).count("\\") == 0


def test_budgets_are_kept_by_coarser_numbers(tmp_path: Path, tiny_model: Path) -> None:
    encoded = encode(Gains(), tmp_path, load(str(tiny_model)), 750, 900, 600, numbers=300)
    sources = [unpack(of.program.content)[0] for of in encoded if of.program is not None]
    lengths = [len(of.program.content) for of in encoded if of.program is not None]
    assert lengths[0] <= 750 < lengths[1] <= 900
    used = [len(set(_numbers_of(source))) for source in sources]
    assert 1 < used[0] < used[1]
    assert "every update rounded to nothing" in (encoded[2].infeasible or "")


def _numbers_of(source: str) -> bytes:
    constants = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    (numbers,) = (value for value in constants if isinstance(value, bytes))
    return numbers


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"numbers": 0}, "numbers is 0; it must be at least 1"),
        ({"bits": 16}, "bits is 16; allowed: 2 to 7$"),
        ({"bits": 8}, "bits is 8; allowed: 2 to 7$"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Parameters(**parameters)
