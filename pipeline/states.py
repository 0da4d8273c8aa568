"""States of cells, and how many cells are in which: the shards on disk decide, not a record of what was run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rich.markup import escape
from rich.table import Table

from pipeline.errors import CAUSES
from pipeline.store import Study

DONE, RUNNING, QUEUED, FAILED, TO_DO, UNRESOLVED = STATES = (
    "done",
    "running",
    "queued",
    "failed",
    "to do",
    "unresolved",
)
"""`running` and `queued`: in a job of a cluster. `unresolved`: the base model is not staged, so there is no id yet."""


class State(NamedTuple):
    """State of one cell.

    Attributes:
        name: one of `STATES`.
        cause: why the last attempt failed, None unless it did.
        job_id: the job that has the cell, None unless one has.
        reason: why that job waits, as Slurm says it.
    """

    name: str
    cause: str | None = None
    job_id: str | None = None
    reason: str | None = None


def cell_states(study: Study, cell_ids: Sequence[str | None]) -> list[State]:
    """State of each of these cells."""
    known = [cell_id for cell_id in cell_ids if cell_id is not None]
    done = study.valid_cells(known) if known else set()
    attempts = study.read_attempts()
    # Ordered by attempt: the last of a cell stays.
    last_cause = dict(zip(attempts["cell_id"].to_pylist(), attempts["cause"].to_pylist(), strict=True))
    states = {DONE: State(DONE), TO_DO: State(TO_DO), UNRESOLVED: State(UNRESOLVED)}

    def state_of(cell_id: str | None) -> State:
        if cell_id is None:
            return states[UNRESOLVED]
        if cell_id in done:
            return states[DONE]
        cause = last_cause.get(cell_id)
        return states[TO_DO] if cause is None else State(FAILED, cause)

    return [state_of(cell_id) for cell_id in cell_ids]


class Tally:
    """Number of cells by (task, model, family) and state."""

    def __init__(self, points: Iterable[tuple[str, str, str]], states: Sequence[State]) -> None:
        pairs = Counter(zip(points, (state.name for state in states), strict=True))
        self.rows: dict[tuple[str, str, str], dict[str, int]] = {}
        for (point, state), count in pairs.items():
            self.rows.setdefault(point, dict.fromkeys(STATES, 0))[state] = count
        self.states = {name: sum(row[name] for row in self.rows.values()) for name in STATES}
        self.causes = dict(Counter(state.cause for state in states if state.cause is not None).most_common())
        self.reasons = dict(Counter(state.reason for state in states if state.reason).most_common())

    def table(self, title: str) -> Table:
        """The numbers as a table; states that no cell is in have no column, but for done and to do."""
        shown = [name for name in STATES if self.states[name] or name in (DONE, TO_DO)]
        table = Table(title=escape(title), title_justify="left", show_footer=len(self.rows) > 1)
        for heading in ("task", "model", "family"):
            table.add_column(heading, footer="all" if heading == "task" else "")
        table.add_column("cells", justify="right", footer=f"{sum(self.states.values()):,}")
        for name in shown:
            table.add_column(name, justify="right", footer=f"{self.states[name]:,}")
        for point, row in self.rows.items():
            table.add_row(*map(escape, point), f"{sum(row.values()):,}", *(f"{row[name]:,}" for name in shown))
        return table

    def cause_lines(self) -> list[str]:
        """One line a cause of failure: how many cells, and what it means."""
        return [
            f"{count:,} failed with {cause}: {CAUSES.get(cause, 'a cause of another version')}"
            for cause, count in self.causes.items()
        ]

    def reason_lines(self) -> list[str]:
        """One line a reason for which jobs wait, in Slurm's words."""
        return [f"{count:,} queued: {reason}" for reason, count in self.reasons.items()]

    def to_json(self) -> list[dict[str, Any]]:
        """One dictionary a row of the table."""
        return [
            {"task": task, "model": model, "family": family, **{name.replace(" ", "_"): row[name] for name in STATES}}
            for (task, model, family), row in self.rows.items()
        ]
