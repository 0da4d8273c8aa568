"""Makes a data set shard by shard; what is there is not made again, and the same command goes on from where it was.

The work can be shared: part i of n makes every n-th shard, so that jobs of a cluster need not know of one another. Who
finds all shards there writes the data set.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.hub import used_commits
from pipeline.machine import machine_class
from pipeline.make_data.config import DataConfig, read_config
from pipeline.make_data.layout import MANIFEST, PROMPTS, SETTINGS, TRAIN, VALIDATION, shard_path, shards_there
from pipeline.make_data.prompts import CHAT_MARKERS, prepare_prompts
from pipeline.make_data.teacher import Answer, load_teacher
from pipeline.make_data.verifiers import VERIFIERS, Prompt
from pipeline.models import StagedModel, parse_model
from pipeline.tasks.splits import normalised

FORMAT = 3
"""Raise it when the same settings could give other data."""

TRAIN_SCHEMA = pa.schema(
    [("prompt", pa.string()), ("response", pa.string()), ("target", pa.string()), ("sample", pa.int64())]
)
PROMPT_SCHEMA = pa.schema([("prompt", pa.string()), ("target", pa.string())])
SHARD_SCHEMA = pa.schema(
    [*TRAIN_SCHEMA, ("tokens", pa.int64()), ("is_finished", pa.bool_()), ("is_accepted", pa.bool_())]
)
"""All samples of a shard, those that no filter will let through too."""

SHARD_FACTS = ("engine", "machine_class", "batch")
"""What a shard's bytes depend on beside the settings: kept in its metadata."""

Part = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeData:
    """What a run found or did.

    Attributes:
        folder: of the data set.
        shards: how many it has.
        made: how many of them this run made.
        missing: how many are still to be made, by other parts or another run.
        counts: of the manifest; empty while shards are missing.
    """

    folder: Path
    shards: int
    made: int
    missing: int
    counts: Mapping[str, Any]

    def render(self, console: Console) -> None:
        """Print for people."""
        lines = [f"{self.folder}: {self.shards} shards, {self.made} made now, {self.missing} still to be made"]
        if self.counts:
            lines.append(
                f"{self.counts['samples']:,} samples, {self.counts['finished']:,} finished, "
                f"{self.counts['accepted']:,} accepted, {self.counts['responses']:,} different responses to "
                f"{self.counts['prompts_with_response']:,} of {self.counts['train_prompts']:,} prompts; "
                f"{self.counts['validation_prompts']:,} prompts set aside"
            )
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return asdict(self) | {"folder": str(self.folder), "counts": dict(self.counts)}


def make_data(config_path: Path, *, part: Part = (1, 1), prepare_only: bool = False, console: Console) -> MadeData:
    """Makes what a data set lacks.

    Args:
        config_path: the configuration.
        part: (i, n) makes shards i, i + n, i + 2n and so on alone.
        prepare_only: fetch the teacher and the prompts, and sample nothing: for where there is a network and no GPU.
        console: where progress is shown.

    Raises:
        GridError: every mistake of the configuration.
        UserError: the prompts or the teacher cannot be had, or the folder holds a data set of other settings.
    """
    config = read_config(config_path)
    if not 1 <= part[0] <= part[1]:
        raise UserError(f"part {part[0]}/{part[1]}: the first number is one of 1 to {part[1]}")
    teacher = _teacher(config)
    prompts = _prepare(config, teacher)
    shards = [prompts[start : start + config.shard_prompts] for start in range(0, len(prompts), config.shard_prompts)]
    numbers = [number for number in range(len(shards)) if number % part[1] == part[0] - 1]
    todo = [] if prepare_only else [number for number in numbers if number not in shards_there(config.out)]
    for number in _sampled(config, teacher, shards, todo):
        console.print(f"shard {number + 1} of {len(shards)} is done", markup=False, highlight=False)
    missing = len(shards) - len(shards_there(config.out))
    counts = {} if missing else _finish(config, teacher, len(shards))
    return MadeData(folder=config.out, shards=len(shards), made=len(todo), missing=missing, counts=counts)


def _teacher(config: DataConfig) -> StagedModel:
    from pipeline.models.stage import stage

    return stage(parse_model(config.teacher, config.path.resolve().parent))


def _prepare(config: DataConfig, teacher: StagedModel) -> list[Prompt]:
    """The prompts to sample for, as the first run has found and kept them.

    Raises:
        UserError: the folder holds a data set of other settings.
    """
    wanted = _settings(config, teacher)
    place = config.out / SETTINGS
    # The prompts come first: what has settings can be sampled for without the file or the network.
    if not place.is_file():
        prepared = prepare_prompts(config)
        _write(config.out / PROMPTS, [prompt._asdict() for prompt in prepared.train], PROMPT_SCHEMA)
        _write(config.out / VALIDATION, [prompt._asdict() for prompt in prepared.validation], PROMPT_SCHEMA)
        known = {"teacher": config.teacher, "hub_commits": used_commits(), "counts": prepared.counts}
        write_atomically(place, json.dumps({"settings": wanted, **known}, indent=1).encode(), replace=False)
    found = json.loads(place.read_text())["settings"]
    different = [
        f"{name}: {found.get(name)} there, {wanted.get(name)} here"
        for name in sorted(wanted.keys() | found.keys())
        if found.get(name) != wanted.get(name)
    ]
    if different:
        raise UserError(
            f"{config.out} holds a data set of other settings ({'; '.join(different)}); give another name or out, or "
            "delete the folder"
        )
    return [Prompt(**row) for row in pq.read_table(config.out / PROMPTS).to_pylist()]


def _settings(config: DataConfig, teacher: StagedModel) -> dict[str, Any]:
    """All that the data depends on, but for the machine and how many prompts it takes side by side."""
    settings = asdict(config)
    for name in ("path", "out", "batch", "teacher"):
        del settings[name]
    source = Path(config.prompts).name if Path(config.prompts).is_file() else config.prompts
    named = {"prompts": source, "test_tasks": list(config.test_tasks), "teacher_identity": teacher.identity}
    return {"format": FORMAT, **settings, **named}


def _sampled(
    config: DataConfig, staged: StagedModel, shards: Sequence[Sequence[Prompt]], numbers: Sequence[int]
) -> Iterator[int]:
    """Makes and commits these shards, one after the other."""
    if not numbers:
        return
    verifier, teacher = VERIFIERS[config.verifier], load_teacher(staged.folder, config)
    metadata = {"engine": teacher.engine, "machine_class": machine_class(), "batch": str(config.batch)}
    for number in numbers:
        prompts = shards[number]
        answers = teacher.answers([prompt.prompt for prompt in prompts], number)
        rows = [
            {**prompt._asdict(), "response": answer.text, "sample": sample}
            | {"tokens": answer.tokens, "is_finished": answer.is_finished}
            | {"is_accepted": _is_whole(answer) and verifier.accepts(prompt, answer.text)}
            for prompt, of_prompt in zip(prompts, answers, strict=True)
            for sample, answer in enumerate(of_prompt)
        ]
        _write(shard_path(config.out, number), rows, SHARD_SCHEMA, metadata, replace=False)
        yield number


def _is_whole(answer: Answer) -> bool:
    """Whether a program could learn from it at all: it has an end, and nothing in it that ends an example."""
    return answer.is_finished and bool(answer.text) and not any(marker in answer.text for marker in CHAT_MARKERS)


def _finish(config: DataConfig, teacher: StagedModel, num_shards: int) -> Mapping[str, Any]:
    """Writes the accepted samples and the manifest from all shards; every part of the work would write the same."""
    accepted: list[dict[str, Any]] = []  # the others, most of the text, are counted and let go
    made_by: Counter[tuple[str, ...]] = Counter()
    sampled: Counter[str] = Counter()
    for number in range(num_shards):
        table = pq.read_table(shard_path(config.out, number))
        made_by[tuple(table.schema.metadata[name.encode()].decode() for name in SHARD_FACTS)] += 1
        rows = table.to_pylist()
        sampled.update(samples=len(rows), tokens=sum(row["tokens"] for row in rows))
        sampled.update(finished=sum(row["is_finished"] for row in rows))
        accepted += [row for row in rows if row["is_accepted"]]
    different = {(row["prompt"], normalised(row["response"])): row for row in reversed(accepted)}
    kept = [row for row in accepted if different[row["prompt"], normalised(row["response"])] is row]
    _write(config.out / TRAIN, [{name: row[name] for name in TRAIN_SCHEMA.names} for row in kept], TRAIN_SCHEMA)
    prepared = json.loads((config.out / SETTINGS).read_text())
    counts: dict[str, Any] = prepared["counts"] | {
        "samples": sampled["samples"],
        "finished": sampled["finished"],
        "accepted": len(accepted),
        "responses": len(kept),
        "prompts_with_response": len({row["prompt"] for row in kept}),
        "sampled_tokens": sampled["tokens"],
    }
    manifest = {
        **prepared,
        "teacher_parameters": teacher.parameters,
        "counts": counts,
        "shards": [
            dict(zip(SHARD_FACTS, facts, strict=True)) | {"shards": number} for facts, number in sorted(made_by.items())
        ],
    }
    write_atomically(config.out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode(), replace=True)
    return counts


def _write(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    columns: pa.Schema,
    metadata: Mapping[str, str] | None = None,
    *,
    replace: bool = True,
) -> None:
    """Writes a table. Parts that work at the same time write the same prompts; of a shard the first one stays."""
    table = pa.Table.from_pylist(list(rows), schema=columns).replace_schema_metadata(dict(metadata or {}) or None)

    def write(handle: BinaryIO) -> None:
        pq.write_table(table, handle, compression="zstd")

    write_atomically(path, write, replace=replace)
