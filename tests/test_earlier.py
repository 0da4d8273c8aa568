"""Other items for programs that are there: what is made once is executed again, through the commands and by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.attempts import record_attempts
from pipeline.cell import Cell, Evaluation
from pipeline.earlier import earlier_programs
from pipeline.evaluations import known_evaluations
from pipeline.rows import iter_rows
from pipeline.runner import Runner
from pipeline.store import Study
from pipeline.worker import run_group
from tests.commands import tcx

GRID = """
study: sums
tasks: [chain-sum]
models: [{model}]
programs:
  - {{family: baseline}}
  - {{family: icl, shots: 1}}
  - {{family: lora, examples: 2, epochs: 1, bits: 4}}
seeds: [1]
evaluation: {{validation_items: {validation}, test_items: {test}}}
"""
FEW, MORE = (
    Evaluation(validation_items=2, test_items=3),
    Evaluation(validation_items=4, test_items=5),
)
MADE = ("program_sha256", "settings", "nll_bits", "coded_bits", "payload_text", "encode_seconds", "train_tokens")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Study:
    """Run on few items and then on more."""
    folder = tmp_path_factory.mktemp("earlier")
    for evaluation in (FEW, MORE):
        sizes = {"validation": evaluation.validation_items, "test": evaluation.test_items}
        (folder / "grid.yaml").write_text(GRID.format(model=tiny_model, **sizes))
        tcx(folder, "run", "grid.yaml", "--jobs", "1")
    return Study(folder / "results" / "sums")


def rows_of(study: Study, evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """By family."""
    names = [*Cell.__dataclass_fields__, *Evaluation.__dataclass_fields__, *MADE]
    names = [name for name in names if name != "evaluation"]
    more = ["cell_id", "status", "hub_commits", "lock_sha256", "validation", "test"]
    rows = [row for row in iter_rows(study, [*names, *more]) if row["test_items"] == evaluation.test_items]
    return {row["family"]: row for row in rows}


def test_programs_are_executed_on_other_items_and_not_made_anew(study: Study) -> None:
    before, after = rows_of(study, FEW), rows_of(study, MORE)
    assert before.keys() == after.keys() == {"baseline", "icl", "lora"}
    for family, row in after.items():
        # The time of the encoder would differ if it had worked again.
        assert {name: row[name] for name in MADE} == {name: before[family][name] for name in MADE}
        assert [row[split]["num_items"] for split in ("validation", "test")] == [4, 5]
    assert before["lora"]["train_tokens"] > 0 and before["icl"]["coded_bits"] > 0


def test_a_plan_knows_the_evaluations_before_it(study: Study, tiny_model: Path) -> None:
    assert known_evaluations(study.plan_path) == [FEW, MORE]
    folder, content = study.folder.parents[1], study.plan_path.read_bytes()
    tcx(folder, "plan", "grid.yaml")
    assert study.plan_path.read_bytes() == content
    (folder / "few.yaml").write_text(GRID.format(model=tiny_model, validation=2, test=3))
    assert json.loads(tcx(folder, "plan", "few.yaml", "--json").stdout)["states"]["done"] == 3
    (folder / "most.yaml").write_text(GRID.format(model=tiny_model, validation=5, test=6))
    assert json.loads(tcx(folder, "plan", "most.yaml", "--json").stdout)["made_under_another_evaluation"] == 3
    assert "3 cells have been made under another `evaluation`" in tcx(folder, "plan", "most.yaml").stdout
    most = Evaluation(validation_items=5, test_items=6)
    assert known_evaluations(study.plan_path) == [FEW, MORE, most]
    assert known_evaluations(study.folder / "no plan") == []
    study.plan_path.write_bytes(b"no plan")
    assert known_evaluations(study.plan_path) == []
    study.plan_path.write_bytes(content)


def test_a_group_that_was_planned_away_is_left_out(study: Study) -> None:
    """A grid may be edited and planned while it runs."""
    events: list[dict[str, Any]] = []
    with Runner(study.folder, warm=False) as runner:
        run_group(str(study.folder), str(study.plan_path), "0" * 16, runner, events.append)
    assert [event["cause"] for event in events] == ["left out"]


def test_what_is_coded_under_the_model_is_taken_on_the_same_machine_alone(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = Evaluation(validation_items=1, test_items=1)
    rows = rows_of(study, FEW)
    cells = [Cell.from_row(row | {"validation_items": 1, "test_items": 1}) for row in rows.values()]
    assert {cell.evaluation for cell in cells} == {third}
    provenance = {name: rows["lora"][name] for name in ("hub_commits", "lock_sha256")}

    def taken(**changes: str) -> set[str]:
        return {it.cell.family for it in earlier_programs(study, cells, provenance | changes).values()}

    assert taken() == {"baseline", "icl", "lora"}
    assert taken(lock_sha256="another") == {"baseline", "icl", "lora"}
    assert taken(hub_commits="another") == set()
    monkeypatch.setattr("pipeline.earlier.code_state", lambda: ("another", None))
    assert taken() == {"baseline", "icl", "lora"}
    monkeypatch.setattr("pipeline.earlier.machine_class", lambda: "another")
    assert taken() == {"baseline", "lora"}
    (lora,) = (cell for cell in cells if cell.family == "lora")
    assert lora.cell_id is not None
    record_attempts(study, [lora.cell_id], "code", "it failed")
    assert taken() == {"baseline"}


def test_a_damaged_row_of_another_evaluation_costs_its_cell_alone(study: Study) -> None:
    rows = rows_of(study, FEW)
    cells = [Cell.from_row(row | {"validation_items": 2, "test_items": 1}) for row in rows.values()]
    provenance = {name: rows["icl"][name] for name in ("hub_commits", "lock_sha256")}
    damaged = [study.shard_path(it["icl"]["cell_id"]) for it in (rows, rows_of(study, MORE))]
    content = [path.read_bytes() for path in damaged]
    for path, sound in zip(damaged, content, strict=True):
        path.write_bytes(sound[:100] + bytes(200) + sound[300:])
    assert study.valid_cells([path.stem for path in damaged])  # by a quick look
    taken = {it.cell.family for it in earlier_programs(study, cells, provenance).values()}
    for path, sound in zip(damaged, content, strict=True):
        path.write_bytes(sound)
    assert "icl" not in taken and "baseline" in taken
