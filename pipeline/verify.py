"""Cold, isolated execution of programs: length, digest, outputs item by item, scores."""

from __future__ import annotations

import hashlib
import os
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import LifoQueue
from typing import Any

from rich.console import Console
from rich.progress import Progress

from pipeline import catalog
from pipeline.cell import Evaluation
from pipeline.errors import ProgramError, UserError
from pipeline.evaluate import SCORED_SPLITS, items_of, score_split, split_outputs
from pipeline.machine import machine_class, require_packages
from pipeline.models import staged_by_identity
from pipeline.models.spec import cache_folder
from pipeline.program_file import container_bytes, unpack
from pipeline.rows import iter_rows, read_row
from pipeline.runner import Runner
from pipeline.store import Study, open_study
from pipeline.verdicts import keep_verdicts

SHUFFLED_ITEMS = 16
"""Items of the second, shuffled execution: enough to see an output that depends on its neighbours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What verification found of one program.

    Attributes:
        program: path of the file.
        cell_id: the cell that it belongs to.
        problems: what does not hold, empty for a good program.
        num_items: outputs compared.
        shuffled_agreement: share of equal outputs when a shuffled subset is run by itself.
        isolation: `kernel` or `audit`.
    """

    program: str
    cell_id: str
    problems: tuple[str, ...]
    num_items: int
    shuffled_agreement: float | None
    isolation: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifySummary:
    """Verdicts on all programs that were asked for."""

    verdicts: tuple[Verdict, ...]

    @property
    def failed(self) -> int:
        """Programs with a problem."""
        return sum(bool(verdict.problems) for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {
            "verified": len(self.verdicts) - self.failed,
            "failed": self.failed,
            "programs": [asdict(verdict) for verdict in self.verdicts],
        }


def verify(targets: list[str], *, results: str | None, console: Console) -> VerifySummary:
    """Executes the programs of studies, or single program files, cold and isolated, and compares with their shards.

    A shuffled subset of the items is executed once more, in a process forked from one that has imported the packages.

    Raises:
        UserError: no such study or program, a program that no shard of its study names, or packages for executing
            programs are not installed.
    """
    work = [pair for target in targets for pair in _programs_of(target, results)]
    require_packages("executing programs")
    plans = {study.folder: _task_sources(study) for study, _ in work}
    verdicts: list[Verdict] = []
    num_threads = os.cpu_count() or 1
    # The one that was used last comes first: it has imported the packages already.
    warm: LifoQueue[Runner] = LifoQueue()
    with Progress(console=console) as progress, ExitStack() as runners, ThreadPoolExecutor(num_threads) as pool:
        for _ in range(num_threads):
            warm.put(runners.enter_context(Runner(cache_folder(), warm=True)))
        bar = progress.add_task("programs", total=len(work))
        for verdict in pool.map(lambda pair: _verify(pair[0], pair[1], plans[pair[0].folder], warm), work):
            verdicts.append(verdict)
            progress.advance(bar)
            for problem in verdict.problems:
                progress.console.print(f"{verdict.program}: {problem}", style="red", markup=False)
    summary = VerifySummary(verdicts=tuple(verdicts))
    for folder in plans:
        # A program that could not be executed here, as without its base model, may well hold.
        executed = [
            verdict
            for (study, _), verdict in zip(work, verdicts, strict=True)
            if study.folder == folder and verdict.num_items
        ]
        keep_verdicts(Study(folder), {Path(verdict.program).stem: verdict.problems for verdict in executed})
    items = sum(verdict.num_items for verdict in verdicts)
    agreements = [verdict.shuffled_agreement for verdict in verdicts if verdict.shuffled_agreement is not None]
    isolations = sorted({verdict.isolation for verdict in verdicts if verdict.isolation})
    console.print(
        f"{len(verdicts) - summary.failed} of {len(verdicts)} programs hold: {items:,} outputs equal item by item, "
        f"isolation {', '.join(isolations) or 'none'}; shuffled subsets agree in "
        f"{sum(agreements) / max(len(agreements), 1):.1%}",
        highlight=False,
    )
    return summary


def _programs_of(target: str, results: str | None) -> list[tuple[Study, str]]:
    """The study and the cell of each program of a target."""
    path = Path(target)
    if path.suffix == ".pyz":
        if not path.is_file():
            raise UserError(f"there is no program file {target}")
        study = Study(path.resolve().parents[2])
        found = [cell_id for cell_id, sha256 in _cells(study).items() if sha256 == path.stem]
        if not found:
            raise UserError(f"no shard of {study.folder} names the program {path.name}; verify it where it was made")
        return [(study, found[0])]
    study = open_study(target, results)
    return [(study, cell_id) for cell_id in _cells(study)]


def _cells(study: Study) -> dict[str, str]:
    """Cells with a program, and its digest. Where the same program was scored anew, the old scores are left out."""
    rows = list(iter_rows(study, ["status", "program_sha256", "rescored_from"]))
    replaced = {row["rescored_from"] for row in rows}
    return {
        row["cell_id"]: row["program_sha256"]
        for row in sorted(rows, key=lambda row: str(row["cell_id"]))
        if row["status"] == "ok" and row["cell_id"] not in replaced
    }


def _task_sources(study: Study) -> dict[str, str]:
    plan = study.read_plan()
    return {} if plan is None else dict(zip(plan["task"].to_pylist(), plan["task_source"].to_pylist(), strict=True))


def _verify(study: Study, cell_id: str, sources: dict[str, str], warm: LifoQueue[Runner]) -> Verdict:
    row = read_row(study, cell_id)
    path = study.program_path(row["program_sha256"])
    problems, agreement, isolation, num_items = [], None, None, 0
    try:
        content = path.read_bytes()
        problems += _check_file(content, row)
        task = catalog.task(sources.get(row["task"], row["task"]))
        evaluation = Evaluation(**{name: row[name] for name in Evaluation.__dataclass_fields__})
        items = items_of(task, evaluation)
        inputs = [dict(example.input) for examples in items.values() for example in examples]
        model = staged_by_identity(row["model_identity"])
        limit = evaluation.time_limit_seconds
        with Runner(cache_folder(), warm=False) as cold:
            execution = cold.execute(content, model.folder, inputs, time_limit_seconds=limit)
        picked = random.Random(row["cell_id"]).sample(range(len(inputs)), min(SHUFFLED_ITEMS, len(inputs)))
        runner = warm.get()
        try:
            shuffled = runner.execute(content, model.folder, [inputs[i] for i in picked], time_limit_seconds=limit)
        finally:
            warm.put(runner)
        isolation = execution.isolation
        agreement = sum(
            execution.outputs[i] == output for i, output in zip(picked, shuffled.outputs, strict=True)
        ) / len(picked)
        outputs = split_outputs(execution.outputs, items)
        if task.version != row["task_version"]:
            problems.append(
                f"scored by version {row['task_version']} of {task.name}, which is version {task.version} here; "
                f"`tcx rescore {study.name}` scores it anew"
            )
        for name in SCORED_SPLITS:
            expected = row[name]["predictions"]
            num_items += len(expected)
            different = sum(a != b for a, b in zip(outputs[name], expected, strict=True))
            if different:
                problems.append(f"{different} of {len(expected)} {name} outputs differ from the shard's")
            performance = score_split(task, outputs[name], items[name])["performance"]
            if performance != row[name]["performance"] and task.version == row["task_version"]:
                problems.append(f"{name} score {performance} instead of {row[name]['performance']}")
    except (OSError, ValueError, ProgramError) as error:
        problems.append(str(error))
    if problems and row["machine_class"] != machine_class():
        problems.append(
            f"it was made on {row['machine_class']}, this is {machine_class()}: sums round otherwise here, and what is "
            "coded under the model may not be decoded; verify it on such a machine"
        )
    return Verdict(
        program=str(path),
        cell_id=row["cell_id"],
        problems=tuple(problems),
        num_items=num_items,
        shuffled_agreement=agreement,
        isolation=isolation,
    )


def _check_file(content: bytes, row: dict[str, Any]) -> list[str]:
    """Length, parts and digest of a program file against its shard."""
    problems = []
    if 8 * len(content) != row["program_length_bits"]:
        problems.append(f"the file has {8 * len(content)} bits, the shard says {row['program_length_bits']}")
    if hashlib.sha256(content).hexdigest() != row["program_sha256"]:
        problems.append("the digest of the file is not the shard's")
    _, payload = unpack(content)
    if (8 * len(payload), 8 * container_bytes(content)) != (row["payload_bits"], row["container_bits"]):
        problems.append("payload and container of the file are not as long as the shard says")
    return problems
