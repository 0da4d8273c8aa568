"""What `tcx verify` found stays, and says of which program it is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.reduce import reduce_studies
from pipeline.report.page.content import content_of
from pipeline.store import Study
from pipeline.verdicts import keep_verdicts, read_verdicts
from tests.reduce.conftest import shard_row


def test_verdicts_are_kept_beside_those_of_before(tmp_path: Path) -> None:
    study = Study(tmp_path)
    assert read_verdicts(study) == {}
    keep_verdicts(study, {"a": {"one": []}, "b": {"two": ["wrong"]}})
    keep_verdicts(study, {"b": {"three": []}})
    assert read_verdicts(study) == {"a": {"one": []}, "b": {"three": []}}


@pytest.mark.parametrize("content", ['{"a', "[]", "", '"text"', "\ud800"])
def test_a_damaged_file_holds_no_verdicts(tmp_path: Path, content: str) -> None:
    study = Study(tmp_path)
    study.verdicts_path.write_bytes(content.encode("utf-8", "surrogatepass"))
    assert read_verdicts(study) == {}
    keep_verdicts(study, {"a": {"one": []}})
    assert read_verdicts(study) == {"a": {"one": []}}


def test_two_writers_keep_all(tmp_path: Path) -> None:
    study = Study(tmp_path)

    def keep(writer: str) -> None:
        for number in range(40):
            keep_verdicts(study, {f"{writer}{number}": {"program": []}})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(keep, "ab"))
    assert len(read_verdicts(study)) == 80


def test_a_verdict_is_of_one_program(tmp_path: Path) -> None:
    study = Study(tmp_path / "study")
    first, kept, old = (shard_row(name, program_sha256=name * 64) for name in "abc")
    for row in (first, kept, old):
        assert study.commit_shard(row)
    study.verdicts_path.write_text(f'{{"{old["cell_id"]}": []}}')  # of before programs were named
    keep_verdicts(study, {row["cell_id"]: {row["program_sha256"]: []} for row in (first, kept)})
    study.quarantine_shard(study.shard_path(first["cell_id"]), "damaged")
    assert study.commit_shard(shard_row("a", program_sha256="d" * 64))
    reduce_studies([study.folder])
    points = content_of([study]).points
    found = dict(zip(points["cell_id"].to_pylist(), points["is_verified"].to_pylist(), strict=True))
    assert found == {first["cell_id"]: None, kept["cell_id"]: 1, old["cell_id"]: None}
