"""One process of a team that adapts a model outside of the pipeline; writes what was learned. Started by tests."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

PRELOADED = ["torch", "peft", "accelerate", "deepspeed", "transformers.models.llama.modeling_llama", "pipeline.adapt"]
"""What takes seconds to import: once for all processes of the tests, each of which is forked from one that has it."""


def start(place: Mapping[str, str], log: Path, arguments: Sequence[str]) -> ForkServerProcess:
    """Starts one process of a team.

    Args:
        place: its variables.
        log: where it prints to.
        arguments: those of `adapt_once`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_become, args=(dict(place), log, arguments))
    process.start()
    return process


def _become(place: dict[str, str], log: Path, arguments: Sequence[str]) -> None:
    import torch

    os.environ.update(place)
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    torch.set_num_threads(1)
    adapt_once(*arguments)


def adapt_once(
    model_folder: str, family_name: str, resources: str, parameters: str, out: str, stop_after: str = ""
) -> None:
    """Adapts, and lets the first process write updates and facts into the folder `out`."""
    import numpy as np

    from pipeline import catalog
    from pipeline.adapt.processes import agree, join, rank
    from pipeline.adapt.train import Training, adapt
    from pipeline.checkpoints import Checkpoints
    from pipeline.decoder_parts.base import load
    from pipeline.families.common import head_ids, worked_examples
    from pipeline.protocols import EncodeContext
    from pipeline.resources import Resources

    join()
    loaded = load(model_folder)
    tokenizer = loaded[1]
    family: Any = catalog.family(family_name)
    settings = family.parameters(**json.loads(parameters))
    task = catalog.task("chain-sum")
    training = Training(
        head=head_ids(task, tokenizer),
        examples=worked_examples(task, tokenizer, 1, settings.examples),
        lr=settings.lr,
        epochs=settings.epochs,
        batch=settings.batch,
        bf16=settings.precision == "bf16",
        seed=1,
    )
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return bool(stop_after) and len(asked) >= int(stop_after)

    def say(line: str) -> None:
        print(line, flush=True)

    wanted = Resources(**json.loads(resources))
    checkpoints = Checkpoints(
        Path(out) / "checkpoints",
        facts={"processes": wanted.processes, "strategy": wanted.strategy},
        code=None,
        period_seconds=60 * wanted.checkpoint_minutes,
        is_asked_to_stop=stop,
        report=say,
        agree=agree,
        rank=rank(),
    )
    context = EncodeContext(
        task=task,
        model_folder=Path(model_folder),
        load=lambda: loaded,
        tokenizer=lambda: tokenizer,
        report=say,
        resources=wanted,
        micro_batch=wanted.micro_batch,
        checkpoints=checkpoints,
    )
    with family.prepare(context, settings, 1) as start:
        before = [weight.detach().numpy().copy() for weight in start.weights]
        adapted = adapt(start.model, start.weights, training, context)
    if adapted is not None:
        assert rank() == 0
        updates = [after - first for after, first in zip(adapted.weights, before, strict=True)]
        np.savez(Path(out) / "updates.npz", *updates)
        (Path(out) / "facts.json").write_text(json.dumps(adapted.facts))
