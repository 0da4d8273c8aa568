"""The configuration: what it stands for, and all its mistakes at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import GridError, UserError
from pipeline.make_data.config import read_config
from pipeline.make_data.layout import made_folder

from .conftest import WriteConfig, prompts


def test_values_and_defaults(write_config: WriteConfig, tmp_path: Path, tiny_model: Path) -> None:
    config = read_config(write_config(prompts(), samples=None, temperature="1e-1", out=None, test_tasks=["ifeval"]))
    assert (config.name, config.teacher, config.samples, config.temperature) == ("birds", str(tiny_model), 4, 0.1)
    assert config.prompts == str(tmp_path / "prompts.jsonl")
    assert config.out == made_folder("birds")
    assert config.test_tasks == ("ifeval",)


def test_names_of_the_hub(write_config: WriteConfig) -> None:
    assert read_config(write_config([], prompts="allenai/RLVR-IFeval@main")).prompts == "allenai/RLVR-IFeval@main"


def test_all_mistakes_in_one_message(write_config: WriteConfig) -> None:
    path = write_config(
        *([],),
        name="wrong.yaml",
        teacher="smollm2-135n",
        prompts="./nowhere.jsonl",
        verifier="ifeva",
        test_tasks=["gsm9k"],
        samples=0,
        temperature=0,
        top_p=1.5,
        sample=3,
        seed=None,
    )
    with pytest.raises(GridError) as caught:
        read_config(path)
    text = str(caught.value)
    assert len(caught.value.mistakes) == 8
    for words in (
        *("smollm2-135m", "nowhere.jsonl", "did you mean ifeval", "did you mean gsm8k", "samples: a whole number"),
        *("temperature: a number above 0", "up to 1 is wanted", "unknown key 'sample'"),
    ):
        assert words in text


def test_a_file_is_no_folder_for_the_data(write_config: WriteConfig, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(GridError, match="taken is a file; name a folder"):
        read_config(write_config([], out=str(tmp_path / "taken")))


def test_keys_that_are_missing(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: birds\n")
    with pytest.raises(GridError) as caught:
        read_config(tmp_path / "config.yaml")
    assert [mistake.split("'")[1] for mistake in caught.value.mistakes] == [
        *("teacher", "prompts", "verifier", "test_tasks")
    ]


@pytest.mark.parametrize("content", ["", "- a list", "a: [unclosed"])
def test_what_is_no_configuration(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=r"config\.yaml"):
        read_config(tmp_path / "config.yaml")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the configuration"):
        read_config(tmp_path / "nothing.yaml")
