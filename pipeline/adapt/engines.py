"""How weights and optimiser lie in the processes: a copy in each, or shared out by ZeRO (arXiv 1910.02054)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DeepSpeedPlugin, GradientAccumulationPlugin, InitProcessGroupKwargs
from torch import nn

from pipeline.adapt.attention import attends_by_text
from pipeline.adapt.processes import backend, rank, world_size
from pipeline.adapt.state import save_state
from pipeline.machine import has_amx, machine_class
from pipeline.resources import strategy_file

Floats = npt.NDArray[np.float32]
STATE_FILE = "state.pt"
SHARDED_FOLDER = "deepspeed"
SHARED_MEMORY_OPERATOR = "deepspeed_shm_comm"


class Replicated:
    """Every process holds all of the model and of the optimiser; gradients are averaged (DDP). One process, too."""

    is_packed = True
    """Whether several texts may share a row; see `attention.tells_texts_apart`."""

    def __init__(
        self, model: Any, weights: Sequence[Any], optimizer: torch.optim.Optimizer, *, accumulation: int, bf16: bool
    ) -> None:
        """Move the model to its device and wrap it."""
        self.weights = list(weights)
        self.attends_by_text = attends_by_text(model)
        self._bf16 = bf16
        self._accelerator = _accelerator(accumulation, None)
        self._model, self._optimizer = self._accelerator.prepare(model, optimizer)
        self._in_fp32 = _to_bf16_once(model) if bf16 else []

    @property
    def device(self) -> torch.device:
        """Where batches go."""
        device: torch.device = self._accelerator.device
        return device

    @property
    def optimizer_state_bytes(self) -> int:
        """What the optimiser keeps in this process."""
        return _num_bytes(self._optimizer.state)

    def logits(self, ids: torch.Tensor, positions: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Logits [rows, places, vocabulary] after some tokens of each row.

        Args:
            ids: token ids [rows, tokens].
            positions: of the tokens [rows, tokens].
            places: numbers of the tokens that logits are wanted after [places], the same in all rows.
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            logits: torch.Tensor = self._model(
                ids, position_ids=positions, use_cache=False, logits_to_keep=places
            ).logits
        return logits

    def step(self, share: float, losses: Any) -> float:
        """One step of the optimiser.

        Args:
            share: of the learning rate that each weight began with.
            losses: iterator over the losses of the micro-batches of this process, each made when it is asked for.

        Returns:
            Sum of the losses.
        """
        total = 0.0
        for group in self._optimizer.param_groups:
            group["lr"] = share * group["first_lr"]
        for _ in range(self._accelerator.gradient_accumulation_steps):
            with self._accelerator.accumulate(self._model):
                loss = next(losses)
                # `backward` divides by the number of micro-batches.
                self._accelerator.backward(loss * self._accelerator.gradient_accumulation_steps)
                self._optimizer.step()
                self._optimizer.zero_grad()
            total += loss.item()
        return total

    def trained(self) -> list[Floats]:
        """The weights, in fp32. Every process must call it."""
        return [weight.detach().float().cpu().numpy() for weight in self.weights]

    def save(self, folder: Path) -> None:
        """Writes weights and optimiser; the copies are equal, so the first process alone writes."""
        if rank() == 0:
            state = {"weights": [weight.detach() for weight in self.weights], "optimizer": self._optimizer.state_dict()}
            save_state(state, folder / STATE_FILE)

    def load(self, folder: Path) -> None:
        """Reads what `save` wrote."""
        state = torch.load(folder / STATE_FILE, map_location=self.device.type, weights_only=True)
        with torch.no_grad():
            for weight, saved in zip(self.weights, state["weights"], strict=True):
                weight.copy_(saved)
        self._optimizer.load_state_dict(state["optimizer"])

    def close(self) -> None:
        """Lets go of what is held besides the model, which has the weights again that it had."""
        for module, weight in self._in_fp32:
            module.weight = weight
        self._accelerator.free_memory()


class Sharded(Replicated):
    """Optimiser, gradients and weights shared out by DeepSpeed's ZeRO-1, 2 and 3: each process keeps its share."""

    def __init__(
        self,
        model: Any,
        weights: Sequence[Any],
        optimizer: torch.optim.Optimizer,
        *,
        accumulation: int,
        bf16: bool,
        micro_batch: int,
        configuration: Path,
    ) -> None:
        """Hand model and optimiser over to DeepSpeed."""
        import deepspeed

        # Between processors DeepSpeed would compile an operator of its own, a minute on every node of every job.
        deepspeed.ops.__compatible_ops__[SHARED_MEMORY_OPERATOR] = False
        self.weights = list(weights)
        self.attends_by_text = attends_by_text(model)
        self._bf16 = False  # DeepSpeed's own: weights in bf16, and a copy in fp32 that is stepped
        self._in_fp32 = []
        settings = json.loads(configuration.read_text()) | {
            "train_micro_batch_size_per_gpu": micro_batch,
            "gradient_accumulation_steps": accumulation,
            "bf16": {"enabled": bf16},
            "gradient_clipping": 0.0,  # accelerate would clip at 1, and the same cell be another one
        }
        self._accelerator = _accelerator(accumulation, DeepSpeedPlugin(hf_ds_config=settings))
        self._model, self._optimizer = self._accelerator.prepare(model, optimizer)

    @property
    def optimizer_state_bytes(self) -> int:
        """What the optimiser keeps in this process."""
        return _num_bytes(self._model.optimizer.optimizer.state)

    def trained(self) -> list[Floats]:
        """The weights, in fp32. Every process must call it."""
        from deepspeed.utils import safe_get_full_fp32_param

        return [safe_get_full_fp32_param(weight).detach().float().cpu().numpy() for weight in self.weights]

    def save(self, folder: Path) -> None:
        """Writes weights and optimiser; each process its own share."""
        self._model.save_checkpoint(str(folder), SHARDED_FOLDER, exclude_frozen_parameters=True)

    def load(self, folder: Path) -> None:
        """Reads what `save` wrote."""
        self._model.load_checkpoint(str(folder), SHARDED_FOLDER, load_module_strict=False)


def make_engine(
    model: Any,
    weights: Sequence[Any],
    rates: Sequence[float],
    *,
    weight_decay: float,
    accumulation: int,
    bf16: bool,
    micro_batch: int,
    strategy: str,
) -> Replicated:
    """The engine of a strategy (see `resources.strategy_names`) with AdamW, the learning rate of each weight given."""
    configuration = strategy_file(strategy)
    groups = [
        {"params": [weight for weight, of_weight in zip(weights, rates, strict=True) if of_weight == rate]}
        | {"lr": rate, "first_lr": rate}
        for rate in dict.fromkeys(rates)
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=weight_decay, fused=True)
    if configuration is None:
        return Replicated(model, weights, optimizer, accumulation=accumulation, bf16=bf16)
    return Sharded(
        model,
        weights,
        optimizer,
        accumulation=accumulation,
        bf16=bf16,
        micro_batch=micro_batch,
        configuration=configuration,
    )


def has_fast_bf16() -> bool:
    """Whether this machine multiplies matrices in bfloat16 faster than in fp32.

    A processor without instructions for it takes one number after another. Of those with AVX-512's, Intel's have half
    the rate of fp32 unless they have AMX as well, and AMD's twice that rate (measured, one thread, Intel and Zen 4: 75
    and 210 GFLOP/s, in fp32 130 to 145 and 95).
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    with_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not with_onednn or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return "GenuineIntel" not in machine_class() or has_amx()


def _accelerator(accumulation: int, plugin: DeepSpeedPlugin | None) -> Accelerator:
    accelerator = Accelerator(
        # Without these accelerate looks for GPUs alone and takes several processes for one.
        cpu=plugin is None and not torch.cuda.is_available(),
        kwargs_handlers=[InitProcessGroupKwargs(backend=backend())] if dist.is_initialized() else [],
        deepspeed_plugin=plugin,
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=accumulation, sync_with_dataloader=False),
    )
    if accelerator.num_processes != world_size():
        raise RuntimeError(f"accelerate sees {accelerator.num_processes} of {world_size()} processes")
    return accelerator


def _to_bf16_once(model: Any) -> list[tuple[nn.Linear, Any]]:
    """Rounds the matrices that are not trained, which autocast would do again in every step.

    Returns:
        Modules, and the weights in fp32 that they had.
    """
    frozen: list[tuple[nn.Linear, Any]] = [
        (module, module.weight)
        for module in model.modules()
        # Some tuners of peft wrap a matrix in a module of its kind, which has the weights of what it wraps.
        if isinstance(module, nn.Linear) and "weight" in dict(module.named_parameters(recurse=False))
        if module.weight.dtype == torch.float32 and not module.weight.requires_grad
    ]
    for module, weight in frozen:
        module.weight = nn.Parameter(weight.to(torch.bfloat16), requires_grad=False)
    return frozen


def _num_bytes(state: Any) -> int:
    tensors = [value for of_weight in state.values() for value in of_weight.values() if torch.is_tensor(value)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
