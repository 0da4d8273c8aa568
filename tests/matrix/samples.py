"""Small samples of all data that tasks read from the hub, in the hub's own layout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Rows = Sequence[Mapping[str, Any]]
NUMBER = 40
"""Items of a sample: enough for a validation split to be carved from."""


def write_samples(hub: Path, made: Path) -> None:
    """Writes the samples.

    Args:
        hub: what `TCX_DATA` names: a folder of repositories.
        made: what `TCX_IFEVAL_MADE` names: a folder that `tcx make-data` could have made.
    """
    for name, rows in JSON_LINES.items():
        _path(hub, name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name, rows in PARQUET.items():
        pq.write_table(pa.Table.from_pylist(list(rows)), _path(hub, name))
    _path(hub, "meta-math/MetaMathQA/MetaMathQA-395K.json").write_text(json.dumps(METAMATH), encoding="utf-8")
    made.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(_requests("response", "Yes.")), made / "train.parquet")
    pq.write_table(pa.Table.from_pylist(_requests("target", _NO_COMMA, first=NUMBER)), made / "validation.parquet")
    (made / "manifest.json").write_text("{}")


def _path(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _sums(first: int) -> list[dict[str, str]]:
    return [
        {"question": f"What is {n} plus 1?", "answer": f"{n} + 1 = {n + 1}\n#### {n + 1}"}
        for n in range(first, first + NUMBER)
    ]


def _sentences(split: int) -> list[dict[str, Any]]:
    english, french = f"This is number {split} {{}}.", f"Ceci est le nombre {split} {{}}."
    return [
        {"id": n, "sentence_eng_Latn": english.format(n), "sentence_fra_Latn": french.format(n)} for n in range(NUMBER)
    ]


def _pairs(split: str) -> list[dict[str, Any]]:
    return [
        {"premise": f"A {split} dog {n} runs.", "hypothesis": "It moves.", "label": n % 3}
        | {f"explanation_{place}": "Running is moving." for place in (1, 2, 3)}
        for n in range(NUMBER)
    ]


def _choices(split: str) -> list[dict[str, Any]]:
    return [
        {
            "question": f"{split}: {n} + 1?",
            "subject": "",
            "choices": [str(n + place) for place in range(4)],
            "answer": 1,
        }
        for n in range(NUMBER)
    ]


def _requests(column: str, value: str, first: int = 0) -> list[dict[str, str]]:
    return [{"prompt": f"Do not use a comma, number {n}.", column: value} for n in range(first, first + NUMBER)]


_NO_COMMA = json.dumps({"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]})

METAMATH = [
    {"query": f"{row['question']} Think.", "response": f"The answer is: {n + 1}", "original_question": row["question"]}
    for n, row in enumerate(_sums(0))
]
JSON_LINES: dict[str, Rows] = {
    "openai/gsm8k/main/train.jsonl": _sums(0),
    "openai/gsm8k/main/test.jsonl": _sums(1000),
    "GAIR/lima/train.jsonl": [{"conversations": [f"Ask {n}?", f"Say {n}."]} for n in range(NUMBER)],
}
PARQUET: dict[str, Rows] = {
    "facebook/flores/eng_Latn-fra_Latn/dev/0000.parquet": _sentences(1),
    "facebook/flores/eng_Latn-fra_Latn/devtest/0000.parquet": _sentences(2),
    "allenai/nllb/eng_Latn-fra_Latn/train/0000.parquet": [
        {"translation": {"eng_Latn": row["sentence_eng_Latn"], "fra_Latn": row["sentence_fra_Latn"]}}
        for row in _sentences(3)
    ],
    **{f"esnli/esnli/plain_text/{split}/0000.parquet": _pairs(split) for split in ("train", "validation", "test")},
    **{
        f"cais/mmlu/all/{split}-00000-of-00001.parquet": _choices(split)
        for split in ("auxiliary_train", "validation", "test")
    },
    **{
        f"ybisk/piqa/plain_text/{split}/0000.parquet": [
            {"goal": f"{split} {n}", "sol1": f"x {n}", "sol2": "y", "label": n % 2} for n in range(NUMBER)
        ]
        for split in ("train", "validation")
    },
    "open-thoughts/OpenThoughts-114k/metadata/train-00000-of-00001.parquet": [
        {
            "problem": f"Find the half of {n}.",
            "deepseek_reasoning": "",
            "deepseek_solution": f"We halve {n}: $\\boxed{{{n / 2}}}$",
            "ground_truth_solution": f"It is $\\boxed{{{n / 2}}}$.",
            "domain": "math",
            "source": "numina",
        }
        for n in range(1, NUMBER + 1)
    ],
}
