"""What is shown of a profile, and how it is compared with what the commands of Slurm say."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.cluster.facts import Limits, ask_slurm, limits_of
from pipeline.cluster.inspect import check_profile, show_profile
from pipeline.cluster.profile import load_profile
from pipeline.errors import UserError

CONFIG = """\
Configuration data as of 2026-01-01T00:00:00
ClusterName             = tiny
GresTypes               = gpu
MaxArraySize            = 1001
SLURM_VERSION           = 22.05.8

Slurmctld(primary) at host is UP
"""
PARTITIONS = """\
PartitionName=main Default=YES MaxTime=1-00:00:00 PreemptMode=REQUEUE State=UP TRES=cpu=32,node=2,gres/gpu=8
PartitionName=long Default=NO MaxTime=UNLIMITED PreemptMode=OFF State=DRAIN TRES=cpu=32
"""
NODES = "main|gpu:a100:4(S:0-1),gpu:v100:1|32|128000\nlong|(null)|16|64000\n"
ASSOCIATIONS = "team-a||normal,debug||500\nteam-b|main|normal|normal|\n"
QOS = "normal|700|\ndebug||5\n"

Install = Callable[..., None]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes commands that answer like those of Slurm; an answer of None is a command that fails."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def install(
        config: str | None = CONFIG, partitions: str = PARTITIONS, associations: str | None = ASSOCIATIONS
    ) -> None:
        for name, answers in {
            "scontrol": {"show config": config, "--oneliner show partition": partitions},
            "sinfo": {"--noheader --all --exact*": NODES},
            "sacctmgr": {"--noheader --parsable2 show assoc*": associations, "--noheader --parsable2 show qos*": QOS},
        }.items():
            cases = ""
            for number, (arguments, answer) in enumerate(answers.items()):
                file = folder / f"{name}{number}"
                file.write_text(answer or "")
                act = f"cat {file}" if answer is not None else "echo cannot reach it >&2; exit 1"
                pattern = arguments.replace(" ", r"\ ")
                cases += f"{pattern}) {act};;\n"
            # A variable of another job would change what the real commands say.
            text = f'#!/bin/bash\n[ -z "$SLURM_JOB_ID" ] || exit 9\ncase "$*" in\n{cases}*) exit 8;;\nesac\n'
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    return install


def findings(name: str = "generic", **settings: str) -> dict[str, tuple[bool, str]]:
    return {finding.name: (finding.ok, finding.text) for finding in check_profile(load_profile(name, settings))}


def test_a_profile_that_fits(slurm: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm()
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    found = findings(account="team-a", qos="normal")
    assert all(ok for ok, _ in found.values()), found
    assert found["slurm"][1] == "22.05.8, cluster tiny"
    assert found["partition"][1] == "main, the default one"
    assert found["max_submit_jobs"][1] == "Slurm says 500"


@pytest.mark.parametrize(
    ("settings", "name", "part"),
    [
        ({"partition": "mian"}, "partition", "Slurm has no mian; there are main, long"),
        ({"partition": "main,long"}, "partition", "long takes no jobs now"),
        ({"account": "team-c"}, "account", "team-c; yours: team-a, team-b"),
        ({"qos": "urgent"}, "qos", "urgent; yours: debug, normal"),
        ({"max_walltime_minutes": "1441"}, "walltime", "up to 1441 minutes; the partition allows 1440"),
        ({"max_array_size": "1002"}, "max_array_size", "1002; Slurm says 1001"),
        ({"max_submit_jobs": "501"}, "max_submit_jobs", "501; Slurm says 500"),
        ({"requeue": "false"}, "preemption", "the profile forbids it"),
        ({"gpu_type": "h100"}, "nodes", "a whole one is 1 h100 GPUs"),
        ({"gpus_per_node": "8", "cpus_per_gpu": "1"}, "nodes", "8 GPUs, 8 CPUs, 0 MiB; there are gpu:a100:4"),
        ({"gpus_per_node": "4", "cpus_per_gpu": "9"}, "nodes", "4 GPUs, 36 CPUs"),
        ({"gpus_per_node": "4", "memory_gib_per_gpu": "32"}, "nodes", "4 GPUs, 16 CPUs, 131072 MiB"),
    ],
)
def test_what_does_not_fit(slurm: Install, settings: dict[str, str], name: str, part: str) -> None:
    slurm()
    found = findings(**settings)
    assert [key for key, (ok, _) in found.items() if not ok] == [name]
    assert part in found[name][1]


def test_required_keys_are_a_finding(slurm: Install) -> None:
    slurm()
    ok, text = findings("narval")["required keys"]
    assert not ok
    assert "--set account=..." in text


def test_a_cluster_without_gpus_or_default_partition(slurm: Install) -> None:
    slurm(config=CONFIG.replace("= gpu", "= (null)"), partitions=PARTITIONS.replace("Default=YES", "Default=NO"))
    found = findings()
    assert found["gpus"] == (False, "Slurm knows no GPUs here (GresTypes): set 'gpu_request: none'")
    assert not found["partition"][0]
    assert findings(gpu_request="none")["gpus"][0]


def test_without_accounting(slurm: Install) -> None:
    slurm(associations=None)
    found = findings(account="anything")
    assert found["account"] == (True, "anything; no accounting that could be asked")
    assert found["max_submit_jobs"] == (True, "Slurm sets none")


def test_without_slurm(slurm: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert findings()["slurm"] == (False, "scontrol is not installed here: run this on a login node of the cluster")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.defpath}")
    slurm(config=None)
    assert findings()["slurm"] == (False, "scontrol show config failed: cannot reach it")
    with pytest.raises(UserError, match="cannot reach it"):
        ask_slurm()


def test_limits_come_from_the_profile_and_else_from_slurm(slurm: Install) -> None:
    slurm()
    asked = {"max_array_size": 1001, "max_submit_jobs": 500, "max_walltime_minutes": 24 * 60}
    assert limits_of(load_profile("generic")) == Limits(**asked)
    assert limits_of(load_profile("generic", {"max_submit_jobs": "7"})) == Limits(**{**asked, "max_submit_jobs": 7})
    # The association of another account says nothing about this one.
    assert limits_of(load_profile("generic", {"account": "team-b"})).max_submit_jobs == 700
    assert limits_of(load_profile("generic", {"qos": "debug"})).max_submit_jobs == 5
    slurm(config=None)
    settings = {"max_array_size": "31", "max_submit_jobs": "60", "max_walltime_minutes": "300"}
    assert limits_of(load_profile("generic", settings)) == Limits(**{key: int(text) for key, text in settings.items()})


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("UNLIMITED", None), ("7-00:00:00", 10080), ("100:00:00", 6000), ("30:00", 30), ("60", 60), ("1-12", 2160)],
)
def test_time_limits(slurm: Install, text: str, minutes: int | None) -> None:
    slurm(partitions=PARTITIONS.replace("1-00:00:00", text))
    allowed = "any length" if minutes is None else f"{minutes} minutes"
    assert findings()["walltime"][1].endswith(f"allows {allowed}")


def test_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    mine = tmp_path / "task-complexity" / "slurm" / "tamia.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("environment: {HF_HOME: '[b]$SCRATCH/hf'}\n")
    output = io.StringIO()
    show_profile("tamia", Console(file=output, width=160), {"gpu_type": "h200"})
    lines = output.getvalue().splitlines()
    assert f"  3. {mine}" in lines
    assert "  4. --set" in lines
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.split()}
    assert rows["environment.HF_HOME"] == ["[b]$SCRATCH/hf", "3"]
    assert rows["gpu_type"] == ["h200", "4"]
    assert rows["whole_node"] == ["true", "2"]
    assert rows["account"] == ["REQUIRED", "1"]
    assert rows["billing"] == ["RGU-hours,", "per_gpu_hour", "12.15", "2"]
    assert "--set account=..." in lines[-1]
