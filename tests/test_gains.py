"""Families `gains` and `scales`: programs scale the model as training did; the model comes back as it was."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from pipeline.adapt.shared_scales import Rounding, shared_scales
from pipeline.coding.ternary import code_signs, largest, nearest_kept
from pipeline.decoder_parts.base import load
from pipeline.families import gains
from pipeline.families.gains import Gains, Parameters
from pipeline.families.scales import Scales
from pipeline.groups import group_id
from pipeline.program_file import unpack
from pipeline.protocols import Encoded
from tests.tiny_cells import SEED, run_here, tiny_cell, tiny_context
from tests.tiny_models import save_tiny_llama


def encode(
    folder: Path, loaded: tuple[Any, Any], *budgets: int | None, family: type[Gains] = Gains, **parameters: Any
) -> list[Encoded]:
    """Programs of one training."""
    settings = {"examples": 8, "epochs": 2, "batch": 4, "kept": None if budgets[0] else 20, **parameters}
    cells = [tiny_cell(family(), budget, **settings) for budget in budgets]
    return list(family().encode(tiny_context(folder, folder, loaded), cells))


def signs_of(encoded: Encoded, number: int) -> list[int]:
    """The signs that a program holds, read by an interval of what is left where the program has one case for each."""
    assert encoded.program is not None
    source, payload = unpack(encoded.program.content)
    (slots,) = (int(slots) for slots in re.findall(r"divmod\(\w,(\d+)\)", source))
    return read_signs(payload, slots, number)


def read_signs(payload: bytes, slots: int, number: int) -> list[int]:
    state, signs = int.from_bytes(payload), []
    for _ in range(number):
        slot = state % slots
        sign, size, low = (-1, 1, 0) if slot == 0 else (1, 1, 1) if slot == 1 else (0, slots - 2, 2)
        state = size * (state // slots) + slot - low
        signs.append(sign)
    assert state == 1
    return signs


@pytest.mark.parametrize("family", [Gains, Scales])
@pytest.mark.parametrize("with_biases", [False, True])
@pytest.mark.parametrize("rounded_epochs", [0, 2])
def test_a_program_scales_weights_by_what_training_gave(
    family: type[Gains],
    with_biases: bool,
    rounded_epochs: int,
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = save_tiny_llama(tmp_path / "biases", attention_bias=True) if with_biases else tiny_model
    loaded = load(str(folder))
    trained = []

    def train(*given: Any) -> Any:
        trained.append(train_really(*given))
        return trained[-1]

    train_really = Gains._train
    monkeypatch.setattr(Gains, "_train", train)
    before = {name: weight.detach().clone() for name, weight in loaded[0].named_parameters()}
    (encoded,) = encode(tmp_path, loaded, None, family=family, numbers=50, rounded_epochs=rounded_epochs)

    after = dict(loaded[0].named_parameters())
    assert [*after] == [*before]
    assert all(weight.requires_grad and torch.equal(weight, before[name]) for name, weight in after.items())

    assert len(trained) == (2 if rounded_epochs else 1)
    kept = encoded.settings["kept"]
    signs = largest(trained[-1].weights[0], kept)
    assert signs_of(encoded, 50) == signs.tolist()
    assert 10 < kept <= 20
    assert np.abs(signs).sum() == kept

    scale = 1 + torch.tensor(signs) * encoded.settings["step"]
    assert encoded.program is not None
    names = run_here(encoded.program.content, tmp_path, folder, monkeypatch)
    (base,) = (value for value in names.values() if isinstance(value, transformers.Pipeline))
    torch.manual_seed(SEED)
    for name, weight in base.model.named_parameters():
        if family is Scales or weight.dim() < 2:
            before[name] *= scale[torch.randint(50, weight.shape[-1:])]
        assert torch.allclose(weight, before[name], rtol=1e-6), name


LLAMA = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
KINDS: dict[str, Callable[[], Any]] = {
    "one matrix for input and logits": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, tie_word_embeddings=True)),
    "matrices with biases": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, attention_bias=True, mlp_bias=True)),
    "no linear layers": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=99, n_embd=32, n_layer=2, n_head=4)),
}


@pytest.mark.parametrize("rounding", [None, Rounding(0.3, 0.4)])
@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("with_matrices", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_training_sees_what_a_program_would_do(
    kind: str, with_matrices: bool, is_shared: bool, rounding: Rounding | None
) -> None:
    """Numbers scale what the decoder's draw says, rounded where they are to be; their gradient is of every place."""
    torch.manual_seed(0)
    model = KINDS[kind]().eval()
    first_norm, *_, last_norm = [module for module in model.modules() if "Norm" in type(module).__name__]
    if is_shared:
        last_norm.weight = first_norm.weight
    ids = torch.arange(9)[None]
    first = model(ids).logits
    values = np.array([0.5, -0.5, 0.25, 0.0, 1.0], np.float32)
    with shared_scales(model, values, SEED, rounding, with_matrices=with_matrices) as numbers:
        assert [weight is numbers for weight in model.parameters() if weight.requires_grad] == [True]
        scaled = model(ids).logits
        scaled[0, -1, 7].backward()
        assert numbers.grad is not None
        assert bool((numbers.grad != 0).all())
    assert torch.equal(first, model(ids).logits)
    assert is_shared == (last_norm.weight is first_norm.weight)
    seen = torch.tensor(values) if rounding is None else torch.tensor([0.4, -0.4, 0.0, 0.0, 0.4])
    torch.manual_seed(SEED)
    for weight in model.parameters():
        if with_matrices or weight.dim() < 2:
            weight.data *= (1 + seen)[torch.randint(5, weight.shape[-1:])]
    assert torch.allclose(scaled, model(ids).logits, atol=1e-5)
    assert (scaled - first).abs().max() > 1e-3


def test_rounding_is_as_near_as_one_value_can_be() -> None:
    numbers = np.random.default_rng(0).laplace(size=200).astype(np.float32)

    def error(kept: int) -> float:
        chosen = largest(numbers, kept)
        return float(np.square(numbers - chosen * np.abs(numbers[chosen != 0]).mean()).sum())

    assert nearest_kept(numbers) == min(range(1, 201), key=error)
    assert 50 < nearest_kept(numbers) < 150


@pytest.mark.parametrize("kept", [1, 2, 40, 400, 900, 1100, 1500, 2000])
def test_signs_come_back_and_take_what_they_are_worth(kept: int) -> None:
    random = np.random.default_rng(kept)
    signs = np.zeros(2000, np.int8)
    signs[random.permutation(2000)[:kept]] = random.choice([-1, 1], kept)
    coded = code_signs(signs)
    assert read_signs(*coded, 2000) == signs.tolist()
    share = kept / 2000
    zeros = (1 - share) * math.log2(1 - share) if share < 1 else 0
    ideal = 2000 * (share - share * math.log2(share) - zeros)
    assert ideal < 8 * len(coded.payload) <= 1.03 * ideal + 24


@pytest.mark.parametrize("signs", [[0], [1], [-1], [0, 0, 0], [-1, -1, -1], [1, 0, -1, 0, 0]])
def test_few_signs_come_back(signs: list[int]) -> None:
    assert read_signs(*code_signs(np.array(signs, np.int8)), len(signs)) == signs


def test_budgets_are_kept_by_fewer_numbers(tmp_path: Path, tiny_model: Path) -> None:
    encoded = encode(tmp_path, load(str(tiny_model)), 527, 547, 467, numbers=300)
    lengths = [len(of.program.content) for of in encoded if of.program is not None]
    assert lengths[0] <= 527 < lengths[1] <= 547
    kept = [of.settings["kept"] for of in encoded[:2]]
    assert 1 < kept[0] < kept[1]
    assert [sum(map(abs, signs_of(of, 300))) for of in encoded[:2]] == kept
    assert "all numbers but one left out" in (encoded[2].infeasible or "")


def test_all_numbers_are_kept_where_that_is_shorter() -> None:
    """Signs alone take fewer bytes than signs among zeros: the length does not only grow with what is kept."""
    random = np.random.default_rng(0)
    numbers = (random.choice([-1, 1], 512) * random.uniform(0.9, 1.1, 512)).astype(np.float32)
    constants = {"PROMPT": "Calculate: {sum} =", "STOP": "\n", "MAX_NEW_TOKENS": 8, "NUMBERS": 512, "SEED": 1}

    def longest(budget: int | None, kept: int | None) -> gains.Packed:
        found = Gains()._longest(tiny_cell(Gains(), budget, kept=kept), constants, numbers)
        assert isinstance(found, gains.Packed)
        return found

    some, all_of_them = longest(None, 350).program.content, longest(None, 512).program.content
    assert len(some) > len(all_of_them)
    assert longest(len(all_of_them), None).kept == 512


def test_budgets_that_round_alike_share_what_follows(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, train_really = [], Gains._train
    monkeypatch.setattr(Gains, "_train", lambda *given: trained.append(given) or train_really(*given))
    encoded = encode(tmp_path, load(str(tiny_model)), 2000, 527, 3000, numbers=300)
    lengths = [len(of.program.content) for of in encoded if of.program is not None]
    assert lengths[1] <= 527 < lengths[0] == lengths[2]
    assert len(trained) == 1 + 2
    assert encoded[2].train_tokens == 0 < encoded[1].train_tokens


def test_cells_of_one_training_round_as_each_of_them_says(tmp_path: Path, tiny_model: Path) -> None:
    """A rounded training that diverges ends its cell alone, and those that round otherwise share the first training."""
    loaded, loads = load(str(tiny_model)), []
    context = replace(tiny_context(tmp_path, tiny_model, loaded), load=lambda: loads.append(1) or loaded)
    settings = {"examples": 8, "epochs": 1, "batch": 4, "numbers": 300}
    ways = [{"rounded_lr": 1e30}, {"rounded_decay": 0.0}, {"rounded_decay": 30.0, "rounded_lr": 0.03}]
    cells = [tiny_cell(Gains(), 1000, **settings, **way) for way in ways]
    assert len({group_id(replace(cell, model_identity="a"), Gains.shared) for cell in cells}) == 1
    encoded = list(Gains().encode(context, cells))
    assert [of.cell for of in encoded] == cells
    assert encoded[0].infeasible == (
        "rounded_lr: training at the learning rate 1e+30 left no finite weights; take a smaller one"
    )
    free, dear = (of.settings["kept"] for of in encoded[1:])
    assert dear < free
    assert len(loads) == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"numbers": 0}, "numbers is 0; it must be at least 1"),
        ({"kept": 0}, "kept is 0; it must be from 1 to numbers, which is 2048"),
        ({"kept": 9, "numbers": 8}, "kept is 9; it must be from 1 to numbers, which is 8"),
        ({"rounded_epochs": -1}, "rounded_epochs is -1; it must be at least 0"),
        ({"rounded_lr": 0.0}, "rounded_lr is 0.0; it must be above 0"),
        ({"rounded_decay": -0.1}, "rounded_decay is -0.1; it must not be below 0"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Parameters(**parameters)


SUMS = [f"Calculate: {number} + 4 =" for number in range(20)]


def test_answers_are_searched_with_beams(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program of some beams answers is what transformers finds with as many, and not the greedy answer."""
    loaded = load(str(tiny_model))
    few = {"kept": 20, "numbers": 50, "rounded_epochs": 0, "examples": 8, "epochs": 1}
    cells = [tiny_cell(Gains(), beams=beams, **few) for beams in (1, 4)]
    assert group_id(cells[0], Gains.shared) == group_id(cells[1], Gains.shared)
    greedy, searched = Gains().encode(tiny_context(tmp_path, tiny_model, loaded), cells)
    assert greedy.program is not None and searched.program is not None
    assert 0 < len(searched.program.content) - len(greedy.program.content) < 20
    found = {}
    for name, program in {"greedy": greedy.program, "searched": searched.program}.items():
        names = run_here(program.content, tmp_path, tiny_model, monkeypatch)
        (base,) = (value for value in names.values() if isinstance(value, transformers.Pipeline))
        options: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False}
        found[name] = [answer[0]["generated_text"] for answer in base(SUMS, return_full_text=False, **options)]
        for text, answer in zip(SUMS, found[name], strict=True):
            ids = base.tokenizer(text, return_tensors="pt")
            (best,) = base.model.generate(**ids, **options, num_beams=4 if name == "searched" else 1)
            assert answer == base.tokenizer.decode(best[ids.input_ids.shape[1] :], skip_special_tokens=True)
    assert found["greedy"] != found["searched"]


def test_less_than_one_beam_is_refused() -> None:
    with pytest.raises(ValueError, match="beams is 0; it must be at least 1"):
        Parameters(beams=0)
