"""A tiny model whose layers can be rounded to 4 bits, and a cache of these tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.models import StagedModel, parse_model
from pipeline.models.stage import stage
from tests.tiny_models import save_tiny_llama


@pytest.fixture(scope="session")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama like `tiny_model`, with layers of 64 inputs and more."""
    folder = tmp_path_factory.mktemp("wide") / "model"
    return save_tiny_llama(folder, hidden_size=64, intermediate_size=128, initializer_range=0.2)


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
