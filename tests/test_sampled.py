"""Family `sampled`: the answer that the others are most like, and programs that draw the same answers each time."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.metrics import CHRF

from pipeline.decoder_parts import mbr, vote
from pipeline.decoder_parts.base import load
from pipeline.decoder_parts.sampled import typical
from pipeline.families import icl
from pipeline.families.sampled import FAMILY, Parameters
from pipeline.protocols import Encoded
from tests.tiny_cells import SEED, TASK, OtherSplits, long_example, tiny_cell, tiny_context
from tests.tiny_models import save_tiny_llama

TRANSLATIONS = [
    "Impossible d'ouvrir le fichier",
    "Impossible d'ouvrir ce fichier",
    "Le fichier ne peut pas s'ouvrir",
    "Échec de l'ouverture",
    "Enregistrer sous",
    "Ouvrir",
]


def encode(folder: Path, model: Path, seed: int = SEED, **parameters: Any) -> list[Encoded]:
    """Programs of one demonstration, by vote and by likeness, with one seed."""
    kinds = ("vote", "mbr")
    cells = [replace(tiny_cell(FAMILY, shots=1, answers=answers, **parameters), seed=seed) for answers in kinds]
    return list(FAMILY.encode(tiny_context(folder, model, load(str(model))), cells))


def run(content: bytes, folder: Path, model: Path, sums: list[str]) -> dict[str, str]:
    """Sum -> output of a program in a process of its own."""
    (folder / "program").write_bytes(content)
    lines = "".join(json.dumps({"id": text, "input": {"sum": text}}) + "\n" for text in sums)
    command = [sys.executable, "-I", str(folder / "program"), str(model)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return {row["id"]: row["output"] for row in map(json.loads, done.stdout.splitlines())}


def test_the_commonest_last_word_wins() -> None:
    assert typical([" 17", "It is 12", " 21", "12 "]) == "It is 12"
    assert typical([" 17", " 21"]) == " 17"
    assert typical(["", " ", "3"]) == ""


def test_the_sample_that_shares_most_with_the_others_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.decoder_parts.sampled.alike", mbr.alike)  # as the packer does
    texts = ["Enregistrer", "Ouvrir ce fichier", "Ouvrir le fichier", "Ouvrir le dossier"]
    assert typical(texts) == "Ouvrir le fichier"
    assert typical([*texts, "Enregistrer", "Enregistrer"]) == "Enregistrer"
    assert typical(["", ""]) == ""


def test_likeness_orders_texts_as_chrf_does() -> None:
    chrf = CHRF()
    pairs = list(itertools.combinations(TRANSLATIONS, 2))
    ours = {pair: mbr.alike(*pair) for pair in pairs}
    theirs = {(a, b): chrf.sentence_score(a, [b]).score + chrf.sentence_score(b, [a]).score for a, b in pairs}
    assert all(ours[pair] == mbr.alike(*reversed(pair)) for pair in pairs)
    apart = [(a, b) for a, b in itertools.permutations(pairs, 2) if theirs[a] > theirs[b] + 10]
    assert len(apart) > 50
    assert all(ours[a] > ours[b] for a, b in apart)
    assert mbr.alike(TRANSLATIONS[0], TRANSLATIONS[0]) == vote.alike("a 1", "b 1") == 1


def test_a_program_answers_every_item_alike_in_any_order(tmp_path: Path, tiny_model: Path) -> None:
    """Nine samples of sixteen items are two batches; the same seed draws the same, another draws others."""
    sums = [f"{number} + {2 * number}" for number in range(11, 27)]
    (one, _), (other, _) = (encode(tmp_path, tiny_model, seed, samples=9, temperature=1.5) for seed in (SEED, SEED + 1))
    assert one.program is not None
    assert other.program is not None
    first = run(one.program.content, tmp_path, tiny_model, sums)
    assert run(one.program.content, tmp_path, tiny_model, sums[::-1]) == first
    assert run(other.program.content, tmp_path, tiny_model, sums) != first


def test_cells_share_the_demonstrations_of_icl(tmp_path: Path, tiny_model: Path) -> None:
    (plain,) = icl.FAMILY.encode(
        tiny_context(tmp_path, tiny_model, load(str(tiny_model))), [tiny_cell(icl.FAMILY, shots=1)]
    )
    assert plain.program is not None
    for encoded in encode(tmp_path, tiny_model):
        assert encoded.program is not None
        assert encoded.payload_text == plain.payload_text
        assert encoded.program.payload_bytes == plain.program.payload_bytes
        assert 0 < encoded.program.decoder_bytes - plain.program.decoder_bytes < 200


@pytest.mark.parametrize("family", [icl.FAMILY, FAMILY])
def test_how_many_demonstrations_fit_is_not_read_off_the_test_split(
    family: Any, tmp_path: Path, tiny_model: Path
) -> None:
    of_task = OtherSplits(test=[long_example(example) for example in TASK.split("test")[:2]])
    found = [
        list(
            family.encode(tiny_context(tmp_path, tiny_model, load(str(tiny_model)), task), [tiny_cell(family, shots=1)])
        )
        for task in (TASK, of_task)
    ]
    assert found[0][0].program is not None
    assert found[0][0].program == found[1][0].program


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"answers": "best"}, "answers is 'best'; allowed: vote, mbr"),
        ({"samples": 1}, "samples is 1; it must be at least 2"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be above 0"),
        ({"shots": 0}, "shots is 0; it must be at least 1"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Parameters(**parameters)  # type: ignore[arg-type]


def test_a_small_budget_is_estimated_by_few_demonstrations(tmp_path: Path) -> None:
    """And a number of them by none: logits of all that a context holds take tens of gigabytes."""
    model, tokenizer = load(str(save_tiny_llama(tmp_path / "model", max_position_embeddings=4096)))
    lengths: list[int] = []
    model.register_forward_hook(lambda module, given, output: lengths.append(output.logits.shape[1]))
    context = tiny_context(tmp_path, tmp_path / "model", (model, tokenizer))
    (held,) = icl.FAMILY.encode(context, [tiny_cell(icl.FAMILY, 1100)])
    assert 1 <= held.settings["shots"] < icl.FIRST_SHOTS
    demonstrations = len(tokenizer(str(held.payload_text)).input_ids)
    assert demonstrations <= max(lengths) < 2 * icl.FIRST_SHOTS / held.settings["shots"] * demonstrations
    lengths.clear()
    (wanted,) = icl.FAMILY.encode(context, [tiny_cell(icl.FAMILY, shots=held.settings["shots"])])
    assert wanted.program == held.program
    assert max(lengths) == 1
