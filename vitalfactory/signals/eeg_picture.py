"""An epoch of sleep as a picture: its traces over one another and a spectrogram, as a scorer sees it on a screen.

Drawn with Pillow, so that the same epoch gives the same bytes in any process.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.signals.eeg import Floats

WIDTH, ROW, LABEL = 560, 84, 16
"""Pixels: multiples of 28, the side of Qwen2-VL's patches."""
SPECTROGRAM = 112
FULL_SCALE = {"EEG": 100.0, "EOG": 200.0, "EMG": 50.0}
"""Microvolts from the middle of a row to its edge."""
HIGHEST_HZ = 30
SECONDS_A_SEGMENT = 2
DECIBELS = (-10.0, 30.0)
"""Of microvolts squared a hertz: the darkest and the brightest colour."""
COLOURS = ((13, 8, 135), (126, 3, 168), (204, 71, 120), (248, 149, 64), (240, 249, 33))
PAPER, GRID, INK = (255, 255, 255), (214, 220, 228), (24, 32, 44)


def draw_epoch(traces: Mapping[str, Floats], rate: float) -> bytes:
    """Draw one epoch.

    Parameters
    ----------
    traces : mapping of str to ndarray of float64, shape (n,)
        Label to microvolts, all at the same rate; the first one's spectrogram stands below.
    rate : float

    Returns
    -------
    bytes
        A PNG, 560 pixels wide and 84 high for each trace, and 112 for the spectrogram.
    """
    from PIL import Image, ImageDraw

    height = ROW * len(traces) + SPECTROGRAM
    picture = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(picture)
    first = next(iter(traces.values()))
    seconds = len(first) / rate
    for second in range(1, round(seconds)):
        place = round(second * WIDTH / seconds)
        draw.line((place, 0, place, ROW * len(traces)), GRID, 2 if second % 5 == 0 else 1)
    for row, (label, trace) in enumerate(traces.items()):
        _trace(draw, label, trace, row * ROW)
    picture.paste(Image.fromarray(_spectrogram(first, rate)).resize((WIDTH, SPECTROGRAM)), (0, ROW * len(traces)))
    out = BytesIO()
    picture.quantize(128).save(out, "PNG")
    return out.getvalue()


def _trace(draw: Any, label: str, trace: Floats, top: int) -> None:
    from PIL import ImageFont

    scale = FULL_SCALE.get(label[:3].upper(), FULL_SCALE["EEG"])
    middle = top + ROW / 2
    values = np.clip((trace - np.median(trace)) / scale, -1, 1) * (ROW / 2 - 1)
    x = np.arange(len(trace)) * (WIDTH / len(trace))
    draw.line(np.column_stack((x, middle - values)).ravel().tolist(), INK, 1)
    draw.text((3, top + 2), f"{label}  {2 * scale:.0f} uV", INK, ImageFont.load_default(LABEL - 5))


def _spectrogram(trace: Floats, rate: float) -> NDArray[np.uint8]:
    """Colour the power of each second and hertz, the highest hertz on top."""
    from scipy.signal import spectrogram

    segment = min(len(trace), round(SECONDS_A_SEGMENT * rate))
    hertz, _, power = spectrogram(trace, rate, nperseg=segment, noverlap=segment * 3 // 4)
    decibels = 10 * np.log10(power[hertz <= HIGHEST_HZ][::-1] + 1e-10)
    low, high = DECIBELS
    share = np.clip((decibels - low) / (high - low), 0, 1) * (len(COLOURS) - 1)
    colours = np.asarray(COLOURS, dtype=np.float64)
    channels = [np.interp(share, np.arange(len(COLOURS)), colours[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
