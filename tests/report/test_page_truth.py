"""What the page says of a study is what its tables and files say."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline import schema
from pipeline.reduce import reduce_studies
from pipeline.report.page import write_page
from pipeline.report.page.content import Content, content_of, study_names
from pipeline.report.page.details import details_of
from pipeline.store import Study
from tests.reduce.conftest import Row, imported_row, plan_row, shard_row
from tests.reduce.test_merge import attempt_row

from .browser import opened, started_browser
from .page_study import page_study


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started_browser() as browser:
        yield browser


def committed(folder: Path, rows: Sequence[Row]) -> Study:
    """A study of these programs, not reduced yet."""
    study = Study(folder)
    for row in rows:
        assert study.commit_shard(row)
    return study


def drawn(browser: Browser, *studies: Study, view: str = "") -> Page:
    """The page of reduced studies, with every section drawn."""
    page = opened(browser, write_page(studies).resolve()).page
    page.evaluate(f"location.hash = {view!r}")
    for section in page.locator("main section:visible").all():
        section.scroll_into_view_if_needed()
    return page


def test_complexities_are_of_the_split_that_programs_were_chosen_on(browser: Browser, tmp_path: Path) -> None:
    # The shortest is right on 12 of 20 validation items and 6 of test, the third the first that has half of test.
    validation = (12, 9, 11, 8, 10)
    rows = [
        shard_row(f"{place}", validation=right, test=6 + 2 * place, length_bytes=100 * 4**place)
        for place, right in enumerate(validation)
    ]
    study = committed(tmp_path / "sums", rows)
    reduce_studies([study.folder], select="test")
    page = drawn(browser, study, view="_goal=sums&_target=50")
    expect(page.get_by_role("cell", name="12,800 bits", exact=True)).to_be_visible()
    expect(page.locator("#chosen-on-test")).to_contain_text("Chosen on the test split: programs of sums.")
    reduce_studies([study.folder])
    page = drawn(browser, study, view="_goal=sums&_target=50")
    expect(page.get_by_role("cell", name="800 bits", exact=True)).to_be_visible()
    expect(page.locator("#chosen-on-test")).to_be_hidden()


def test_studies_of_one_name_are_told_apart(browser: Browser, tmp_path: Path) -> None:
    # Both clusters made the first cell.
    studies = []
    for cluster, right in (("mila", 5), ("tamia", 9)):
        rows = [shard_row("shared", test=right), shard_row(cluster, length_bytes=300, validation=19, test=19)]
        study = committed(tmp_path / cluster / "results" / "quickstart", rows)
        reduce_studies([study.folder])
        studies.append(study)
    page = drawn(browser, *studies)
    expect(page.locator("h1")).to_have_text("mila/results/quickstart and tamia/results/quickstart")
    expect(page.locator("#curves-note")).to_contain_text("4 programs shown")
    page.locator("#programs").scroll_into_view_if_needed()
    page.get_by_role("checkbox", name="mila/results/quickstart").uncheck()
    expect(page.locator("#programs-count")).to_have_text("2 programs")
    expect(page.locator("#programs-grid tbody tr[data-place]", has_text="45.0")).to_have_count(1)


def test_names_are_as_short_as_they_can_be() -> None:
    folders = ("/a", "/b/a", "/b/c", "/d/b/a")
    assert study_names([Study(Path(folder)) for folder in folders]) == ["/a", "/b/a", "c", "d/b/a"]


def test_dominance_says_which_side_is_published_and_how_much_is_left_out(browser: Browser, tmp_path: Path) -> None:
    data = {"family": "subset", "view": "data"}
    rows = []
    for right in (4, 12):
        rows.append(shard_row(f"icl {right}", length_bytes=25 * right, validation=right, test=right))
        rows.append(shard_row(f"subset {right}", **data, length_bytes=50 * right, validation=right, test=right))
        rows.append(imported_row(f"icl {right}", 4_000 * right, 5.0 * right))
        rows.append(imported_row(f"subset {right}", 8_000 * right, 5.0 * right, **data))
    study = committed(tmp_path / "sums", rows)
    reduce_studies([study.folder])
    page = drawn(browser, study)
    table = page.locator("#dominance-table")
    expect(table).to_contain_text("all against all, published")
    expect(table).to_contain_text("view:data, published against view:inference, published")
    page.get_by_role("checkbox", name="Published results").uncheck()
    expect(table.locator("tbody tr")).to_have_count(1)
    expect(table).to_contain_text("view:data against view:inference")
    study.write_table("dominance", pa.concat_tables([study.read_table("dominance")] * 80))
    table = drawn(browser, study).locator("#dominance-table")
    expect(table.locator("tbody tr")).to_have_count(200)
    expect(table).to_contain_text("40 more rows can be chosen among the filters.")


def test_failures_are_counted_by_cause_however_many(browser: Browser, tmp_path: Path) -> None:
    done, *failed = (shard_row(f"{seed}", seed=seed) for seed in range(600))
    study = committed(tmp_path / "sums", [done])
    planned = [plan_row(row) | {"task_source": "sums"} for row in (done, *failed)]
    study.write_plan(schema.table_of(planned, schema.PLAN))
    causes = ["oom-gpu"] * 450 + ["timeout"] * 149
    study.record_attempts([attempt_row(row["cell_id"], 1, cause) for row, cause in zip(failed, causes, strict=True)])
    reduce_studies([study.folder])
    told = drawn(browser, study).locator("#completeness-body")
    expect(told.locator("summary")).to_have_text(["450 failed: oom-gpu", "149 failed: timeout"])
    told.locator("summary", has_text="oom-gpu").click()
    expect(told).to_contain_text("and 250 more")


def test_commands_run_as_they_stand(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = Path("my results")
    results.mkdir()
    page = drawn(browser, page_study(results / "small"))
    page.locator("#programs-grid tbody tr[data-place]").first.click()
    commands = page.locator("#details pre.wrap")
    expect(commands).to_have_count(3)
    shown, verified, run = commands.all_inner_texts()
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *shlex.split(shown)[1:]], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # No base model is here: that is found out only once the program is.
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *shlex.split(verified)[1:]], capture_output=True, text=True
    )
    assert done.returncode == 1 and "no base model" in done.stdout + done.stderr
    assert Path(shlex.split(run)[1]).is_file()


def test_studies_that_may_not_be_compared_have_labels_of_their_own(browser: Browser, tmp_path: Path) -> None:
    one = committed(tmp_path / "one", [shard_row("a"), shard_row("b", family="lora")])
    same = committed(tmp_path / "same", [shard_row("c", seed=2)])
    other = committed(
        tmp_path / "other", [shard_row("d", task_version=2), shard_row("e", task_version=2, family="lora")]
    )
    for study in (one, same, other):
        reduce_studies([study.folder])
    assert label_lists(content_of([one, same])) == [{"sums"}] * 3
    assert label_lists(content_of([one, same, other])) == [{"sums v1 all/all", "sums v2 all/all"}] * 3
    page = drawn(browser, one, other)
    expect(page.locator("#summary")).to_have_text("4 programs, 2 tasks, 1 base model")


def label_lists(content: Content) -> list[set[str]]:
    """Labels of tasks of the points, curves and targets of a page."""
    targets = {row["task"] for row in content.header["targets"]}
    return [set(content.points["task"].to_pylist()), set(content.curves["task"]), targets]


def test_details_are_of_the_program_of_the_point(tmp_path: Path) -> None:
    rows = [shard_row("cell", attempt=attempt, program_sha256=str(attempt) * 64) for attempt in (2, 1)]
    studies = [committed(tmp_path / f"made-{row['attempt']}", [row]) for row in rows]
    reduce_studies([study.folder for study in studies])
    reduce_studies([studies[1].folder])
    assert attempts_shown(studies[:1]) == []
    assert attempts_shown(studies) == [1, 1]


def attempts_shown(studies: Sequence[Study]) -> list[int]:
    """The attempt that the details of each point of a page are of."""
    _, lines = details_of(content_of(studies), dict(zip(study_names(studies), studies, strict=True)))
    details = map(json.loads, zlib.decompress(base64.b64decode(lines)).splitlines())
    return [it["provenance"]["attempt"] for it in details if "provenance" in it]


def test_cells_without_a_program_are_not_counted_as_programs(browser: Browser, tmp_path: Path) -> None:
    study = committed(tmp_path / "sums", [shard_row("a"), shard_row("b", status="infeasible")])
    reduce_studies([study.folder])
    page = drawn(browser, study)
    expect(page.locator("#summary")).to_have_text("1 program, 1 task, 1 base model")
    expect(page.locator("#curves-note")).to_contain_text("1 program shown")
    expect(page.locator("#programs-count")).to_have_text("1 program, 1 cell without one")
