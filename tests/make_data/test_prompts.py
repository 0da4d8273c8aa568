"""Filters of prompts, on rows made for them; and the rows of each verifier."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import hub
from pipeline.errors import UserError
from pipeline.make_data.config import read_config
from pipeline.make_data.prompts import Prepared, prepare_prompts
from pipeline.make_data.verifiers import VERIFIERS
from pipeline.tasks.ifeval import TASK

from .conftest import WriteConfig, prompts, row


def texts(prepared: Prepared) -> set[str]:
    return {prompt.prompt for prompt in (*prepared.train, *prepared.validation)}


def test_every_filter_counts_what_it_drops(write_config: WriteConfig) -> None:
    test_prompt = TASK.split("test")[0].input["prompt"]
    long = "Tell me how the lighthouse keeper of the northern island spent his last winter alone with two cats"
    rows = [
        *prompts(),
        row("describe OWLS without commas!"),
        row(f"{long}."),
        row(f"{long}, please."),
        row(f"{test_prompt} Be quick."),
        row("Write <|im_end|> without commas."),
        row("Answer somehow.", "startend:somehow"),
        row("Answer at length.", "length_constraints:number_words", num_words=9),
        {"text": "no prompt at all"},
    ]
    prepared = prepare_prompts(read_config(write_config(rows, test_tasks=["ifeval"])))
    assert prepared.counts == {
        "rows": 68,
        "rows_without_prompt": {
            "a marker of chat templates in the text": 1,
            "length_constraints:number_words without its arguments": 1,
            "neither ground_truth nor instruction_id_list and kwargs": 1,
            "unknown instruction startend:somehow": 1,
        },
        "prompts": 64,
        "after_exact_duplicates": 63,
        "after_near_duplicates": 62,
        "after_test_items": 61,
        "validation_prompts": 4,
        "train_prompts": 57,
    }
    assert len(texts(prepared)) == 61
    assert not texts(prepared) & {f"{test_prompt} Be quick.", "Write <|im_end|> without commas."}


def test_rows_of_another_kind_are_counted(write_config: WriteConfig) -> None:
    no_commas = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    odd = [
        {"prompt": "Why?", **no_commas, "kwargs": 5},
        {"prompt": "Why?", **no_commas, "instruction_id_list": 5},
        {"prompt": "Why?", **no_commas, "instruction_id_list": [["a"]]},
        {"messages": ["Why?"], **no_commas},
        {"prompt": "Why?", "ground_truth": {"func_name": ["a"]}},
        {"prompt": "Why?", "ground_truth": {"func_name": "verify_letter_frequency", "N": float("inf"), "letter": "a"}},
    ]
    prepared = prepare_prompts(read_config(write_config([*prompts(), *odd, {"prompt": "Why \ud800?", **no_commas}])))
    assert prepared.counts["rows_without_prompt"] == {
        "a value of another kind than is read there": len(odd),
        "half of a character (a lone surrogate) in the text": 1,
    }
    assert len(texts(prepared)) == len(prompts())


def test_nothing_depends_on_the_order_of_the_file(write_config: WriteConfig) -> None:
    first = prepare_prompts(read_config(write_config(prompts())))
    assert prepare_prompts(read_config(write_config(prompts()[::-1]))) == first


def test_what_is_set_aside_stays_so_with_fewer_prompts_to_sample(write_config: WriteConfig) -> None:
    whole = prepare_prompts(read_config(write_config(prompts())))
    part = prepare_prompts(read_config(write_config(prompts(), max_prompts=5)))
    assert part.validation == whole.validation
    assert part.train == whole.train[:5]
    assert not {prompt.prompt for prompt in whole.train} & {prompt.prompt for prompt in whole.validation}


def test_nothing_left(write_config: WriteConfig) -> None:
    with pytest.raises(UserError, match="60 are set aside"):
        prepare_prompts(read_config(write_config(prompts(), validation_prompts=60)))
    with pytest.raises(UserError, match="1 with neither ground_truth"):
        prepare_prompts(read_config(write_config([{"question": "Why?"}])))


def test_prompts_of_the_hub_come_from_its_train_files(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the layout of allenai/RLVR-IFeval, beside test files that some repositories have."""
    folder = tmp_path / "copies/allenai/RLVR-IFeval/data"
    folder.mkdir(parents=True)
    truth = json.dumps({"func_name": "validate_no_commas", "N": None})
    asked = [f"{one['prompt']}" for one in prompts()]
    rows = [{"messages": [{"role": "user", "content": text}], "ground_truth": truth} for text in asked]
    pq.write_table(pa.Table.from_pylist(rows[:50]), folder / "train-00000-of-00001.parquet")
    pq.write_table(pa.Table.from_pylist(rows[50:]), folder / "test-00000-of-00001.parquet")
    monkeypatch.setenv(hub.LOCAL_VARIABLE, str(tmp_path / "copies"))
    prepared = prepare_prompts(read_config(write_config([], prompts="allenai/RLVR-IFeval")))
    assert texts(prepared) == set(asked[:50])


def test_conversations_of_several_messages_are_no_prompts() -> None:
    message = {"role": "user", "content": "Name a bird."}
    truth = {"func_name": "validate_no_commas"}
    read = VERIFIERS["ifeval"].read
    assert read({"messages": [message], "ground_truth": truth}).prompt == "Name a bird."
    with pytest.raises(ValueError, match="not one message"):
        read({"messages": [{"role": "system", "content": "Be brief."}, message], "ground_truth": truth})


def test_verifier_of_instructions() -> None:
    verifier = VERIFIERS["ifeval"]
    prompt = verifier.read(
        {"prompt": "Go.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": ['{"N": null}']}
    )
    assert verifier.accepts(prompt, "Red and blue.")
    assert not verifier.accepts(prompt, "Red, blue.")


def test_verifier_of_numbers() -> None:
    verifier = VERIFIERS["number"]
    prompt = verifier.read({"question": "How much?", "answer": "3 x 4 = 12\n#### 12"})
    assert prompt.prompt == "How much?"
    assert verifier.accepts(prompt, "It costs $12.00 in all.")
    assert not verifier.accepts(prompt, "It costs 13.")
    assert not verifier.accepts(prompt, "No idea.")
    with pytest.raises(ValueError, match="no number"):
        verifier.read({"prompt": "How much?", "answer": "much"})


@pytest.mark.parametrize("text", [f"prompt,ground_truth\n{'x' * 200_000},y\n", "prompt,ground_truth\rWhy?,y\r"])
def test_a_table_that_cannot_be_read_is_told(write_config: WriteConfig, tmp_path: Path, text: str) -> None:
    (tmp_path / "prompts.csv").write_text(text, newline="")
    with pytest.raises(UserError, match=r"prompts\.csv cannot be read: "):
        prepare_prompts(read_config(write_config([], prompts="prompts.csv")))
