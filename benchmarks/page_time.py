"""How long the page of a study takes: written from its tables, and to its first drawing in a real Chromium.

    python benchmarks/page_time.py [--json]

Studies of 1,000, 10,000 and 100,000 programs without shards. The browser draws WebGL without a graphics card, so that
a machine with one is faster. Needs the packages of `[test]` and Chromium on PATH.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser  # noqa: E402

from pipeline.report.page import write_page  # noqa: E402
from tests.report.browser import started_browser  # noqa: E402
from tests.report.page_study import large_study  # noqa: E402

NUM_PROGRAMS = (1_000, 10_000, 100_000)
# Milliseconds until a change of the filters is drawn.
FILTER = """async () => {
  const start = performance.now();
  document.querySelector('[data-key="family lora"]').click();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start;
}"""


def measure(browser: Browser, number: int) -> dict[str, float]:
    """Writes the page of one study and opens it."""
    with tempfile.TemporaryDirectory() as name:
        study = large_study(Path(name) / "study", number)
        started = time.perf_counter()
        path = write_page([study])
        written = time.perf_counter() - started
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached", timeout=120_000)
        drawn = page.evaluate("performance.getEntriesByName('curves-drawn')[0].startTime")
        filtered = page.evaluate(FILTER)
        page.close()
        return {
            "programs": number,
            "megabytes": path.stat().st_size / 1e6,
            "write_seconds": written,
            "first_drawing_seconds": drawn / 1000,
            "filter_seconds": filtered / 1000,
        }


def main() -> None:
    """Measures every size and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    with started_browser() as browser:
        rows = [measure(browser, number) for number in NUM_PROGRAMS]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if as_json:
        print(json.dumps({"rows": rows, "peak_memory_mib": peak}))
        return
    print(f"{'programs':>9} {'page, MB':>9} {'write, s':>9} {'drawn, s':>9} {'filter, s':>9}")
    for row in rows:
        print(
            f"{row['programs']:>9,} {row['megabytes']:>9.1f} {row['write_seconds']:>9.2f} "
            f"{row['first_drawing_seconds']:>9.2f} {row['filter_seconds']:>9.2f}"
        )
    print(f"peak memory of writing: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
