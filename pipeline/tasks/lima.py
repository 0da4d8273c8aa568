"""LIMA: conversations with an assistant, written with care (hub `GAIR/lima`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pipeline.errors import UserError
from pipeline.protocols import Example, Split, Task
from pipeline.tasks.hub_task import HubTask, Rows, Source
from pipeline.tasks.rows import Layout, Row
from pipeline.tasks.scorers import chrf_statistics
from pipeline.tasks.splits import carve, normalised

TEST_SIZE = 200
VALIDATION_SIZE = 100
STOP = "<|im_end|>"


class Lima(HubTask):
    """Task `lima`: the assistant's first turn, compared with the reference by its character n-grams.

    The published test prompts have no reference answers, so that test and validation are held-out conversations of the
    train file. chrF++ tells how near an output is to the reference, not how good it is.
    """

    name = "lima"
    plain_version = 1
    metrics: tuple[str, ...] = ("chrf++",)
    template = "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
    stop = STOP
    max_new_tokens = 512
    copy_field = "prompt"
    instruction = "Answer the user with care.\n"
    licence = "see the data card of GAIR/lima"
    sources: ClassVar[Mapping[str, Source]] = {
        "train": Source(
            repo="GAIR/lima",
            layouts=tuple(
                Layout(pattern=pattern, columns={"conversations": "conversations"})
                for pattern in ("train.jsonl", "plain_text/train/*.parquet")
            ),
            num_rows=1030,
        )
    }

    def make_splits(self, rows: Rows) -> Mapping[Split, Sequence[Example]]:
        """200 test and 100 validation conversations of 1,030; no prompt is in two splits."""
        test, rest = carve([_example(row) for row in rows["train"]], _prompt, "lima-test", TEST_SIZE)
        validation, train = carve(rest, _prompt, "lima-validation", VALIDATION_SIZE)
        return {"train": train, "validation": validation, "test": test}

    def score(self, output: str, example: Example) -> Mapping[str, Sequence[float]]:
        """Statistics of the output, up to the end of its turn, against the reference."""
        return {"chrf++": chrf_statistics(output.partition(STOP)[0].strip(), example.target)}


def _example(row: Row) -> Example:
    turns = row["conversations"]
    if not isinstance(turns, list) or len(turns) < 2:
        raise UserError("lima: a row has no answer; conversations of at least two turns are expected")
    prompt, answer = (turn.replace(STOP, "").strip() for turn in turns[:2])
    return Example(input={"prompt": prompt}, target=answer)


def _prompt(example: Example) -> str:
    return normalised(example.input["prompt"])


TASK: Task = Lima()
