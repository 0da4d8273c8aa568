"""What submitting would come to: waves, costs, what does not fit; without any Slurm."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.cell import Cell, Evaluation
from pipeline.cluster.batches import Batch, Group, waves_of
from pipeline.cluster.costs import Cost, check_cost, expected_cost, worst_cost
from pipeline.cluster.forecast import forecast
from pipeline.cluster.profile import load_profile
from pipeline.cluster.shapes import shape_of
from pipeline.cluster.values import Billing
from pipeline.errors import UserError
from pipeline.models import parse_model
from pipeline.models.spec import staged_folder
from pipeline.plan import PlanRow
from pipeline.resources import Resources
from pipeline.states import TO_DO, State

GRID = """
study: demo
tasks: [chain-sum]
models: [smollm2-135m]
programs:
  - {family: icl, shots: [1, 2]}
  - {family: lora, bits: 4, lr: [1.0e-3, 1.0e-4]}
seeds: [1, 2, 3]
evaluation: {time_limit_seconds: 1800}
"""


def batch(cost_seconds: float) -> Batch:
    cell = Cell(
        task="t",
        task_version=1,
        model="m",
        model_identity="a" * 64,
        family="f",
        family_version=1,
        parameters={},
        budget_bytes=None,
        seed=1,
        evaluation=Evaluation(),
        reference_machine="1",
    )
    row = PlanRow(cell, cell.cell_id, "0", cost_seconds, Resources(), State(TO_DO))
    return Batch((Group("0", (row,)),), lanes=1)


@pytest.mark.parametrize(
    ("jobs", "queued", "most_jobs", "most_tasks", "sizes"),
    [
        (5, 0, None, None, [[5]]),
        (5, 9, None, 2, [[2, 2, 1]]),
        (70, 0, 60, 31, [[31, 29], [10]]),
        (70, 55, 60, 31, [[5], [31, 29], [5]]),
        (70, 99, 60, 100, [[], [60], [10]]),
        (0, 0, 60, 31, []),
    ],
)
def test_waves(jobs: int, queued: int, most_jobs: int | None, most_tasks: int | None, sizes: list[list[int]]) -> None:
    batches = [batch(second) for second in range(jobs)]
    waves = waves_of(batches, queued, most_jobs, most_tasks)
    assert [[len(array) for array in wave] for wave in waves] == sizes
    assert [one for wave in waves for array in wave for one in array] == batches


def test_costs_are_in_what_the_site_bills() -> None:
    """Two jobs of one expected hour (with the start), given three hours each."""
    batches = [batch(3540.0), batch(3540.0)]
    whole = load_profile("perlmutter")
    shape = shape_of(whole, processes=4, walltime_minutes=180)
    worst = worst_cost(whole, [(batches, shape)])
    assert worst == Cost(node_hours=6.0, gpu_hours=24.0, units=6.0)  # node-hours
    assert expected_cost(whole, [(batches, shape)]).units == pytest.approx(2.0)
    short = shape_of(whole, processes=4, walltime_minutes=10)  # no job of the site may be longer
    assert worst_cost(whole, [(batches, short)]) == expected_cost(whole, [(batches, short)])
    single = load_profile("narval", {"account": "def-ada-gpu"})
    shape = shape_of(single, processes=1, walltime_minutes=180)
    assert worst_cost(single, [(batches, shape)]) == Cost(node_hours=6.0, gpu_hours=6.0, units=24.0)  # 4 RGU a GPU
    check_cost(whole, worst, 6.0)
    with pytest.raises(UserError, match=r"up to 6 node-hours .* --max-cost 5.9"):
        check_cost(whole, worst, 5.9)
    with pytest.raises(UserError, match="'mila' has no 'billing'"):
        check_cost(load_profile("mila"), dataclasses.replace(worst, units=None), 5.9)
    assert whole.billing == Billing(unit="node-hours", per_node_hour=1.0)


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A grid whose base model is staged, but for its weights; no Slurm on this machine."""
    monkeypatch.setenv("TCX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = staged_folder(parse_model("smollm2-135m", Path()))
    folder.mkdir(parents=True)
    (folder / "staged.json").write_text(json.dumps({"identity": "a" * 64, "parameters": 135_000_000}))
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


def test_forecast_without_slurm(grid: Path) -> None:
    settings = {"account": "def-ada-gpu", "ideal_walltime_minutes": "3", "max_walltime_minutes": "32"}
    found = forecast(grid, "narval", settings=settings, results=str(grid.parent / "results"), check=False)
    content = json.loads(json.dumps(found.to_json()))
    assert content["cells"] == 12  # of the plan, as without a cluster
    cluster = content["cluster"]
    # 3 groups of two icl cells with 35 s each; 6 groups of one lora cell with 188.6 s each, 256
    # examples learned from twice: 120 s fit into a job.
    assert cluster["cells"] == sum(array["cells"] for array in cluster["arrays"]) == 12
    assert (cluster["sbatch_calls"], cluster["waves"], cluster["jobs"]) == (1, 1, 9)
    assert cluster["unit"] == "RGU-hours"
    seconds = 3 * (60 + 70) + 6 * (60 + 188.6)
    assert cluster["expected"]["gpu_hours"] == pytest.approx(seconds / 3600)
    assert cluster["expected"]["units"] == pytest.approx(4 * seconds / 3600)
    minutes = cluster["arrays"][0]["walltime_minutes"]
    assert cluster["worst"]["gpu_hours"] == pytest.approx(9 * minutes / 60)
    unknown, *too_long = cluster["warnings"]
    assert "only the limits of the profile are known here" in unknown
    # 30 minutes of execution, one of the start, and 35 or 188.6 s: lora is over 32 minutes, icl is not.
    (line,) = too_long
    assert line.startswith("family lora: ") and "narval ends jobs after 32 min" in line


def test_what_is_not_counted_is_said(grid: Path) -> None:
    grid.write_text(GRID.replace("[smollm2-135m]", "[smollm2-135m, smollm3]"))
    found = forecast(grid, "generic", settings={}, results=str(grid.parent / "results"), check=False)
    assert (found.to_json()["cluster"]["cells"], found.to_json()["cluster"]["unresolved"]) == (12, 12)
    assert found.warnings[0].startswith("jobs and costs are without 12 cells whose base models are not staged here")
    console = Console(file=io.StringIO(), width=60)
    found.render(console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "on generic: 12 cells to submit, 12 unresolved\n" in text


def test_check_needs_slurm_and_a_whole_profile(grid: Path) -> None:
    with pytest.raises(UserError, match="needs account"):
        forecast(grid, "narval", settings={}, results=str(grid.parent / "results"), check=True)
    with pytest.raises(UserError, match="sbatch is not on this machine"):
        forecast(grid, "generic", settings={}, results=str(grid.parent / "results"), check=True)
