"""Cold, isolated execution of programs: length, digest, outputs item by item, scores."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import LifoQueue
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from pipeline import catalog, hub
from pipeline.cell import Evaluation
from pipeline.errors import ProgramError, TaskComplexityError, UserError
from pipeline.evaluate import SCORED_SPLITS, items_of, score_split, split_outputs
from pipeline.machine import machine_class, num_cores, require_packages
from pipeline.models import staged_by_identity
from pipeline.models.spec import cache_folder
from pipeline.program_file import container_bytes, unpack
from pipeline.protocols import Example, Task
from pipeline.rows import iter_rows, read_row, study_of_program
from pipeline.runner import Execution, Runner
from pipeline.store import Study, open_study
from pipeline.tasks.splits import items_sha256
from pipeline.verdicts import keep_verdicts

SHUFFLED_ITEMS = 16
"""Items of the second, shuffled execution: enough to see an output that depends on its neighbours."""
_EVALUATION = tuple(Evaluation.__dataclass_fields__)
_CAUSES_IN_THE_PROGRAM = ("program-payload", "program-crash", "program-output")
"""Others, as too little memory or too little time, may come from the machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What verification found of the program of one cell.

    Attributes:
        program: path of the file.
        cell_id: the cell that it belongs to.
        problems: what does not hold, empty for a good program.
        obstacles: why it could not be executed here, which says nothing of the program.
        num_items: outputs compared.
        shuffled_agreement: share of equal outputs when a shuffled subset is run by itself.
        isolation: `kernel` or `audit`.
    """

    program: str
    cell_id: str
    problems: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    num_items: int = 0
    shuffled_agreement: float | None = None
    isolation: str | None = None

    @property
    def holds(self) -> bool:
        """Whether it was executed and gave what its shard says."""
        return not (self.problems or self.obstacles)


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifySummary:
    """Verdicts on all programs that were asked for.

    Attributes:
        verdicts: one a cell.
        num_outside: programs of cells outside of the plans of studies that were asked for, left out.
    """

    verdicts: tuple[Verdict, ...]
    num_outside: int = 0

    @property
    def failed(self) -> int:
        """Programs with a problem, or that could not be executed."""
        return sum(not verdict.holds for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary for scripts."""
        return {
            "verified": len(self.verdicts) - self.failed,
            "failed": self.failed,
            "outside_plan": self.num_outside,
            "programs": [asdict(verdict) for verdict in self.verdicts],
        }


class _Questions(NamedTuple):
    """A task as a study read it, and the items that a cell of it is scored on."""

    task: Task
    items: Mapping[str, Sequence[Example]]


class _Work(NamedTuple):
    """One program to execute; the error in the place of the questions says why they are not here."""

    study: Study
    cell_id: str
    program: Path
    questions: _Questions | Exception


def verify(targets: list[str], *, results: str | None, jobs: int | None, console: Console) -> VerifySummary:
    """Executes the programs of studies, or single program files, cold and isolated, and compares with their shards.

    A shuffled subset of the items is executed once more, in a process forked from one that has imported the packages.
    What is found is kept in the study, one program after the other.

    Args:
        targets: names or folders of studies, and paths of program files.
        results: folder of the studies, None for the default.
        jobs: programs at the same time, None for one a core.
        console: where progress and results are shown.

    Raises:
        UserError: no such study or program, a program that no shard of its study names, or packages for executing
            programs are not installed.
    """
    found = [_cells_of(target, results) for target in targets]
    cells, num_outside = [pair for of_target, _ in found for pair in of_target], sum(outside for _, outside in found)
    require_packages("executing programs")
    # Which data a process reads is one for all its threads: all items are read before the first program runs.
    work = _with_questions(cells)
    verdicts: list[Verdict] = []
    num_threads = max(1, min(jobs or num_cores(), len(work)))
    # The one that was used last comes first: it has imported the packages already.
    warm: LifoQueue[Runner] = LifoQueue()
    with Progress(console=console) as progress, ExitStack() as runners, ThreadPoolExecutor(num_threads) as pool:
        for _ in range(num_threads):
            warm.put(runners.enter_context(Runner(cache_folder(), warm=True)))
        bar = progress.add_task("programs", total=len(work))
        try:
            for (study, cell_id, program, _), verdict in zip(
                work, pool.map(lambda one: _verify(one, warm), work), strict=True
            ):
                verdicts.append(verdict)
                if verdict.problems or not verdict.obstacles:
                    keep_verdicts(study, {cell_id: {program.stem: verdict.problems}})
                progress.advance(bar)
                for said in (*verdict.problems, *verdict.obstacles):
                    progress.console.print(f"{verdict.program}: {said}", style="red", markup=False, soft_wrap=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # else all that wait are executed first
            raise
    summary = VerifySummary(verdicts=tuple(verdicts), num_outside=num_outside)
    items = sum(verdict.num_items for verdict in verdicts)
    agreements = [verdict.shuffled_agreement for verdict in verdicts if verdict.shuffled_agreement is not None]
    isolations = sorted({verdict.isolation for verdict in verdicts if verdict.isolation})
    console.print(
        f"{len(verdicts) - summary.failed} of {len(verdicts)} programs hold: {items:,} outputs compared item by item, "
        f"isolation {', '.join(isolations) or 'none'}; shuffled subsets agree in "
        f"{sum(agreements) / max(len(agreements), 1):.1%}",
        highlight=False,
    )
    if num_outside:
        console.print(
            f"{num_outside:,} programs are of cells outside of the plan and were left out; `tcx verify PROGRAM` "
            "verifies one of them",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return summary


def _cells_of(target: str, results: str | None) -> tuple[list[tuple[Study, dict[str, Any]]], int]:
    """The study and some columns of each cell of a target, and how many the study has outside of its plan.

    Of a study these are the cells of its plan, all where it has none. A program file may be of any cell; where it was
    scored anew for a cell of the plan, the old scores are left out.
    """
    path = Path(target)
    if path.suffix == ".pyz" or path.is_file():
        study = study_of_program(path)
        rows = [row for row in _rows(study) if row["program_sha256"] == path.stem]
        planned = _planned_cells(study)
        replaced = _replaced(rows, planned or frozenset())
        return [(study, row) for row in rows if row["cell_id"] not in replaced], 0
    study = open_study(target, results)
    rows, planned = _rows(study), _planned_cells(study)
    counting = [(study, row) for row in rows if planned is None or row["cell_id"] in planned]
    return counting, len(rows) - len(counting)


def _rows(study: Study) -> list[dict[str, Any]]:
    """Cells with a program."""
    wanted = ["status", "program_sha256", "rescored_from", "task", "task_version", "hub_commits", *_EVALUATION]
    rows = [row for row in iter_rows(study, wanted) if row["status"] == "ok"]
    return sorted(rows, key=lambda row: str(row["cell_id"]))


def _planned_cells(study: Study) -> frozenset[str] | None:
    plan = study.read_plan()
    return None if plan is None else frozenset(plan["cell_id"].to_pylist())


def _replaced(rows: Sequence[Mapping[str, Any]], planned: Set[str]) -> set[str]:
    """Cells outside of the plan whose answers were scored anew, perhaps more than once, for a cell of the plan."""
    origin = {row["cell_id"]: row["rescored_from"] for row in rows}
    replaced: set[str] = set()
    for cell_id in origin.keys() & planned:
        old = origin[cell_id]
        while old is not None and old not in replaced:
            replaced.add(old)
            old = origin.get(old)
    return replaced - planned


def _with_questions(cells: Sequence[tuple[Study, dict[str, Any]]]) -> list[_Work]:
    """The cells with the items that each is scored on; what many have in common is read once."""
    planned = {study.folder: _planned_tasks(study) for study, _ in cells}
    found: dict[tuple[Any, ...], _Questions | Exception] = {}
    work = []
    for study, row in cells:
        source, digest = planned[study.folder].get((row["task"], row["task_version"]), (row["task"], None))
        key = source, digest, row["hub_commits"], *(row[name] for name in _EVALUATION)
        if key not in found:
            try:
                with hub.only(hub.data_commits(row["hub_commits"])):
                    found[key] = _questions(source, digest, Evaluation(**{name: row[name] for name in _EVALUATION}))
            except (OSError, ImportError, ValueError, TaskComplexityError) as error:
                found[key] = error
        work.append(_Work(study, row["cell_id"], study.program_path(row["program_sha256"]), found[key]))
    return work


def _planned_tasks(study: Study) -> dict[tuple[str, int], tuple[str, str | None]]:
    """Task and version -> where its code is, and the digest of its items where that was locked."""
    plan = study.read_plan()
    if plan is None:
        return {}
    names = ("task", "task_version", "task_source", "items_sha256")
    columns = [plan[name].to_pylist() for name in names]
    return {(task, version): (source, digest) for task, version, source, digest in zip(*columns, strict=True)}


def _questions(source: str, digest: str | None, evaluation: Evaluation) -> _Questions:
    task = catalog.planned_task(source)
    if digest is not None and (found := items_sha256(task)) != digest:
        raise UserError(
            f"the items of {task.name} are {found[:12]} here, and were {digest[:12]} when the study was planned: "
            "verify it where its data are"
        )
    return _Questions(task, items_of(task, evaluation))


def _verify(work: _Work, warm: LifoQueue[Runner]) -> Verdict:
    study, cell_id, program, questions = work
    try:
        row = read_row(study, cell_id)
        content = program.read_bytes()
        model = staged_by_identity(row["model_identity"])
        if isinstance(questions, Exception):
            raise questions
    except (OSError, ImportError, ValueError, TaskComplexityError) as error:
        return Verdict(program=str(program), cell_id=cell_id, obstacles=(str(error),))
    inputs = [dict(example.input) for examples in questions.items.values() for example in examples]
    limit = row["time_limit_seconds"]
    problems, obstacles = _check_file(content, row), list[str]()
    num_items, agreement, isolation = 0, None, None
    try:
        with Runner(cache_folder(), warm=False) as cold:
            execution = cold.execute(content, model.folder, inputs, time_limit_seconds=limit)
        isolation = execution.isolation
        different, num_items = _compare(execution, row, questions)
        problems += different
        agreement = _shuffled_agreement(execution, content, model.folder, inputs, row, warm)
    except ProgramError as error:
        said = problems if error.cause in _CAUSES_IN_THE_PROGRAM else obstacles
        said.append(str(error))
        if error.cause == "program-payload":
            problems += _other_machine(row)
    except OSError as error:
        obstacles.append(str(error))
    return Verdict(
        program=str(program),
        cell_id=cell_id,
        problems=tuple(problems),
        obstacles=tuple(obstacles),
        num_items=num_items,
        shuffled_agreement=agreement,
        isolation=isolation,
    )


def _compare(execution: Execution, row: Mapping[str, Any], questions: _Questions) -> tuple[list[str], int]:
    """What of the outputs is not as the shard has it, and how many outputs were compared."""
    task, items = questions
    problems, num_items, is_other = [], 0, False
    outputs = split_outputs(execution.outputs, items)
    if task.version != row["task_version"]:
        problems.append(
            f"scored by version {row['task_version']} of {task.name}, which is version {task.version} here; "
            "`tcx rescore` scores it anew"
        )
    for name in SCORED_SPLITS:
        expected = row[name]["predictions"]
        if len(expected) != len(outputs[name]):
            problems.append(
                f"{task.name} has {len(outputs[name])} {name} items here, the shard {len(expected)} outputs"
            )
            continue
        num_items += len(expected)
        different = sum(a != b for a, b in zip(outputs[name], expected, strict=True))
        if different:
            problems.append(f"{different} of {len(expected)} {name} outputs differ from the shard's")
            is_other = True
        performance = score_split(task, outputs[name], items[name])["performance"]
        if performance != row[name]["performance"] and task.version == row["task_version"]:
            problems.append(f"{name} score {performance} instead of {row[name]['performance']}")
    return problems + (_other_machine(row) if is_other else []), num_items


def _shuffled_agreement(
    execution: Execution,
    content: bytes,
    model: Path,
    inputs: Sequence[Mapping[str, str]],
    row: Mapping[str, Any],
    warm: LifoQueue[Runner],
) -> float:
    """Share of equal outputs of a shuffled subset of the items, executed in a process forked from a warm one."""
    picked = random.Random(row["cell_id"]).sample(range(len(inputs)), min(SHUFFLED_ITEMS, len(inputs)))
    runner = warm.get()
    try:
        shuffled = runner.execute(
            content, model, [inputs[i] for i in picked], time_limit_seconds=row["time_limit_seconds"]
        )
    except ProgramError as error:
        raise ProgramError(error.cause, f"once more, on {len(picked)} of the items: {error}") from error
    finally:
        warm.put(runner)
    return sum(execution.outputs[i] == output for i, output in zip(picked, shuffled.outputs, strict=True)) / len(picked)


def _other_machine(row: Mapping[str, Any]) -> list[str]:
    """What outputs that differ may come from, where the program was made on a machine of another class."""
    if row["machine_class"] == machine_class():
        return []
    return [
        f"it was made on {row['machine_class']}, this is {machine_class()}: sums round otherwise here, and what is "
        "coded under the model may not be decoded; verify it on such a machine"
    ]


def _check_file(content: bytes, row: Mapping[str, Any]) -> list[str]:
    """What of length, digest and parts of a program file is not as its shard says."""
    problems = []
    if 8 * len(content) != row["program_length_bits"]:
        problems.append(f"the file has {8 * len(content)} bits, the shard says {row['program_length_bits']}")
    if hashlib.sha256(content).hexdigest() != row["program_sha256"]:
        problems.append("the digest of the file is not the shard's")
    try:
        _, payload = unpack(content)
    except ValueError as error:
        return [*problems, str(error)]
    if (8 * len(payload), 8 * container_bytes(content)) != (row["payload_bits"], row["container_bits"]):
        problems.append("payload and container of the file are not as long as the shard says")
    return problems
