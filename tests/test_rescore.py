"""Kept answers that are scored anew: through the commands, on a task whose file is edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import catalog
from pipeline.cell import Cell
from pipeline.evaluate import items_of
from pipeline.rows import read_row
from pipeline.store import Study
from tests.commands import tcx

TASK = """
name: letters
licence: CC0-1.0
template: "Text: {text}\\nReply:"
target: reply
train: train.jsonl
validation: validation.jsonl
test: test.jsonl
metrics: accuracy
scorer: exact
max_new_tokens: 4
instruction: Reply.
"""
GRID = """
study: letters
tasks: [letters.yaml]
models: [{model}]
programs:
  - {{family: trivial, reply: [copy, constant]}}
  - {{family: icl, budgets: [200B]}}
evaluation: {{validation_items: 3, test_items: 4}}
"""

SEARCH = """
study: searched
tasks: [letters.yaml]
models: [{model}]
programs:
  - family: auto
    among:
      - {{family: trivial, reply: [copy, constant]}}
      - {{family: baseline}}
      - {{family: urial}}
    budgets: [2000B]
evaluation: {{validation_items: 2, test_items: 2}}
"""


def write_items(folder: Path, name: str, number: int) -> None:
    # Copying the text is never exactly the reply, and always contains it.
    rows = [{"text": f"{name} {index} and more", "reply": f"{name} {index}"} for index in range(number)]
    (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def planned_rows(study: Study) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of the planned cells, by family and parameters."""
    plan = study.read_plan()
    assert plan is not None
    rows = [read_row(study, cell_id) for cell_id in plan["cell_id"].to_pylist()]
    return {(row["family"], row["parameters"]): row for row in rows}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "letters.yaml").write_text(TASK)
    (folder / "grid.yaml").write_text(GRID.format(model=tiny_model))
    for name, number in (("train", 20), ("validation", 4), ("test", 5)):
        write_items(folder, name, number)
    tcx(folder, "run", "grid.yaml", "--jobs", "1")
    return folder


def test_a_changed_scorer(workplace: Path) -> None:
    study = Study(workplace / "results" / "letters")
    before = planned_rows(study)
    files = {path: path.read_bytes() for path in study.shard_files()}
    programs = {path: path.stat().st_mtime_ns for path in study.programs.rglob("*.pyz")}
    assert {row["status"] for row in before.values()} == {"ok", "infeasible"}

    unchanged = json.loads(tcx(workplace, "rescore", "letters", "--json").stdout)
    assert (unchanged["rescored"], unchanged["tasks"]) == (0, [])

    (workplace / "letters.yaml").write_text(TASK.replace("scorer: exact", "scorer: contains"))
    summary = json.loads(tcx(workplace, "rescore", "letters", "--json").stdout)
    task = catalog.task(str(workplace / "letters.yaml"))
    (change,) = summary["tasks"]
    assert (summary["rescored"], change["num_present"], change["num_open"]) == (len(before), 0, 0)
    assert change["version"] == task.version != change["old_versions"][0]
    assert change["new_performance"] > change["old_performance"]

    after = planned_rows(study)
    changed_columns = {"cell_id", "task_version", "validation", "test", "rescored_from"}
    for key, old in before.items():
        new = after[key]
        assert new["rescored_from"] == old["cell_id"] and new["task_version"] == task.version
        assert {name: new[name] for name in new.keys() - changed_columns} == {
            name: old[name] for name in old.keys() - changed_columns
        }
        if old["status"] == "infeasible":
            continue
        for split, items in items_of(task, Cell.from_row(new).evaluation).items():
            assert new[split]["predictions"] == old[split]["predictions"]
            right = [example.target in output for output, example in zip(new[split]["predictions"], items, strict=True)]
            assert new[split]["item_scores"] == [100.0 * is_right for is_right in right]
            assert new[split]["performance"] == pytest.approx(100 * sum(right) / len(right))
    copied = next(row for (family, parameters), row in after.items() if family == "trivial" and "copy" in parameters)
    assert copied["test"]["performance"] == 100.0

    # The old scores stay as they were, nothing was made or executed, and nothing is left to do.
    assert {path: path.read_bytes() for path in files} == files
    assert {path: path.stat().st_mtime_ns for path in study.programs.rglob("*.pyz")} == programs
    assert study.read_attempts().num_rows == 0
    shards = set(study.shard_files())
    tcx(workplace, "run", "grid.yaml", "--jobs", "1")
    assert set(study.shard_files()) == shards and len(shards) == 2 * len(before)
    status = json.loads(tcx(workplace, "status", "letters", "--json").stdout)
    assert (status["states"]["done"], status["outside_plan"]) == (len(before), len(before))

    reduced = json.loads(tcx(workplace, "reduce", "letters", "--json").stdout)
    assert reduced["completeness"]["num_planned"] == len(before)
    points = study.read_table("points").to_pylist()
    assert {row["cell_id"] for row in points} == {row["cell_id"] for row in after.values()}
    verified = json.loads(tcx(workplace, "verify", "letters", "--json").stdout)
    assert (verified["verified"], verified["failed"], verified["outside_plan"]) == (2, 0, 2)
    assert "2 programs are of cells outside of the plan" in tcx(workplace, "verify", "letters").stdout
    program = str(study.program_path(copied["program_sha256"]))
    assert json.loads(tcx(workplace, "verify", program, "--json").stdout)["verified"] == 1

    # Back again: the rows of before are planned, and those that took their answers over are not.
    (workplace / "letters.yaml").write_text(TASK)
    assert json.loads(tcx(workplace, "plan", "grid.yaml", "--json").stdout)["states"]["done"] == len(before)
    verified = json.loads(tcx(workplace, "verify", "letters", "--json").stdout)
    planned = {row["cell_id"] for row in before.values() if row["status"] == "ok"}
    assert {it["cell_id"] for it in verified["programs"]} == planned
    assert (verified["verified"], verified["outside_plan"]) == (2, 2)
    # A program file may be of any cell: of these two the second was scored by another version.
    verified = json.loads(tcx(workplace, "verify", program, "--json", status=1).stdout)
    assert (verified["verified"], len(verified["programs"])) == (1, 2)


def test_answers_to_other_items_are_refused(workplace: Path, tmp_path: Path) -> None:
    study = Study(workplace / "results" / "letters")
    plan = study.plan_path.read_bytes()
    shards = set(study.shard_files())
    (workplace / "letters.yaml").write_text(TASK.replace("Text:", "Words:"))
    refused = tcx(workplace, "rescore", "letters", status=2).stderr
    assert "had other template" in refused and "Traceback" not in refused
    # Not even on the word of the user: what was kept says otherwise.
    assert "had other template" in tcx(workplace, "rescore", "letters", "--same-items", status=2).stderr

    (workplace / "letters.yaml").write_text(TASK)
    write_items(workplace, "test", 6)
    assert "had other test inputs" in tcx(workplace, "rescore", "letters", status=2).stderr

    write_items(workplace, "test", 3)
    for note in study.tasks.iterdir():
        note.unlink()
    assert "nothing was kept" in tcx(workplace, "rescore", "letters", status=2).stderr
    assert "(3, 4) answers" in tcx(workplace, "rescore", "letters", "--same-items", status=2).stderr
    assert study.plan_path.read_bytes() == plan and set(study.shard_files()) == shards


def test_the_word_of_the_user_and_a_plan_of_the_new_version(workplace: Path) -> None:
    """Whoever plans first, and then reads what `tcx rescore` is for."""
    study = Study(workplace / "results" / "letters")
    write_items(workplace, "test", 5)
    (workplace / "letters.yaml").write_text(TASK.replace("metrics: accuracy\nscorer: exact", "metrics: chrf++"))
    planned = json.loads(tcx(workplace, "plan", "grid.yaml", "--json").stdout)
    assert planned["states"]["done"] == 0
    summary = json.loads(tcx(workplace, "rescore", "letters", "--same-items", "--json").stdout)
    assert summary["rescored"] == 3
    assert json.loads(tcx(workplace, "plan", "grid.yaml", "--json").stdout)["states"]["done"] == 3
    assert {row["metric"] for row in planned_rows(study).values()} == {"chrf++", None}
    # Now something is kept.
    (workplace / "letters.yaml").write_text(TASK.replace("metrics: accuracy", "metrics: [accuracy, bleu]"))
    assert json.loads(tcx(workplace, "rescore", "letters", "--json").stdout)["rescored"] == 3


def test_scorer_and_evaluation_changed_together(workplace: Path, tiny_model: Path) -> None:
    (workplace / "letters.yaml").write_text(TASK.replace("metrics: accuracy", "metrics: [accuracy, chrf++]"))
    fewer = "evaluation: {validation_items: 2, test_items: 3}"
    grid = GRID.format(model=tiny_model)
    (workplace / "grid.yaml").write_text(grid.replace("evaluation: {validation_items: 3, test_items: 4}", fewer))
    planned = json.loads(tcx(workplace, "plan", "grid.yaml", "--json").stdout)
    assert (planned["states"]["done"], planned["made_under_another_evaluation"]) == (0, 0)
    # Of the first versions the test above has thrown the notes away.
    summary = json.loads(tcx(workplace, "rescore", "letters", "--same-items", "--json").stdout)
    (change,) = summary["tasks"]
    assert (change["num_rescored"], change["num_open"], change["num_elsewhere"]) == (0, 3, 2)
    planned = json.loads(tcx(workplace, "plan", "grid.yaml", "--json").stdout)
    assert (planned["states"]["done"], planned["made_under_another_evaluation"]) == (0, 2)
    assert "nothing to do" in tcx(workplace, "rescore", "letters").stdout


def test_a_task_file_that_was_moved(workplace: Path) -> None:
    (workplace / "letters.yaml").rename(workplace / "moved.yaml")
    study = Study(workplace / "results" / "letters")
    assert "`tcx plan GRID`, where the grid is now" in tcx(workplace, "rescore", "letters", status=2).stderr
    program = next(study.programs.rglob("*.pyz"))
    verified = json.loads(tcx(workplace, "verify", str(program), "--json", status=1).stdout)
    said = [obstacle for it in verified["programs"] for obstacle in it["obstacles"]]
    assert any("`tcx plan GRID`, where the grid is now" in obstacle for obstacle in said)
    (workplace / "moved.yaml").rename(workplace / "letters.yaml")


def test_the_rungs_of_a_search_go_with_it(workplace: Path, tiny_model: Path) -> None:
    """Or the next run would search anew."""
    (workplace / "letters.yaml").write_text(TASK)
    (workplace / "search.yaml").write_text(SEARCH.format(model=tiny_model))
    tcx(workplace, "run", "search.yaml", "--jobs", "1")
    (workplace / "letters.yaml").write_text(TASK.replace("scorer: exact", "scorer: contains"))
    assert json.loads(tcx(workplace, "plan", "search.yaml", "--json").stdout)["rung"] == 1
    summary = json.loads(tcx(workplace, "rescore", "searched", "--json").stdout)
    assert [(rung["study"], rung["rescored"]) for rung in summary["rungs"]] == [("searched.rung-1", 4)]
    assert summary["rescored"] == 3
    assert json.loads(tcx(workplace, "plan", "search.yaml", "--json").stdout)["rung"] is None
