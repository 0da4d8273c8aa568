"""Examples to train on, then a learned factor for what each step changed in each module.

The two phases of the combined view (arXiv 2602.15829, appendix) as one program: it decodes batches of examples and
trains a low-rank adapter on them as the family `subset` does in its first pass, and then weighs the updates anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.coding.template import Template
from pipeline.families.common import answer_constants, check_modules, head_ids, told_by_peft, train_rows
from pipeline.families.parametric import Parametric, Start, TrainingParameters
from pipeline.families.subset import FIRST_BLOCK, LARGEST_BLOCK
from pipeline.packing.link import Constant
from pipeline.protocols import EncodeContext

BATCH = 8
"""Examples of one update, as `decoder_parts.adapt.train` takes them."""


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """Parameters of the family, beside those of all that train, which say how the factors are learned.

    Attributes:
        updates: batches of eight examples that the program holds.
        first_lr: learning rate of AdamW on these.
        lr: learning rate of the factors.
        rank: rank of the adapter.
        alpha: LoRA's alpha: the update is scaled by alpha / rank.
        target_modules: as in peft: `all-linear`, or a regular expression over module names.
    """

    updates: int = 8
    first_lr: float = 1e-3
    lr: float = 1e-2
    rank: int = 8
    alpha: int = 8
    target_modules: str = "all-linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_modules(self.target_modules)
        for name in ("updates", "rank", "alpha"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.first_lr <= 0:
            raise ValueError(f"first_lr is {self.first_lr}; it must be above 0")


class Reweight(Parametric):
    """Coded examples, and one factor for each update and module."""

    name = "reweight"
    version = 6
    view = "combined"
    parameters = Parameters
    decoder = "pipeline.decoders.reweighted"
    trains_in_team = False

    def answering(self, context: EncodeContext, tokenizer: Any, head: str) -> Mapping[str, Constant]:
        """Behind tokens, by the loop that decodes the examples."""
        return {**answer_constants(context.task, tokenizer), "HEAD": head}

    @contextmanager
    def prepare(self, context: EncodeContext, settings: Any, seed: int) -> Iterator[Start]:
        """See `Parametric.prepare`."""
        import torch

        from pipeline.adapt.positions import check_lengths
        from pipeline.adapt.reweighting import check_reweightable, reweighted
        from pipeline.coding.examples import Coded, code_examples
        from pipeline.decoder_parts.adapt import add_adapter, train

        model, tokenizer = context.load()
        template, head = Template.of(context.task), head_ids(context.task, tokenizer)
        rows = train_rows(context.task, tokenizer, seed, BATCH * settings.updates)
        check_lengths(model, head, rows)
        with told_by_peft(model, settings.target_modules):
            adapted, adapter = add_adapter(model, seed, settings.rank, settings.alpha, settings.target_modules)
        try:
            check_reweightable(adapted, adapter)
            optimizer = torch.optim.AdamW(adapter, settings.first_lr)
            coded = Coded([], 0.0)
            states = [_copies(adapter)]
            for block in _blocks(rows):
                context.report(f"code {len(block)} of {len(rows)} examples, and train on them")
                coded += code_examples(adapted, head, block)
                for start in range(0, len(block), BATCH):
                    train(adapted, optimizer, head, block[start : start + BATCH])
                    states.append(_copies(adapter))
            payload = coded.payload(rows)
            constants = {
                "STOPS": template.stops,
                "EXAMPLES": len(rows),
                "EXAMPLES_BYTES": len(payload),
                "LR": settings.first_lr,
                "RANK": settings.rank,
                "ALPHA": settings.alpha,
                "TARGET_MODULES": settings.target_modules,
                "SEED": seed,
            }
            facts = {
                "nll_bits": coded.nll_bits,
                "coded_bits": 8 * len(payload),
                "payload_text": "\n".join(tokenizer.batch_decode(rows)),
            }
            with reweighted(adapted, adapter, states) as factors:
                yield Start(adapted, [factors], constants, payload, facts)
        finally:
            adapted.unload()


def _blocks(rows: Sequence[list[int]]) -> Iterator[Sequence[list[int]]]:
    """The rows in blocks as the decoder takes them."""
    done = 0
    while done < len(rows):
        yield rows[done : done + min(max(FIRST_BLOCK, done), LARGEST_BLOCK)]
        done += min(max(FIRST_BLOCK, done), LARGEST_BLOCK)


def _copies(weights: Sequence[Any]) -> list[Any]:
    return [weight.detach().clone() for weight in weights]


FAMILY = Reweight()
