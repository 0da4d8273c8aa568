"""Family `prompt-search`: what it chooses is best by its own rule, is chosen again, and never saw the test split."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import catalog
from pipeline.cell import Cell
from pipeline.coding.examples import estimate_bits
from pipeline.coding.probes import answer_bits, greedy_answers
from pipeline.coding.template import Worked
from pipeline.decoder_parts.base import load
from pipeline.errors import InfeasibleError, UserError
from pipeline.families import prompt_search
from pipeline.families.common import shuffled_train
from pipeline.families.prompt_search import FAMILY, Parameters
from pipeline.families.prompts import prompt_program, prompt_tokens
from pipeline.families.urial import FAMILY as URIAL
from pipeline.program_file import unpack
from pipeline.protocols import Encoded, Example, Split
from pipeline.tasks.chain_sum import ChainSum
from tests.tiny_cells import tiny_cell, tiny_context
from tests.tiny_models import save_tiny_llama


class WithoutTest(ChainSum):
    """The task of the same name, which fails when the test split is read, with a short train split."""

    __slots__ = ("size",)

    def __init__(self, size: int = 120) -> None:
        self.size = size

    def split(self, name: Split) -> Sequence[Example]:
        """Train and validation split."""
        if name == "test":
            raise AssertionError("the test split was read")
        return catalog.task("chain-sum").split(name)[: self.size]


TASK = WithoutTest()


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> tuple[Any, Any]:
    return load(str(tiny_model))


def cell(budget: int | None, **parameters: Any) -> Cell:
    return tiny_cell(FAMILY, budget, **parameters)


def encode(loaded: tuple[Any, Any], folder: Path, *cells: Cell, task: ChainSum = TASK) -> list[Encoded]:
    return list(FAMILY.encode(tiny_context(folder, folder, loaded, task), cells))


def content(encoded: Encoded) -> bytes:
    assert encoded.program is not None
    return encoded.program.content


def test_answers_behind_a_prompt_cost_what_they_cost_one_by_one(loaded: tuple[Any, Any]) -> None:
    """Batches, padding and shared keys change nothing: 20 probes of unequal lengths are more than one batch."""
    model, tokenizer = loaded
    texts = [("a" * (50 + n), "b" * (1 + n % 3)) for n in range(20)]
    probes = [Worked(tokenizer(question).input_ids, tokenizer(answer).input_ids) for question, answer in texts]
    prefix = tokenizer("Some text before").input_ids
    alone = [estimate_bits(model, [*prefix, *probe.question], [probe.answer])[0] for probe in probes]
    assert answer_bits(model, prefix, probes) == pytest.approx(sum(alone) / 20, rel=1e-4)


def test_the_first_demonstration_is_the_best_of_its_candidates(
    loaded: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing costs, and all candidates meet all probes, it is that behind which the answers are shortest."""
    monkeypatch.setattr(prompt_search, "FIRST_PROBES", prompt_search.PROBES)
    model, tokenizer = loaded
    (encoded,) = encode(loaded, tmp_path, cell(None, shots=1, candidates=5, price=0.0))
    examples = shuffled_train(TASK, 3)
    probes = []
    for example in examples[:60]:
        question = tokenizer(f" {example.input['sum']} =").input_ids
        probes.append(Worked(question, tokenizer(f" {example.target}\n").input_ids))
    scores = {
        (start, place): answer_bits(model, prompt_tokens(TASK, tokenizer, start, [examples[60 + place]]), probes)
        for place in range(5)
        for start in ("", TASK.instruction)
    }
    _, place = min((score, place) for (start, place), score in scores.items() if not start)
    behind = {start: prompt_tokens(TASK, tokenizer, start, [examples[60 + place]]) for start in ("", TASK.instruction)}
    right = {
        start: sum(
            TASK.score(output, example)["accuracy"][0]
            for output, example in zip(
                greedy_answers(model, tokenizer, ids, probes, "\n", 8), examples[:60], strict=True
            )
        )
        for start, ids in behind.items()
    }
    start = min(right, key=lambda start: (-right[start], scores[start, place]))
    assert encoded.settings == {"shots": 1, "instruction": bool(start)}
    expected = prompt_program(encoded.cell, TASK, model, tokenizer, start, [examples[60 + place]])
    assert content(encoded) == content(expected)


def test_a_choice_is_made_again_and_does_not_depend_on_other_cells(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    cells = [cell(None, shots=2), cell(1000), cell(None, shots=1)]
    together = [content(encoded) for encoded in encode(loaded, tmp_path, *cells)]
    assert together == [content(encode(loaded, tmp_path, one)[0]) for one in cells]
    assert len(together[1]) <= 1000
    shown = [len(re.findall(r"Calculate: ", unpack(program)[0])) for program in together]
    assert shown[2] < shown[0]


def test_what_saves_less_than_its_price_is_not_shown(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    (encoded,) = encode(loaded, tmp_path, cell(2000, price=1e6))
    assert encoded.settings["shots"] == 0


def test_cells_without_a_program_say_why(loaded: tuple[Any, Any], tmp_path: Path) -> None:
    tight, many = encode(loaded, tmp_path, cell(300, price=1e6), cell(None, shots=100, price=1e6, candidates=50))
    assert tight.infeasible is not None and "with no demonstration, is" in tight.infeasible
    assert many.infeasible is not None and "100 demonstrations do not fit" in many.infeasible
    with pytest.raises(UserError, match="has 1 examples; prompt-search needs two"):
        encode(loaded, tmp_path, cell(2000), task=WithoutTest(1))


def test_a_prompt_that_the_model_knows_is_coded_and_decodes(tmp_path: Path) -> None:
    """A model that was trained on the demonstrations codes them in fewer bytes than text takes, decoder included."""
    task = catalog.task("en-fr-software")
    model, tokenizer = load(str(save_tiny_llama(tmp_path / "tiny", max_position_embeddings=2048)))
    examples = shuffled_train(task, 3)[:16]
    ids = torch.tensor([prompt_tokens(task, tokenizer, "", examples)])
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    few, many = (prompt_program(cell(2000), task, model, tokenizer, "", examples[:shots]) for shots in (1, 16))
    assert few.coded_bits is None
    assert many.coded_bits is not None and many.nll_bits is not None
    assert many.nll_bits < many.coded_bits <= 1.01 * many.nll_bits + 64
    assert many.payload_text is not None and tokenizer.decode(ids[0]) == many.payload_text
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "program").write_bytes(content(many))
    done = subprocess.run(
        [sys.executable, "program", "model"],
        input=json.dumps({"id": "a", "input": {"en": "Save"}}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == "a"
    model.set_attn_implementation("eager")
    written = prompt_program(cell(2000), task, model, tokenizer, "", examples)
    assert written.coded_bits is None
    assert len(content(written)) > len(content(many))


@pytest.mark.parametrize("parameters", [{"shots": 0}, {"candidates": 0}, {"price": -1.0}, {"price": float("nan")}])
def test_bad_parameters_are_refused(parameters: dict[str, Any]) -> None:
    (name,) = parameters
    with pytest.raises(ValueError, match=f"{name} is .*; it must be at least"):
        Parameters(**parameters)


def test_a_context_without_room_for_an_answer_makes_no_program(tmp_path: Path) -> None:
    model = save_tiny_llama(tmp_path / "model", max_position_embeddings=16)
    given = encode(load(str(model)), tmp_path, cell(1500), cell(None, shots=1))
    assert [encoded.program for encoded in given] == [None, None]
    assert all("the context has" in str(encoded.infeasible) for encoded in given)


def test_the_fixed_prompt_fits_into_the_context_or_makes_no_program(tmp_path: Path) -> None:
    for positions, is_made in ((16, False), (2048, True)):
        model = save_tiny_llama(tmp_path / str(positions), max_position_embeddings=positions)
        context = tiny_context(tmp_path, model, load(str(model)))
        if is_made:
            (encoded,) = URIAL.encode(context, [tiny_cell(URIAL)])
            assert encoded.program is not None
        else:
            with pytest.raises(
                InfeasibleError, match=r"a prompt of \d+ tokens does not fit: the context has room for 0"
            ):
                list(URIAL.encode(context, [tiny_cell(URIAL)]))
