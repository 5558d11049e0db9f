"""The page in a real browser: it is drawn, fits the window and breaks no rule of its own policy."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.browser import BROWSER
from tests.scoring import xray_runs
from tests.scoring.conftest import MakeRun

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--enable-logging=stderr",
]
BANNER, CURVE, TRACE, PAPER = (0x8C, 0x1D, 0x18), (0x0B, 0x6E, 0x99), (0x1C, 0x27, 0x33), (0xFF, 0xFA, 0xFA)


@pytest.fixture
def photograph(tmp_path: Path) -> Callable[[Path, int, int], NDArray[np.uint8]]:
    if BROWSER is None:
        pytest.skip("no browser: neither chromium nor google-chrome is installed")

    def take(page: Path, width: int, height: int) -> NDArray[np.uint8]:
        picture = tmp_path / "page.png"
        own = [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},{height}", f"--screenshot={picture}"]
        done = subprocess.run(
            [BROWSER, *FLAGS, *own, page.as_uri()], capture_output=True, text=True, check=True, timeout=120
        )
        assert "Content Security Policy" not in done.stderr
        return np.asarray(Image.open(picture).convert("RGB"))

    return take


def share(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> float:
    return float((np.abs(picture.astype(int) - colour).max(axis=-1) < 12).mean())


def test_the_page_is_drawn(
    photograph: Callable[[Path, int, int], NDArray[np.uint8]], make_run: MakeRun, script: Callable[[str], ModuleType]
) -> None:
    run = make_run()
    script("classify").judge(run)
    picture = photograph(run / "report.html", 1100, 5000)
    assert share(picture[5:15], BANNER) > 0.95
    for colour in (CURVE, TRACE, PAPER):
        assert share(picture, colour) > 0.0001
    check_fits(photograph(run / "report.html", 500, 3000))


def check_fits(narrow: NDArray[np.uint8]) -> None:
    """Check a page on a phone: one wider than the window would lay its banner out wider than the screen."""
    assert share(narrow[5:15], BANNER) > 0.95
    edge = narrow[200:, -8:]
    assert share(edge, (0xF4, 0xF7, 0xF9)) > 0.95


def test_the_page_of_findings_is_drawn_with_its_pictures(
    photograph: Callable[[Path, int, int], NDArray[np.uint8]], script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    from PIL import Image

    data = xray_runs.make_data(tmp_path / "data" / "xrays")
    for path in (data / "images").iterdir():
        Image.new("L", (300, 300), 0x7B).save(path)
    run = xray_runs.make_run(tmp_path / "run", data)
    script("multilabel").judge(run)
    picture = photograph(run / "report.html", 1100, 6000)
    assert share(picture[5:15], BANNER) > 0.95
    assert share(picture, CURVE) > 0.0001
    assert share(picture, (0x7B, 0x7B, 0x7B)) > 0.01
    check_fits(photograph(run / "report.html", 500, 3000))
