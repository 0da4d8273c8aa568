"""The task's bare template, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.cell import Cell
from pipeline.coding.template import Template
from pipeline.families.common import one_program, prompt_constants
from pipeline.protocols import EncodeContext, Encoded


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The family has none."""


class Baseline:
    """Answers behind the head of the template."""

    name = "baseline"
    version = 5
    view = "inference"
    parameters = Parameters
    size = None
    has_seed = False
    shared = ()
    trains_in_team = False

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`."""
        constants = prompt_constants(context.task, Template.of(context.task).head)
        yield one_program(context, cells, "pipeline.decoders.prompt", constants)


FAMILY = Baseline()
