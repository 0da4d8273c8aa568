"""Scripts for Slurm: the exact text for every shipped profile, and what each part of a request becomes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.environment import clean_environment
from pipeline.cluster.exits import SETUP_FAILED_STATUS
from pipeline.cluster.profile import Profile, load_profile
from pipeline.cluster.sbatch import log_files, sbatch_text
from pipeline.cluster.shapes import Shape, allocated_gpus_per_node, shape_of
from pipeline.errors import UserError

GOLDEN = Path(__file__).parent / "golden"
SHIPPED = sorted(path.stem for path in (Path(__file__).parents[2] / "slurm").glob("*.yaml"))
GIVEN = {
    "jean-zay": {"account": "abc@v100", "constraint": "v100-32g"},
    "leonardo": {"account": "my-account"},
    "narval": {"account": "def-pi-gpu"},
    "rorqual": {"account": "def-pi-gpu"},
    "tamia": {"account": "aip-pi"},
}
"""What the golden scripts give where a site requires it."""
SHAPES = {"perlmutter": (8, 2), "tamia": (4, 1)}
"""Processes and nodes, where a job is more than one process."""
CALL: dict[str, Any] = {
    "job_name": "tcx-smollm3-math-1f2e3d",
    "comment": "tcx 1f2e3d4c5b6a",
    "array_tasks": 20,
    "log_folder": Path("/results/smollm3-math/logs"),
    "command": "/env/bin/python -u -m pipeline.worker /results/smollm3-math 1f2e3d4c5b6a",
}


@pytest.fixture(autouse=True)
def no_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def options(text: str) -> dict[str, str]:
    """Option of sbatch -> value, of a script."""
    found = re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.MULTILINE)
    assert len(dict(found)) == len(found)
    return dict(found)


def rendered(profile: Profile, shape: Shape | None = None, **changes: Any) -> str:
    shape = shape or shape_of(profile, processes=1, walltime_minutes=60)
    return sbatch_text(profile, shape, **{**CALL, **changes})


@pytest.mark.parametrize("name", SHIPPED)
def test_golden(name: str) -> None:
    profile = load_profile(name, GIVEN.get(name))
    processes, nodes = SHAPES.get(name, (1, 1))
    shape = shape_of(profile, processes=processes, nodes=nodes, walltime_minutes=profile.ideal_walltime_minutes)
    text = rendered(profile, shape)
    path = GOLDEN / f"{name}.sbatch"
    if os.environ.get("TCX_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_no_golden_file_is_left_over() -> None:
    assert sorted(path.stem for path in GOLDEN.iterdir()) == SHIPPED


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, {"gres": "gpu:2"}),
        ({"gpu_type": "a100l"}, {"gres": "gpu:a100l:2"}),
        ({"gpu_request": "gpus-per-node"}, {"gpus-per-node": "2"}),
        ({"gpu_request": "gpus-per-node", "gpu_type": "h100"}, {"gpus-per-node": "h100:2"}),
        ({"gpu_request": "none"}, {}),
        ({"whole_node": "true", "gpus_per_node": "8"}, {"gres": "gpu:8", "exclusive": "", "mem": "0"}),
        ({"memory_gib_per_gpu": "1.5"}, {"gres": "gpu:2", "mem": "3072M"}),
    ],
)
def test_gpus_and_memory(settings: dict[str, str], wanted: dict[str, str]) -> None:
    profile = load_profile("generic", settings)
    found = options(rendered(profile, shape_of(profile, processes=4, nodes=2, walltime_minutes=5)))
    names = ("gres", "gpus-per-node", "exclusive", "mem")
    assert {name: found[name] for name in names if name in found} == wanted
    assert (found["nodes"], found["ntasks-per-node"], found["cpus-per-task"], found["time"]) == ("2", "2", "4", "5")


def test_a_job_without_gpus_asks_for_none_unless_nodes_are_whole() -> None:
    profile = load_profile("generic", {"gpus_per_node": "4"})
    shape = shape_of(profile, processes=2, walltime_minutes=5, gpu=False)
    assert "gres" not in options(rendered(profile, shape))
    assert allocated_gpus_per_node(profile, shape) == 0
    whole = load_profile("generic", {"gpus_per_node": "4", "whole_node": "true"})
    assert options(rendered(whole, shape))["gres"] == "gpu:4"
    assert allocated_gpus_per_node(whole, shape) == 4


def test_arrays_and_their_throttle() -> None:
    assert options(rendered(load_profile("generic")))["array"] == "0-19%20"
    assert options(rendered(load_profile("generic", {"array_parallelism": "4"})))["array"] == "0-19%4"
    single = options(rendered(load_profile("generic"), array_tasks=None))
    assert "array" not in single
    assert single["output"] == "/results/smollm3-math/logs/%j_batch.log"
    assert options(rendered(load_profile("generic"), array_tasks=1))["array"] == "0-0%1"


def test_what_is_always_there_and_what_never_is() -> None:
    text = rendered(load_profile("generic"), excluded_nodes=["a1", "a2"], dependency="afterany:17")
    found = options(text)
    assert found["open-mode"] == "append"
    assert found["export"] == "HOME,LANG,LOGNAME,PATH,SHELL,USER"
    assert (found["exclude"], found["dependency"]) == ("a1,a2", "afterany:17")
    assert found["comment"] == "'tcx 1f2e3d4c5b6a'"
    assert not {"wckey", "error"} & set(found)
    assert "--output=/results/smollm3-math/logs/%A_%a_%t_${SLURM_RESTART_COUNT:-0}.log" in text


def test_requeue_signal_and_further_options() -> None:
    profile = load_profile("generic", {"requeue": "false", "options.licenses": "a b", "options.overcommit": "true"})
    found = options(rendered(profile))
    assert "no-requeue" in found
    assert "requeue" not in found
    assert (found["licenses"], found["overcommit"], found["signal"]) == ("'a b'", "", "USR2@120")


@pytest.mark.parametrize(("minutes", "lead"), [(1, 1), (2, 30), (5, 120), (60, 120)])
def test_the_signal_leaves_time_for_work_in_short_jobs(
    minutes: int, lead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What submitit would otherwise take the name of the signal from.
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    profile = load_profile("generic")
    shape = shape_of(profile, processes=1, walltime_minutes=minutes)
    assert options(rendered(profile, shape))["signal"] == f"USR2@{lead}"


def test_a_profile_without_its_required_keys_makes_no_script() -> None:
    with pytest.raises(UserError, match="needs account"):
        rendered(load_profile("narval"))


def test_more_than_a_site_has_is_refused_in_one_message() -> None:
    profile = load_profile("testcluster", {"max_walltime_minutes": "30"})
    shape = shape_of(profile, processes=5, walltime_minutes=31)
    with pytest.raises(UserError) as caught:
        rendered(profile, shape, array_tasks=32)
    for part in ("max_walltime_minutes is 30 and 31", "gpus_per_node is 4 and 5", "max_array_size is 31 and 32"):
        assert part in str(caught.value)
    assert options(rendered(load_profile("testcluster"), array_tasks=31))["array"] == "0-30%31"


@pytest.mark.parametrize("change", [{"processes": 3, "nodes": 2}, {"nodes": 0}, {"gpus_per_process": 2}])
def test_shapes_that_cannot_be(change: dict[str, int]) -> None:
    whole = {"processes": 2, "nodes": 1, "gpus_per_process": 1, "cpus_per_process": 1, "walltime_minutes": 1}
    with pytest.raises(ValueError, match="Shape"):
        Shape(**{**whole, **change}, memory_gib=None)
    assert len({Shape(**whole, memory_gib=None), Shape(**whole, memory_gib=None)}) == 1


# what the script does, with a stand-in for srun that runs the command itself


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    srun = bin_folder / "srun"
    srun.write_text('#!/bin/bash\nwhile [[ $1 == --* ]]; do echo "srun $1"; shift; done\nexec "$@"\n')
    srun.chmod(0o755)
    (tmp_path / "disk").mkdir()

    def run_script(settings: dict[str, str], command: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        text = rendered(load_profile("generic", settings), command=command, log_folder=tmp_path / "a b%", **changes)
        environment = {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "17",
            "SLURM_TMPDIR": str(tmp_path / "disk"),
            "HOME": "/home/me",
        }
        return subprocess.run(
            ["bash", "-c", text], env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    return run_script


def test_the_status_of_the_command_is_that_of_the_job_and_teardown_runs(run: Any, tmp_path: Path) -> None:
    done = run({"teardown": "['false', echo bye]"}, "bash -c 'ls -ld $node_local; exit 7'")
    assert done.returncode == 7
    assert done.stdout.endswith("bye\n")
    assert "drwx------" in done.stdout
    assert "srun --output=" + str(tmp_path / "a b%%" / "%A_%a_%t_0.log") in done.stdout
    assert list((tmp_path / "disk").iterdir()) == []


def test_the_environment_of_a_job(run: Any, tmp_path: Path) -> None:
    settings = {
        "offline": "true",
        "setup": "[export FROM_SETUP=1, 'export BOTH=setup']",
        "environment.PLACE": '${HOME}/hf "$(id)" `id` \\',
        "environment.BOTH": "profile",
    }
    done = run(settings, "env", environment={"GIVEN": "$HOME 'x'", "FROM_SETUP": "2"})
    assert done.returncode == 0, done.stderr
    variables = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line and line[0] != " ")
    assert variables["PLACE"] == '/home/me/hf "$(id)" `id` \\'
    assert (variables["BOTH"], variables["FROM_SETUP"], variables["GIVEN"]) == ("setup", "2", "$HOME 'x'")
    assert variables["HF_HUB_OFFLINE"] == variables["HF_DATASETS_OFFLINE"] == variables["TRANSFORMERS_OFFLINE"] == "1"
    own = re.fullmatch(rf"{tmp_path}/disk/task-complexity-17-\d+", variables["TMPDIR"])
    assert own and variables["TRITON_CACHE_DIR"] == f"{own[0]}/triton"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"setup": "['true', 'false', echo never]"}, "setup failed on"),
        ({"setup": "['false | cat']"}, "setup failed on"),
        ({"setup": "[exit 0]"}, "setup failed on"),
        ({"environment.X": "$NOT_SET_HERE/x"}, "NOT_SET_HERE"),
    ],
)
def test_a_setup_that_fails_ends_the_job_before_the_command(
    run: Any, tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    done = run(settings, "echo never")
    assert done.returncode == SETUP_FAILED_STATUS
    assert said in done.stderr
    assert "never" not in done.stdout
    assert list((tmp_path / "disk").iterdir()) == []


def test_logs_of_a_job_in_order(tmp_path: Path) -> None:
    names = ["17_3_batch.log", "17_3_0_0.log", "17_3_1_0.log", "17_3_0_1.log", "17_3_10_1.log"]
    for name in [*reversed(names), "17_batch.log", "17_30_batch.log", "17_3_notes.log", "117_3_batch.log"]:
        (tmp_path / name).touch()
    assert [path.name for path in log_files(tmp_path, "17_3")] == names
    assert [path.name for path in log_files(tmp_path, "17")] == ["17_batch.log"]


def test_an_environment_to_submit_from() -> None:
    told = [
        "SLURM_JOB_ID",
        "SLURM_CPU_BIND",
        "SLURMD_NODENAME",
        "SBATCH_ACCOUNT",
        "SRUN_DEBUG",
        "PMI_RANK",
        "PMI2_JOBID",
        "PMIX_RANK",
        "RANK",
        "LOCAL_RANK",
        "WORLD_SIZE",
        "MASTER_ADDR",
        "MASTER_PORT",
        "SUBMITIT_EXECUTOR",
        "TORCHELASTIC_RUN_ID",
    ]
    kept = {"PATH": "/bin", "SLURM_CONF": "/etc/slurm.conf", "HOME": "/home/me", "RANKING": "1", "MY_RANK": "2"}
    assert clean_environment({**kept, **dict.fromkeys(told, "x")}) == kept
