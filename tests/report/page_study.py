"""Studies whose page holds everything that a page can show."""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import catalog, schema
from pipeline.files import write_atomically
from pipeline.reduce import reduce_studies
from pipeline.reduce.curves import FRONTIER
from pipeline.reduce.points import POINTS
from pipeline.store import Study
from pipeline.verdicts import keep_verdicts

Row = dict[str, Any]

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
ITEMS = 20
MODELS = ("smollm3-step40k", "smollm3-stage1", "smollm3")
TASK = """
name: capitals
licence: CC0-1.0
template: "Country: {country}\\nCapital:"
target: capital
train: train.jsonl
validation: validation.jsonl
test: test.jsonl
metrics: accuracy
scorer: exact
max_new_tokens: 8
instruction: Name the capital of the country.
"""
HOSTILE = "</script><img src=x onerror='window.harmed=1'><b>bold</b>"
"""An output that would take over a page which takes text for markup."""

# Family, view, bytes, right of 20 items for the three models, seed.
PROGRAMS = (
    ("trivial", "floor", 200, (1, 1, 1), None),
    ("baseline", "inference", 400, (2, 4, 8), None),
    ("icl", "inference", 1_000, (3, 6, 11), 1),
    ("icl", "inference", 1_010, (3, 7, 10), 2),
    ("lora", "parametric", 40_000, (5, 9, 9), 1),
    ("lora", "parametric", 40_100, (4, 10, 13), 2),
)


def page_study(folder: Path) -> Study:
    """Eighteen programs of three checkpoints, one cell that failed and one that is missing; reduced."""
    study = Study(folder)
    task = write_task(folder.parent)
    rows = [
        shard_row(study, task, f"{model} {family} {seed}", model, family, view, size, right[place], seed)
        for place, model in enumerate(MODELS)
        for family, view, size, right, seed in PROGRAMS
    ]
    for row in rows:
        assert study.commit_shard(row)
    undone = [{**rows[0], "cell_id": hashlib.sha256(name.encode()).hexdigest()} for name in ("failed", "missing")]
    write_plan(study, task, [*rows, *undone])
    attempt = {
        "cell_id": undone[0]["cell_id"],
        "attempt": 1,
        "cause": "out-of-memory",
        "message": "too large",
        "restarts": 0,
    }
    keep_verdicts(study, {row["cell_id"]: {row["program_sha256"]: []} for row in rows if row["family"] == "baseline"})
    study.record_attempts([{**dict.fromkeys(schema.ATTEMPT.names), **attempt, "finished_utc": NOW}])
    reduce_studies([study.folder])
    return study


def write_task(folder: Path) -> Path:
    """A task of twenty capitals in each split."""
    for split in ("train", "validation", "test"):
        items = [{"country": f"Land {place} of {split}", "capital": f"City {place}"} for place in range(ITEMS)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    path = folder / "capitals.yaml"
    path.write_text(TASK)
    return path


def shard_row(
    study: Study,
    task_path: Path,
    name: str,
    model: str,
    family: str,
    view: str,
    size: int,
    right: int,
    seed: int | None,
) -> Row:
    """The row of a program whose file lies in the study."""
    task = catalog.task(str(task_path))
    source = f"import sys\nfor line in sys.stdin:print({name!r},line)"
    row: Row = dict.fromkeys(schema.SHARD.names)
    row |= {
        "schema_version": schema.SCHEMA_VERSION,
        "cell_id": hashlib.sha256(name.encode()).hexdigest(),
        "task": task.name,
        "task_version": task.version,
        "model": model,
        "model_identity": hashlib.sha256(model.encode()).hexdigest(),
        "family": family,
        "family_version": 1,
        "view": view,
        "parameters": json.dumps({"shots": 3}),
        "seed": seed,
        "test_items": ITEMS,
        "validation_items": ITEMS,
        "time_limit_seconds": 60,
        "reference_machine": "1",
        "status": "ok",
        "program_length_bits": 8 * size,
        "decoder_bits": 8 * (size - 130),
        "payload_bits": 80,
        "container_bits": 960,
        "program_sha256": study.commit_program(program_file(source)).stem,
        "settings": "{}",
        "metric": "accuracy",
        "higher_is_better": True,
        "validation": scores(right),
        "test": scores(right),
        "wall_seconds": 30.0,
        "cpu_seconds": 1800.0,
        "train_tokens": 5000,
        "isolation": "kernel",
        "machine_class": "a machine",
        "attempt": 1,
        "restarts": 0,
        "started_utc": NOW,
        "finished_utc": NOW,
    }
    return row


def scores(right: int) -> Row:
    """Scores of 20 items of which the first are right; the first output is hostile."""
    hits = [float(place < right) for place in range(ITEMS)]
    return {
        "performance": 100 * right / ITEMS,
        "num_items": ITEMS,
        "item_scores": [100 * hit for hit in hits],
        "statistics": [[hit, 1.0] for hit in hits],
        "other_metrics": [],
        "predictions": [HOSTILE, *(f"answer {place}" for place in range(1, ITEMS))],
    }


def program_file(source: str) -> bytes:
    """A zip application, as programs are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py"), source, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def write_plan(study: Study, task: Path, rows: Sequence[Row]) -> None:
    """A plan of these cells."""
    usual = {"group_id": "0" * 64, "cost_seconds": 1.0, "task_source": str(task)}
    planned = [{name: row.get(name, usual.get(name)) for name in schema.PLAN.names} for row in rows]
    table = schema.table_of(planned, schema.PLAN)
    write_atomically(study.plan_path, lambda file: pq.write_table(table, file), replace=True)


def large_study(folder: Path, number: int) -> Study:
    """The reduced tables of a study of many programs, without shards: four tasks, five models, five families."""
    study = Study(folder)
    draw = np.random.default_rng(0)
    bits = 8 * np.exp(draw.uniform(np.log(200), np.log(1e8), number)).astype(np.int64)
    score = np.clip(draw.normal(8 * np.log10(bits), 6), 0, 100).round(2)
    families = np.array(["baseline", "icl", "subset", "lora", "full"])
    views = {"baseline": "inference", "icl": "inference", "subset": "data", "lora": "parametric", "full": "parametric"}
    family = families[draw.integers(0, len(families), number)]
    columns: dict[str, Any] = {
        "cell_id": [f"{place:08x}" + "0" * 56 for place in draw.permutation(number)],
        "task": [f"task-{place}" for place in draw.integers(0, 4, number)],
        "model": [f"model-{place}" for place in draw.integers(0, 5, number)],
        "family": family,
        "view": [views[name] for name in family],
        "seed": draw.integers(0, 5, number),
        "parameters": [json.dumps({"lr": 1e-4, "rank": int(rank)}) for rank in draw.integers(1, 64, number)],
        "settings": [json.dumps({"step": step}) for step in draw.random(number).round(6)],
        "status": ["ok"] * number,
        "select": ["validation"] * number,
        "is_floor": [False] * number,
        "metric": ["accuracy"] * number,
        "higher_is_better": [True] * number,
        "program_length_bits": bits,
        "decoder_bits": [640] * number,
        "payload_bits": bits - 1600,
        "container_bits": [960] * number,
        "validation_performance": score,
        "validation_num_items": [1000] * number,
        "test_performance": np.clip(score + draw.normal(0, 2, number), 0, 100).round(2),
        "test_low": score - 3,
        "test_high": score + 3,
        "test_num_items": [1000] * number,
        "cpu_seconds": draw.random(number) * 1000,
        "wall_seconds": draw.random(number) * 1000,
    }
    study.write_table("points", table_of(columns, POINTS, number))
    study.write_table("frontier", table_of(frontier_of(columns), FRONTIER))
    for name in ("complexity",):
        study.write_table(name, pa.table({key: pa.array([], kind) for key, kind in TARGETS.items()}))
    return study


TARGETS = {
    "task": pa.string(),
    "is_imported": pa.bool_(),
    "target_performance": pa.float64(),
    "target_fraction": pa.float64(),
}


def frontier_of(columns: Row) -> dict[str, list[Any]]:
    """The frontier of each task and model, over all programs."""
    names = [name for name in FRONTIER.names if name in columns]
    members: dict[str, list[Any]] = {name: [] for name in (*names, "scope", "is_imported", "performance")}
    best: dict[tuple[str, str], float] = {}
    for place in np.argsort(columns["program_length_bits"], kind="stable"):
        key = columns["task"][place], columns["model"][place]
        score = columns["validation_performance"][place]
        if score > best.get(key, -1.0):
            best[key] = score
            for name in names:
                members[name].append(columns[name][place])
            members["scope"].append("all")
            members["is_imported"].append(False)
            members["performance"].append(score)
    return members


def table_of(columns: dict[str, Any], columns_of: pa.Schema, number: int | None = None) -> pa.Table:
    """A table of this schema; columns that are not given are null."""
    rows = len(columns["task"]) if number is None else number
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(rows, field.type)
        for field in columns_of
    ]
    return pa.Table.from_arrays(arrays, schema=columns_of)
