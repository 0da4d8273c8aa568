"""Leases: who gets a group, what is taken from whom, and what is left for a person to say."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import files, leases
from pipeline.files import write_atomically
from pipeline.leases import (
    SHOWN_LEASES,
    Owner,
    abandoned,
    drop_lease,
    lease,
    lease_path,
    leased,
    read_lease,
    this_owner,
    unjudged,
    unjudged_lines,
)
from pipeline.store import Study

GROUP = "5ab0"
ROOT = Path(__file__).parents[1]
ELSEWHERE = Owner(host="elsewhere", node="node7", pid=1, started=1, slurm_job_id=None, restart=0)
JOB = replace(ELSEWHERE, slurm_job_id="17_3", cluster="narval")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "fir")  # of a shell inside of an allocation: nobody has to be asked
    return Study(tmp_path / "sums")


@pytest.fixture
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(files, "_READ_PAUSES_SECONDS", (0.01,))


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def write(study: Study, content: Owner | bytes | dict[str, Any], group: str = GROUP) -> Path:
    path = lease_path(study, group)
    fields = asdict(content) if isinstance(content, Owner) else content
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    assert write_atomically(path, text, replace=False)
    return path


def nobody(owner: Owner) -> bool:
    return False


def everybody(owner: Owner) -> bool:
    return True


def never_asked(owner: Owner) -> bool:
    raise AssertionError(f"asked about {owner}")


def claims(study: Study, owner: Owner | None = None, is_gone: leases.IsGone = never_asked) -> bool:
    with lease(study, GROUP, owner or this_owner(), is_gone) as is_ours:
        assert not is_ours or read_lease(lease_path(study, GROUP)) == (owner or this_owner())
    return is_ours


def owner_of(process: subprocess.Popen[bytes]) -> Owner:
    started = leases._start_of(process.pid)
    assert started is not None
    return replace(this_owner(), pid=process.pid, started=started)


class TestClaims:
    def test_a_living_process_keeps_its_group_and_a_dead_one_loses_it(
        self, study: Study, sleeper: subprocess.Popen[bytes]
    ) -> None:
        owner = owner_of(sleeper)
        write(study, owner)
        assert not claims(study)
        assert abandoned(leased(study), never_asked) == {}
        sleeper.kill()
        sleeper.wait()
        assert abandoned(leased(study), never_asked) == {GROUP: owner}
        assert claims(study)
        assert list(study.leases.iterdir()) == []

    def test_others_are_judged_by_who_is_asked(self, study: Study) -> None:
        write(study, replace(JOB, cluster="fir"))
        assert not claims(study, is_gone=nobody)
        assert claims(study, is_gone=everybody)

    def test_one_job_before_and_after_its_restart(self, study: Study) -> None:
        write(study, JOB)
        assert not claims(study, replace(JOB, pid=2, host="other"))
        assert claims(study, replace(JOB, restart=1))

    def test_a_job_of_another_cluster_is_never_gone(self, study: Study) -> None:
        write(study, JOB)
        assert not claims(study)
        assert not claims(study, replace(JOB, cluster="fir", restart=1))  # an equal number, and another job
        assert abandoned(leased(study), never_asked) == {}

    def test_a_job_knows_its_cluster(self, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
        assert this_owner().cluster is None
        monkeypatch.setenv("SLURM_JOB_ID", "17")
        assert (this_owner().slurm_job_id, this_owner().cluster) == ("17", "fir")


class TestUnreadable:
    @pytest.mark.parametrize(
        "content",
        [b"", b'{"host": "el', b"\xff\xfe", b"[]", b"3", {"host": "here", "pid": 3}],
        ids=["empty", "half", "no text", "a list", "a number", "fields missing"],
    )
    def test_what_is_no_lease_is_kept_aside(self, study: Study, content: Any, short_looks: None) -> None:
        before = write(study, content).read_bytes()
        assert claims(study)
        (kept,) = study.leases.iterdir()
        assert kept.name.startswith(GROUP) and kept.suffix == ".unreadable"
        assert kept.read_bytes() == before
        assert leased(study) == {}

    def test_it_takes_some_seconds(self, study: Study) -> None:
        """It may be a lease that this host does not see yet."""
        path = write(study, b"")
        threading.Timer(1.5, lambda: path.write_text(json.dumps(asdict(ELSEWHERE)))).start()
        start, used = time.monotonic(), time.process_time()
        assert not claims(study, is_gone=nobody)
        assert 1 < time.monotonic() - start < 5
        assert time.process_time() - used < 0.5  # it does not spin
        assert read_lease(path) == ELSEWHERE

    def test_fields_of_a_newer_version_are_left_out(self, study: Study) -> None:
        path = write(study, {**asdict(ELSEWHERE), "color": "blue"})
        assert read_lease(path) == ELSEWHERE
        assert not claims(study, is_gone=nobody)
        assert "blue" in path.read_text()

    def test_a_lease_of_before_there_were_clusters(self, study: Study) -> None:
        fields = asdict(replace(JOB, cluster=None))
        del fields["cluster"]
        assert read_lease(write(study, fields)) == replace(JOB, cluster=None)

    def test_what_cannot_be_looked_at_may_be_a_lease(self, study: Study, short_looks: None) -> None:
        path = lease_path(study, GROUP)
        path.parent.mkdir(parents=True)
        path.symlink_to(path)  # opening it is an error of the system
        assert not claims(study)
        assert list(study.leases.iterdir()) == [path] and path.is_symlink()


class TestDrop:
    @pytest.mark.parametrize("has_links", [True, False])
    def test_a_lease_that_was_taken_meanwhile_goes_back(
        self, study: Study, monkeypatch: pytest.MonkeyPatch, has_links: bool
    ) -> None:
        def no_links(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        if not has_links:
            monkeypatch.setattr(os, "link", no_links)
        path = write(study, ELSEWHERE)
        assert not drop_lease(study, GROUP, replace(ELSEWHERE, pid=2))
        assert read_lease(path) == ELSEWHERE
        assert list(study.leases.iterdir()) == [path]
        assert drop_lease(study, GROUP, ELSEWHERE)
        assert not drop_lease(study, GROUP, ELSEWHERE)
        assert list(study.leases.iterdir()) == []


class TestUnjudged:
    def test_processes_of_other_hosts_and_jobs_of_other_clusters(self, study: Study) -> None:
        write(study, ELSEWHERE, "a")
        write(study, JOB, "b")
        write(study, replace(JOB, cluster="fir"), "c")
        write(study, replace(JOB, cluster=None), "d")
        write(study, this_owner(), "e")
        found = unjudged(study)
        assert [(one.group_id, one.owner) for one in found] == [("a", ELSEWHERE), ("b", JOB)]
        first, second = unjudged_lines(found, {"a": 12})
        assert first.startswith("12 cells (group a) are worked on by process 1 on elsewhere since 20")
        assert first.endswith(f"delete {lease_path(study, 'a')}")
        assert "job 17_3 of narval on elsewhere" in second
        assert abandoned(leased(study), nobody) == {}

    def test_of_many_the_first_are_shown(self, study: Study) -> None:
        for number in range(SHOWN_LEASES + 3):
            write(study, ELSEWHERE, f"{number:04x}")
        lines = unjudged_lines(unjudged(study), {})
        assert len(lines) == SHOWN_LEASES + 1
        assert lines[-1].startswith("and 3 more")

    def test_slurm_is_asked_once_and_only_for_jobs_that_name_a_cluster(
        self, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SLURM_CLUSTER_NAME")
        command = tmp_path / "bin" / "scontrol"
        command.parent.mkdir()
        command.write_text(f"#!/bin/sh\necho \"$@\" >> {tmp_path}/asked\necho 'ClusterName             = narval'\n")
        command.chmod(0o755)
        code = """
import sys
from pathlib import Path
from pipeline.leases import unjudged
from pipeline.store import Study
print(*[one.group_id for one in [*unjudged(Study(Path(sys.argv[1]))), *unjudged(Study(Path(sys.argv[1])))]])
"""

        def told() -> str:
            env = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
            line = [sys.executable, "-c", code, str(study.folder)]
            return subprocess.run(line, env=env, check=True, capture_output=True, text=True).stdout.strip()

        write(study, replace(JOB, cluster=None), "a")
        write(study, replace(ELSEWHERE, host=socket.gethostname()), "b")
        assert told() == ""
        assert not (tmp_path / "asked").exists()
        write(study, JOB, "c")
        write(study, replace(JOB, cluster="fir"), "d")
        assert told() == "d d"
        assert (tmp_path / "asked").read_text() == "show config\n"
        command.write_text("#!/bin/sh\nexit 1\n")
        assert told() == "c d c d"


RIVAL = """
import sys
from pathlib import Path
from pipeline.leases import lease, this_owner
from pipeline.store import Study
study, alone = Study(Path(sys.argv[1])), Path(sys.argv[2])
owner, count = this_owner(), 0
for _ in range(150):
    with lease(study, "5ab0", owner, lambda other: False) as is_ours:
        if is_ours:
            alone.mkdir()  # fails where another process is inside
            alone.rmdir()
            count += 1
print(count)
"""


def test_of_several_processes_one_is_inside(study: Study, tmp_path: Path) -> None:
    command = [sys.executable, "-c", RIVAL, str(study.folder), str(tmp_path / "alone")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    rivals = [subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) for _ in range(4)]
    counts = [rival.communicate(timeout=120)[0] for rival in rivals]
    assert [rival.returncode for rival in rivals] == [0] * 4
    assert sum(map(int, counts)) > 10
    assert not any(study.leases.iterdir())
