"""Trained tokens a second: the loop of the encoders against transformers' Trainer with peft.

    python benchmarks/training_speed.py [--json] [--task en-fr-software] [--examples 64] [--turns 5] [--bf16]

Both train the same LoRA of rank 8 with AdamW on the same examples in the same batches, on one thread, in fp32 or bf16,
with the packaged SmolLM2-135M; loading comes before the clock starts. The Trainer is used as it comes: examples of a
batch padded to the longest one by its own collator. Tokens are those of the examples, without padding.
The two take turns, and the ratio is the median over the turns. Time is that of the processor: whatever else runs on the
machine does not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

from pipeline import catalog
from pipeline.adapt.train import Training, adapt
from pipeline.checkpoints import Checkpoints
from pipeline.decoder_parts.adapt import add_adapter
from pipeline.decoder_parts.base import load
from pipeline.families.common import head_ids, worked_examples
from pipeline.models import parse_model
from pipeline.models.stage import stage
from pipeline.protocols import EncodeContext
from pipeline.resources import Resources

BATCH, LR, SEED = 8, 1e-3, 1


def ours(model: Any, weights: list[Any], training: Training, context: EncodeContext) -> float:
    """Processor seconds of the loop of the encoders."""
    started = time.process_time()
    adapt(model, weights, training, context)
    return time.process_time() - started


def theirs(model: Any, tokenizer: Any, training: Training, folder: Path) -> float:
    """Processor seconds of the Trainer on the same batches, which it is given in their order."""
    steps = range(training.epochs * training.steps_per_epoch)
    examples = []
    for example in (example for step in steps for example in training.batch_of(step)):
        given = [*training.head, *example.question]
        examples.append({"input_ids": given + example.answer, "labels": [-100] * len(given) + example.answer})
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=LR,
        use_cpu=not torch.cuda.is_available(),
        bf16=training.bf16,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        train_sampling_strategy="sequential",
    )
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    trainer = Trainer(model, arguments, DataCollatorForSeq2Seq(tokenizer), examples)
    started = time.process_time()
    trainer.train()
    return time.process_time() - started


def measure(task_name: str, num_examples: int, turns: int, *, bf16: bool) -> dict[str, Any]:
    """Seconds and tokens a second of both."""
    torch.set_num_threads(1)
    model, tokenizer = load(str(stage(parse_model("smollm2-135m", Path())).folder))
    task = catalog.task(task_name)
    training = Training(
        head=head_ids(task, tokenizer),
        examples=worked_examples(task, tokenizer, SEED, num_examples),
        lr=LR,
        epochs=1,
        batch=BATCH,
        bf16=bf16,
        seed=SEED,
    )
    tokens = sum(len(training.head) + len(example.tokens) for example in training.examples)
    padded = sum(
        BATCH * max(len(training.head) + len(example.tokens) for example in training.batch_of(step))
        for step in range(training.steps_per_epoch)
    )
    seconds: dict[str, list[float]] = {"ours": [], "trainer": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for turn in range(turns):
            adapted, weights = add_adapter(model, SEED, 8, 8, "all-linear")
            seconds["ours"].append(ours(adapted, weights, training, _context(task, folder / f"checkpoints{turn}")))
            model = adapted.unload()
            adapted, _ = add_adapter(model, SEED, 8, 8, "all-linear")
            seconds["trainer"].append(theirs(adapted, tokenizer, training, folder))
            model = adapted.unload()
    ratios = [theirs / ours for ours, theirs in zip(seconds["ours"], seconds["trainer"], strict=True)]
    return {
        "task": task_name,
        "examples": num_examples,
        "tokens": tokens,
        "padded_tokens": padded,
        "seconds": seconds,
        "tokens_a_second": {name: tokens / statistics.median(values) for name, values in seconds.items()},
        "ratios": ratios,
        "ratio": statistics.median(ratios),
    }


def _context(task: Any, folder: Path) -> EncodeContext:
    return EncodeContext(
        task=task,
        model_folder=folder,
        load=lambda: (None, None),
        tokenizer=lambda: None,
        report=lambda line: None,
        resources=Resources(),
        micro_batch=None,
        checkpoints=Checkpoints(
            folder,
            facts={},
            code=None,
            period_seconds=3600,
            is_asked_to_stop=lambda: False,
            report=lambda line: None,
            agree=lambda value: value,
            rank=0,
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--task", default="en-fr-software", help="whose train split is learned from")
    parser.add_argument("--examples", type=int, default=64, help="examples that are trained on, once")
    parser.add_argument("--bf16", action="store_true", help="products in bfloat16, sums in fp32")
    parser.add_argument("--turns", type=int, default=5, help="how often each of the two is measured")
    options = parser.parse_args()
    measured = measure(options.task, options.examples, options.turns, bf16=options.bf16)
    if options.json:
        print(json.dumps(measured))
        return
    speeds, examples = measured["tokens_a_second"], measured["examples"]
    print(f"{examples} examples of {measured['task']}: {measured['tokens']} tokens, {measured['padded_tokens']} padded")
    print(f"ours {speeds['ours']:.1f} tokens/s, Trainer {speeds['trainer']:.1f} tokens/s")
    ratios = measured["ratios"]
    print(f"ratio {measured['ratio']:.2f} (from {min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} turns)")


if __name__ == "__main__":
    main()
