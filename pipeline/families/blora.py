"""Bayesian LoRA: rank-one terms that learn their own bits, coded as the integers they are (arXiv 2005.07093).

Gates, scales and integers are all in the payload, and an integer that its width has no room for was clipped while the
terms were trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.cell import Cell
from pipeline.coding.template import Template
from pipeline.families.common import answer_constants, check_examples, head_ids, train_rows
from pipeline.families.parametric import PRECISIONS
from pipeline.packing import pack
from pipeline.protocols import EncodeContext, Encoded


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters of the family. The bits of a program are what its gates have learned; no budget bounds them.

    Attributes:
        rank: terms of each linear module.
        alpha: LoRA's alpha: the update is scaled by alpha / rank.
        prune_rank: whether a term can be left out altogether.
        examples: number of train examples, or `all`.
        epochs: passes over them.
        batch: examples of one step of the optimiser.
        lr: peak learning rate of AdamW for vectors and their factors, with linear decay.
        gate_lr: the same for gates.
        scale_lr: the same for the ranges that vectors are clipped to.
        quantisation_penalty: weight of the expected bits in the loss, summed over vectors.
        rank_penalty: weight of the terms that are not left out.
        weight_decay: of AdamW.
        precision: fp32, or bf16 for products in bfloat16 and sums in fp32.
    """

    rank: int = 1
    alpha: int = 8
    prune_rank: bool = False
    examples: int | str = 256
    epochs: int = 2
    batch: int = 8
    lr: float = 3e-3
    gate_lr: float = 1e-2
    scale_lr: float = 1e-2
    quantisation_penalty: float = 1e-3
    rank_penalty: float = 1e-3
    weight_decay: float = 1e-3
    precision: str = "fp32"

    def __post_init__(self) -> None:
        check_examples(self.examples)
        for name in ("rank", "alpha", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("lr", "gate_lr", "scale_lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("quantisation_penalty", "rank_penalty", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be below 0")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; allowed: {', '.join(PRECISIONS)}")


class Blora:
    """One training run and one program a cell."""

    name = "blora"
    version = 1
    view = "parametric"
    parameters = Parameters
    size = None
    has_seed = True
    shared = ()
    trains_in_team = False

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`."""
        from pipeline.adapt import Training, adapt
        from pipeline.adapt.bayesian_bits import penalty_of, quantised_updates
        from pipeline.coding.terms import encode_terms

        (cell,) = cells
        settings, seed = Parameters(**cell.parameters), cell.seed or 0  # type: ignore[arg-type]
        model, tokenizer = context.load()
        training = Training(
            head=head_ids(context.task, tokenizer),
            rows=train_rows(context.task, tokenizer, seed, settings.examples),
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            epochs=settings.epochs,
            batch=settings.batch,
            bf16=settings.precision == "bf16",
            seed=seed,
        )
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
            **answer_constants(context.task, tokenizer),
            "HEAD": Template.of(context.task).head,
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
            train_tokens=sum(map(len, training.rows)) * training.epochs,
            wall_seconds=adapted.seconds,
        )


FAMILY = Blora()
