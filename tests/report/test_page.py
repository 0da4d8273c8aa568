"""The page in a real browser: it needs nothing besides its file, and everything on it can be used."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline.errors import UserError
from pipeline.report.page import write_page
from pipeline.store import Study

from .browser import WINDOW, Opened, opened, started_browser
from .page_study import HOSTILE, MODELS, large_study, page_study

# Where the member of a frontier of this length lies in the window.
PLACE_OF_MEMBER = """bits => {
  const figure = document.getElementById("curves-figure");
  const trace = figure.data.find((it) => it.type === "scatter" && it.customdata && it.x.includes(bits));
  const place = trace.x.indexOf(bits);
  const { xaxis, yaxis } = figure._fullLayout;
  const box = figure.getBoundingClientRect();
  return [box.left + xaxis._offset + xaxis.d2p(bits), box.top + yaxis._offset + yaxis.d2p(trace.y[place])];
}"""

UNNAMED = """[...document.querySelectorAll("button, input, select")]
  .filter((it) => !it.labels?.length && !it.textContent.trim() && !it.ariaLabel).length"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return page_study(tmp_path_factory.mktemp("page") / "small")


@pytest.fixture(scope="module")
def shared(browser: Browser, study: Study) -> Iterator[Opened]:
    found = opened(browser, write_page([study]))
    yield found
    assert found.complaints == []
    assert found.requests == [study.page_path.as_uri()]


@pytest.fixture
def page(shared: Opened) -> Page:
    """The page of the small study in its first state."""
    shared.page.evaluate("location.hash = ''")
    shared.page.evaluate("scrollTo(0, 0)")
    return shared.page


def test_it_draws_every_section_from_its_file_alone(page: Page) -> None:
    expect(page.locator("h1")).to_have_text("small")
    expect(page.locator("#summary")).to_have_text("18 programs, 1 task, 3 base models")
    expect(page.locator("#curves-note")).to_contain_text("18 programs shown")
    for section in ("target", "checkpoints", "reduction"):
        page.locator(f"#{section}").scroll_into_view_if_needed()
        expect(page.locator(f"#{section} .main-svg").first).to_be_visible()
    # The last checkpoint reaches 20% with 400 bytes, for which the first of three needs none of its programs.
    expect(page.locator("#checkpoints-legend")).to_contain_text("up to 512 B")
    page.locator("#reduction summary").click()
    # The best score of stage 1 is 50%, with 40,100 bytes; the post-trained model reaches it with 1,000.
    expect(page.locator("#reduction-table")).to_contain_text("40.1×")
    page.locator("#dominance").scroll_into_view_if_needed()
    expect(page.locator("#dominance-table")).to_contain_text("view:inference against view:parametric")
    page.locator("#completeness").scroll_into_view_if_needed()
    expect(page.locator("#completeness-body")).to_contain_text("18 of 20 planned cells are done")
    page.locator("#completeness-body summary", has_text="out-of-memory").click()
    expect(page.locator("#completeness-body pre")).to_have_text("too large")
    # 18 programs of half an hour on one core.
    expect(page.locator("#cost-table tfoot")).to_contain_text("9")


def test_the_pointer_shows_which_program_a_point_is(page: Page) -> None:
    x, y = page.evaluate(PLACE_OF_MEMBER, 8 * 1_000)
    page.mouse.move(x - 3, y - 3)
    page.mouse.move(x, y)
    card = page.locator("#tooltip")
    expect(card).to_be_visible()
    for text in (
        "icl",
        "decoder 870 B",
        "payload 10 B",
        "container 120 B",
        "8,000 bits",
        "(20 items)",
        "isolation kernel",
    ):
        expect(card).to_contain_text(text)
    page.mouse.move(5, 5)
    expect(card).to_be_hidden()


def test_a_click_shows_decoder_outputs_and_commands(page: Page) -> None:
    page.mouse.click(*page.evaluate(PLACE_OF_MEMBER, 8 * 400))
    details = page.locator("#details")
    expect(details.locator("h2")).to_have_text("baseline")
    expect(details).to_contain_text("for line in sys.stdin:\n    print(")
    for text in ("Land", "City", "output"):
        expect(details.locator(".output").first).to_contain_text(text)
    expect(details.locator("pre").first).to_contain_text("tcx show")
    expect(details).to_contain_text("30 s")
    expect(details).to_contain_text("verified: a cold run gave the same outputs")
    assert "_point=" in page.url
    page.keyboard.press("Escape")
    expect(details).to_be_hidden()
    assert "_point=" not in page.url


def test_what_a_program_wrote_is_text(page: Page) -> None:
    page.mouse.click(*page.evaluate(PLACE_OF_MEMBER, 8 * 400))
    expect(page.locator("#details .output dd").nth(2)).to_have_text(HOSTILE)
    assert page.evaluate("window.harmed") is None
    assert page.locator("#details img").count() == 0


def test_filters_stand_in_the_address(page: Page, browser: Browser) -> None:
    page.get_by_role("checkbox", name="lora").uncheck()
    expect(page.locator("#curves-note")).to_contain_text("12 programs shown")
    page.get_by_role("radio", name="validation").check(force=True)
    assert "family=trivial" in page.url and "_split=validation" in page.url
    again = browser.new_page()
    again.goto(page.url)
    expect(again.locator("#curves-note")).to_contain_text("12 programs shown")
    expect(again.get_by_role("checkbox", name="lora")).not_to_be_checked()
    again.locator("#reset").click()
    expect(again.locator("#curves-note")).to_contain_text("18 programs shown")
    again.close()


def test_the_slider_moves_the_target(page: Page) -> None:
    page.locator("#target").scroll_into_view_if_needed()
    slider = page.locator("#target-slider")
    slider.focus()
    row = page.locator("#target-table tbody tr", has_text=re.compile("^smollm3[^-]"))
    page.keyboard.press("Home")
    expect(row).to_contain_text("200 B")
    page.keyboard.press("End")
    # 13 of 20 with one program only; the other models reach it with none.
    expect(row).to_contain_text("39.2 KiB")
    expect(page.locator("#target-table tbody tr").first).to_contain_text("not reached up to 39.2 KiB")
    expect(page.locator("#target-value")).to_have_text("65.0")
    lines = page.evaluate(
        "document.getElementById('curves-figure').layout.shapes.filter((it) => it.name === 'target').map((it) => it.y0)"
    )
    assert lines == [65]


def test_table_sorts_searches_and_opens_by_keyboard(page: Page) -> None:
    page.locator("#programs").scroll_into_view_if_needed()
    rows = page.locator("#programs-grid tbody tr[data-place]")
    page.locator("#search").fill("lora stage1")
    expect(page.locator("#programs-count")).to_have_text("2 programs")
    page.get_by_role("button", name="Test").click()
    expect(rows.first).to_contain_text("45.0")
    page.get_by_role("button", name="Test").click()
    expect(rows.first).to_contain_text("50.0")
    rows.first.focus()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    expect(page.locator("#announcement")).to_contain_text("2 of 2: lora, capitals, smollm3-stage1")
    page.keyboard.press("Enter")
    expect(page.locator("#details h2")).to_have_text("lora")
    expect(page.locator("#details")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#details")).to_be_hidden()


def test_keyboard_comes_first_to_the_way_past_the_filters(browser: Browser, study: Study) -> None:
    found = opened(browser, study.page_path)
    found.page.keyboard.press("Tab")
    expect(found.page.locator(".skip")).to_be_focused()
    found.page.keyboard.press("Enter")
    expect(found.page.locator("#main")).to_be_focused()
    unnamed = found.page.evaluate(UNNAMED)
    assert unnamed == 0
    found.page.context.close()


def test_a_link_leads_to_its_section(page: Page) -> None:
    address = page.url
    page.locator("#sections").get_by_role("link", name="Cost").click()
    expect(page.locator("#completeness-title")).to_be_in_viewport()
    expect(page.locator("#completeness")).to_be_focused()
    assert page.url == address


def test_dark_and_light(page: Page) -> None:
    root = page.locator("html")
    page.emulate_media(color_scheme="dark")
    expect(root).to_have_attribute("data-theme", "dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    expect(root).to_have_attribute("data-theme", "light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    assert "_theme=light" in page.url
    page.emulate_media(color_scheme="light")


def test_paper_is_light_and_has_the_frontiers(page: Page) -> None:
    page.emulate_media(color_scheme="dark", media="print")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    expect(page.locator("#filters")).to_be_hidden()
    expect(page.locator("#programs-table")).to_be_hidden()
    # Members of the three frontiers: 4, 6 and 4 of the six programs of each checkpoint.
    expect(page.locator("#programs-print tbody tr")).to_have_count(14)
    expect(page.locator("#programs-print")).to_contain_text("39.2 KiB")
    assert page.evaluate("document.getElementById('curves-figure').layout.width") < 800
    page.emulate_media(color_scheme="light", media="screen")


def test_a_narrow_screen_has_no_sideways_scrolling(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function("document.getElementById('curves-figure').layout.width < 390")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.set_viewport_size(WINDOW)
    page.wait_for_function("document.getElementById('curves-figure').layout.width > 900")


def test_studies_side_by_side(browser: Browser, study: Study, tmp_path: Path) -> None:
    other = page_study(tmp_path / "other")
    path = write_page([study, other], tmp_path / "both.html")
    found = opened(browser, path)
    expect(found.page.locator("h1")).to_have_text("small and other")
    expect(found.page.locator("#curves-note")).to_contain_text("36 programs shown")
    found.page.get_by_role("checkbox", name="small").uncheck()
    expect(found.page.locator("#curves-note")).to_contain_text("18 programs shown")
    assert found.complaints == [] and found.requests == [path.as_uri()]
    found.page.context.close()


def test_a_hundred_thousand_programs(browser: Browser, tmp_path: Path) -> None:
    path = write_page([large_study(tmp_path / "large", 100_000)])
    assert path.stat().st_size < 30e6
    found = opened(browser, path)
    expect(found.page.locator("#curves-note")).to_contain_text("100,000 programs shown")
    found.page.locator("#programs").scroll_into_view_if_needed()
    expect(found.page.locator("#programs-count")).to_have_text("100,000 programs")
    assert found.page.locator("#programs-grid tbody tr").count() < 100
    found.page.get_by_role("button", name="only model-3").focus()
    found.page.keyboard.press("Enter")
    expect(found.page.locator("#curves-note")).not_to_contain_text("100,000")
    assert found.complaints == []
    found.page.context.close()


def test_equal_studies_give_equal_bytes(study: Study, tmp_path: Path) -> None:
    one, other = write_page([study], tmp_path / "one.html"), write_page([study], tmp_path / "other.html")
    assert one.read_bytes() == other.read_bytes()


def test_bad_input_is_told(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tcx reduce"):
        write_page([Study(tmp_path / "none")])
    with pytest.raises(UserError, match="given twice"):
        write_page([study, study])


def test_the_verb_writes_the_page_and_loads_no_torch(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    code = (
        "import sys\nfrom pipeline.cli.app import app\nimport pipeline.cli\n"
        f"app(['report', {str(study.folder)!r}, '--out', {str(out)!r}], standalone_mode=False)\n"
        "print({'torch', 'plotly'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"
    assert out.read_bytes().startswith(b"<!doctype html>")


def test_models_of_the_study_are_in_the_order_of_training(page: Page) -> None:
    names = page.locator(".facet[data-facet=model] .name").all_inner_texts()
    assert tuple(names) == MODELS
