"""Family `tuner`: programs hold the rounded numbers exactly, keep their budgets, and bad parameters are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.coding.numbers import step_for_bits, to_integers
from pipeline.decoder_parts.base import load
from pipeline.families.tuner import TUNERS, Parameters, Tuned
from pipeline.program_file import unpack
from pipeline.protocols import Encoded
from tests.tiny_cells import TASK, OtherSplits, run_here, tiny_cell, tiny_context

SMALL: dict[str, dict[str, Any]] = {
    "unilora": {"numbers": 300, "rank": 2},
    "tinylora": {"numbers": 70},
    "vera": {"rank": 1},
    "ia3": {},
}


class Watched(Tuned):
    """Keeps what training changed, as training had it."""

    updates: list[Any]

    def pieces(self, updates: Sequence[Any]) -> list[Any]:
        """See `Parametric.pieces`."""
        self.updates = [update.copy() for update in updates]
        return super().pieces(updates)


def encode(family: Tuned, folder: Path, model: Path, *budgets: int | None, **parameters: Any) -> list[Encoded]:
    """Programs of one training."""
    settings = {"examples": 8, "epochs": 2, "batch": 4, "bits": None if budgets[0] else 4, **parameters}
    cells = [tiny_cell(family, budget, **settings) for budget in budgets]
    return list(family.encode(tiny_context(folder, model, load(str(model))), cells))


def weights_of(program: bytes, folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is trained of the model, as the program itself has it when it is given nothing to answer."""
    from peft import PeftModel

    names = run_here(program, folder, model, monkeypatch)
    (tuned,) = (value for value in names.values() if isinstance(value, PeftModel))
    return [weight.detach() for weight in tuned.parameters() if weight.requires_grad]


@pytest.mark.parametrize("tuner", TUNERS)
def test_a_program_has_the_trained_numbers_rounded(
    tuner: str, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from pipeline.decoder_parts.tuner import add_tuner

    family = Watched()
    (encoded,) = encode(family, tmp_path, tiny_model, None, tuner=tuner, shots=1, **SMALL[tuner])
    assert encoded.program is not None
    _, first = add_tuner(load(str(tiny_model))[0], 3, Parameters(tuner=tuner, **SMALL[tuner]).config)
    scale = encoded.settings["step"]
    integers = to_integers(family.updates, step_for_bits(family.updates, 7), 7)
    assert any(numbers.any() for numbers in integers)
    assert encoded.settings["numbers"] == sum(weight.numel() for weight in first)
    decoded = weights_of(encoded.program.content, tmp_path, tiny_model, monkeypatch)
    for weight, before, numbers in zip(decoded, first, integers, strict=True):
        assert torch.equal(weight, before + scale * torch.tensor(numbers))


def test_budgets_are_kept(tmp_path: Path, tiny_model: Path) -> None:
    budgets = (1500, 2200, 600)
    encoded = encode(Tuned(), tmp_path, tiny_model, *budgets, numbers=2000, shots=1)
    lengths = [len(of.program.content) for of in encoded if of.program is not None]
    assert len(lengths) == 2
    assert lengths[0] <= 1500 < lengths[1] <= 2200
    assert "every update rounded to nothing" in (encoded[2].infeasible or "")


def test_worked_examples_stand_in_the_source_and_are_not_trained_on(tmp_path: Path, tiny_model: Path) -> None:
    family = Tuned()
    (encoded,) = encode(family, tmp_path, tiny_model, None, numbers=64, shots=2, examples=6)
    assert encoded.program is not None
    source, _ = unpack(encoded.program.content)
    assert source.count("Calculate:") == 3

    loaded = load(str(tiny_model))
    context: Any = type("Context", (), {"task": TASK})
    head, training = family.training(context, loaded[1], Parameters(shots=2, examples=6), 3)
    assert len(training.examples) == 4
    assert training.head == loaded[1](head).input_ids
    shown = [line.removeprefix("Calculate:") for line in head.splitlines()[:2]]
    assert not {loaded[1].decode(example.tokens).rstrip("\n") for example in training.examples} & set(shown)


def test_worked_examples_that_do_not_fit_make_no_program(tmp_path: Path, tiny_model: Path) -> None:
    encoded = encode(Tuned(), tmp_path, tiny_model, 4096, numbers=64, shots=100, examples=101)
    assert "100 worked examples do not fit: the context has room for" in (encoded[0].infeasible or "")


def test_a_train_split_that_is_all_shown_makes_no_program(tmp_path: Path, tiny_model: Path) -> None:
    context = tiny_context(tmp_path, tiny_model, load(str(tiny_model)), OtherSplits(train=TASK.split("train")[:8]))
    (encoded,) = Tuned().encode(context, [tiny_cell(Tuned(), examples=16, epochs=1, bits=4, shots=8)])
    assert encoded.program is None
    assert encoded.infeasible == "8 worked examples leave none to train on: the train split has 8"


def test_only_some_work_beside_weights_of_4_bits(tmp_path: Path) -> None:
    """Of the others one changes nothing there, and one cannot be made."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from pipeline.decoder_parts.tuner import add_tuner, pieces
    from tests.tiny_models import save_tiny_llama

    folder = save_tiny_llama(tmp_path / "wide", hidden_size=64, intermediate_size=128)
    rounding = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    ids = torch.tensor([[5, 9, 33, 60]])
    working = [tuner for tuner in TUNERS if not Tuned().changes_base({"tuner": tuner})]
    assert working == ["vera", "ia3"]
    for tuner in working:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", quantization_config=rounding)
        tuned, weights = add_tuner(model, 1, Parameters(tuner=tuner, **SMALL[tuner]).config)
        first = tuned(ids).logits
        for piece in pieces(weights):
            piece += 0.1
        assert (tuned(ids).logits - first).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"tuner": "dora"}, "tuner is 'dora'; allowed: unilora, tinylora, vera, ia3"),
        ({"numbers": 0}, "numbers is 0; it must be at least 1"),
        (
            {"tuner": "vera", "numbers": 9},
            "numbers is 9, but vera has none; leave it out, or take one of unilora, tinylora",
        ),
        (
            {"tuner": "ia3", "rank": 2},
            "rank is 2, but ia3 has none; leave it out, or take one of unilora, tinylora, vera",
        ),
        ({"shots": -1}, "shots is -1; it must be at least 0"),
        ({"shots": 8, "examples": 8}, "shots is 8; it must be below examples, which is 8"),
        ({"target_modules": "("}, r"target_modules is '\(', which is no regular expression"),
        ({"bits": 9}, "bits is 9; allowed: 2 to 8, and 16"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Parameters(**parameters)


def test_every_tuner_is_tested() -> None:
    assert SMALL.keys() == TUNERS.keys()
