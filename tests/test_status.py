"""Status of a study: counts from its folder, and why one cell failed."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline import schema
from pipeline.errors import CAUSES, UserError
from pipeline.files import write_atomically
from pipeline.leases import Owner
from pipeline.states import STATES
from pipeline.status import SHOWN_ATTEMPTS, list_cells, study_status, unique_id, why
from pipeline.store import Study

CELLS = ("aa11" * 16, "aa22" * 16, "bb33" * 16, None)


def plan_row(cell_id: str | None, model: str) -> dict[str, Any]:
    return dict.fromkeys(schema.PLAN.names) | {
        "cell_id": cell_id,
        "group_id": "5ab0" if cell_id else None,
        "task": "chain-sum",
        "task_version": 1,
        "model": model,
        "family": "icl",
        "family_version": 1,
        "parameters": '{"shots":4}',
        "seed": 1,
        "time_limit_seconds": 60,
        "reference_machine": "1",
    }


def attempt(cell_id: str, number: int, cause: str) -> dict[str, Any]:
    return {
        "cell_id": cell_id,
        "attempt": number,
        "cause": cause,
        "message": f"first line of {number}\nsecond [line]",
        "host": "node-7",
        "slurm_job_id": None,
        "restarts": 0,
        "finished_utc": datetime(2026, 1, 1, number, tzinfo=UTC),
    }


def shard(cell_id: str) -> dict[str, Any]:
    return dict.fromkeys(schema.SHARD.names) | {
        "schema_version": schema.SCHEMA_VERSION,
        "cell_id": cell_id,
        "status": "infeasible",
        "status_reason": "for this test",
    }


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """One cell done, one failed three times, one to do, one unresolved, and a shard outside of the plan."""
    import pyarrow.parquet as pq

    study = Study(tmp_path / "my results" / "demo")
    rows = [plan_row(cell_id, "m" if cell_id else "far") for cell_id in CELLS]
    table = schema.table_of(rows, schema.PLAN)
    write_atomically(study.plan_path, lambda handle: pq.write_table(table, handle), replace=True)
    study.commit_shard(shard("aa11" * 16))
    study.commit_shard(shard("cc44" * 16))
    for number, cause in ((2, "program-memory"), (1, "killed"), (3, "program-crash")):
        study.record_attempts([attempt("aa22" * 16, number, cause)])
    study.record_attempts([attempt("aa11" * 16, 1, "killed")])
    return study


def rendered(result: Any) -> str:
    console = Console(file=io.StringIO(), width=160)
    result.render(console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_counts(study: Study) -> None:
    status = study_status("demo", str(study.folder.parent))
    none = {name.replace(" ", "_"): 0 for name in STATES}
    assert json.loads(json.dumps(status.to_json())) == {
        "study": "demo",
        "folder": str(study.folder),
        "cells": 4,
        "states": none | {"done": 1, "failed": 1, "to_do": 1, "unresolved": 1},
        "failed_by_cause": {"program-crash": 1},
        "queued_by_reason": {},
        "queue_note": None,
        "outside_plan": 1,
        "unjudged_leases": [],
        "table": [
            {"task": "chain-sum", "model": "m", "family": "icl"} | none | {"done": 1, "failed": 1, "to_do": 1},
            {"task": "chain-sum", "model": "far", "family": "icl"} | none | {"unresolved": 1},
        ],
    }
    text = rendered(status)
    assert f"1 failed with program-crash: {CAUSES['program-crash']}" in text
    assert f"tcx status '{study.folder}' --why CELL" in " ".join(text.split())
    assert "1 shards are outside of the plan" in text


def test_leases_that_nobody_here_can_judge_are_told(study: Study) -> None:
    owner = Owner(host="login2", node="login2", pid=77, started=5, slurm_job_id=None, restart=0)
    path = study.leases / "5ab0.json"
    write_atomically(path, json.dumps(asdict(owner)).encode(), replace=False)
    status = study_status(str(study.folder), None)
    text = " ".join(rendered(status).split())
    assert "3 cells (group 5ab0) are worked on by process 77 on login2 since 20" in text
    assert f"delete {path}" in text.replace(" /", "/").replace("delete/", "delete /")
    (told,) = json.loads(json.dumps(status.to_json()))["unjudged_leases"]
    assert told.pop("since").startswith("20")
    assert told == {"group_id": "5ab0", "owner": asdict(owner), "path": str(path)}


def test_a_damaged_shard_counts_as_not_done(study: Study) -> None:
    path = study.shard_path("aa11" * 16)
    path.write_bytes(path.read_bytes()[:-20])
    # Its only attempt had failed before the shard was written.
    assert study_status(str(study.folder), None).tally.states == {
        **dict.fromkeys(STATES, 0),
        "failed": 2,
        "to do": 1,
        "unresolved": 1,
    }


def test_why_a_cell_failed(study: Study) -> None:
    found = why("demo", "aa2", str(study.folder.parent))
    assert found.cell_id == "aa22" * 16
    assert (found.state.name, found.state.cause) == ("failed", "program-crash")
    assert [row["cause"] for row in found.attempts] == ["killed", "program-memory", "program-crash"]
    text = rendered(found)
    for part in (
        "chain-sum / m / icl (seed=1, shots=4)",
        "attempt 3 on node-7, 2026-01-01 03:00:00 UTC",
        "second [line]",
    ):
        assert part in text
    assert CAUSES["program-crash"] in text
    content = json.loads(json.dumps(found.to_json()))
    assert content["attempts"][-1]["meaning"] == CAUSES["program-crash"]
    assert content["attempts"][-1]["finished_utc"] == "2026-01-01T03:00:00+00:00"


def test_only_the_last_attempts_are_shown(study: Study) -> None:
    for number in range(4, 4 + SHOWN_ATTEMPTS):
        study.record_attempts([attempt("aa22" * 16, number, "program-memory")])
    found = why(str(study.folder), "aa22", None)
    assert [row["attempt"] for row in found.attempts] == list(range(4, 4 + SHOWN_ATTEMPTS))


def test_why_of_a_cell_that_is_done_to_do_or_outside(study: Study) -> None:
    done, to_do, outside = (why(str(study.folder), start, None) for start in ("aa11", "b", "c"))
    assert (done.state.name, done.shard) == ("done", study.shard_path("aa11" * 16))
    assert (to_do.state.name, to_do.shard, to_do.attempts) == ("to do", None, ())
    assert "no attempt of it failed" in rendered(to_do)
    assert (outside.state.name, outside.label) == ("done", None)
    assert "outside of the plan" in rendered(outside)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("aa", "2 cells have ids that start with 'aa': aa11aa11aa, aa22aa22aa; give more of it"),
        ("ff", "no cell of this study has an id that starts with 'ff'"),
        ("", "no cell of this study"),
    ],
)
def test_an_id_that_names_no_one_cell(study: Study, start: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        why(str(study.folder), start, None)


def test_cells_are_listed_with_their_ids(study: Study) -> None:
    plan = study.read_plan()
    assert plan is not None
    found = list_cells(str(study.folder), "*", None).to_json()["cells"]
    assert [one["cell_id"] for one in found] == plan["cell_id"].to_pylist()
    assert Counter(one["state"].replace("_", " ") for one in found) == Counter(
        {name: count for name, count in study_status(str(study.folder), None).tally.states.items() if count}
    )
    label = found[1]["label"]
    assert {one["label"] for one in list_cells(str(study.folder), label, None).to_json()["cells"]} == {label}
    with pytest.raises(UserError, match="no cell of study demo has a label like 'nothing'"):
        list_cells(str(study.folder), "nothing", None)


def test_many_cells_of_one_start_are_cut() -> None:
    with pytest.raises(UserError, match=r"9 cells .*, \.\.\.; give more of it"):
        unique_id("a", [f"a{number}" for number in range(9)])


def test_a_study_without_plan_and_no_study(study: Study) -> None:
    study.plan_path.unlink()
    with pytest.raises(UserError, match="has shards but no plan"):
        study_status(str(study.folder), None)
    with pytest.raises(UserError, match="did you mean demo"):
        study_status("demp", str(study.folder.parent))
