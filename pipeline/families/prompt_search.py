"""Prompts chosen on the train split: the demonstrations, and whether an instruction stands before them.

Demonstrations are chosen one after another (arXiv 2211.04486 learns to do so, here it is greedy) by how short the
answers of other train examples become behind them: by description length (arXiv 2212.10375).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pipeline.cell import Cell
from pipeline.coding.template import Template, Worked, worked
from pipeline.errors import UserError
from pipeline.families.common import longest_sequence, over_budget, shuffled_train, within
from pipeline.families.icl import longest_item
from pipeline.families.prompts import prompt_program, prompt_tokens
from pipeline.protocols import EncodeContext, Encoded, Example, Program, Task

NAME = "prompt-search"
PROBES = 64
"""Train examples whose answers judge a prompt; none of them becomes a demonstration."""
FIRST_PROBES = 8
"""Of these, how many all candidates are judged by; each time the better half goes on, the number doubles."""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters of the family.

    Attributes:
        shots: number of demonstrations; sets the length of the program in the place of a budget.
        candidates: demonstrations that are tried for each place.
        price: bits of an answer, on average, that a bit of a demonstration must save.
    """

    shots: int | None = None
    candidates: int = 16
    price: float = 5e-4

    def __post_init__(self) -> None:
        if self.shots is not None and self.shots < 1:
            raise ValueError(f"shots is {self.shots}; it must be at least 1")
        if self.candidates < 1:
            raise ValueError(f"candidates is {self.candidates}; it must be at least 1")
        if not self.price >= 0:
            raise ValueError(f"price is {self.price}; it must be at least 0")


class Plan(NamedTuple):
    """A prompt that a program may have.

    Attributes:
        start: the task's instruction, or nothing.
        examples: the demonstrations.
        answer_bits: mean length of the answers of the probes behind it, in bits.
        performance: of the model's own answers to the probes, higher is better; 0 where train answers have no score.
    """

    start: str
    examples: tuple[Example, ...]
    answer_bits: float
    performance: float

    def rank(self) -> tuple[float, float]:
        """The best plan has the lowest."""
        return -self.performance, self.answer_bits


class PromptSearch:
    """The prompt behind which other train examples are answered best.

    Demonstrations are chosen by the bits of known answers, which is cheap and smooth. One search serves all cells: a
    prompt of fewer demonstrations is the beginning of one of more. It goes on while a candidate saves its price; for a
    cell of more `shots`, until it has them. Then the model answers the probes behind each of these prompts, with the
    task's instruction before it and without: bits fall where the form of an answer becomes clear, while a scorer may
    have understood it before. A cell of `shots` takes the better of its two prompts, a cell of a budget the best that
    keep it.
    """

    name = NAME
    version = 7
    view = "inference"
    parameters = Parameters
    size = "shots"
    has_seed = True
    shared = ()
    trains_in_team = False

    def encode(self, context: EncodeContext, cells: Sequence[Cell]) -> Iterator[Encoded]:
        """See `Family.encode`.

        Raises:
            UserError: the train split has fewer than two examples, one to show and one to judge by.
        """
        started = time.monotonic()
        model, tokenizer = context.load()
        search = _Search(context, model, tokenizer, cells[0])
        plans, worth = search.plans(max(int(cell.parameters["shots"] or 0) for cell in cells))
        made: dict[tuple[str, int], Encoded] = {}

        def built(cell: Cell, plan: Plan) -> Encoded:
            key = plan.start, len(plan.examples)
            if key not in made:
                context.report(f"pack {len(plan.examples)} demonstrations")
                made[key] = prompt_program(cell, context.task, model, tokenizer, plan.start, plan.examples)
            settings = {"shots": len(plan.examples), "instruction": bool(plan.start)}
            return replace(made[key], cell=cell, settings=settings, wall_seconds=time.monotonic() - started)

        for cell in cells:
            wanted = cell.parameters["shots"]
            if wanted is not None:
                fitting = [plan for plan in plans if len(plan.examples) == wanted]
                if fitting:
                    yield built(cell, min(fitting, key=Plan.rank))
                else:
                    reason = (
                        f"the context has room for {max(0, search.room)} tokens, or there are no more train examples"
                    )
                    yield Encoded(cell=cell, infeasible=f"{wanted} demonstrations do not fit: {reason}")
            elif plans:
                worthy = [plan for plan in plans if len(plan.examples) < worth]
                yield _best_within(cell, sorted(worthy, key=Plan.rank), built)
            else:
                yield Encoded(cell=cell, infeasible="the context has no room for an item and its answer")
            started = time.monotonic()


def _best_within(cell: Cell, plans: Sequence[Plan], built: Callable[[Cell, Plan], Encoded]) -> Encoded:
    """The first of some plans whose program keeps the budget."""
    smallest: Program | None = None
    for plan in plans:
        encoded = built(cell, plan)
        assert encoded.program is not None
        if within(encoded.program, cell.budget_bytes):
            return encoded
        if smallest is None or len(encoded.program.content) < len(smallest.content):
            smallest = encoded.program
    assert smallest is not None
    return over_budget(cell, smallest, "no demonstration")


def _has_score(task: Task, example: Example) -> bool:
    """Whether an answer to a train example can be scored: some tasks learn from other answers than they check."""
    try:
        task.score(example.target, example)
    except (UserError, ValueError):
        return False
    return True


class _Search:
    """The plans of one seed on one task and model."""

    def __init__(self, context: EncodeContext, model: Any, tokenizer: Any, cell: Cell) -> None:
        assert cell.seed is not None
        self.task, self.report = context.task, context.report
        self.model, self.tokenizer = model, tokenizer
        settings = Parameters(**cell.parameters)  # type: ignore[arg-type]
        self.candidates, self.price = settings.candidates, settings.price
        examples = shuffled_train(self.task, cell.seed)
        if len(examples) < 2:
            raise UserError(f"the train split of {self.task.name} has {len(examples)} examples; {NAME} needs two")
        number = min(PROBES, len(examples) // 2)
        self.judges = examples[:number]
        self.probes = [worked(self.tokenizer, Template.of(self.task), example) for example in self.judges]
        self.has_score = _has_score(self.task, self.judges[0])
        self.pool = iter(examples[number:])
        answer = self.task.max_new_tokens
        longest = max(len(probe.question) + max(len(probe.answer), answer) for probe in self.probes)
        longest = max(longest, longest_item(context, tokenizer, ("validation",)) + answer)
        self.room = longest_sequence(model) - longest

    def plans(self, shots: int) -> tuple[list[Plan], int]:
        """Plans with 0, 1, 2 ... demonstrations, two of each number: without the instruction and with it.

        Args:
            shots: the search goes on to this number, if there is room, whatever a demonstration saves.

        Returns:
            The plans that fit into the context, and up to which number, exclusively, all demonstrations were worth
            their price.
        """
        path: list[tuple[tuple[Example, ...], float]] = [((), self._judge("", (), self.probes))]
        worth = None
        while worth is None or len(path) <= shots:
            self.report(f"choose demonstration {len(path)}")
            chosen, before = path[-1]
            found = self._next(chosen)
            if found is None:
                break
            example, after, bits = found
            if worth is None and after + self.price * bits >= before:
                worth = len(path)
                if len(path) > shots:
                    break
            path.append(((*chosen, example), after))
        plans = []
        for chosen, answer_bits in path:
            self.report(f"answer behind {len(chosen)} demonstrations")
            for start in ("", self.task.instruction):
                if len(self._tokens(start, chosen)) <= self.room:
                    behind = self._judge(start, chosen, self.probes) if start else answer_bits
                    plans.append(Plan(start, chosen, behind, self._performance(start, chosen)))
        return plans, len(path) if worth is None else worth

    def _next(self, chosen: tuple[Example, ...]) -> tuple[Example, float, float] | None:
        """The best candidate for the next place, by successive halving.

        Returns:
            The example, mean bits of the answers behind it, and its own bits; None where none has room.
        """
        pool = [*itertools.islice(self.pool, self.candidates)]
        pool = [
            example for example in pool if len(self._tokens(self.task.instruction, (*chosen, example))) <= self.room
        ]
        if not pool:
            return None
        bits = [self._bits(chosen, example) for example in pool]
        sums = [0.0] * len(pool)
        left, done, number = [*range(len(pool))], 0, min(FIRST_PROBES, len(self.probes))
        while True:
            for place in left:
                mean = self._judge("", (*chosen, pool[place]), self.probes[done:number])
                sums[place] += (number - done) * mean
            left.sort(key=lambda place: sums[place] / number + self.price * bits[place])
            if number == len(self.probes):
                best = left[0]
                return pool[best], sums[best] / number, bits[best]
            left = left[: (len(left) + 1) // 2]
            done, number = number, min(2 * number, len(self.probes))

    def _tokens(self, start: str, examples: Sequence[Example]) -> list[int]:
        return prompt_tokens(self.task, self.tokenizer, start, examples)

    def _judge(self, start: str, examples: Sequence[Example], probes: Sequence[Worked]) -> float:
        from pipeline.coding.probes import answer_bits

        return answer_bits(self.model, self._tokens(start, examples), probes)

    def _performance(self, start: str, examples: Sequence[Example]) -> float:
        """Of the model's own answers to the probes behind a prompt, higher is better."""
        from pipeline.coding.probes import greedy_answers
        from pipeline.metrics import METRICS

        if not self.has_score:
            return 0.0
        prefix, stop = self._tokens(start, examples), self.task.stop
        outputs = greedy_answers(self.model, self.tokenizer, prefix, self.probes, stop, self.task.max_new_tokens)
        name = self.task.metrics[0]
        scores = [self.task.score(output, example)[name] for output, example in zip(outputs, self.judges, strict=True)]
        performance = float(METRICS[name].aggregate([sum(values) for values in zip(*scores, strict=True)]))
        return performance if METRICS[name].higher_is_better else -performance

    def _bits(self, chosen: Sequence[Example], example: Example) -> float:
        """Length of a demonstration behind those that are chosen already, under the model."""
        from pipeline.coding.examples import estimate_bits

        row = worked(self.tokenizer, Template.of(self.task), example).tokens
        (bits,) = estimate_bits(self.model, self._tokens("", chosen), [row])
        return bits


FAMILY = PromptSearch()
