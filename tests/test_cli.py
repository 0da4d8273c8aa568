"""The command line, as a user meets it: help, exit statuses, messages, JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli.app import _Group, app
from pipeline.store import Study

from .reduce.conftest import shard_row

ROOT = Path(__file__).parent.parent
VERBS = (
    *("families", "validate", "prefetch", "plan", "run", "submit", "status", "logs", "cancel", "nodes"),
    *("show", "reduce", "verify", "profile", "doctor"),
)
WITH_JSON = (
    "families",
    "validate",
    "prefetch",
    "plan",
    "submit",
    "status",
    "cancel",
    "nodes",
    "show",
    "reduce",
    "verify",
    "doctor",
)
GRID_OF_TWO = """
study: two
tasks: [chain-sum]
models: [{model}]
programs: [{{family: baseline}}, {{family: trivial, reply: copy}}]
evaluation: {{validation_items: 2, test_items: 2}}
"""
GRID = """\
study: demo
tasks: [chain-sum]
models: [smollm2-135m]
programs:
  - {family: trivial, reply: [copy, constant]}
  - {family: icl}
budgets: [1KiB]
"""
EIGHT_MISTAKES = """\
study: a b
tasks: [chain-sun]
models: [smollm2-135]
programs:
  - {family: subst}
  - {family: subset, epoch: 2}
  - {family: icl, shots: 8, budgets: [1KiB]}
budgets: [16 KB]
seeds: [one]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TCX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "grid.yaml").write_text(GRID)
    (tmp_path / "bad.yaml").write_text(EIGHT_MISTAKES)
    return tmp_path


def tcx(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def process(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "pipeline.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb: str) -> None:
    result = tcx(verb, "--help")
    assert result.exit_code == 0
    assert f"Example: tcx {verb}" in result.stdout
    assert ("--json" in result.stdout) == (verb in WITH_JSON)


def test_help_lists_every_verb() -> None:
    result = tcx("--help")
    assert result.exit_code == 0
    assert all(f" {verb} " in result.stdout for verb in VERBS)


def test_version() -> None:
    result = tcx("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("tcx")


def test_eight_mistakes_in_one_message(folder: Path) -> None:
    for verb in ("validate", "plan", "run"):
        result = process(verb, "bad.yaml", cwd=folder)
        assert result.returncode == 2, verb
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        assert result.stderr.startswith("tcx: bad.yaml: 8 mistakes\n")
        for number, part in enumerate(
            ("'a b'", "chain-sun", "smollm2-135'", "'subst'", "'epoch'", "'shots' both", "'16 KB'", "'one'"), start=1
        ):
            assert part in result.stderr.splitlines()[number]
            assert result.stderr.splitlines()[number].startswith(f"  {number}. line ")


def test_validate_plan_and_status(folder: Path) -> None:
    assert "no mistakes; study demo, 3 cells" in tcx("validate", "grid.yaml").stdout
    assert not (folder / "results").exists()
    assert json.loads(tcx("validate", "grid.yaml", "--json").stdout)["cells"] == 3
    planned = json.loads(tcx("plan", "grid.yaml", "--json").stdout)
    assert {name: n for name, n in planned["states"].items() if n} == {"unresolved": 3}
    assert (folder / "results" / "demo" / "plan.parquet").is_file()
    assert "plan of study demo" in tcx("plan", "grid.yaml", "--results", "elsewhere").stdout
    assert (folder / "elsewhere" / "demo" / "plan.parquet").is_file()
    assert json.loads(tcx("status", "demo", "--json").stdout)["cells"] == 3
    assert "study demo" in tcx("status", "demo", "--results", "elsewhere").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("status", "nothing"), "no study 'nothing'"),
        (("status", "demo", "--why", "ff"), "no cell of this study has an id that starts with 'ff'"),
        (("plan", "missing.yaml"), "no grid file 'missing.yaml'"),
        (("reduce", "nothing"), "no study 'nothing'"),
        (("reduce", "demo", "--targets", "10;20"), "target '10;20' is no number"),
        (("reduce", "demo", "--dominance", "icl"), "wanted are two sets of program families"),
        (("reduce", "demo", "--select", "train"), "train"),
        (("plan",), "GRID"),
        (("plan", "grid.yaml", "--bogus"), "--bogus"),
        (("bogus",), "bogus"),
        (("run", "grid.yaml", "--jobs", "0"), "--jobs"),
    ],
)
def test_bad_input_exits_with_2_and_one_message(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    tcx("plan", "grid.yaml")
    result = tcx(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("as_json", [True, False])
def test_reduce_says_where_its_files_are(folder: Path, as_json: bool) -> None:
    tcx("plan", "grid.yaml")
    result = tcx("reduce", "demo", *(["--json"] if as_json else []))
    assert result.exit_code == 0, result.output
    if as_json:
        content = json.loads(result.stdout)
        assert content["completeness"]["num_planned"] == 3
        assert content["curves"] == "results/demo/curves"
    else:
        assert "tables: results/demo/curves" in result.stdout
    assert (folder / "results" / "demo" / "curves" / "frontier.csv").is_file()


def test_an_interrupt_is_one_line_and_130() -> None:
    interrupted = typer.Typer(cls=_Group)

    @interrupted.command()
    def wait() -> None:
        raise KeyboardInterrupt

    @interrupted.command()
    def other() -> None:
        pass

    result = CliRunner().invoke(interrupted, ["wait"])
    assert result.exit_code == 130
    assert result.stderr.strip().count("\n") == 0
    assert "interrupted" in result.stderr


def test_a_real_interrupt_ends_without_traceback(folder: Path) -> None:
    # Millions of cells: far more than can be planned before the signal comes.
    seeds, rates = ", ".join(map(str, range(2000))), ", ".join(f"{number}.0e-6" for number in range(1, 2001))
    programs = f"  - {{family: subset, lr: [{rates}]}}\nbudgets: [1KiB]\nseeds: [{seeds}]\n"
    (folder / "huge.yaml").write_text(GRID[: GRID.index("  - {family: trivial")] + programs)
    child = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "plan", "huge.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    time.sleep(3)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in errors
    assert len(errors.strip().splitlines()) == 1


def test_help_is_quick_and_light() -> None:
    code = "import sys, time; started = time.perf_counter(); import pipeline.cli; "
    code += "print(time.perf_counter() - started, *sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    seconds, *modules = result.stdout.split()
    assert not {"torch", "numpy", "pyarrow", "pandas", "yaml", "matplotlib"} & set(modules)
    assert not [name for name in modules if name.startswith("pipeline.") and not name.startswith("pipeline.cli")]
    assert float(seconds) < 2, "a generous bound: it takes a tenth of that on an idle machine"


def test_one_cell_in_this_process_and_the_rest_in_others(tmp_path: Path, tiny_model: Path) -> None:
    """Both executors make the same program of a cell; a pattern leaves the others alone, and that is no failure."""
    grid = GRID_OF_TWO.format(model=tiny_model)
    (tmp_path / "grid.yaml").write_text(grid)
    env = os.environ | {"TCX_CACHE": str(tmp_path / "cache")}

    def run(results: str, *options: str) -> dict[str, bytes]:
        command = [sys.executable, "-m", "pipeline.cli", "run", "grid.yaml", "--results", results, *options]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return {path.name: path.read_bytes() for path in (tmp_path / results).glob("two/programs/*/*.pyz")}

    inline = run("inline", "--executor", "inline", "--cells", "*baseline*")
    assert len(inline) == 1
    both = run("local", "--jobs", "1")
    assert len(both) == 2
    assert inline.items() < both.items()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "nothing.pyz"), "there is no program file nothing.pyz"),
        (("show", "grid.yaml"), "grid.yaml is no program file: the names of those end in .pyz"),
        (("verify", "grid.yaml"), "grid.yaml is no program file"),
        (("show", "./stray.pyz"), "stray.pyz is not in the folder programs/ of a study"),
        (("verify", "stray.pyz"), "stray.pyz is not in the folder programs/ of a study"),
        (("show", "3f9a"), "no study in results/ has a cell whose id starts with '3f9a'; studies there: none"),
        (("run", "grid.yaml", "--cells", "*nothing*"), "no cell of this grid has a label like '*nothing*'"),
        (("plan", "grid.yaml", "--results", "grid.yaml"), "Not a directory: 'grid.yaml/demo"),
        (("plan", "grid.yaml", "--results", "/proc/nowhere"), "No such file or directory: '/proc/nowhere"),
        (("make-data", "chain-sum", "--part", "²/³"), "--part wants I/N"),
        (("nodes", "demo", "--hours", "1e9"), "--hours"),
        (("doctor", "--set", "x=1"), "--set is about a cluster: give --cluster PROFILE with it"),
        (("status", "demo", "--why", "3f9a", "--cells", "*"), "--why, --cells and --watch show different things"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_message(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    (folder / "stray.pyz").write_bytes(b"no program")
    done = process(*arguments, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "cache").exists(), "nothing was fetched"


def test_show_tells_labels_as_they_are_and_names_a_damaged_program(folder: Path) -> None:
    row = shard_row("one", parameters='{"prompt": "[/INST] [bold]"}')
    study = Study(folder / "results" / "one")
    study.commit_shard(row)
    shown = tcx("show", row["cell_id"][:12])
    assert shown.exit_code == 0 and "[/INST] [bold]" in shown.stdout
    program = study.program_path(row["program_sha256"])
    program.parent.mkdir(parents=True)
    program.write_bytes(b"no program")
    damaged = tcx("show", row["cell_id"][:12])
    assert damaged.exit_code == 1 and f"{program.name} is damaged" in damaged.stderr


def test_a_folder_is_reduced_once(folder: Path) -> None:
    Study(folder / "results" / "one").commit_shard(shard_row("one"))
    result = tcx("reduce", "one", "results/one")
    assert result.exit_code == 2 and "one is given twice" in result.stderr


def test_what_was_never_submitted_cannot_be_cancelled(folder: Path) -> None:
    assert process("plan", "grid.yaml", cwd=folder).returncode == 0
    done = process("cancel", "demo", cwd=folder)
    assert done.returncode == 2
    assert "nothing of study demo was submitted to a cluster" in done.stderr
