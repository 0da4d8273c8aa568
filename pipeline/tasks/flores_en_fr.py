"""English to French: mined pairs of NLLB to train on, FLORES-200 to choose and report on."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from pipeline.linked_files import LinkedFile
from pipeline.protocols import Example, Split, Task
from pipeline.tasks.hub_task import HubTask, Rows, Source
from pipeline.tasks.rows import Layout, Row
from pipeline.tasks.scorers import bleu_statistics, chrf_statistics, first_line
from pipeline.tasks.splits import example_text, fair_order, normalised, one_line

TRAIN_ROWS = 100_000
"""The first ones of the file, which is sorted by how well the sentences agree; nothing after them is read."""
ARCHIVE = LinkedFile(
    name="flores200_dataset.tar.gz", address="https://dl.fbaipublicfiles.com/nllb/flores200_dataset.tar.gz"
)
PAIRS = LinkedFile(
    name=f"eng_Latn-fra_Latn.first-{TRAIN_ROWS}.tsv.gz",
    address="http://data.statmt.org/cc-matrix/en-fr.bitextf.tsv.gz",
    num_lines=TRAIN_ROWS,
)


def _archive_rows(split: str, path: Path) -> Iterator[Row]:
    """The sentences of a split, which lie line by line in one file a language."""
    columns = []
    try:
        with tarfile.open(path) as archive:
            names = archive.getnames()
            for language in ("eng_Latn", "fra_Latn"):
                end = f"flores200_dataset/{split}/{language}.{split}"
                file = next((archive.extractfile(name) for name in names if name.endswith(end)), None)
                if file is None:
                    raise ValueError(f"it holds no {end}")
                columns.append(file.read().decode().removesuffix("\n").split("\n"))
    except (tarfile.TarError, zlib.error) as error:
        raise ValueError(f"it is no whole tar archive ({error})") from error
    for english, french in zip(*columns, strict=True):
        yield {"en": english, "fr": french}


def _flores(split: str, num_rows: int) -> Source:
    sentences = {"en": "sentence_eng_Latn", "fr": "sentence_fra_Latn"}
    archive = Layout(pattern=ARCHIVE.name, columns={"en": "en", "fr": "fr"}, read=partial(_archive_rows, split))
    tables = (f"{folder}/{split}/*.parquet" for folder in ("eng_Latn-fra_Latn", "all"))
    return Source(
        repo="facebook/flores",
        layouts=(archive, *(Layout(pattern=pattern, columns=sentences) for pattern in tables)),
        num_rows=num_rows,
        linked=(ARCHIVE,),
    )


class FloresEnFr(HubTask):
    """Task `flores-en-fr`: translate one English sentence into French.

    The two repositories hold loading scripts and no data; what the scripts read is read here at the same addresses.
    """

    name = "flores-en-fr"
    plain_version = 1
    metrics: tuple[str, ...] = ("bleu", "chrf++")
    template = "English: {en}\nFrench:"
    stop = "\n"
    max_new_tokens = 128
    copy_field = "en"
    instruction = "Translate the English sentence into French.\n"
    licence = "ODC-BY (allenai/nllb), CC-BY-SA-4.0 (facebook/flores)"
    sources: ClassVar[Mapping[str, Source]] = {
        "train": Source(
            repo="allenai/nllb",
            layouts=(
                Layout(pattern=PAIRS.name, columns={"en": "1", "fr": "2"}),
                Layout(pattern="en-fr.bitextf.tsv.gz", columns={"en": "1", "fr": "2"}),
                Layout(
                    pattern="eng_Latn-fra_Latn/train/*.parquet",
                    columns={"en": "translation.eng_Latn", "fr": "translation.fra_Latn"},
                ),
            ),
            num_rows=TRAIN_ROWS,
            limit=TRAIN_ROWS,
            linked=(PAIRS,),
        ),
        "validation": _flores("dev", 997),
        "test": _flores("devtest", 1012),
    }

    def make_splits(self, rows: Rows) -> Mapping[Split, Sequence[Example]]:
        """The 1,012 devtest and 997 dev sentences; the 100,000 pairs without those that hold a scored sentence."""
        made = {name: [_example(row) for row in found] for name, found in rows.items()}
        scored = {text for name in ("validation", "test") for example in made[name] for text in _sides(example)}
        train = [example for example in made["train"] if all(_sides(example)) and not scored & set(_sides(example))]
        return {
            "train": fair_order(train, example_text, self.name),
            "validation": fair_order(made["validation"], example_text, self.name),
            "test": fair_order(made["test"], example_text, self.name),
        }

    def score(self, output: str, example: Example) -> Mapping[str, Sequence[float]]:
        """Statistics of the first line of the output against the French sentence."""
        line = first_line(output)
        return {"bleu": bleu_statistics(line, example.target), "chrf++": chrf_statistics(line, example.target)}


def _example(row: Row) -> Example:
    return Example(input={"en": one_line(row["en"])}, target=one_line(row["fr"]))


def _sides(example: Example) -> tuple[str, str]:
    return normalised(example.input["en"]), normalised(example.target)


TASK: Task = FloresEnFr()
