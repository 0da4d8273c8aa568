"""Plans: identities, groups, states, costs, the file, and that none of it needs torch."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline import catalog, schema
from pipeline.cell import Cell
from pipeline.errors import GridError
from pipeline.estimates import (
    ANSWER_SECONDS,
    EXAMPLE_SECONDS,
    OVERHEAD_SECONDS,
    USUAL_EXAMPLES,
    USUAL_PARAMETERS,
    USUAL_TRAIN_ITEMS,
    Scale,
    guessed_seconds,
)
from pipeline.groups import group_id
from pipeline.models import parse_model
from pipeline.models.catalogue import CHECKPOINTS
from pipeline.models.spec import staged_folder
from pipeline.plan import Plan, check_grid, make_plan

GRID = """\
study: demo
tasks: [chain-sum]
models: [smollm2-135m, smollm2-135m@random-6]
programs:
  - {family: baseline}
  - {family: subset, lr: [1.0e-4, 1.0e-5], epochs: [1, 3]}
  - {family: subset, examples: [8, 64], epochs: 3}
budgets: [1KiB, 16KiB]
seeds: [1, 2]
"""
NUM_CELLS = 2 * (1 + 2 * 2 * 2 * 2 + 2 * 2)

WITHOUT_TORCH = """\
import sys
import tomllib

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[2:]:
            raise ImportError(f"{name} is blocked here")

sys.meta_path.insert(0, Blocker())
from pipeline.cli import app
for arguments in (["validate", "GRID"], ["plan", "GRID"], ["status", "demo"], ["status", "demo", "--json"]):
    app([argument.replace("GRID", sys.argv[1]) for argument in arguments], standalone_mode=False)
assert "torch" not in sys.modules
"""


def stage(label: str, identity: str) -> None:
    """What `stage` leaves in the cache, without the weights: planning reads no more."""
    folder = staged_folder(parse_model(label, Path()))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "staged.json").write_text(json.dumps({"identity": identity, "parameters": 1}))


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TCX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TCX_RESULTS", str(tmp_path / "results"))
    stage("smollm2-135m", "a" * 64)
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


def rendered(plan: Plan) -> str:
    console = Console(file=io.StringIO(), width=200)
    plan.render(console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def finish(plan: Plan, cell_id: str, wall_seconds: float) -> None:
    """A shard of this cell: an infeasible one, which is done as well."""
    row: dict[str, Any] = dict.fromkeys(schema.SHARD.names)
    (planned,) = (row for row in plan.study.read_plan().to_pylist() if row["cell_id"] == cell_id)  # type: ignore[union-attr]
    row |= {name: value for name, value in planned.items() if name in row}
    row |= {"schema_version": schema.SCHEMA_VERSION, "status": "infeasible", "status_reason": "for this test"}
    assert plan.study.commit_shard(row | {"wall_seconds": wall_seconds})


def fail(plan: Plan, cell_id: str, attempt: int, cause: str) -> None:
    attempt_row = {
        "cell_id": cell_id,
        "attempt": attempt,
        "cause": cause,
        "message": "it broke",
        "host": "here",
        "slurm_job_id": None,
        "restarts": 0,
        "finished_utc": datetime(2026, 1, 1, attempt, tzinfo=UTC),
    }
    plan.study.record_attempts([attempt_row])


def test_cells_of_unstaged_models_are_unresolved(grid: Path) -> None:
    plan = make_plan(grid, None)
    assert len(plan.rows) == NUM_CELLS
    counted = {name: count for name, count in plan.tally.states.items() if count}
    assert counted == {"to do": NUM_CELLS // 2, "unresolved": NUM_CELLS // 2}
    assert plan.unresolved_models == ("smollm2-135m@random-6",)
    for row in plan.rows:
        assert (row.cell_id is None) == (row.group_id is None) == (row.cell.model == "smollm2-135m@random-6")
    assert "unresolved" in rendered(plan)


def test_the_plan_file_holds_every_cell(grid: Path) -> None:
    plan = make_plan(grid, None)
    table = pq.read_table(plan.study.plan_path)
    assert table.schema.equals(schema.PLAN)
    rows = table.to_pylist()
    assert [row["cell_id"] for row in rows] == [row.cell_id for row in plan.rows]
    assert [Cell.from_row(row) for row in rows] == [row.cell for row in plan.rows]
    assert [Cell.from_row(row).cell_id for row in rows] == [row.cell_id for row in plan.rows]
    assert {row["view"] for row in rows} == {"inference", "data"}


def test_groups_are_the_cells_whose_encoders_share_work(grid: Path) -> None:
    stage("smollm2-135m@random-6", "b" * 64)
    plan = make_plan(grid, None)
    groups: dict[str, list[Cell]] = {}
    for row in plan.rows:
        assert row.group_id == group_id(row.cell, ("epochs", "examples") if row.cell.family == "subset" else ())
        groups.setdefault(str(row.group_id), []).append(row.cell)
    assert list(groups.values()) == plan.groups()
    for members in groups.values():
        assert len({(cell.model_identity, cell.family, cell.seed, cell.parameters.get("lr")) for cell in members}) == 1
    # A model: the baseline alone; for each seed two learning rates with 2 epochs x 2 budgets, and the default
    # learning rate with two sizes.
    assert sorted(map(len, groups.values())) == sorted(2 * [1, *(2 * [4, 4, 2])])
    assert all(len(group) == 16 for group in groups)


def test_group_id_is_frozen() -> None:
    cell = Cell.from_json(
        {
            "task": "gsm8k",
            "task_version": 3,
            "model": "m",
            "model_identity": "5f" * 32,
            "family": "subset",
            "family_version": 2,
            "parameters": {"lr": 1e-4, "epochs": 3, "examples": None},
            "budget_bytes": 16384,
            "seed": 7,
            "evaluation": {"validation_items": 256, "test_items": None, "time_limit_seconds": 60},
            "reference_machine": "2026.11",
        }
    )
    assert group_id(cell, ("epochs", "examples")) == "1f4090d9f8d2d300"


def test_states_come_from_the_folder(grid: Path) -> None:
    plan = make_plan(grid, None)
    subset = [str(row.cell_id) for row in plan.rows if row.cell.family == "subset" and row.cell_id]
    finish(plan, subset[0], 10.0)
    finish(plan, subset[1], 30.0)
    fail(plan, subset[1], 1, "program-memory")
    fail(plan, subset[2], 1, "program-memory")
    fail(plan, subset[2], 2, "program-timeout")
    again = make_plan(grid, None)
    states = {row.cell_id: row.state for row in again.rows}
    assert (states[subset[0]].name, states[subset[1]].name, states[subset[3]].name) == ("done", "done", "to do")
    assert tuple(states[subset[2]])[:2] == ("failed", "program-timeout")
    assert again.tally.causes == {"program-timeout": 1}
    assert "1 failed with program-timeout: the program passed the time limit of its cell" in rendered(again)
    todo = [cell.cell_id for group in again.groups() for cell in group]
    assert subset[2] in todo
    assert not {subset[0], subset[1]} & set(todo)


def test_costs_are_guessed_and_set_right_by_finished_cells(grid: Path) -> None:
    plan = make_plan(grid, None)
    # The staged model has one weight (see `stage`), the other one is not staged and counts as it is published.
    size = CHECKPOINTS["smollm2-135m"].parameters / USUAL_PARAMETERS
    learned = [0, *(2 * number for number in (USUAL_EXAMPLES, 3 * USUAL_EXAMPLES, 3 * 8, 3 * 64))]
    guessed = {round(OVERHEAD_SECONDS + size * (ANSWER_SECONDS + EXAMPLE_SECONDS * number), 3) for number in learned}
    assert {round(row.cost_seconds, 3) for row in plan.rows} == {OVERHEAD_SECONDS, *guessed}
    subset = [row for row in plan.rows if row.cell.family == "subset" and row.cell_id]
    for row, times in zip(subset, (2.0, 4.0, 18.0), strict=False):
        finish(plan, str(row.cell_id), times * row.cost_seconds)
    again = make_plan(grid, None)
    for row, before in zip(again.rows, plan.rows, strict=True):
        is_known = row.cell.family == "subset" and row.cell_id is not None
        assert row.cost_seconds == pytest.approx((4 if is_known else 1) * before.cost_seconds)
    rest = [row for row in again.rows if row.state.name != "done"]
    assert again.expected_hours == pytest.approx(sum(row.cost_seconds for row in rest) / 3600)


def test_a_program_that_learns_much_is_expected_to_take_long(grid: Path) -> None:
    cell = next(row.cell for row in make_plan(grid, None).rows if row.cell.family == "subset")

    def seconds(view: str = "data", **parameters: object) -> float:
        return guessed_seconds(replace(cell, parameters={**cell.parameters, **parameters}), view, Scale(3e9))

    assert seconds(examples=32768, epochs=3) > 3600 * 24 * 10
    assert seconds(examples="all", epochs=1) > 50 * seconds(examples=64, epochs=1)
    assert seconds(examples=512, epochs=1) == pytest.approx(2 * seconds("parametric", examples=512, epochs=1), rel=0.2)


def test_training_that_a_group_shares_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the budgets and roundings of one training; and once more for the rest when a cell is done."""
    monkeypatch.setenv("TCX_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "grid.yaml"
    path.write_text(
        "study: shared\ntasks: [chain-sum]\nmodels: [smollm2-135m]\nprograms:\n"
        "  - {family: gains, examples: 2048, epochs: 3, rounded_epochs: [1, 2]}\n"
        "budgets: [1KiB, 2KiB]\n"
    )
    stage("smollm2-135m", "a" * 64)
    plan = make_plan(path, str(tmp_path))
    size = plan.scales["chain-sum", "smollm2-135m"].num_parameters / USUAL_PARAMETERS
    one_pass = EXAMPLE_SECONDS * 2048 * size
    answers = OVERHEAD_SECONDS + ANSWER_SECONDS * size
    # Three passes for all, one for the programs of two budgets, two for two others.
    assert 3600 * plan.expected_hours == pytest.approx(4 * answers + (3 + 2 * 1 + 2 * 2) * one_pass)
    first = plan.rows[0]
    finish(plan, str(first.cell_id), first.cost_seconds)
    again = make_plan(path, str(tmp_path))
    assert 3600 * again.expected_hours == pytest.approx(3 * answers + (3 + 1 + 2 * 2) * one_pass)


def test_how_long_all_examples_took_says_nothing_of_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TCX_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "grid.yaml"
    path.write_text(
        "study: both\ntasks: [chain-sum]\nmodels: [smollm2-135m]\nprograms:\n"
        "  - {family: subset, examples: [16, all], epochs: [1, 2]}\n"
    )
    stage("smollm2-135m", "a" * 64)
    plan = make_plan(path, str(tmp_path))
    costs = {(row.cell.parameters["examples"], row.cell.parameters["epochs"]): row.cost_seconds for row in plan.rows}
    done = next(
        row for row in plan.rows if (row.cell.parameters["examples"], row.cell.parameters["epochs"]) == ("all", 1)
    )
    finish(plan, str(done.cell.cell_id), done.cost_seconds / 10)
    for row in make_plan(path, str(tmp_path)).rows:
        examples, epochs = row.cell.parameters["examples"], row.cell.parameters["epochs"]
        factor = 1 if examples == 16 else 0.1
        assert row.cost_seconds == pytest.approx(factor * costs[examples, epochs], rel=0.3)


def test_a_lock_says_how_many_all_examples_are(grid: Path) -> None:
    grid.write_text(GRID.replace("examples: [8, 64]", "examples: [8, all]"))
    stage("smollm2-135m", "a" * 64)
    entry: dict[str, Any] = {"version": catalog.task("chain-sum").version, "items_sha256": "d" * 64}

    def seconds() -> float:
        return max(row.cost_seconds for row in make_plan(grid, None).rows)

    def locked(**more: int) -> None:
        content = {"format": 1, "models": {}, "tasks": {"chain-sum": {**entry, **more}}}
        grid.with_suffix(".lock").write_text(json.dumps(content))

    locked()
    guessed = seconds()
    assert guessed > EXAMPLE_SECONDS * USUAL_TRAIN_ITEMS
    locked(train_items=2000)
    assert seconds() == pytest.approx(guessed * 2000 / USUAL_TRAIN_ITEMS, rel=0.1)


def test_a_program_that_samples_is_expected_to_take_as_many_times_as_long(grid: Path) -> None:
    cell = next(row.cell for row in make_plan(grid, None).rows if row.cell.family == "baseline")
    one, eight = (
        guessed_seconds(replace(cell, parameters={"samples": number}), "inference", Scale(3e9)) for number in (1, 8)
    )
    assert eight - OVERHEAD_SECONDS == pytest.approx(8 * (one - OVERHEAD_SECONDS))


def test_a_plan_tells_of_large_and_of_overlong_programs(tmp_path: Path) -> None:
    """Full fine-tuning of SmolLM3 writes 16 bits for each of its weights; 32,768 examples are learned for days."""
    path = tmp_path / "grid.yaml"
    path.write_text(
        "study: large\ntasks: [chain-sum]\nmodels: [smollm3]\nprograms:\n"
        "  - {family: full, bits: 16}\n"
        "  - {family: subset, examples: [8, 32768]}\n"
        "evaluation: {time_limit_seconds: 86400}\n"
    )
    plan = make_plan(path, str(tmp_path))
    assert 2 * 3_075_098_624 < plan.disk_bytes < 2.1 * 3_075_098_624
    assert plan.num_overlong == 1
    console = Console(file=io.StringIO(), width=200)
    plan.render(console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "1 programs are expected to run longer than time_limit_seconds" in text
    assert "0 encoder jobs after sharing (without unresolved cells)" in text


def test_editing_a_grid_rewrites_its_plan_and_keeps_the_shards_outside(grid: Path) -> None:
    plan = make_plan(grid, None)
    cell_id = next(str(row.cell_id) for row in plan.rows if row.cell_id and row.cell.family == "baseline")
    finish(plan, cell_id, 1.0)
    grid.write_text(GRID.replace("  - {family: baseline}\n", ""))
    edited = make_plan(grid, None)
    assert len(edited.rows) == NUM_CELLS - 2
    assert edited.num_outside == 1
    assert edited.study.shard_path(cell_id).is_file()
    assert edited.study.read_plan().num_rows == len(edited.rows)  # type: ignore[union-attr]


@pytest.mark.parametrize("is_staged", [True, False])
def test_one_model_under_two_names_is_a_mistake(grid: Path, tmp_path: Path, is_staged: bool) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    for name in ("./model", "./model/../model"):
        if is_staged:
            stage(str(tmp_path / name), "c" * 64)
    grid.write_text(GRID.replace("smollm2-135m, smollm2-135m@random-6", "./model, ./model/../model"))
    with pytest.raises(GridError, match=r"'\./model' and '\./model/\.\./model' are the same base model"):
        make_plan(grid, None)


def test_json_and_check(grid: Path) -> None:
    plan, check = make_plan(grid, None), check_grid(grid)
    content = json.loads(json.dumps(plan.to_json()))
    assert content["cells"] == NUM_CELLS == check.num_cells
    assert content["axes"] == check.to_json()["axes"]
    assert content["axes"]["budget"] == {"none": 10, "1 KiB": 16, "16 KiB": 16}
    assert content["files"] == 2 * NUM_CELLS + 1
    assert sum(row["to_do"] + row["unresolved"] for row in content["table"]) == NUM_CELLS


def test_checking_a_grid_writes_nothing(grid: Path, tmp_path: Path) -> None:
    check_grid(grid)
    assert not (tmp_path / "results").exists()


def test_validate_plan_and_status_run_on_the_base_install(grid: Path) -> None:
    extras = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[^\w-]", requirement)[0] for requirement in extras["optional-dependencies"]["train"]]
    only_for_training = [name.replace("-", "_") for name in names]
    assert {"torch", "python_minifier", "zopfli"} <= set(only_for_training)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, str(grid), *only_for_training],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env=os.environ,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{NUM_CELLS} cells" in done.stdout
    assert "plan of study demo" in done.stdout


def test_importing_plan_and_every_task_and_family_loads_no_heavy_library() -> None:
    names = [*catalog.TASKS.values(), *catalog.FAMILIES.values(), "pipeline.plan:x", "pipeline.status:x"]
    modules = sorted({name.partition(":")[0] for name in names})
    code = f"import importlib, sys; [importlib.import_module(name) for name in {modules}]; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent
    ).stdout.split()
    heavy = {
        "torch",
        "transformers",
        "peft",
        "accelerate",
        "datasets",
        "sacrebleu",
        "matplotlib",
        "pandas",
        "constriction",
    }
    assert not heavy & set(loaded)
