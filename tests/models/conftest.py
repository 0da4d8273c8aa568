"""A tiny model whose layers can be rounded to 4 bits, and a cache of these tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.models import StagedModel, parse_model
from pipeline.models.stage import stage


@pytest.fixture(scope="session")
def wide_model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """Folder of a random Llama like `tiny_model`, with layers of 64 inputs and more."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("wide") / "model"
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        eos_token_id=0,
        pad_token_id=0,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("models-cache")
        patch.setenv("TCX_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def whole(wide_model: Path, cache: Path) -> StagedModel:
    return stage(parse_model(str(wide_model), Path()))


@pytest.fixture(scope="session")
def rounded(wide_model: Path, cache: Path) -> StagedModel:
    """The same model with 4-bit weights."""
    return stage(parse_model(f"{wide_model}+nf4", Path()))
