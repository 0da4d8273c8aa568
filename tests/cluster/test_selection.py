"""What failed attempts change in the next submission: who waits, who gets more, which nodes are avoided."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline import schema
from pipeline.cluster.batches import Need
from pipeline.cluster.nodes import bad_nodes, report_nodes
from pipeline.cluster.profile import load_profile
from pipeline.cluster.selection import MOST_DOUBLINGS, select
from pipeline.cluster.shapes import array_shape, pack_for
from pipeline.errors import CAUSES, HELD_AFTER_ATTEMPTS
from pipeline.plan import Plan, make_plan

GRID = """
study: demo
tasks: [chain-sum]
models: [smollm2-135m]
programs: [{family: icl, shots: 1}]
seeds: [1, 2, 3]
"""


def attempt(cell_id: str, number: int, cause: str, *, job: str = "7_0", host: str = "node1", hours: float = 0) -> Any:
    return {
        "cell_id": cell_id,
        "attempt": number,
        "cause": cause,
        "message": "",
        "host": host,
        "slurm_job_id": job,
        "restarts": 0,
        "finished_utc": datetime.now(UTC) - timedelta(hours=hours),
    }


@pytest.fixture
def plan(tmp_path: Path, tiny_model: Path) -> Callable[[], Plan]:
    from pipeline.models import parse_model
    from pipeline.models.stage import stage

    (tmp_path / "grid.yaml").write_text(GRID.replace("smollm2-135m", str(tiny_model)))
    stage(parse_model(str(tiny_model), tmp_path))
    return lambda: make_plan(tmp_path / "grid.yaml", str(tmp_path / "results"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCX_CACHE", str(tmp_path / "cache"))


def test_every_held_cause_is_one() -> None:
    assert HELD_AFTER_ATTEMPTS.keys() <= CAUSES.keys()


def test_cells_that_came_short_get_more_and_come_apart(plan: Callable[[], Plan]) -> None:
    study, rows = plan().study, plan().rows
    first, second, third = (str(row.cell_id) for row in rows)
    for number, (cause, job) in enumerate([("timeout", "1_0"), ("timeout", "2_0"), ("oom-host", "3_0")], start=1):
        study.record_attempts([attempt(first, number, cause, job=job)])
    # The ladder of micro-batches fails many times in one start of a job: that is one want of memory.
    for number in range(1, 4):
        study.record_attempts([attempt(second, number, "oom-host", job="4_0")])
    study.record_attempts([attempt(third, 1, "preempted")])
    chosen = select(plan(), queued=(), attempts=study.read_attempts())
    assert [group.need for group in chosen.wanted] == [Need(4, 2), Need(1, 2), Need(1, 1)]
    usual, once = chosen.wanted[2].cost_seconds, chosen.wanted[0].cost_seconds
    assert once == 4 * usual

    settings = {"memory_gib_per_gpu": "10", "max_memory_gib_per_gpu": "15"}
    batches = pack_for(load_profile("generic", settings), chosen.wanted)
    assert [batch.num_cells for batch in batches] == [2, 1]
    memory = [array_shape(load_profile("generic", settings), [batch]).memory_gib for batch in batches]
    assert memory == [15, 10]  # as far as the profile allows
    del settings["max_memory_gib_per_gpu"]
    assert array_shape(load_profile("generic", settings), batches[:1]).memory_gib == 10


def test_doubling_ends(plan: Callable[[], Plan]) -> None:
    study, rows = plan().study, plan().rows
    cell = str(rows[0].cell_id)
    for number in range(MOST_DOUBLINGS + 1):
        study.record_attempts([attempt(cell, number + 1, "timeout", job=f"{number}_0")])
    (group, *_) = select(plan(), queued=(), attempts=study.read_attempts()).wanted
    assert group.need == Need(2**MOST_DOUBLINGS, 1)
    study.record_attempts([attempt(cell, MOST_DOUBLINGS + 2, "timeout", job="last")])
    held = select(plan(), queued=(), attempts=study.read_attempts())
    assert held.held == {"timeout": 1}
    assert len(held.wanted) == 2
    assert len(select(plan(), queued=(), attempts=study.read_attempts(), retry="timeout").wanted) == 1


def test_nodes_that_lose_cells_are_avoided_for_a_while() -> None:
    rows = [
        attempt("a", 1, "node", host="node1"),
        attempt("b", 1, "node", host="node1"),
        attempt("c", 1, "node", host="node2"),
        attempt("c", 2, "node", host="node2"),  # one cell twice is no proof
        attempt("d", 1, "code", host="node3"),
        attempt("e", 1, "code", host="node3"),
        attempt("f", 1, "node", host="node4", hours=30),
        attempt("g", 1, "node", host="node4", hours=30),
    ]
    table = schema.table_of(rows, schema.ATTEMPT)
    assert bad_nodes(table, 24) == ("node1",)
    assert bad_nodes(table, 48) == ("node1", "node4")


def test_the_report_of_nodes_has_the_proof(plan: Callable[[], Plan]) -> None:
    study, cells = plan().study, [str(row.cell_id) for row in plan().rows]
    empty = report_nodes(str(study.folder), 24, None)
    assert empty.nodes == ()
    for number, cell in enumerate(cells[:2]):
        study.record_attempts([attempt(cell, 1, "node", job=f"{number}_0", host="node1")])
    study.record_attempts([attempt(cells[2], 1, "node", host="node2")])
    worst, other = report_nodes(str(study.folder), 24, None).to_json()["nodes"]
    assert (worst["node"], worst["cells"], worst["jobs"]) == ("node1", sorted(cells[:2]), ["0_0", "1_0"])
    assert worst["avoided_until_utc"] > datetime.now(UTC).isoformat()
    assert (other["node"], other["avoided_until_utc"]) == ("node2", None)
