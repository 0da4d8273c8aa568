"""Bayesian LoRA: rank-one terms that learn their own bits, coded as the integers they are (arXiv 2005.07093).

Gates, scales and integers are all in the payload, and an integer that its width has no room for was clipped while the
terms were trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.cell import Cell
from pipeline.coding.template import Template
from pipeline.families.common import prompt_constants
from pipeline.families.parametric import Learning, training_of
from pipeline.packing import pack
from pipeline.protocols import EncodeContext, Encoded


@dataclass(frozen=True, kw_only=True)
class Parameters(Learning):
    """Parameters of the family, beside those of all that train.

    The bits of a program are what its gates have learned; no budget bounds them.

    Attributes:
        rank: terms of each linear module.
        alpha: LoRA's alpha: the update is scaled by alpha / rank.
        prune_rank: whether a term can be left out altogether.
        lr: peak learning rate of AdamW for vectors and their factors, with linear decay.
        gate_lr: peak learning rate for gates.
        scale_lr: peak learning rate for the ranges that vectors are clipped to.
        quantisation_penalty: weight of the expected bits in the loss, summed over vectors.
        rank_penalty: weight of the terms that are not left out.
        weight_decay: weight decay of AdamW.
    """

    rank: int = 1
    alpha: int = 8
    prune_rank: bool = False
    gate_lr: float = 1e-2
    scale_lr: float = 1e-2
    quantisation_penalty: float = 1e-3
    rank_penalty: float = 1e-3
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rank", "alpha"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("gate_lr", "scale_lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("quantisation_penalty", "rank_penalty", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be below 0")


class Blora:
    """One training run and one program a cell."""

    name = "blora"
    version = 5
    view = "parametric"
    parameters = Parameters
    size = None
    has_seed = True
    shared = ()
    trains_in_team = False

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`."""
        from pipeline.adapt.bayesian_bits import penalty_of, quantised_updates
        from pipeline.adapt.train import adapt
        from pipeline.coding.terms import encode_terms

        (cell,) = cells
        settings, seed = Parameters(**cell.parameters), cell.seed or 0  # type: ignore[arg-type]
        model, tokenizer = context.load()
        training = training_of(context, tokenizer, settings, seed, weight_decay=settings.weight_decay)
        with quantised_updates(model, settings.rank, settings.alpha, settings.prune_rank, seed) as updates:
            named = [entry for update in updates for entry in update.named_parameters()]
            own_rates = {"gates": settings.gate_lr, "log_range": settings.scale_lr}
            adapted = adapt(
                model,
                [weight for _, weight in named],
                training,
                context,
                rates=[own_rates.get(name.rpartition(".")[2], settings.lr) for name, _ in named],
                penalty=lambda: penalty_of(updates, settings.quantisation_penalty, settings.rank_penalty),
            )
            assert adapted is not None
            terms = [term for update in updates for term in update.terms()]
        context.report("code the terms")
        constants = {
            **prompt_constants(context.task, Template.of(context.task).head),
            "RANK": settings.rank,
        }
        vectors = [vector for term in terms for vector in (term.outputs, term.inputs) if vector is not None]
        yield Encoded(
            cell=cell,
            program=pack("pipeline.decoders.terms", constants, encode_terms(terms)),
            settings={
                "terms": sum(term.outputs is not None for term in terms),
                "terms_left_out": sum(term.outputs is None for term in terms),
                "numbers": sum(numbers.size for numbers, _ in vectors),
                "bits_a_number": sum(numbers.size * bits for numbers, bits in vectors)
                / max(1, sum(numbers.size for numbers, _ in vectors)),
                **adapted.facts,
            },
            train_tokens=training.tokens_per_epoch * training.epochs,
            wall_seconds=adapted.seconds,
        )


FAMILY = Blora()
