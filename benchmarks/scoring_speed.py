"""Scored items a second: an executed program against plain generation that is padded to the full length.

    python benchmarks/scoring_speed.py [--json] [--task en-fr-software] [--items 64]

The program is family `baseline`, run as a cell's is: a process of its own, forked from one that has imported torch,
lines sorted by length, rows that leave the batch as soon as they meet the stop text; the load of the model is counted.
Plain generation is `transformers`' `generate` in the same batch size in the order of the split, every row to the full
length, scored by the same scorer; its model is loaded before the clock starts, so the ratio grows with the items. The
full length is measured twice: the task's own limit, and the limit that the paper generates to (128 tokens for
translation, 500 for mathematics). Both use one thread. They take turns, and the ratio is the median over the turns.
Time is that of the processor: whatever else runs on the machine does not count.

`tokens` is how many times more tokens the model reads and writes in plain generation, padding included: where the time
is that of products of matrices, as on one thread of a processor, no way to score the same answers has a higher ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAPER_LIMITS = {"en-fr-software": 128, "gsm8k": 500}
PLAIN = """
import json, sys, time
import torch
from pipeline import catalog
from pipeline.decoder_parts.base import load

folder, name, num_items, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
task = catalog.task(name)
model, tokenizer = load(folder)
tokenizer.padding_side = "left"
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
items = task.split("test")[:num_items]
started = time.process_time()
for start in range(0, len(items), 128):
    batch = items[start : start + 128]
    prompts = tokenizer([task.template.format(**item.input) for item in batch], padding=True, return_tensors="pt")
    length = prompts.input_ids.shape[1]
    rows = model.generate(**prompts, do_sample=False, min_new_tokens=limit, max_new_tokens=limit)
    for row, item in zip(rows, batch):
        task.score(tokenizer.decode(row[length:], skip_special_tokens=True).split(task.stop)[0], item)
print(json.dumps(time.process_time() - started))
"""


def measure(task_name: str, num_items: int, turns: int) -> dict[str, Any]:
    """Items a second of both, on the same items, and the ratios of all turns."""
    from pipeline import catalog
    from pipeline.coding.template import Template
    from pipeline.decoder_parts.base import load
    from pipeline.families.common import answer_constants
    from pipeline.models import parse_model
    from pipeline.models.spec import cache_folder
    from pipeline.models.stage import stage
    from pipeline.packing import pack
    from pipeline.runner import Runner

    task = catalog.task(task_name)
    folder = stage(parse_model("smollm2-135m", Path())).folder
    _, tokenizer = load(str(folder))
    constants = {**answer_constants(task, tokenizer), "PREFIX": Template.of(task).head}
    program = pack("pipeline.decoders.prompt", constants).content
    items = task.split("test")[:num_items]
    inputs = [dict(item.input) for item in items]
    limits = {"own": task.max_new_tokens, "paper": PAPER_LIMITS.get(task_name)}
    program_seconds: list[float] = []
    plain_seconds: dict[str, list[float]] = {name: [] for name, limit in limits.items() if limit is not None}
    with Runner(cache_folder(), warm=True) as runner:
        for _ in range(turns):
            execution = runner.execute(program, folder, inputs, time_limit_seconds=3600)
            program_seconds.append(execution.cpu_seconds + scoring_seconds(task, execution.outputs, items))
            for name, values in plain_seconds.items():
                values.append(plain(folder, task_name, num_items, limits[name]))
    measured: dict[str, Any] = {
        "task": task_name,
        "items": len(items),
        "program_items_per_second": len(items) / statistics.median(program_seconds),
    }
    head = len(tokenizer(Template.of(task).head).input_ids)
    prompts = [len(tokenizer(task.template.format(**item.input)).input_ids) for item in items]
    answers = [len(tokenizer(output).input_ids) + 1 for output in execution.outputs]
    batches = [prompts[start : start + 128] for start in range(0, len(prompts), 128)]
    needed = sum(prompts) - head * len(prompts) + sum(answers)
    for name, values in plain_seconds.items():
        padded = sum(len(batch) * (max(batch) + int(limits[name] or 0)) for batch in batches)
        measured[f"tokens_{name}_limit"] = padded / needed
        ratios = [theirs / ours for ours, theirs in zip(program_seconds, values, strict=True)]
        measured[f"plain_{name}_limit_items_per_second"] = len(items) / statistics.median(values)
        measured[f"ratio_{name}_limit"] = statistics.median(ratios)
        measured[f"ratio_{name}_limit_least"] = min(ratios)
        measured[f"ratio_{name}_limit_most"] = max(ratios)
    return measured


def scoring_seconds(task: Any, outputs: Sequence[str], items: Sequence[Any]) -> float:
    """Processor seconds of the scorer."""
    started = time.process_time()
    for output, item in zip(outputs, items, strict=True):
        task.score(output, item)
    return time.process_time() - started


def plain(folder: Path, task_name: str, num_items: int, limit: int) -> float:
    """Processor seconds of plain generation of `limit` tokens an item."""
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(folder), task_name, str(num_items), str(limit)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds: float = json.loads(done.stdout)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--task", default="en-fr-software", help="task of the catalogue")
    parser.add_argument("--items", type=int, default=64, help="test items")
    parser.add_argument("--turns", type=int, default=3, help="how often each of the two is measured")
    options = parser.parse_args()
    measured = measure(options.task, options.items, options.turns)
    if options.json:
        print(json.dumps(measured))
        return
    for name, value in measured.items():
        print(f"{name:>34}  {value:.2f}" if isinstance(value, float) else f"{name:>34}  {value}")


if __name__ == "__main__":
    main()
