"""What counts, what does not, and what is said about it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline import schema
from pipeline.compact import compact as compact_study
from pipeline.reduce import reduce_studies, reduction
from pipeline.reduce.completeness import COMPLETENESS
from pipeline.reduce.merge import read_statistics
from pipeline.reduce.sources import StartAgain, study_sources
from pipeline.seals import seal
from pipeline.store import Study

from .conftest import NOW, MakeStudy, compact, correct, merge, shard_row


def attempt_row(cell_id: str, attempt: int, cause: str) -> dict[str, Any]:
    return {
        "cell_id": cell_id,
        "attempt": attempt,
        "cause": cause,
        "message": "first line\nlast line",
        "host": "here",
        "slurm_job_id": None,
        "restarts": 0,
        "finished_utc": NOW,
    }


def test_completeness(make_study: MakeStudy) -> None:
    done, infeasible = shard_row("done"), shard_row("infeasible", status="infeasible")
    failed, missing, outside = shard_row("failed", seed=1), shard_row("missing", seed=2), shard_row("outside")
    unresolved = shard_row("unresolved") | {"cell_id": None}
    study = make_study([done, infeasible, outside], planned=[done, infeasible, failed, missing, unresolved])
    study.record_attempts([attempt_row(failed["cell_id"], 2, "program-memory")])
    study.record_attempts([attempt_row(failed["cell_id"], 1, "code")])
    study.record_attempts([attempt_row(done["cell_id"], 1, "code")])  # it worked later
    rows, completeness = merge([study])
    assert {row["cell_id"] for row in rows} == {done["cell_id"], infeasible["cell_id"]}
    assert (completeness.num_planned, completeness.num_ok, completeness.num_infeasible) == (5, 1, 1)
    (failure,) = completeness.failed
    assert (failure.cell_id, failure.cause, failure.num_attempts) == (failed["cell_id"], "program-memory", 2)
    assert completeness.missing == ("sums / tiny / icl (seed=2)",)
    assert completeness.num_unresolved == 1
    assert completeness.outside == (outside["cell_id"],)
    assert study.shard_path(outside["cell_id"]).exists()
    assert not completeness.is_complete


def test_without_a_plan_every_shard_counts(make_study: MakeStudy) -> None:
    _, completeness = merge([make_study([shard_row("a"), shard_row("b")])])
    assert completeness.num_planned == completeness.num_ok == 2
    assert completeness.is_complete


def test_empty_folder(tmp_path: Path) -> None:
    rows, completeness = merge([Study(tmp_path / "nothing")])
    assert rows == [] and completeness.num_planned == 0


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def make_foreign(path: Path) -> None:
    path.write_text("cell,score\n1,2\n")


def make_other_cell(path: Path) -> None:
    other = shard_row("other")
    study = Study(path.parents[3] / "elsewhere")
    study.commit_shard(other)
    study.shard_path(other["cell_id"]).replace(path)


def rewrite(path: Path, table: pa.Table) -> None:
    with path.open("wb") as file:
        pq.write_table(table, file)
        seal(file)


def make_old(path: Path) -> None:
    table = pq.ParquetFile(path).read()
    rewrite(path, table.replace_schema_metadata({**table.schema.metadata, b"schema_version": b"0"}))


def break_rule(path: Path) -> None:
    table = pq.ParquetFile(path).read()
    rewrite(path, type(table).from_pylist([{**table.to_pylist()[0], "payload_bits": 8}], schema=table.schema))


@pytest.mark.parametrize("damage", [truncate, empty, make_foreign, make_other_cell, make_old, break_rule])
def test_bad_shard_is_quarantined_and_not_done(make_study: MakeStudy, damage: Callable[[Path], None]) -> None:
    good, bad = shard_row("good"), shard_row("bad")
    study = make_study([good, bad], planned=[good, bad])
    path = study.shard_path(bad["cell_id"])
    damage(path)
    rows, completeness = merge([study])
    assert [row["cell_id"] for row in rows] == [good["cell_id"]]
    assert [name for name, _ in completeness.quarantined] == [str(path)]
    assert completeness.missing == ("sums / tiny / icl",)
    assert not path.exists() and len(list(study.quarantine.glob("*.parquet"))) == 1
    # The cell can be done again, and then counts.
    assert study.commit_shard(bad)
    assert merge([study])[1].is_complete


def test_a_shard_that_was_made_anew_while_others_were_read_stays(make_study: MakeStudy) -> None:
    rows = [shard_row("one"), shard_row("two")]
    study = make_study(rows)
    paths = sorted(map(study.shard_path, (row["cell_id"] for row in rows)))
    for path in paths:
        truncate(path)

    def work_meanwhile(path: str, reason: str, cell_id: str | None) -> None:
        assert path == str(paths[0])
        assert all(study.commit_shard(row) for row in rows)

    (shards,) = study_sources(study, (), work_meanwhile)
    with pytest.raises(StartAgain):
        list(shards)
    assert study.valid_cells() == {row["cell_id"] for row in rows}


@pytest.mark.parametrize("moment", ["resampled_members", "stream_points"])
def test_compacting_meanwhile_costs_nothing(
    make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    study = make_study(
        [
            shard_row(name, length_bytes=100 + 10 * place, validation=5 + place)
            for place, name in enumerate(("one", "two"))
        ]
    )
    whole = reduce_studies([study.folder]).frontier
    then = getattr(reduction, moment)

    def compact_first(*arguments: Any) -> Any:
        if list(study.shard_files()):
            compact_study(str(study.folder), results=None, console=Console(quiet=True))
        return then(*arguments)

    monkeypatch.setattr(reduction, moment, compact_first)
    assert reduce_studies([study.folder]).frontier.equals(whole)
    assert not list(study.shard_files())


def test_quarantine_that_cannot_be_made_is_not_fatal(make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study([shard_row("bad")])
    truncate(study.shard_path(shard_row("bad")["cell_id"]))

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Study, "quarantine_shard", refuse)
    ((_, reason),) = merge([study])[1].quarantined
    assert "could not be moved (Permission denied)" in reason


def test_duplicates_lowest_attempt_then_smallest_digest(make_study: MakeStudy) -> None:
    first = make_study([shard_row("a", attempt=2, program_sha256="1" * 64), shard_row("b", program_sha256="c" * 64)])
    second = make_study(
        [shard_row("a", attempt=1, program_sha256="f" * 64), shard_row("b", program_sha256="b" * 64)], name="second"
    )
    for folders in ([first, second], [second, first]):
        rows, completeness = merge(folders)
        kept = {row["cell_id"]: row["program_sha256"][0] for row in rows}
        assert kept == {shard_row("a")["cell_id"]: "f", shard_row("b")["cell_id"]: "b"}
        assert completeness.num_duplicates == len(completeness.duplicates) == 2
        for duplicate in completeness.duplicates:
            assert duplicate.kept.startswith(str(second.folder)) and duplicate.dropped.startswith(str(first.folder))
            assert not duplicate.is_same_program


def test_statistics_are_read_on_demand(make_study: MakeStudy) -> None:
    study = make_study([shard_row("a", test=correct(2, 3))])
    compact(study, "more", [shard_row(name, test=correct(number, 3)) for number, name in enumerate(("b", "c"))])
    rows, _ = merge([study])
    assert all("statistics" not in row["test"] for row in rows)
    found = dict(zip([row["cell_id"] for row in rows], read_statistics(rows), strict=True))
    assert found[shard_row("a")["cell_id"]].tolist() == [[1, 1], [1, 1], [0, 1]]
    assert found[shard_row("b")["cell_id"]].tolist() == [[0, 1], [0, 1], [0, 1]]
    assert found[shard_row("c")["cell_id"]].tolist() == [[1, 1], [0, 1], [0, 1]]


def damage_middle(path: Path) -> None:
    """Zeros at the end of the page of cell ids."""
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(schema.SHARD.get_field_index("cell_id"))
    content = bytearray(path.read_bytes())
    end = chunk.data_page_offset + chunk.total_compressed_size
    content[end - 30 : end] = bytes(30)
    path.write_bytes(content)


def damage_footer(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-500] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, empty, make_foreign, damage_middle, damage_footer])
def test_damaged_compacted_file_counts_in_no_part(make_study: MakeStudy, damage: Callable[[Path], None]) -> None:
    loose, both, inside = shard_row("loose", length_bytes=300), shard_row("both"), shard_row("inside")
    study = make_study([loose, both], planned=[loose, both, inside])
    path = compact(study, "some", [both, inside])
    compact(study, "sound", [shard_row("more")])
    assert len(reduce_studies([study.folder]).points) == 3
    damage(path)
    reduction = reduce_studies([study.folder])
    completeness = reduction.completeness
    assert set(reduction.points["cell_id"].to_pylist()) == {loose["cell_id"], both["cell_id"]}
    ((name, reason),) = completeness.quarantined
    assert name == str(path) and reason and not path.exists()
    assert completeness.missing == ("sums / tiny / icl",)
    assert completeness.outside == (shard_row("more")["cell_id"],)
    (moved,) = study.quarantine.glob("some.*.parquet")
    assert moved.with_suffix(".json").exists()
    # It is told once, and what else there is stays as it was.
    assert reduce_studies([study.folder]).completeness.quarantined == ()


def test_bad_shards_are_listed_although_the_reading_starts_again(make_study: MakeStudy) -> None:
    study = make_study([shard_row("bad"), shard_row("good")])
    truncate(study.shard_path(shard_row("bad")["cell_id"]))
    damage_middle(compact(study, "some", [shard_row("inside")]))
    completeness = reduce_studies([study.folder]).completeness
    assert (completeness.num_ok, completeness.num_quarantined, len(completeness.quarantined)) == (1, 2, 2)


def test_compacted_file_of_a_later_version_stays(make_study: MakeStudy) -> None:
    study = make_study([shard_row("a")])
    path = compact(study, "later", [shard_row("b")])
    table = pq.ParquetFile(path).read()
    rewrite(path, table.replace_schema_metadata({"kind": "compacted", "schema_version": "3", "num_rows": "1"}))
    completeness = reduce_studies([study.folder]).completeness
    ((name, reason),) = completeness.quarantined
    assert name == str(path) and "update task-complexity; left in its place" in reason
    assert path.exists() and completeness.num_ok == 1


def test_compacted_row_that_breaks_a_rule_is_left_out(make_study: MakeStudy) -> None:
    study = make_study([])
    path = compact(study, "some", [shard_row("good"), shard_row("bad")])
    table = pq.ParquetFile(path).read()
    bad = shard_row("bad")["cell_id"]
    bits = [8 if cell_id == bad else 400 for cell_id in table["cell_id"].to_pylist()]
    place = table.column_names.index("decoder_bits")
    changed = table.set_column(place, schema.SHARD.field("decoder_bits"), pa.array(bits))
    metadata = {"kind": "compacted", "schema_version": str(schema.SCHEMA_VERSION), "num_rows": "2"}
    rewrite(path, changed.replace_schema_metadata(metadata))
    reduction = reduce_studies([study.folder])
    assert reduction.points["cell_id"].to_pylist() == [shard_row("good")["cell_id"]]
    ((name, reason),) = reduction.completeness.quarantined
    assert name == str(path) and path.exists()
    assert reason.endswith(f"cell {bad[:12]}: the parts of the length do not sum to it; left out")
    (listed,) = reduction.study.read_table("completeness").to_pylist()
    assert (listed["what"], listed["cell_id"], listed["message"]) == ("quarantined", bad, reason)


def test_a_cell_in_a_shard_and_a_compacted_file_counts_once(make_study: MakeStudy) -> None:
    study = make_study([shard_row("a"), shard_row("b", attempt=2)])
    compact(study, "some", [shard_row("a"), shard_row("b", program_sha256="f" * 64), shard_row("c")])
    rows, completeness = merge([study])
    assert [row["cell_id"] for row in rows] == sorted(shard_row(name)["cell_id"] for name in "abc")
    assert {row["program_sha256"] for row in rows} >= {"f" * 64}
    assert sorted(duplicate.is_same_program for duplicate in completeness.duplicates) == [False, True]


def test_long_lists_are_cut_and_the_table_has_all(make_study: MakeStudy) -> None:
    inside = [shard_row(f"inside {number}") for number in range(1200)]
    failed = [shard_row(f"failed {number}") for number in range(1100)]
    study = make_study(
        [], planned=[shard_row("missing", seed=seed) | {"cell_id": f"{seed:064x}"} for seed in range(1300)] + failed
    )
    compact(study, "some", inside)
    causes = ["code"] * 500 + ["timeout"] * 600
    study.record_attempts([attempt_row(row["cell_id"], 1, cause) for row, cause in zip(failed, causes, strict=True)])
    reduction = reduce_studies([study.folder])
    completeness = reduction.completeness
    assert (completeness.num_outside, len(completeness.outside)) == (1200, 1000)
    assert (completeness.num_missing, len(completeness.missing)) == (1300, 1000)
    assert (completeness.num_failed, len(completeness.failed)) == (1100, 1000)
    assert completeness.failed_by_cause == {"timeout": 600, "code": 500}
    assert completeness.num_planned == completeness.num_missing + completeness.num_failed == 2400
    table = reduction.study.read_table("completeness")
    assert table.schema.equals(COMPLETENESS, check_metadata=False)
    counts = Counter(table["what"].to_pylist())
    assert counts == {"outside": 1200, "missing": 1300, "failed": 1100}
    assert len(set(table["cell_id"].to_pylist())) == 3600
    assert json.loads(reduction.study.table_path("completeness", "json").read_text())["num_missing"] == 1300


def test_a_cell_of_several_plans_is_missing_once(make_study: MakeStudy) -> None:
    first, second = (make_study([], planned=[shard_row("a"), shard_row("b")], name=name) for name in ("one", "two"))
    second.record_attempts([attempt_row(shard_row("b")["cell_id"], 1, "code")])
    _, completeness = merge([first, second])
    assert (completeness.num_planned, completeness.num_missing, completeness.num_failed) == (2, 1, 1)
