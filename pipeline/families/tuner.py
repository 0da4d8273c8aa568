"""Small tuners as programs: few trained numbers, all else drawn by peft, always alike, in one decoder.

One vector for the whole model (Uni-LoRA, arXiv 2506.00799; TinyLoRA, arXiv 2602.04118), vectors around frozen random
matrices (VeRA, arXiv 2310.11454; of rank 1 it is LoRA whose first matrix stays as it was drawn) or gains of what the
modules give ((IA)^3, arXiv 2205.05638), as peft has them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pipeline.cell import Cell, Scalar
from pipeline.coding.template import Template
from pipeline.families.common import check_modules, shuffled_train, told_by_peft
from pipeline.families.icl import longest_item
from pipeline.families.parametric import Parametric, Start, TrainingParameters, training_of
from pipeline.protocols import EncodeContext, Encoded, Task

if TYPE_CHECKING:
    from pipeline.adapt.engines import Floats
    from pipeline.adapt.train import Training


class Tuner(NamedTuple):
    """A tuner of peft.

    Attributes:
        fixed: what its configuration always says.
        sizes: our parameter -> the name that peft has for it.
        takes_4_bits: whether the weights beside it may be rounded to 4 bits.
    """

    fixed: Mapping[str, Any]
    sizes: Mapping[str, str]
    takes_4_bits: bool = False


TUNERS = {
    "unilora": Tuner({"peft_type": "UNILORA"}, {"numbers": "theta_d_length", "rank": "r"}),
    "tinylora": Tuner({"peft_type": "TINYLORA", "weight_tying": 1}, {"numbers": "u", "rank": "r"}),
    "vera": Tuner({"peft_type": "VERA"}, {"rank": "r"}, takes_4_bits=True),
    "ia3": Tuner({"peft_type": "IA3", "feedforward_modules": []}, {}, takes_4_bits=True),
}


@dataclass(frozen=True, kw_only=True)
class Parameters(TrainingParameters):
    """Parameters of the family, beside those of all that train.

    Attributes:
        tuner: unilora, tinylora, vera or ia3.
        numbers: trained numbers of a tuner that has one vector for the whole model; None for what peft takes.
        rank: rank of the frozen matrices; None for what peft takes.
        target_modules: as in peft: `all-linear`, or a regular expression over module names.
        shots: worked examples that stand before every item as text; they are the first of `examples`, and the others
            are trained on.
        lr: peak learning rate of AdamW; few numbers need ten to twenty times that of `lora`.
    """

    tuner: str = "unilora"
    numbers: int | None = None
    rank: int | None = None
    target_modules: str = "all-linear"
    shots: int = 0
    lr: float = 5e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_modules(self.target_modules)
        if self.tuner not in TUNERS:
            raise ValueError(f"tuner is {self.tuner!r}; allowed: {', '.join(TUNERS)}")
        for name in ("numbers", "rank"):
            value = getattr(self, name)
            if value is not None and name not in TUNERS[self.tuner].sizes:
                having = ", ".join(tuner for tuner, of in TUNERS.items() if name in of.sizes)
                raise ValueError(f"{name} is {value}, but {self.tuner} has none; leave it out, or take one of {having}")
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if self.shots < 0:
            raise ValueError(f"shots is {self.shots}; it must be at least 0")
        if isinstance(self.examples, int) and self.shots >= self.examples:
            raise ValueError(f"shots is {self.shots}; it must be below examples, which is {self.examples}")

    @property
    def config(self) -> str:
        """JSON of the configuration of peft."""
        tuner = TUNERS[self.tuner]
        sizes = {key: getattr(self, name) for name, key in tuner.sizes.items() if getattr(self, name) is not None}
        return json.dumps({**tuner.fixed, **sizes, "target_modules": self.target_modules}, separators=(",", ":"))


class Tuned(Parametric):
    """A small tuner, and worked examples before every item."""

    name = "tuner"
    version = 6
    parameters: ClassVar[type] = Parameters
    decoder = "pipeline.decoders.tuner"

    def changes_base(self, parameters: Mapping[str, Scalar]) -> bool:
        """See `Family`: some take their matrices from the weights of the base model, or their kind of number."""
        return not TUNERS[str(parameters["tuner"])].takes_4_bits

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`."""
        from pipeline.adapt.processes import rank

        model, tokenizer = context.load()
        shots, num_examples = self.parameters(**cells[0].parameters).shots, len(context.task.split("train"))
        prefix = tokenizer(self._prefix(context.task, shots, cells[0].seed or 0)).input_ids
        longest = longest_item(context, tokenizer, ("validation",)) + context.task.max_new_tokens
        room = model.config.max_position_embeddings - longest
        if shots >= num_examples:
            reason = f"{shots} worked examples leave none to train on: the train split has {num_examples}"
        elif shots and len(prefix) > room:
            reason = f"{shots} worked examples do not fit: the context has room for {max(0, room)} tokens"
        else:
            yield from super().encode(context, cells)
            return
        if rank() == 0:
            yield from (Encoded(cell=cell, infeasible=reason) for cell in cells)

    def training(self, context: EncodeContext, tokenizer: Any, settings: Parameters, seed: int) -> tuple[str, Training]:
        """See `Parametric.training`."""
        prefix = self._prefix(context.task, settings.shots, seed)
        training = training_of(context, tokenizer, settings, seed)
        head = tokenizer(prefix).input_ids
        return prefix, replace(training, head=head, examples=training.examples[settings.shots :])

    @staticmethod
    def _prefix(task: Task, shots: int, seed: int) -> str:
        """The first worked examples in the order of a seed, and the head of the template."""
        template = Template.of(task)
        texts = ["".join(template.text(example)) for example in shuffled_train(task, seed)[:shots]]
        return "".join(template.head + text for text in [*texts, ""])

    def pieces(self, updates: Sequence[Floats]) -> list[Floats]:
        """See `Parametric.pieces`."""
        import torch

        from pipeline.decoder_parts.tuner import pieces

        return [piece.numpy() for piece in pieces([torch.from_numpy(update) for update in updates])]

    @contextmanager
    def prepare(self, context: EncodeContext, settings: Parameters, seed: int) -> Iterator[Start]:
        """See `Parametric.prepare`."""
        from pipeline.decoder_parts.tuner import add_tuner

        model, _ = context.load()
        with told_by_peft(model, settings.target_modules):
            tuned, weights = add_tuner(model, seed, settings.config)
        try:
            yield Start(tuned, weights, {"CONFIG": settings.config, "SEED": seed})
        finally:
            tuned.unload()


FAMILY = Tuned()
