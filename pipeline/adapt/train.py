"""The training loop of the encoders: the same steps in one process and in many, and from a checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from pipeline.adapt.attention import attention_by_text, tells_texts_apart
from pipeline.adapt.engines import Floats, Replicated, has_fast_bf16, make_engine
from pipeline.adapt.loss import IGNORED, nll_nats
from pipeline.adapt.positions import check_lengths
from pipeline.adapt.processes import agree, rank, world_size
from pipeline.coding.template import Worked
from pipeline.errors import InfeasibleError
from pipeline.protocols import EncodeContext

LINE_TOKENS = 512
"""Tokens of a line of several texts where attention computes all of the line (see `attention`)."""
PROBE_TOKENS = 16
"""Tokens of a text by which it is seen whether the model tells texts of a line apart."""
TELL_SECONDS = 30.0
"""Time between two lines of progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What is learned from.

    Attributes:
        head: token ids before each example.
        examples: token ids of each example.
        lr: learning rate of the first step of AdamW; it falls linearly to 0.
        weight_decay: of AdamW.
        epochs: passes over the examples.
        batch: examples of one step, of all processes together.
        bf16: whether products are taken in bfloat16, where the first process has fast ones; sums stay in fp32.
        seed: seed of the order of the examples and of dropout.
    """

    head: Sequence[int]
    examples: Sequence[Worked]
    lr: float
    weight_decay: float = 0.01
    epochs: int
    batch: int
    bf16: bool
    seed: int

    @property
    def tokens_per_epoch(self) -> int:
        """Tokens of all examples, heads left out."""
        return _num_tokens(self.examples)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass; the last batch of a pass may be smaller."""
        return -(-len(self.examples) // self.batch)

    def batch_of(self, step: int) -> list[Worked]:
        """Examples of a step. They follow from seed and step alone, so a checkpoint needs no more than the step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = torch.randperm(len(self.examples), generator=_generator(self.seed, epoch)).tolist()
        return [self.examples[index] for index in order[place * self.batch : (place + 1) * self.batch]]


class Adapted(NamedTuple):
    """What training gave.

    Attributes:
        weights: the trained weights, fp32, in the order in which they were given.
        seconds: time it took, tries before the last checkpoint included.
        facts: for the shard: processes, strategy, micro-batch, precision, bytes of the optimiser's state in the first
            process.
    """

    weights: list[Floats]
    seconds: float
    facts: dict[str, Any]


def adapt(
    model: Any,
    weights: Sequence[Any],
    training: Training,
    context: EncodeContext,
    *,
    rates: Sequence[float] | None = None,
    penalty: Callable[[], torch.Tensor] | None = None,
) -> Adapted | None:
    """Trains weights of a model on worked examples, from the last checkpoint where there is one.

    In a team, after `processes.join`.

    The loss of a step is the mean over the tokens of its answers: head, question and padding do not count. How the
    examples of a step are shared out over processes and micro-batches changes nothing but the order of sums.

    Args:
        model: model that holds the weights.
        weights: what is trained; everything else stays as it is.
        training: what is learned from.
        context: resources, checkpoints, and who is told.
        rates: learning rate of each weight in the place of `training.lr`; they fall like it.
        penalty: added to the loss of every step.

    Returns:
        What was learned; None in every process but the first one of a team.

    Raises:
        InfeasibleError: the model has no positions for an example, or what was learned is not finite.
    """
    check_lengths(model, training.head, (example.tokens for example in training.examples))
    resources = context.resources
    share = training.batch // world_size()
    micro_batch = min(context.micro_batch or share, share)
    accumulation = -(-share // micro_batch)
    bf16 = training.bf16 and agree(has_fast_bf16())
    if training.bf16 and not bf16:
        context.report("this processor has no fast products in bfloat16: training in fp32, which takes less time")
    if resources.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # embeddings get gradients with it
    with attention_by_text(model):
        first = [*training.head, *training.examples[0].tokens]
        is_packed = agree(tells_texts_apart(model, first[:PROBE_TOKENS]))
        engine = make_engine(
            model,
            weights,
            rates or [training.lr] * len(weights),
            weight_decay=training.weight_decay,
            accumulation=accumulation,
            bf16=bf16,
            micro_batch=micro_batch,
            strategy=resources.strategy,
        )
        engine.is_packed = is_packed
        try:
            seconds = _train(engine, model, training, micro_batch * accumulation, micro_batch, context, penalty)
            learned = engine.trained()
            facts = {
                "processes": world_size(),
                "strategy": resources.strategy,
                "micro_batch": micro_batch,
                "precision": "bf16" if bf16 else "fp32",
                "optimizer_state_bytes": engine.optimizer_state_bytes,
            }
        finally:
            engine.close()
            if resources.gradient_checkpointing:
                model.gradient_checkpointing_disable()
                model.disable_input_require_grads()
    context.report(f"adapted; the optimiser keeps {facts['optimizer_state_bytes']:,} bytes in process {rank()}")
    if rank():
        return None
    if not all(np.isfinite(weight).all() for weight in learned):
        raise InfeasibleError(
            f"training at the learning rate {max(rates or [training.lr]):g} left no finite weights; take a smaller one"
        )
    return Adapted(learned, seconds, facts)


def _train(
    engine: Replicated,
    model: Any,
    training: Training,
    share: int,
    micro_batch: int,
    context: EncodeContext,
    penalty: Callable[[], torch.Tensor] | None,
) -> float:
    """All steps that are left; returns the seconds that all steps took."""
    total = training.epochs * training.steps_per_epoch
    cursor = context.checkpoints.restore(engine.load) or {"steps": 0, "seconds": 0.0}
    started = time.monotonic() - cursor["seconds"]
    model.train()
    try:
        progress = _Progress(training, cursor["steps"], context.report)
        for step in range(cursor["steps"], total):
            # Dropout, too, follows from the step.
            torch.manual_seed(int(torch.randint(2**62, (), generator=_generator(training.seed, step, rank()))))
            losses = _losses(engine, training, training.batch_of(step), share, micro_batch, penalty)
            loss = engine.step(1 - step / total, losses)
            done = step + 1
            progress.tell(done, loss)
            context.checkpoints.save_if_due(
                engine.save,
                lambda done=done: {"steps": done, "seconds": time.monotonic() - started},  # type: ignore[misc]
            )
    finally:
        # Whoever uses the model next, after a failure too, uses it without dropout.
        model.eval()
    agree(None)
    seconds: float = time.monotonic() - started
    return seconds


class _Progress:
    """Says now and then how far the training is, and how long it will take."""

    def __init__(self, training: Training, first_step: int, report: Callable[[str], None]) -> None:
        self._training, self._first_step, self._report = training, first_step, report
        self._started = self._last_time = time.monotonic()

    def tell(self, steps: int, loss: float) -> None:
        """After so many steps."""
        per_epoch, epochs = self._training.steps_per_epoch, self._training.epochs
        now = time.monotonic()
        if steps % per_epoch and now - self._last_time < TELL_SECONDS:
            return
        self._last_time = now
        seconds_a_step = (now - self._started) / (steps - self._first_step)
        minutes_left = seconds_a_step * (per_epoch * epochs - steps) / 60
        examples = self._training.batch / seconds_a_step
        self._report(
            f"adapted {steps / per_epoch:.4g} of {epochs} epochs, loss {loss:.2f}, {examples:,.3g} examples/s, "
            f"{minutes_left:,.2g} min left"
        )


def _losses(
    engine: Replicated,
    training: Training,
    batch: Sequence[Worked],
    share: int,
    micro_batch: int,
    penalty: Callable[[], torch.Tensor] | None,
) -> Iterator[torch.Tensor]:
    """Loss of each micro-batch of this process, so that the mean over the processes of their sums is the batch's."""
    num_tokens = sum(len(example.answer) for example in batch)
    mine = batch[rank() * share : (rank() + 1) * share]
    for start in range(0, share, micro_batch):
        examples = mine[start : start + micro_batch]
        # Every process takes every step, also where the last batch leaves it nothing: an example of no weight.
        weight = world_size() / num_tokens if examples else 0.0
        loss = weight * _nll_nats(engine, training.head, examples or batch[:1])
        yield loss + penalty() * micro_batch / share if penalty else loss


def _nll_nats(engine: Replicated, head: Sequence[int], examples: Sequence[Worked]) -> torch.Tensor:
    """Negative log-likelihood of the answers behind head and question, summed over their tokens.

    Several texts share a row of the batch, one behind the other, so that there is next to no padding; their positions
    begin anew, by which most models of transformers tell them apart. For the others each text has a row.
    """
    texts = [Worked([*head, *example.question], example.answer) for example in examples]
    line_tokens = math.inf if engine.attends_by_text else LINE_TOKENS
    lines = _lines(texts, line_tokens) if engine.is_packed else [[text] for text in texts]
    longest = max(map(_num_tokens, lines))
    ids, positions, labels = [], [], []
    for line in lines:
        padding = longest - _num_tokens(line)
        ids.append([token for text in line for token in text.tokens] + [0] * padding)
        positions.append([place for text in line for place in range(len(text.tokens))] + [*range(padding)])
        wanted = [label for text in line for label in (*[IGNORED] * len(text.question), *text.answer)]
        labels.append(wanted[1:] + [IGNORED] * (padding + 1))  # each place predicts the token after it
    tensors = (torch.tensor(values, device=engine.device) for values in (ids, positions, labels))
    ids_of, positions_of, labels_of = tensors
    places = (labels_of != IGNORED).any(dim=0).nonzero()[:, 0]
    logits = engine.logits(ids_of, positions_of, places).float()
    return nll_nats(logits.flatten(0, 1), labels_of[:, places].flatten())


def _lines(texts: Sequence[Worked], line_tokens: float) -> list[list[Worked]]:
    """Texts in lines of about equal length: the longest come first, and each goes to the line that is shortest yet.

    Args:
        texts: token ids of each text, its head with its question.
        line_tokens: of a line, about, unless one text is longer. Where attention takes time with the square of the
            line, it must not be long.
    """
    texts = sorted(texts, key=lambda text: len(text.tokens), reverse=True)
    number = max(1, math.ceil(_num_tokens(texts) / max(len(texts[0].tokens), line_tokens)))
    lines: list[list[Worked]] = [[] for _ in range(number)]
    for text in texts:
        min(lines, key=_num_tokens).append(text)
    return lines


def _num_tokens(texts: Sequence[Worked]) -> int:
    return sum(len(text.tokens) for text in texts)


def _generator(*numbers: int) -> torch.Generator:
    """Random numbers that follow from some whole numbers; different ones for each of them."""
    seed = 0
    for number in numbers:
        # Mixed by the multiplier of Knuth's MMIX generator: neighbours must not give the same streams.
        seed = ((seed ^ number) * 6364136223846793005 + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(seed)
