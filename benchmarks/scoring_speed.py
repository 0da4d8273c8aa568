"""Scored items a second: executed programs against plain generation that is padded to the full length.

    python benchmarks/scoring_speed.py [--json] [--task en-fr-software] [--items 64] [--shots 1] [--turns 3]

Two programs, for there are two ways to answer: behind a text that is `written` in the source (family `baseline`) by the
model's own `generate`, which ends when the last row of a batch meets the stop text; and behind a text that is `coded`
(family `icl`) by the lock-step loop that also decodes it: the demonstrations are read once for 64 rows, and a row that
has ended costs nothing more. The second loop costs 370 bytes, so the first programs do not have it. Both are run as a
cell's are: a process of its own, forked from one that has imported torch, lines sorted by length; the load of the
model is counted, and the decoding of the demonstrations too.
Plain generation is `transformers`' `generate` behind the same text in the same batch size in the order of the split,
every row to the full length, scored by the same scorer; its model is loaded before the clock starts. So the ratio
grows with the items, and that of `coded` with the demonstrations. The full length is measured twice: the task's own
limit, and the limit that the paper generates to (128 tokens for translation, 500 for mathematics). All use one
thread. They take turns, and the ratio is the median over the turns. Time is that of the processor: whatever else runs
on the machine does not count.

`tokens` is how many times more tokens the model reads and writes in plain generation than the program's answers have,
padding included: where the time is that of products of matrices, as on one thread of a processor, no way to score the
same answers has a higher ratio.
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

folder, name, num_items, limit, prefix = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
task = catalog.task(name)
model, tokenizer = load(folder)
tokenizer.padding_side = "left"
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
items = task.split("test")[:num_items]
started = time.process_time()
for start in range(0, len(items), 128):
    batch = items[start : start + 128]
    texts = [prefix + task.template.format(**item.input) for item in batch]
    prompts = tokenizer(texts, padding=True, return_tensors="pt")
    length = prompts.input_ids.shape[1]
    rows = model.generate(**prompts, do_sample=False, min_new_tokens=limit, max_new_tokens=limit)
    for row, item in zip(rows, batch):
        task.score(tokenizer.decode(row[length:], skip_special_tokens=True).split(task.stop)[0], item)
print(json.dumps(time.process_time() - started))
"""


def measure(task_name: str, num_items: int, turns: int, shots: int) -> dict[str, Any]:
    """Items a second of both, on the same items, and the ratios of all turns."""
    from pipeline import catalog
    from pipeline.coding.template import Template
    from pipeline.decoder_parts.base import load
    from pipeline.models import parse_model
    from pipeline.models.spec import cache_folder
    from pipeline.models.stage import stage
    from pipeline.runner import Runner

    task = catalog.task(task_name)
    folder = stage(parse_model("smollm2-135m", Path())).folder
    model, tokenizer = load(str(folder))
    examples = task.split("train")[:shots]
    programs = {"written": written(task), "coded": coded(task, model, tokenizer, examples)}
    prefixes = {"written": "", "coded": "".join(worked(task, example) for example in examples)}
    items = task.split("test")[:num_items]
    inputs = [dict(item.input) for item in items]
    limits = {"own": task.max_new_tokens} | ({"paper": PAPER_LIMITS[task_name]} if task_name in PAPER_LIMITS else {})
    against = [(name, limit) for name in programs for limit in limits]
    seconds: dict[Any, list[float]] = {name: [] for name in [*programs, *against]}
    answers: dict[str, list[int]] = {}
    with Runner(cache_folder(), warm=True) as runner:
        for _ in range(turns):
            for name, program in programs.items():
                execution = runner.execute(program, folder, inputs, time_limit_seconds=3600)
                seconds[name].append(execution.cpu_seconds + scoring_seconds(task, execution.outputs, items))
                answers[name] = [len(tokenizer(output).input_ids) + 1 for output in execution.outputs]
            for name, limit in against:
                seconds[name, limit].append(plain(folder, task_name, num_items, limits[limit], prefixes[name]))
    measured: dict[str, Any] = {"task": task_name, "items": len(items), "shots": shots}
    for name, values in seconds.items():
        label = name if isinstance(name, str) else "plain_{}_{}_limit".format(*name)
        measured[f"{label}_items_per_second"] = len(items) / statistics.median(values)
    for name in programs:
        texts = [prefixes[name] + task.template.format(**item.input) for item in items]
        head = len(tokenizer(prefixes[name] + Template.of(task).head).input_ids)
        prompts = [len(tokenizer(text).input_ids) for text in texts]
        batches = [prompts[start : start + 128] for start in range(0, len(prompts), 128)]
        needed = head + sum(prompts) - head * len(prompts) + sum(answers[name])
        for limit_name, limit in limits.items():
            ratios = [theirs / ours for ours, theirs in zip(seconds[name], seconds[name, limit_name], strict=True)]
            measured[f"ratio_{name}_{limit_name}_limit"] = statistics.median(ratios)
            measured[f"ratio_{name}_{limit_name}_limit_least"] = min(ratios)
            measured[f"ratio_{name}_{limit_name}_limit_most"] = max(ratios)
            padded = sum(len(batch) * (max(batch) + limit) for batch in batches)
            measured[f"tokens_{name}_{limit_name}_limit"] = padded / needed
    return measured


def written(task: Any) -> bytes:
    """Program that answers behind the bare head of the template."""
    from pipeline.coding.template import Template
    from pipeline.families.common import prompt_constants
    from pipeline.packing import pack

    return pack("pipeline.decoders.prompt", prompt_constants(task, Template.of(task).head)).content


def worked(task: Any, example: Any) -> str:
    """A worked example as text."""
    from pipeline.coding.template import Template

    template = Template.of(task)
    return template.head + "".join(template.text(example))


def coded(task: Any, model: Any, tokenizer: Any, examples: Sequence[Any]) -> bytes:
    """Program that decodes demonstrations and answers behind them."""
    from pipeline.coding.examples import code_examples
    from pipeline.coding.template import Template, num_special_tokens, worked
    from pipeline.families.common import answer_constants, head_ids
    from pipeline.packing import pack

    template, head = Template.of(task), head_ids(task, tokenizer)
    between = head[num_special_tokens(tokenizer) :]
    stream = [token for example in examples for token in [*between, *worked(tokenizer, template, example).tokens]]
    stream = stream[len(between) :]  # the program starts from the first head
    payload = code_examples(model, head, [stream]).payload(stream)
    places = {"START": template.head, "HEAD": template.head, "STOPS": template.stops * len(examples)}
    return pack("pipeline.decoders.demonstrations", {**answer_constants(task, tokenizer), **places}, payload).content


def scoring_seconds(task: Any, outputs: Sequence[str], items: Sequence[Any]) -> float:
    """Processor seconds of the scorer."""
    started = time.process_time()
    for output, item in zip(outputs, items, strict=True):
        task.score(output, item)
    return time.process_time() - started


def plain(folder: Path, task_name: str, num_items: int, limit: int, prefix: str) -> float:
    """Processor seconds of plain generation of `limit` tokens an item, behind a prefix."""
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(folder), task_name, str(num_items), str(limit), prefix],
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
    parser.add_argument("--shots", type=int, default=1, help="demonstrations of the coded program")
    options = parser.parse_args()
    measured = measure(options.task, options.items, options.turns, options.shots)
    if options.json:
        print(json.dumps(measured))
        return
    for name, value in measured.items():
        print(f"{name:>44}  {value:.2f}" if isinstance(value, float) else f"{name:>44}  {value}")


if __name__ == "__main__":
    main()
