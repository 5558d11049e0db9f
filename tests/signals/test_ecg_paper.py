"""Pictures of ECG paper, measured in pixels."""

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vitalfactory.errors import UnusableRecord
from vitalfactory.signals import ecg_paper, ecg_synthetic
from vitalfactory.signals.ecg import Recording
from vitalfactory.signals.ecg_paper import BASELINE_MM, MARGIN_MM, PIXELS_PER_MM, ROW_MM, START_MM, draw_paper

FS = 300.0
START = round(START_MM * PIXELS_PER_MM)
ZERO = (MARGIN_MM + BASELINE_MM) * PIXELS_PER_MM
Pixels = NDArray[np.int64]


def opened(png: bytes) -> Image.Image:
    image = Image.open(BytesIO(png))
    image.load()
    return image


def dark(signal: NDArray[np.float64], fs: float = FS) -> NDArray[np.bool_]:
    """Where the picture has ink."""
    grey = np.asarray(opened(draw_paper(Recording(signal, fs))).convert("L"))
    return np.asarray(grey < 110)


def extent(ink: NDArray[np.bool_]) -> int:
    """Pixels from the middle of the highest line to that of the lowest."""
    rows = np.flatnonzero(ink.any(axis=1))
    return int(rows[-1] - rows[0])


def sine(hertz: float, seconds: float = 10.0, fs: float = FS) -> NDArray[np.float64]:
    return np.asarray(0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * fs)) / fs))


@pytest.mark.parametrize("fs", [250.0, 300.0, 1000.0])
def test_a_millivolt_is_ten_millimetres_high(fs: float) -> None:
    ink = dark(sine(8, fs=fs), fs)[: (MARGIN_MM + ROW_MM) * PIXELS_PER_MM, START + 200 : START + 800]
    assert extent(ink) == pytest.approx(10 * PIXELS_PER_MM, abs=2)


@pytest.mark.parametrize("fs", [250.0, 300.0, 1000.0])
def test_a_square_wave_of_a_second_is_25_millimetres_long(fs: float) -> None:
    signal = np.zeros(int(10 * fs))
    signal[int(4 * fs) : int(5 * fs)] = 1.0
    ink = dark(signal, fs)[: (MARGIN_MM + ROW_MM) * PIXELS_PER_MM]
    edges = np.flatnonzero(ink[:, START:].sum(axis=0) > 3 * PIXELS_PER_MM)
    assert edges.max() - edges.min() == pytest.approx(25 * PIXELS_PER_MM, abs=2)
    assert edges.min() == pytest.approx(4 * 25 * PIXELS_PER_MM, abs=3)
    for edge in (edges.min(), edges.max()):
        assert extent(ink[:, START + edge - 6 : START + edge + 6]) == pytest.approx(10 * PIXELS_PER_MM, rel=0.15)


def test_the_calibration_pulse_is_a_millivolt_for_200_milliseconds() -> None:
    ink = dark(sine(1))[ZERO - 60 : ZERO + 8, : START - 2]
    assert extent(ink) == pytest.approx(10 * PIXELS_PER_MM, abs=1)
    sides = np.flatnonzero(ink.sum(axis=0) > 9 * PIXELS_PER_MM)
    assert sides.max() - sides.min() == pytest.approx(5 * PIXELS_PER_MM, abs=1)


def test_the_grid_has_a_line_every_millimetre_and_a_bold_one_every_five() -> None:
    image = opened(draw_paper(Recording(sine(1), FS))).convert("RGB")
    paper = np.asarray(image)[2, START:]
    assert {tuple(colour) for colour in paper.tolist()} == {ecg_paper.PAPER, ecg_paper.FINE, ecg_paper.BOLD}
    for spacing, colours in ((1, (ecg_paper.FINE, ecg_paper.BOLD)), (5, (ecg_paper.BOLD,))):
        lines = np.flatnonzero([tuple(colour) in colours for colour in paper.tolist()])
        assert set(np.diff(lines)) == {spacing * PIXELS_PER_MM}


@pytest.mark.parametrize(("seconds", "rows"), [(5, 1), (9, 1), (10, 1), (11, 2), (20, 2), (30, 3), (61, 3)])
def test_ten_seconds_a_row_and_three_rows_at_most(seconds: int, rows: int) -> None:
    image = opened(draw_paper(Recording(ecg_synthetic.make("N", np.random.default_rng(1), seconds), FS)))
    assert image.size == (1060, 4 * (10 + 25 * rows))
    assert image.size[0] * image.size[1] < 600_000
    ends = np.flatnonzero((np.asarray(image.convert("L"))[:400] < 110).any(axis=0))[-1]
    assert ends == pytest.approx(START + 100 * min(seconds, 10), abs=3)


def test_the_time_goes_on_from_row_to_row() -> None:
    signal = np.zeros(int(30 * FS))
    for row in range(3):
        at = int((10 * row + 2 + 2 * row) * FS)
        signal[at - 6 : at + 7] = np.hanning(13)
    ink = dark(signal)
    for row in range(3):
        top = (MARGIN_MM + ROW_MM * row) * PIXELS_PER_MM
        high = ink[top + 24 : top + 48, START:]
        assert np.median(np.flatnonzero(high.any(axis=0))) == pytest.approx(100 * (2 + 2 * row), abs=2)


def test_a_tall_beat_reaches_into_the_next_row_by_five_millimetres_at_most() -> None:
    tall = sine(8, 20)
    tall[: int(10 * FS)] *= 40
    ink = dark(tall)[:, START + 100 : START + 900]
    assert not ink[(MARGIN_MM + ROW_MM + 6) * PIXELS_PER_MM : (MARGIN_MM + ROW_MM + 8) * PIXELS_PER_MM].any()


def test_the_same_record_gives_the_same_bytes() -> None:
    recording = Recording(ecg_synthetic.make("A", np.random.default_rng(2)), FS)
    png = draw_paper(recording)
    ecg_paper._grid.cache_clear()
    assert draw_paper(recording) == png
    assert len(png) < 60_000
    other = draw_paper(Recording(recording.signal + sine(8, 30), FS))
    assert other != png


@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        (np.zeros(3000), "flat"),
        (np.ones(300), "too short"),
        (np.full(3000, np.nan), "not finite"),
        (200 * sine(1), "out of range"),
    ],
)
def test_a_record_that_cannot_be_used_is_not_drawn(signal: NDArray[np.float64], reason: str) -> None:
    with pytest.raises(UnusableRecord) as error:
        draw_paper(Recording(signal, FS))
    assert error.value.reason == reason
