"""Nodes that lost cells by their own fault: which of them are avoided, and what to tell who runs the cluster."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.cluster.slurm import known_nodes
from pipeline.cluster.values import hours_back
from pipeline.errors import UserError
from pipeline.store import open_study

BAD_NODE_CELLS = 2
"""Cells lost by the fault of one node, after which that node is avoided for a while."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A node that lost cells by its own fault.

    Attributes:
        name: as Slurm calls it.
        cells: ids of the cells.
        jobs: ids of the jobs that had them.
        last_utc: when it lost the last one.
        message: what was said then.
    """

    name: str
    cells: tuple[str, ...]
    jobs: tuple[str, ...]
    last_utc: datetime
    message: str

    def avoided_until(self, hours: float) -> datetime | None:
        """Until when jobs are kept from it; None where one cell alone is no proof."""
        return self.last_utc + timedelta(hours=hours) if len(self.cells) >= BAD_NODE_CELLS else None


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeReport:
    """All such nodes of a study.

    Attributes:
        study: name of the study.
        nodes: the worst first.
        hours: how long a node is avoided.
    """

    study: str
    nodes: tuple[Node, ...]
    hours: float

    def render(self, console: Console) -> None:
        """Print for people."""
        if not self.nodes:
            console.print(f"no node has lost a cell of study {self.study} by its own fault", highlight=False)
            return
        table = Table(title=f"nodes that lost cells of study {escape(self.study)}", title_justify="left")
        for heading in ("node", "cells", "jobs", "last (UTC)", "avoided until (UTC)", "last message"):
            table.add_column(heading, overflow="fold")
        for node in self.nodes:
            until = node.avoided_until(self.hours)
            shown = "no, one cell is no proof" if until is None else f"{until:%Y-%m-%d %H:%M}"
            last = f"{node.last_utc:%Y-%m-%d %H:%M}"
            table.add_row(
                *map(escape, (node.name, f"{len(node.cells)}", " ".join(node.jobs), last, shown, node.message))
            )
        console.print(table)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {
            "study": self.study,
            "nodes": [
                {
                    "node": node.name,
                    "cells": list(node.cells),
                    "jobs": list(node.jobs),
                    "last_utc": node.last_utc.isoformat(),
                    "avoided_until_utc": None if until is None else until.isoformat(),
                    "message": node.message,
                }
                for node in self.nodes
                for until in [node.avoided_until(self.hours)]
            ],
        }


def report_nodes(name: str, hours: float, results: str | None) -> NodeReport:
    """Nodes that lost cells of a study.

    Args:
        name: name or folder of the study.
        hours: how long a node is avoided, and how far back its faults count.
        results: folder of the studies, None for the default.

    Raises:
        UserError: there is no such study, or the hours cannot be.
    """
    try:
        hours = hours_back(hours)
    except UserError as error:
        raise UserError(f"--hours {error}") from None
    study = open_study(name, results)
    return NodeReport(study=study.name, nodes=tuple(_nodes(study.read_attempts(), hours)), hours=hours)


def bad_nodes(attempts: pa.Table, hours: float) -> tuple[str, ...]:
    """Nodes that have lost several cells by their own fault in the last hours, by the attempts of a study."""
    return tuple(sorted(node.name for node in _nodes(attempts, hours) if node.avoided_until(hours) is not None))


def nodes_to_avoid(attempts: pa.Table, hours: float) -> tuple[str, ...]:
    """Those of the bad nodes that this cluster has: cells are also lost on other machines, which Slurm refuses to name.

    Raises:
        SlurmError: Slurm does not answer.
    """
    return tuple(sorted(known_nodes(bad_nodes(attempts, hours))))


def _nodes(attempts: pa.Table, hours: float) -> list[Node]:
    since = datetime.now(UTC) - timedelta(hours=hours)
    of_host: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for attempt in attempts.filter(pc.equal(attempts["cause"], "node")).to_pylist():
        if attempt["finished_utc"] > since:
            of_host[attempt["host"]].append(attempt)
    found = []
    for host, lost in of_host.items():
        last = max(lost, key=lambda attempt: attempt["finished_utc"])
        jobs = {attempt["slurm_job_id"] for attempt in lost} - {None}
        found.append(
            Node(
                name=host,
                cells=tuple(sorted({attempt["cell_id"] for attempt in lost})),
                jobs=tuple(sorted(jobs)),
                last_utc=last["finished_utc"],
                message=(last["message"] or "").strip(),
            )
        )
    return sorted(found, key=lambda node: (-len(node.cells), node.name))
