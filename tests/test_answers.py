"""Both ways in which programs answer: the model's own loop behind a text, and the lock-step loop behind tokens."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import (
    MistralConfig,
    Olmo3Config,
    Olmo3ForCausalLM,
    Phi3Config,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from pipeline import catalog
from pipeline.coding.examples import code_examples, token_bits
from pipeline.coding.probes import greedy_answers
from pipeline.coding.template import Worked
from pipeline.decoder_parts.answer import answer
from pipeline.decoder_parts.base import load, text_pipeline
from pipeline.decoder_parts.generate import answer_prompt
from pipeline.decoder_parts.stream import extend
from pipeline.errors import InfeasibleError
from pipeline.families.common import longest_sequence, prompt_constants

HEAD, TAIL = "Question:", " {question}\nAnswer:"
LIMIT = 12


def outputs(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {line["id"]: line["output"] for line in lines}


def given(monkeypatch: pytest.MonkeyPatch, questions: list[str]) -> None:
    items = [json.dumps({"id": str(place), "input": {"question": text}}) for place, text in enumerate(questions)]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(items) + "\n"))


QUESTIONS = ["What is 1 + 1?", "Name a {colour}", "é", *(f"After {n}?" * (1 + n % 3) for n in range(130))]


@pytest.fixture
def tiny(tiny_model: Path) -> Any:
    return text_pipeline(str(tiny_model))


def test_both_ways_give_the_same_answers(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of many lengths in more than one batch; some end by the stop text, some by the limit."""
    tokenizer = tiny.tokenizer

    def behind_text(stop: str) -> dict[str, str]:
        given(monkeypatch, QUESTIONS)
        answer_prompt(tiny, HEAD + TAIL, stop, LIMIT)
        return outputs(capsys)

    unstopped = behind_text("no stop")
    letters = "".join(unstopped.values())
    stop = max(filter(str.isascii, sorted(set(letters))), key=letters.count)
    given(monkeypatch, QUESTIONS)
    answer(tiny.model, tokenizer, tokenizer(HEAD).input_ids, TAIL, stop, LIMIT, 0)
    behind_tokens = outputs(capsys)
    assert behind_text(stop) == behind_tokens
    ended_by_limit = {text == unstopped[item] for item, text in behind_tokens.items()}
    assert len(behind_tokens) == len(QUESTIONS) and ended_by_limit == {True, False}


def test_an_answer_does_not_depend_on_its_neighbours(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for questions in (QUESTIONS[:8], QUESTIONS[:1]):
        given(monkeypatch, questions)
        answer_prompt(tiny, HEAD + TAIL, "no stop", LIMIT)
        found.append(outputs(capsys)["0"])
    assert found[0] == found[1] != ""


@pytest.mark.parametrize("padding", [None, "A"])
def test_padding_of_the_tokenizer_does_not_matter(
    padding: str | None, tiny: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may have none, or one that is a letter, which answers hold."""
    given(monkeypatch, QUESTIONS[:3])
    answer_prompt(tiny, HEAD + TAIL, "\n", LIMIT)
    wanted = outputs(capsys)
    tiny.tokenizer.pad_token = padding
    given(monkeypatch, QUESTIONS[:3])
    answer_prompt(tiny, HEAD + TAIL, "\n", LIMIT)
    assert outputs(capsys) == wanted and len(wanted) == 3


def test_the_token_of_number_0_stays_in_answers(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In several vocabularies it is "!"; here "A", the one thing that this model ever says."""
    tokenizer = json.loads(tiny.tokenizer.backend_tokenizer.to_str())
    letters = tokenizer["model"]["vocab"]
    letters["A"], letters["<eos>"] = letters["<eos>"], letters["A"]
    tokenizer["added_tokens"] = []
    tiny.tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(tokenizer)), eos_token="<eos>"
    )
    tiny.model.generation_config.eos_token_id = tiny.tokenizer.eos_token_id
    tiny.model.lm_head = torch.nn.Linear(tiny.model.config.hidden_size, len(letters))
    torch.nn.init.zeros_(tiny.model.lm_head.weight)
    torch.nn.init.zeros_(tiny.model.lm_head.bias).data[0] = 1
    assert tiny.tokenizer.convert_tokens_to_ids("A") == 0 != tiny.tokenizer.eos_token_id
    given(monkeypatch, QUESTIONS[:3])
    answer_prompt(tiny, HEAD + TAIL, "\n", LIMIT)
    assert outputs(capsys) == dict.fromkeys("012", "A" * LIMIT)


def test_braces_of_a_prefix_are_text() -> None:
    constants = prompt_constants(catalog.task("chain-sum"), "Fill {this} in.\nCalculate:")
    prompt = constants["PROMPT"]
    assert isinstance(prompt, str) and prompt.format(sum="1 + 1") == "Fill {this} in.\nCalculate: 1 + 1 ="


def test_a_model_without_masks_of_any_shape_codes_and_answers_nothing(tiny_model: Path) -> None:
    model, tokenizer = load(str(tiny_model))
    model.set_attn_implementation("eager")
    with pytest.raises(InfeasibleError, match="sdpa"):
        code_examples(model, [5, 6], [[7, 8]])
    with pytest.raises(InfeasibleError, match="sdpa"):
        greedy_answers(model, tokenizer, [5, 6], [Worked([7], [8])], "\n", LIMIT)


def test_rows_share_a_sequence_that_is_longer_than_a_window() -> None:
    """Each row fits into the window of some layers, all of them together do not: answers are those of `generate`."""
    torch.manual_seed(1)
    config = Olmo3Config(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=24,
        max_position_embeddings=256,
    )
    model = Olmo3ForCausalLM(config).eval()
    assert longest_sequence(model) == 24
    prefix, contexts = [5, 6, 7], [[8 + row, 9, 10][: 1 + row % 3] for row in range(9)]
    rows = extend(model, prefix, contexts, lambda _, logits: int(logits.argmax()), lambda row: len(row) == LIMIT)
    for context, row in zip(contexts, rows, strict=True):
        ids = torch.tensor([prefix + context])
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), min_new_tokens=LIMIT, max_new_tokens=LIMIT)
        assert whole[0, ids.shape[1] :].tolist() == row
    assert len({tuple(row) for row in rows}) > 1


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        (MistralConfig(sliding_window=24, max_position_embeddings=256), 24),
        (MistralConfig(sliding_window=None, max_position_embeddings=256), 256),
        (Phi3Config(sliding_window=24, max_position_embeddings=256, pad_token_id=0), 24),
        (Qwen2Config(sliding_window=24, max_position_embeddings=256), 256),
        (Qwen2Config(sliding_window=24, max_position_embeddings=256, use_sliding_window=True, max_window_layers=1), 24),
    ],
)
def test_a_window_without_a_list_of_layers_is_that_of_all(config: PretrainedConfig, longest: int) -> None:
    assert longest_sequence(SimpleNamespace(config=config)) == longest


def test_what_has_diverged_is_not_coded(tiny: Any) -> None:
    """Weights that a training has spoiled give no table to code with."""
    for weight in tiny.model.parameters():
        weight.data.fill_(float("nan"))
    for made in (code_examples, token_bits):
        with pytest.raises(InfeasibleError, match=r"no finite logits.*smaller learning rate"):
            made(tiny.model, [5, 6], [[7, 8]] if made is code_examples else [7, 8])


@pytest.mark.parametrize("window", [None, 5])
def test_bits_of_slices_are_those_of_one_pass(tmp_path: Path, window: int | None, monkeypatch: Any) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = MistralForCausalLM(
        MistralConfig(vocab_size=256, num_key_value_heads=2, sliding_window=window, **sizes)
    ).eval()
    row = [*range(20, 50)]
    whole = token_bits(model, [5, 6, 7], row)
    monkeypatch.setattr("pipeline.coding.examples.SLICE_TOKENS", 8)
    lengths: list[int] = []
    model.register_forward_hook(lambda module, given, output: lengths.append(output.logits.shape[1]))
    assert token_bits(model, [5, 6, 7], row) == pytest.approx(whole, rel=1e-5)
    assert lengths == [8, 8, 8, 6]
