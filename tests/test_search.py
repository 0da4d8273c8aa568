"""The search of `family: auto`: who goes on to the next rung, and a whole search on a tiny model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.attempts import record_attempts
from pipeline.cell import Cell
from pipeline.cluster.submit import plan_after_look
from pipeline.earlier import earlier_programs
from pipeline.errors import GridError, NewerShardError
from pipeline.grid import cells, read_grid
from pipeline.leases import lease, this_owner
from pipeline.plan import Plan, check_grid, make_plan
from pipeline.run import run_grid
from pipeline.search import FINALISTS, FIRST_ITEMS, _without, outcomes
from pipeline.store import Study
from tests.commands import tcx
from tests.small_shards import make_newer, shard_row
from tests.test_plan import fail, stage

GRID = """\
study: demo
tasks: [chain-sum]
models: [smollm2-135m]
programs:
  - {family: baseline}
  - family: auto
    among:
      - {family: urial}
      - {family: subset, lr: [1e-5, 2e-5, 3e-5, 4e-5, 5e-5, 6e-5, 7e-5, 8e-5, 9e-5, 1e-4, 2e-4], epochs: 1}
budgets: [1KiB, 2KiB]
seeds: [1, 2]
"""
COMPETITIONS = [(budget, seed) for budget in (1024, 2048) for seed in (1, 2)]


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TCX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TCX_RESULTS", str(tmp_path / "results"))
    stage("smollm2-135m", "a" * 64)
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


def finish(
    plan: Plan, performance: dict[str, float], num_bits: int = 800, *, lengths: Mapping[str, int] | None = None
) -> None:
    """Shards of all cells of a plan, with these validation scores by cell id; 0 for the others."""
    planned = plan.study.read_plan()
    assert planned is not None
    for number, row in enumerate(planned.to_pylist()):
        made = shard_row(number, higher_is_better=True, metric="accuracy")
        length = (lengths or {}).get(row["cell_id"], num_bits)
        made |= {
            "program_length_bits": length,
            "payload_bits": length - 720,
            "encode_seconds": 1.0,
            "execute_seconds": 0.5,
        }
        made |= {name: value for name, value in row.items() if name in made}
        made["validation"] = made["validation"] | {"performance": performance.get(row["cell_id"], 0.0)}
        plan.study.commit_shard(made)


def by_rate(plan: Plan) -> dict[str, float]:
    """Higher rates score higher."""
    return {str(row.cell_id): 1e5 * float(row.cell.parameters.get("lr") or 0.0) for row in plan.rows}


def rates(plan: Plan, budget: int, seed: int) -> list[float]:
    return [
        float(row.cell.parameters["lr"])  # type: ignore[arg-type]
        for row in plan.rows
        if row.cell.family == "subset" and (row.cell.budget_bytes, row.cell.seed) == (budget, seed)
    ]


def test_rungs_halve_each_competition_and_end_in_the_study(grid: Path) -> None:
    first = make_plan(grid, None)
    assert (first.study.folder.name, first.grid.rung, len(first.rows)) == ("demo.rung-1", 1, 1 + 4 * 11)
    assert {row.cell.evaluation.validation_items for row in first.rows} == {FIRST_ITEMS}
    finish(first, by_rate(first))

    second = make_plan(grid, None)  # twelve candidates, urial among them: four go on
    assert second.study.folder.name == "demo.rung-2"
    assert {row.cell.evaluation.validation_items for row in second.rows} == {3 * FIRST_ITEMS}
    assert all(rates(second, *one) == [8e-5, 9e-5, 1e-4, 2e-4] for one in COMPETITIONS)
    assert not any(row.cell.family == "urial" for row in second.rows)
    finish(second, by_rate(second))

    last = make_plan(grid, None)
    assert (last.study.folder.name, last.grid.rung) == ("demo", None)
    assert all(rates(last, *one) == [9e-5, 1e-4, 2e-4] for one in COMPETITIONS)
    assert sum(row.cell.family == "baseline" for row in last.rows) == 1
    assert {row.cell.evaluation.validation_items for row in last.rows} == {None}


def test_competitions_are_decided_apart(grid: Path) -> None:
    first = make_plan(grid, None)
    low = {str(row.cell_id): 100.0 for row in first.rows if row.cell.parameters.get("lr") in (1e-5, 2e-5, 3e-5, 4e-5)}
    finish(first, {it: 100.0 for row in first.rows if row.cell.seed == 2 and (it := str(row.cell_id)) in low})
    second = make_plan(grid, None)
    assert rates(second, 1024, 2) == rates(second, 2048, 2) == [1e-5, 2e-5, 3e-5, 4e-5]
    assert rates(second, 1024, 1) != [1e-5, 2e-5, 3e-5, 4e-5]


def test_a_program_without_a_budget_competes_where_it_fits(grid: Path) -> None:
    first = make_plan(grid, None)
    urial = {str(row.cell_id): 100.0 for row in first.rows if row.cell.family == "urial"}
    finish(first, urial, num_bits=8 * 1500)  # within 2 KiB, above 1 KiB, as if packed so
    second = make_plan(grid, None)
    assert any(row.cell.family == "urial" for row in second.rows)
    assert not rates(second, 1024, 1)  # none of that competition kept its budget
    assert len(rates(second, 2048, 1)) == 3  # urial is the fourth


def test_where_nobody_loses_the_search_ends_and_every_budget_has_its_winner(grid: Path) -> None:
    """Candidates with sizes of their own compete for all budgets; other ones win within each."""
    grid.write_text(
        GRID[: GRID.index("      - {family: urial}")]
        + "      - {family: subset, epochs: 1, examples: [1, 2, 3, 4, 5, 6]}\nbudgets: [1KiB, 2KiB]\n"
    )

    def finish_by_size(plan: Plan) -> None:
        sizes = {str(row.cell_id): int(row.cell.parameters.get("examples") or 0) for row in plan.rows}
        # Three fit into 1 KiB, and more examples are better.
        finish(
            plan,
            {it: float(size) for it, size in sizes.items()},
            lengths={it: 8 * (724 + 100 * size) for it, size in sizes.items()},
        )

    first = make_plan(grid, None)
    assert (first.grid.rung, len(first.rows)) == (1, 6)
    finish_by_size(first)
    last = make_plan(grid, None)
    assert (last.grid.rung, len(last.rows)) == (None, 1 + 6)
    finish_by_size(last)
    found = outcomes(read_grid(grid), None, {"smollm2-135m": "a" * 64})
    winners = {it.competition[2]: it.winner.cell.parameters["examples"] for it in found if it.winner is not None}
    assert winners == {1024: 3, 2048: 6}


def test_the_rung_with_all_validation_items_is_the_last(grid: Path) -> None:
    grid.write_text(f"{GRID}evaluation: {{validation_items: 20}}\n")
    first = make_plan(grid, None)
    assert {row.cell.evaluation.validation_items for row in first.rows} == {20}
    finish(first, by_rate(first))
    last = make_plan(grid, None)
    assert last.grid.rung is None
    assert all(rates(last, *one) == [9e-5, 1e-4, 2e-4] for one in COMPETITIONS)


def test_a_rung_waits_for_its_cells_and_drops_those_that_fail_again(grid: Path) -> None:
    first = make_plan(grid, None)
    scores = by_rate(first)
    planned = first.study.read_plan()
    assert planned is not None
    best = next(row for row in first.rows if row.cell.parameters.get("lr") == 2e-4)
    finish(first, scores)
    first.study.shard_path(str(best.cell_id)).unlink()
    for attempt, cause in enumerate(["killed", "cancelled", "cancelled", "oom-host", "program-timeout"], start=1):
        fail(first, str(best.cell_id), attempt, cause)
        assert make_plan(grid, None).grid.rung == 1
    fail(first, str(best.cell_id), 6, "program-timeout")
    with lease(first.study, str(best.group_id), this_owner(), lambda owner: False):
        assert make_plan(grid, None).grid.rung == 1  # another attempt is being made
    second = make_plan(grid, None)
    assert second.grid.rung == 2
    competition = best.cell.budget_bytes, best.cell.seed
    assert rates(second, *competition) == [7e-5, 8e-5, 9e-5, 1e-4]  # type: ignore[arg-type]


def test_a_damaged_shard_of_a_rung_is_made_again(grid: Path) -> None:
    first = make_plan(grid, None)
    finish(first, by_rate(first))
    cell_id = str(first.rows[0].cell_id)
    path = first.study.shard_path(cell_id)
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)
    again = make_plan(grid, None)
    assert again.grid.rung == 1
    assert [row.cell_id for row in again.rows if row.state.name != "done"] == [cell_id]
    assert [moved.name.partition(".")[0] for moved in first.study.quarantine.glob("*.parquet")] == [cell_id]


def test_a_shard_of_a_later_version_is_not_made_again(grid: Path) -> None:
    first = make_plan(grid, None)
    finish(first, by_rate(first))
    path = first.study.shard_path(str(first.rows[0].cell_id))
    make_newer(path)
    with pytest.raises(NewerShardError, match="update task-complexity"):
        make_plan(grid, None)
    assert path.exists() and not first.study.quarantine.exists()


def test_a_search_that_goes_on_during_a_look_is_looked_at_again(grid: Path) -> None:
    first = make_plan(grid, None)
    finish(first, by_rate(first))
    last = next(row for row in first.rows if row.cell.parameters.get("lr") == 1e-5)
    first.study.shard_path(str(last.cell_id)).unlink()
    fail(first, str(last.cell_id), 1, "code")
    seen = []

    def look_at(study: Study) -> int:
        if not seen:
            fail(first, str(last.cell_id), 2, "code")  # what a look learns of a job that is gone
        seen.append(study.name)
        return len(seen)

    plan, looks = plan_after_look(grid, None, look_at)
    assert (plan.study.name, looks, seen) == ("demo.rung-2", 2, ["demo.rung-1", "demo.rung-2"])


def test_a_search_whose_candidates_all_failed_says_so(
    grid: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid.write_text(GRID.replace("  - {family: baseline}\n", ""))
    first = make_plan(grid, None)
    for cell in {str(row.cell_id) for row in first.rows}:
        fail(first, cell, 1, "code")
        fail(first, cell, 2, "code")
    last = make_plan(grid, None)
    assert (last.grid.rung, len(last.rows)) == (None, 0)
    monkeypatch.setattr("pipeline.run.stage_models", lambda *_: None)  # the base model is one by name only
    summary = run_grid(grid, results=None, jobs=1, console=Console(width=400))
    assert (summary.done, summary.failed) == (0, len(COMPETITIONS))
    told = capsys.readouterr().out
    assert told.count("none of 12 candidates keeps the budget; 12 of them failed") == len(COMPETITIONS)


def test_candidates_that_the_grid_has_anyway_are_not_made_twice(grid: Path) -> None:
    grid.write_text(GRID.replace("{family: baseline}", "{family: subset, lr: 2e-4, epochs: 1}"))
    assert check_grid(grid).num_cells == 1 + 4 * 11
    assert len(read_grid(grid).candidates) == 1 + 2 * 10


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    among:", "    amonk:", "unknown key of 'family: auto' 'amonk'; did you mean among?"),
        ("{family: urial}", "{family: uriel}", "program 2, candidate 1: unknown program family 'uriel'"),
        ("{family: baseline}", "{family: auto}", "program 2: 'family: auto' can stand in a grid once"),
        ("budgets: [1KiB, 2KiB]\n", "", "program 2 (auto): give 'budgets', here or for the grid"),
        ("lr: [1e-5, 2e-5", "lr: [-1e-5, 2e-5", "program 2, candidate 2 (subset): lr is -1e-05"),
    ],
)
def test_mistakes_are_told(grid: Path, old: str, new: str, message: str) -> None:
    assert old in GRID
    grid.write_text(GRID.replace(old, new))
    with pytest.raises(GridError) as raised:
        read_grid(grid)
    assert any(message in mistake for mistake in raised.value.mistakes), raised.value.mistakes


MADE = ("encode_seconds", "train_tokens", "settings", "nll_bits", "coded_bits", "decoder_bits", "payload_bits")
"""Columns of what the encoder did; the time of a second one would be another."""
SMALL = """\
study: small
tasks: [chain-sum]
models: [{model}]
programs:
  - family: auto
    among:
      - {{family: urial}}
      - {{family: icl}}
      - {{family: subset, epochs: [1, 2], lr: 1e-3}}
    budgets: [200B, 1800B]
evaluation: {{validation_items: 4, test_items: 2}}
"""


def test_a_whole_search(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "grid.yaml").write_text(SMALL.format(model=tiny_model))

    told = tcx(tmp_path, "run", "grid.yaml", "--jobs", "2").stdout
    rung, study = Study(tmp_path / "results" / "small.rung-1"), Study(tmp_path / "results" / "small")
    rows = {it: read(it) for it in (rung, study)}
    assert {row["family"] for row in rows[rung]} == {"urial", "icl", "subset"}
    assert {(row["validation_items"], row["test_items"]) for row in rows[rung]} == {(4, 1)}
    fitting = [row for row in rows[rung] if row["status"] == "ok" and row["program_length_bits"] <= 8 * 1800]
    assert len(fitting) > FINALISTS
    worth = {row["program_sha256"]: (-row["validation"]["performance"], row["program_length_bits"]) for row in fitting}
    # Nothing fits into 200 bytes, and the same programs are executed on all items. Two may be worth the same.
    assert sorted(worth[row["program_sha256"]] for row in rows[study]) == sorted(worth.values())[:FINALISTS]
    assert {(row["validation_items"], row["test_items"]) for row in rows[study]} == {(4, 2)}
    made = {row["program_sha256"]: [row[name] for name in MADE] for row in fitting}
    assert all([row[name] for name in MADE] == made[row["program_sha256"]] for row in rows[study])
    assert "200 B / seed 1: none of 4 candidates keeps the budget\n" in told
    assert "1.758 KiB" in told and "searched" in told
    plan = json.loads(tcx(tmp_path, "plan", "grid.yaml", "--json").stdout)
    assert (plan["study"], plan["rung"], plan["states"]["done"]) == ("small", None, FINALISTS)

    # A program is taken over as long as it is there, would be made so again, and has not failed.
    row = rows[study][0]
    cell, provenance = Cell.from_row(row), {name: row[name] for name in ("hub_commits", "lock_sha256")}
    assert cell.cell_id is not None
    taken = earlier_programs(study, [cell], provenance)[cell.cell_id]
    assert taken.program is not None
    assert (taken.cell, taken.program.sha256) == (cell, row["program_sha256"])
    assert earlier_programs(rung, [cell], provenance)  # its own, of another evaluation
    assert not earlier_programs(study, [cell], provenance | {"lock_sha256": "another"})
    assert not earlier_programs(study, [dataclasses.replace(cell, family_version=99)], provenance)
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.earlier.code_state", lambda: ("another", None))
        assert not earlier_programs(study, [cell], provenance)
    program = rung.program_path(row["program_sha256"])
    content = program.read_bytes()
    program.chmod(0o644)
    program.write_bytes(content[:-1])
    assert not earlier_programs(study, [cell], provenance)
    program.write_bytes(content)
    assert earlier_programs(study, [cell], provenance)
    record_attempts(study, [cell.cell_id], "code", "it failed")
    assert not earlier_programs(study, [cell], provenance)


def read(study: Study) -> list[dict[str, Any]]:
    from pipeline.shards import read_shard

    return [read_shard(path, path.stem) for path in study.shard_files()]


def test_what_is_left_out_is_one_candidate_alone(tmp_path: Path) -> None:
    """Also where a parameter that was added to its family has its default, and so does not stand in the cell."""
    path = tmp_path / "grid.yaml"
    path.write_text(
        "study: beams\ntasks: [chain-sum]\nmodels: [smollm2-135m]\n"
        "programs: [{family: gains, kept: 9, examples: 8, beams: [1, 2]}]\n"
    )
    grid = read_grid(path)
    greedy, searched = cells(grid, {})
    for lost, left in ((greedy, searched), (searched, greedy)):
        assert cells(dataclasses.replace(grid, exclude=(_without(lost),)), {}) == [left]
