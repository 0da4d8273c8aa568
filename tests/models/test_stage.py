"""Staged folders of local models: what is in them, and what they are known by."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from pipeline.errors import UserError
from pipeline.models import StagedModel, known_identity, parse_model, staged, staged_by_identity
from pipeline.models.spec import staged_folder
from pipeline.models.stage import folder_identity, stage

TENSORS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_attention_layernorm": "ffn_norm",
    "input_layernorm": "attn_norm",
    "model.layers.": "blk.",
}
"""Parts of the names of weights -> what a GGUF file of a Llama calls them."""


def write_gguf(model: LlamaForCausalLM, tokenizer: Any, path: Path) -> None:
    """The model as one GGUF file of fp32 weights."""
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_eos_token_id(0)
    for name, weight in model.state_dict().items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        values = weight.numpy()
        for kind, number in heads.items():
            if kind in name:  # GGUF keeps the two halves of a head's rotary dimensions side by side
                halves = values.reshape(number, 2, -1, values.shape[1])
                values = halves.swapaxes(1, 2).reshape(values.shape)
        for part, other in TENSORS.items():
            name = name.replace(part, other)
        writer.add_tensor(name, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_folder_is_staged_as_it_is_without_what_is_no_model(wide_model: Path, cache: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(wide_model, tmp_path / "model")
    for name in ("notes.txt", "train.jsonl", "optimizer.pt"):
        (folder / name).write_text("for free?")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    spec = parse_model("./model", tmp_path)
    assert staged(spec) is None and known_identity(spec) is None
    found = stage(spec)
    names = {path.name for path in found.folder.iterdir()}
    assert names == {
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }

    for name in names:
        assert (found.folder / name).read_bytes() == (folder / name).read_bytes()
    assert found.identity == folder_identity(found.folder) == known_identity(spec)
    assert staged(spec) == found == staged_by_identity(found.identity)
    (folder / "chat_template.jinja").write_text("{{ other messages }}")
    assert known_identity(parse_model("./model", tmp_path)) is None  # files changed: to be staged anew


def test_a_random_model_has_the_sizes_and_the_words_of_the_trained_one(
    whole: StagedModel, wide_model: Path, cache: Path
) -> None:
    first, second = (stage(parse_model(f"{wide_model}@random-{seed}", Path())) for seed in (1, 2))
    assert len({whole.identity, first.identity, second.identity}) == 3
    trained, drawn = load_file(whole.folder / "model.safetensors"), load_file(first.folder / "model.safetensors")
    assert {name: weight.shape for name, weight in trained.items()} == {
        name: weight.shape for name, weight in drawn.items()
    }
    assert first.parameters == whole.parameters == sum(weight.numel() for weight in trained.values())
    torch.manual_seed(1)
    again = LlamaForCausalLM(AutoModelForCausalLM.from_pretrained(whole.folder).config).state_dict()
    assert all(torch.equal(weight, drawn[name]) for name, weight in again.items())
    assert (
        AutoTokenizer.from_pretrained(first.folder)("What?").input_ids
        == AutoTokenizer.from_pretrained(whole.folder)("What?").input_ids
    )


def test_a_gguf_file_gives_the_weights_that_it_was_made_of(wide_model: Path, cache: Path, tmp_path: Path) -> None:
    model, tokenizer = LlamaForCausalLM.from_pretrained(wide_model), AutoTokenizer.from_pretrained(wide_model)
    write_gguf(model, tokenizer, tmp_path / "tiny.gguf")
    found = stage(parse_model("./tiny.gguf", tmp_path))
    weights = load_file(found.folder / "model.safetensors")
    for name, weight in model.state_dict().items():
        assert torch.equal(weights[name], weight), name
    assert found.parameters == sum(weight.numel() for weight in model.state_dict().values())
    text = "What is 1 + 2?\nIt is 3."
    assert AutoTokenizer.from_pretrained(found.folder)(text).input_ids == tokenizer(text).input_ids
    rounded = stage(parse_model("./tiny.gguf+nf4", tmp_path))
    assert rounded.parameters == found.parameters and rounded.identity != found.identity


def test_code_of_its_own_is_refused(wide_model: Path, cache: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(wide_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoConfig": "own.Config"}}))
    for ending in ("", "+nf4"):
        spec = parse_model(f"./model{ending}", tmp_path)
        with pytest.raises(UserError, match="brings code of its own"):
            stage(spec)
        assert not staged_folder(spec).exists()


def test_damaged_weights_are_named(wide_model: Path, cache: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(wide_model, tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors is damaged where it comes from"):
        stage(parse_model("./model", tmp_path))


def test_weights_that_are_not_loaded_are_left_out(
    wide_model: Path, whole: StagedModel, cache: Path, tmp_path: Path
) -> None:
    """A second copy would count twice, and a program could read either of these for nothing."""
    folder = shutil.copytree(wide_model, tmp_path / "model")
    for name in ("consolidated.safetensors", "adapter_model.safetensors"):
        shutil.copyfile(folder / "model.safetensors", folder / name)
    found = stage(parse_model("./model", tmp_path))
    assert (found.identity, found.parameters) == (whole.identity, whole.parameters)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"neither model\.safetensors nor model\.safetensors\.index\.json"):
        stage(parse_model("./model", tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", "{", "its config.json is no JSON"),
        ("config.json", "[]", "its config.json is no JSON object"),
        ("tokenizer.json", None, "has no tokenizer"),
        ("model.safetensors", None, "cannot be loaded as a model"),
    ],
)
def test_what_is_missing_or_broken_is_named(
    wide_model: Path, cache: Path, tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    folder = shutil.copytree(wide_model, tmp_path / "model")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(UserError, match=said):
        stage(parse_model("./model", tmp_path))


def test_weights_that_are_saved_anew_need_not_lie_beside_files_alone(
    wide_model: Path, cache: Path, tmp_path: Path
) -> None:
    """A tokenizer with several chat templates is saved with a folder of them."""
    folder = tmp_path / "model"
    model, tokenizer = LlamaForCausalLM.from_pretrained(wide_model), AutoTokenizer.from_pretrained(wide_model)
    tokenizer.chat_template = {"default": "{{ messages }}", "tool_use": "{{ messages }} and tools"}
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    found = stage(parse_model("./model", tmp_path))
    assert {path.name for path in found.folder.iterdir()} == {
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_weights_in_several_files_are_all_counted(wide_model: Path, whole: StagedModel, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    LlamaForCausalLM.from_pretrained(wide_model).save_pretrained(folder, max_shard_size="200KB")
    AutoTokenizer.from_pretrained(wide_model).save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) > 1
    found = stage(parse_model("./model", tmp_path))
    assert found.parameters == whole.parameters
    assert "model.safetensors.index.json" in {path.name for path in found.folder.iterdir()}
    rounded = stage(parse_model("./model+nf4", tmp_path))
    assert "model.safetensors.index.json" not in {path.name for path in rounded.folder.iterdir()}
    assert rounded.parameters == whole.parameters


def test_weights_in_several_files_must_all_be_there(wide_model: Path, cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    LlamaForCausalLM.from_pretrained(wide_model).save_pretrained(folder, max_shard_size="200KB")
    AutoTokenizer.from_pretrained(wide_model).save_pretrained(folder)
    last = max(folder.glob("model-*.safetensors"))
    last.unlink()
    with pytest.raises(UserError, match=rf"1 of \d files of weights .* are not there, such as {last.name}"):
        stage(parse_model("./model", tmp_path))
    for content in ("{", "[]", "{}", '{"weight_map": 1}', '{"weight_map": {}}'):
        (folder / "model.safetensors.index.json").write_text(content)
        with pytest.raises(UserError, match=r"index\.json does not tell which files"):
            stage(parse_model("./model", tmp_path))


@pytest.mark.parametrize("is_safe", [True, False])
def test_weights_that_would_be_drawn_at_random_are_refused(
    wide_model: Path, cache: Path, tmp_path: Path, is_safe: bool
) -> None:
    """As of an embedding model, which has no matrix for the logits, or of a configuration with one layer more."""
    folder = shutil.copytree(wide_model, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    if is_safe:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        (folder / "model.safetensors").unlink()
        torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"lacks 1 of the weights .* such as lm_head\.weight"):
        stage(parse_model("./model", tmp_path))


def test_a_folder_that_was_written_to_since_is_not_taken_for_what_was_staged(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of a local folder are linked: whoever writes into them changes the staged ones, too."""
    monkeypatch.setenv("TCX_CACHE", str(tmp_path / "cache"))
    source = Path(shutil.copytree(tiny_model, tmp_path / "source"))
    model = stage(parse_model(str(source), tmp_path))
    note = model.folder.parent / "staged.json"
    later = note.stat().st_mtime + 60
    config = source / "config.json"
    content = config.read_text()
    config.write_text(content.replace('"rms_norm_eps": ', '"rms_norm_eps": 1'))
    os.utime(config, (later, later))
    assert (model.folder / "config.json").read_text() != content, "it was copied, not linked"
    with pytest.raises(UserError, match="no base model of identity"):
        staged_by_identity(model.identity)
    config.write_text(content)
    os.utime(config, (later, later))
    assert staged_by_identity(model.identity) == model
    assert note.stat().st_mtime == pytest.approx(later), "files are read once"


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"identity": "1"}'])
def test_a_damaged_note_is_that_of_no_model(
    damage: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TCX_CACHE", str(tmp_path / "cache"))
    model = stage(parse_model(str(tiny_model), tmp_path))
    other = tmp_path / "cache" / "models" / "a"
    other.mkdir()
    (other / "staged.json").write_text(damage)
    assert staged_by_identity(model.identity) == model
    note = model.folder.parent / "staged.json"
    note.write_text(damage)
    assert staged(parse_model(str(tiny_model), tmp_path)) is None
    assert stage(parse_model(str(tiny_model), tmp_path)) == model
