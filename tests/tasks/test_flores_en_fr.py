"""Task `flores-en-fr`: both layouts, how far the pairs are read, and corpus BLEU as sacrebleu's own command says it."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UserError
from pipeline.metrics import METRICS
from pipeline.protocols import Example
from pipeline.tasks.flores_en_fr import TRAIN_ROWS, FloresEnFr

NUMBERS = ("zero one two three four five six seven eight nine", "zéro un deux trois quatre cinq six sept huit neuf")
OUTPUTS = [
    "Le chat est assis sur le tapis.",
    "« Nous avons maintenant des souris de 4 mois, dit-il. »",
    "L'homme qui mange du pain, 1,5 fois par jour",
    "",
    "Il n'y a pas de réponse",
]
REFERENCES = [
    "Le chat est assis sur le paillasson.",
    "« Nous avons à présent des souris âgées de 4 mois », a-t-il ajouté.",
    "L'homme mange du pain 1,5 fois par jour.",
    "Rien du tout ici.",
    "Il n'y a pas de réponse.",
]


def pair(number: int) -> dict[str, str]:
    """A sentence of its own for each number, in both languages."""
    english, french = (" ".join(words.split()[int(digit)] for digit in str(number)) for words in NUMBERS)
    return {"en": f"The number is {english}.", "fr": f"Le nombre est {french}."}


def archive(local_hub: Any, dev: int, devtest: int) -> Path:
    path: Path = local_hub.path("facebook/flores/flores200_dataset.tar.gz")
    with tarfile.open(path, "w:gz") as file:
        for split, first, count in (("dev", 0, dev), ("devtest", 5000, devtest)):
            for language, side in (("eng_Latn", "en"), ("fra_Latn", "fr"), ("deu_Latn", "en")):
                lines = "".join(pair(number)[side] + "\n" for number in range(first, first + count)).encode()
                member = tarfile.TarInfo(f"./flores200_dataset/{split}/{language}.{split}")
                member.size = len(lines)
                file.addfile(member, io.BytesIO(lines))
    return path


def tables(local_hub: Any, count: int = 10) -> None:
    for split, first in (("dev", 0), ("devtest", 5000)):
        rows = [
            {"id": n, "sentence_eng_Latn": pair(n)["en"], "sentence_fra_Latn": pair(n)["fr"]}
            for n in range(first, first + count)
        ]
        local_hub.parquet(f"facebook/flores/eng_Latn-fra_Latn/{split}/0000.parquet", rows)


def mined(local_hub: Any, numbers: range, extra: str = "") -> Path:
    lines = "".join(f"1.2\t{pair(n)['en']}\t{pair(n)['fr']}\n" for n in numbers)
    path: Path = local_hub.path("allenai/nllb/en-fr.bitextf.tsv.gz")
    path.write_bytes(gzip.compress((extra + lines).encode()))
    return path


def test_published_counts(local_hub: Any, check_task: Any) -> None:
    archive(local_hub, dev=997, devtest=1012)
    mined(local_hub, range(10_000, 10_000 + TRAIN_ROWS + 7))
    task = FloresEnFr()
    assert task.version == 1
    check_task(task, {"train": TRAIN_ROWS, "validation": 997, "test": 1012})


def test_sample_from_tables(local_hub: Any, check_task: Any) -> None:
    tables(local_hub)
    rows = [{"translation": {"eng_Latn": pair(n)["en"], "fra_Latn": pair(n)["fr"]}} for n in range(10_000, 10_020)]
    local_hub.parquet("allenai/nllb/eng_Latn-fra_Latn/train/0000.parquet", rows)
    task = FloresEnFr()
    assert task.version != 1
    check_task(task, {"train": 20, "validation": 10, "test": 10})


def test_pairs_are_read_up_to_the_limit(local_hub: Any) -> None:
    """The next row group and the next file are damaged; who reads one pair more than the limit fails."""
    tables(local_hub)
    table = [{"translation": {"eng_Latn": f"{n}.", "fra_Latn": f"{n} !"}} for n in range(TRAIN_ROWS + 50_000)]
    folder = "allenai/nllb/eng_Latn-fra_Latn/train"
    path: Path = local_hub.parquet(f"{folder}/0000.parquet", table, row_group_size=50_000)
    damage_row_group(path, 2)
    local_hub.path(f"{folder}/0001.parquet").write_bytes(b"damaged")
    assert len(FloresEnFr().rows("train")) == TRAIN_ROWS
    damage_row_group(path, 1)
    with pytest.raises(UserError, match=r"0000\.parquet cannot be read"):
        FloresEnFr().rows("train")


def damage_row_group(path: Path, number: int) -> None:
    import pyarrow.parquet as pq

    group = pq.ParquetFile(path).metadata.row_group(number)
    content = bytearray(path.read_bytes())
    for index in range(group.num_columns):
        column = group.column(index)
        start = column.dictionary_page_offset or column.data_page_offset
        content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(bytes(content))


def test_pairs_that_hold_a_scored_sentence_are_left_out(local_hub: Any, check_task: Any) -> None:
    tables(local_hub)
    french, english = pair(5003)["fr"].upper(), pair(4)["en"].replace(".", " !")
    extra = f"1.3\tSome other text\t{french}\n1.3\t{english}\tUn autre texte\n1.3\t...\tUn texte\n"
    mined(local_hub, range(10_000, 10_005), extra)
    check_task(FloresEnFr(), {"train": 5, "validation": 10, "test": 10})


def test_an_archive_without_the_languages(local_hub: Any) -> None:
    mined(local_hub, range(10_000, 10_005))
    with tarfile.open(local_hub.path("facebook/flores/flores200_dataset.tar.gz"), "w:gz"):
        pass
    with pytest.raises(UserError, match=r"holds no flores200_dataset/dev/eng_Latn\.dev"):
        FloresEnFr().split("test")


@pytest.mark.parametrize("content", [b"<html>Please log in</html>", gzip.compress(b"no archive")], ids=["page", "gzip"])
def test_what_is_no_archive(local_hub: Any, content: bytes) -> None:
    mined(local_hub, range(10_000, 10_005))
    local_hub.path("facebook/flores/flores200_dataset.tar.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"flores200_dataset\.tar\.gz cannot be read: it is no whole tar archive"):
        FloresEnFr().split("test")


@pytest.mark.parametrize(("metric", "options"), [("bleu", []), ("chrf++", ["--chrf-word-order", "2"])])
def test_corpus_scores_are_those_of_sacrebleu(tmp_path: Path, metric: str, options: list[str]) -> None:
    """Its own command line on the same lines, its signature included."""
    task = FloresEnFr()
    statistics = [
        task.score(f" {output}\nEnglish: more", Example(input={"en": ""}, target=reference))[metric]
        for output, reference in zip(OUTPUTS, REFERENCES, strict=True)
    ]
    sums = [sum(column) for column in zip(*statistics, strict=True)]
    # An empty line would be a line of its own text here: the scorer takes the first line that has any.
    outputs = [output or "English: more" for output in OUTPUTS]
    for name, lines in (("outputs", outputs), ("references", REFERENCES)):
        (tmp_path / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    command = ["-m", "sacrebleu", "references", "-i", "outputs", "-m", metric.removesuffix("++"), "-w", "10", *options]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert float(METRICS[metric].aggregate(sums)) == pytest.approx(said["score"], abs=1e-9)
    assert METRICS[metric].signature == f"{said['name']}|{said['signature']}"
