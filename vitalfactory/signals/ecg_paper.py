"""A record as a picture: an ECG strip on paper, 25 mm/s and 10 mm/mV, as a cardiologist reads it.

Drawn with Pillow on a fixed palette, so that the same record gives the same bytes in any process.

Sources: IEC 60601-2-25 and Kligfield et al. 2007 (speed, gain, grid and calibration pulse of an
electrocardiograph).
"""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.signals.ecg import Recording
from vitalfactory.signals.ecg_rhythm import band_pass, check_usable

MM_PER_SECOND, MM_PER_MV = 25, 10
PIXELS_PER_MM = 4
ROW_SECONDS, MAX_ROWS = 10, 3
ROW_MM, BASELINE_MM, OVERLAP_MM = 25, 15, 5
"""Height of a row, its zero line below its top, and how far a tall beat may reach into the next row."""
MARGIN_MM = 5
START_MM = 12.5
"""Where the trace starts, after the calibration pulse."""
WIDTH_MM = 265
CALIBRATION_MM = ((1.5, 0), (4.5, 0), (4.5, 10), (9.5, 10), (9.5, 0), (12.5, 0))
"""1 mV for 200 ms: distance from the left, height over the zero line."""
CAPTION = "25 mm/s   10 mm/mV   0.5-40 Hz"
FINER = 3
"""The ink is drawn this many times as large and averaged, which smooths its edges."""
INK_MM = 0.35
PAPER, FINE, BOLD, INK = (255, 246, 244), (248, 208, 204), (233, 150, 145), (22, 22, 30)
SHADES = 64

Pixels = NDArray[np.uint8]


def draw_paper(recording: Recording) -> bytes:
    """Draw the first 30 seconds of a record, 10 seconds a row, after a calibration pulse in each row.

    Parameters
    ----------
    recording : Recording
        Drawn as it was recorded, 0.5 to 40 Hz, the polarity kept.

    Returns
    -------
    bytes
        A PNG of 4 pixels a millimetre: 1060 x 140, 240 or 340 pixels.

    Raises
    ------
    UnusableRecord
        The record is too short, too long, flat, out of range or not finite.
    """
    from PIL import Image
    from scipy.signal import sosfiltfilt

    check_usable(recording)
    fs = recording.fs
    millivolts = sosfiltfilt(band_pass(fs), recording.signal)[: int(ROW_SECONDS * MAX_ROWS * fs)]
    rows = -(-len(millivolts) // int(ROW_SECONDS * fs))
    ink = _ink(millivolts, fs, rows)
    picture = Image.fromarray(_grid(rows) * np.uint8(SHADES) + ink // np.uint8(256 // SHADES))
    picture.putpalette(_palette())
    out = BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _height_mm(rows: int) -> int:
    return 2 * MARGIN_MM + ROW_MM * rows


@cache
def _grid(rows: int) -> Pixels:
    """Draw the empty paper: 0 for paper, 1 for a line each millimetre, 2 for one each 5 millimetres."""
    grid = np.zeros((_height_mm(rows) * PIXELS_PER_MM, WIDTH_MM * PIXELS_PER_MM), dtype=np.uint8)
    for lines, step in ((1, PIXELS_PER_MM), (2, 5 * PIXELS_PER_MM)):
        grid[::step] = np.maximum(grid[::step], lines)
        grid[:, ::step] = np.maximum(grid[:, ::step], lines)
    return grid


@cache
def _palette() -> list[int]:
    """Blend each colour of the paper with the ink, in 64 steps."""
    share = np.linspace(0, 1, SHADES)[:, None]
    colours = [(1 - share) * np.array(paper) + share * np.array(INK) for paper in (PAPER, FINE, BOLD)]
    return [int(value) for value in np.round(np.concatenate(colours)).ravel()]


def _ink(millivolts: NDArray[np.float64], fs: float, rows: int) -> Pixels:
    """Draw pulses, trace and caption: 0 where there is no ink, 255 where it covers a pixel."""
    from PIL import Image, ImageDraw

    width, height = WIDTH_MM * PIXELS_PER_MM, _height_mm(rows) * PIXELS_PER_MM
    large = Image.new("L", (width * FINER, height * FINER))
    draw = ImageDraw.Draw(large)
    length = int(ROW_SECONDS * fs)
    for row in range(rows):
        zero = MARGIN_MM + ROW_MM * row + BASELINE_MM
        _line(draw, np.array(CALIBRATION_MM, dtype=np.float64), zero)
        part = millivolts[row * length : (row + 1) * length + 1]
        over = np.clip(part * MM_PER_MV, BASELINE_MM - ROW_MM - OVERLAP_MM, BASELINE_MM + OVERLAP_MM)
        _line(draw, np.column_stack((START_MM + np.arange(len(part)) / fs * MM_PER_SECOND, over)), zero)
    ink = large.reduce(FINER)
    _caption(ImageDraw.Draw(ink), height)
    return np.asarray(ink)


def _line(draw: Any, points: NDArray[np.float64], zero_mm: float) -> None:
    """Draw a line through points of millimetres from the left and over a row's zero line."""
    scale = PIXELS_PER_MM * FINER
    places = np.column_stack((points[:, 0], zero_mm - points[:, 1])) * scale
    draw.line([float(place) for place in places.ravel()], 255, round(INK_MM * scale), "curve")


def _caption(draw: Any, height: int) -> None:
    from PIL import ImageFont

    size = 3 * PIXELS_PER_MM
    draw.text((1.5 * PIXELS_PER_MM, height - size - 3), CAPTION, 255, ImageFont.load_default(size))
