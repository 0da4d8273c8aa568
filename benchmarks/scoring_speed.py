"""Scored items a second: an executed program against plain generation that is padded to the full length.

    python benchmarks/scoring_speed.py [--json] [--task en-fr-software] [--items 64]

The program is family `baseline`, run as a cell's is: a process of its own, lines sorted by length, rows that leave the
batch as soon as they meet the stop text, start of the process and load of the model included. Plain generation is
`transformers`' `generate` in batches of 32 in the order of the split, every row to the task's longest answer, scored by
the same scorer; its model is loaded before the clock starts. Both use one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PLAIN = """
import json, sys, time
import torch
from pipeline import catalog
from pipeline.decoder_parts.base import load

folder, name, num_items = sys.argv[1], sys.argv[2], int(sys.argv[3])
task = catalog.task(name)
model, tokenizer = load(folder)
tokenizer.padding_side = "left"
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
items = task.split("test")[:num_items]
started = time.perf_counter()
for start in range(0, len(items), 32):
    batch = items[start : start + 32]
    prompts = tokenizer([task.template.format(**item.input) for item in batch], padding=True, return_tensors="pt")
    length = prompts.input_ids.shape[1]
    new = {"min_new_tokens": task.max_new_tokens, "max_new_tokens": task.max_new_tokens}
    rows = model.generate(**prompts, do_sample=False, **new)
    for row, item in zip(rows, batch):
        task.score(tokenizer.decode(row[length:], skip_special_tokens=True).split(task.stop)[0], item)
print(json.dumps(time.perf_counter() - started))
"""


def measure(task_name: str, num_items: int) -> dict[str, Any]:
    """Seconds of both, on the same items."""
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
    with Runner(cache_folder(), warm=True) as runner:
        runner.execute(program, folder, inputs[:1], time_limit_seconds=600)  # starts the process that programs fork from
        started = time.perf_counter()
        outputs = runner.execute(program, folder, inputs, time_limit_seconds=3600).outputs
        for output, item in zip(outputs, items, strict=True):
            task.score(output, item)
        program_seconds = time.perf_counter() - started
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(folder), task_name, str(num_items)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    plain_seconds: float = json.loads(done.stdout)
    return {
        "task": task_name,
        "items": len(items),
        "program_items_per_second": len(items) / program_seconds,
        "plain_items_per_second": len(items) / plain_seconds,
        "ratio": plain_seconds / program_seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--task", default="en-fr-software", help="task of the catalogue")
    parser.add_argument("--items", type=int, default=64, help="test items")
    options = parser.parse_args()
    measured = measure(options.task, options.items)
    if options.json:
        print(json.dumps(measured))
        return
    print(
        f"{measured['task']}, {measured['items']} items: {measured['program_items_per_second']:.2f} items/s as a program, "
        f"{measured['plain_items_per_second']:.2f} by plain generation: {measured['ratio']:.1f} times"
    )


if __name__ == "__main__":
    main()
