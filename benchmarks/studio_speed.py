"""How soon the studio is there and turns the pages of 100,000 rows, in a real Chromium, for docs/results.md.

    python -m benchmarks.studio_speed

A dataset of 100,000 rows is made in a folder that is deleted. The page is loaded by a browser that has never seen it.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.publish import publish_measured
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import ROOT, write_json, write_jsonl

ROWS, PAGES = 100_000, 20
CARD = {
    **{"name": "many", "task": "ecg", "kind": "classify", "question": ["Does this ECG show atrial fibrillation?"]},
    **{"labels": ["AF", "no AF"], "positive": "AF", "answers": {"AF": "AF", "no AF": "no AF"}, "synonyms": {}},
    **{"language": "en", "representation": "rhythm", "splits": {}, "excluded": {}, "model_written": None},
    **{"source": {"name": "made", "version": "1", "licence": "Apache-2.0", "synthetic": True}},
    **{"command": "", "seed": 2026, "versions": {}},
}


def make(root: Path) -> None:
    """Write the dataset."""
    row = {"group": "g", "instruction": CARD["question"], "input": "RR " + "80 " * 100, "output": "AF", "label": "AF"}
    write_jsonl(root / "data" / "many" / "train.jsonl", ({"id": f"R{place:06d}", **row} for place in range(ROWS)))
    write_json(root / "data" / "many" / "card.json", CARD)
    write_json(root / "dataset_info.json", {"many_train": {"file_name": "data/many/train.jsonl"}})


@contextmanager
def studio(root: Path) -> Iterator[tuple[str, float]]:
    """Run the studio; yield its address and the seconds until it said that it is ready."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "vitalfactory.studio", "--root", str(root), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield line.removeprefix("ready ").strip(), time.perf_counter() - start
        finally:
            process.terminate()


def measure(url: str, browser: Any) -> tuple[float, float, list[float]]:
    """Measure the first paint, the time until the page can be used, and pages of rows at many places, in seconds."""
    from playwright.sync_api import expect

    page = browser.new_page()
    start = time.perf_counter()
    page.goto(f"{url}/en/")
    page.wait_for_selector(".vf-banner")
    usable = time.perf_counter() - start
    painted = page.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000
    page.get_by_role("tab", name="Look").click()
    about = page.locator("#look-about")
    expect(about).to_contain_text(f"{ROWS} rows", timeout=60_000)
    number = page.get_by_label("Page")
    pages = []
    for place in range(PAGES):
        wanted = 1 + (place + 1) * 7919 % (ROWS // 10)
        number.fill(str(wanted))
        start = time.perf_counter()
        number.press("Enter")
        expect(about).to_contain_text(f"Page {wanted} of", timeout=60_000)
        page.locator("#look-rows").get_by_text(f"R{(wanted - 1) * 10:06d}").wait_for()
        pages.append(time.perf_counter() - start)
    return painted, usable, pages


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studio_speed", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.parse_args(argv)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise VitalFactoryError("no browser: neither chromium nor google-chrome is installed")
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        make(Path(folder))
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with studio(Path(folder)) as (url, ready):
            painted, usable, pages = measure(url, browser)
        browser.close()
    lines = [
        "| what | seconds |",
        "|---|---|",
        f'| from the command to "ready" | {ready:.1f} |',
        f"| from there to the first paint (first contentful paint) | {painted:.2f} |",
        f"| to a page that can be used | {usable:.2f} |",
        f"| a page of {ROWS:,} rows, median of {PAGES} | {statistics.median(pages):.2f} |",
        f"| the slowest of them | {max(pages):.2f} |",
    ]
    publish_measured("studio_speed", lines)
    print("\n".join(lines))


if __name__ == "__main__":
    run(main)
