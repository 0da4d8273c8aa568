"""The training loop of the encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

BATCH_SIZE = 8


def adapt(
    model: Any,
    weights: Sequence[Any],
    head: Sequence[int],
    rows: Sequence[Sequence[int]],
    *,
    lr: float,
    epochs: int,
    seed: int,
    report: Callable[[str], None],
) -> list[float]:
    """Trains `weights` on worked examples with AdamW and a learning rate that falls linearly to 0.

    The loss is the mean over the tokens of the examples; the head and the padding do not count. The order of the
    examples is drawn from `seed`, and a batch holds examples of any length.

    Args:
        model: model that holds the weights.
        weights: what is trained.
        head: token ids before each example.
        rows: token ids of each example [examples][tokens].
        lr: learning rate of the first step.
        epochs: passes over the examples.
        seed: seed of the order.
        report: called with one line an epoch.

    Returns:
        Loss of each step, in nats a token.
    """

    def collate(batch: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        longest = max(map(len, batch))
        return {
            "input_ids": torch.tensor([[*head, *row, *[0] * (longest - len(row))] for row in batch]),
            "labels": torch.tensor([[-100] * len(head) + [*row, *[-100] * (longest - len(row))] for row in batch]),
        }

    accelerator = Accelerator()
    order = torch.Generator().manual_seed(seed)
    loader: Any = DataLoader(list(rows), BATCH_SIZE, shuffle=True, generator=order, collate_fn=collate)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(weights, lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, epochs * len(loader))
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    model.train()
    losses = []
    for epoch in range(epochs):
        for batch in loader:
            loss = model(**batch).loss
            accelerator.backward(loss)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        report(f"adapted {epoch + 1} of {epochs} epochs, loss {losses[-1]:.2f}")
    model.eval()
    return losses
