"""Drawings with axes and units: an ECG with its beats, an epoch with its spectrogram, the loss of a training run.

In the language of the page where the machine has a font for it, else in English.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.signals.ecg import Recording
from vitalfactory.signals.eeg_picture import DECIBELS, HIGHEST_HZ, SECONDS_A_SEGMENT
from vitalfactory.studio.words import ENGLISH, Words

Floats = NDArray[np.float64]

INCHES, DOTS = 9.0, 100
ROW_SECONDS, MOST_ROWS = 10.0, 3
INK, BEAT, GRID, LINE = "#1c2733", "#b3261e", "#d6dce4", "#0b6e99"
CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Microsoft YaHei",
    "SimHei",
)


@cache
def _chinese_font() -> str | None:
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in CHINESE_FONTS if name in known), None)


def labels_in(words: Words) -> Words:
    """Choose the words for a drawing: those of the page, or English where no font could write them."""
    return words if words.language == "en" or _chinese_font() else ENGLISH


def _figure(words: Words, height: float, rows: int) -> tuple[Any, list[Any], Words]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    words = labels_in(words)
    fonts = ["DejaVu Sans"] if words.language == "en" else [_chinese_font(), "DejaVu Sans"]
    with rc_context({"font.family": fonts, "font.size": 9, "axes.unicode_minus": False}):
        figure = Figure(figsize=(INCHES, height), dpi=DOTS, layout="constrained")
        axes = figure.subplots(rows, 1, squeeze=False)[:, 0]
    for axis in axes:
        axis.grid(color=GRID, linewidth=0.6)
        axis.set_axisbelow(True)
    return figure, list(axes), words


def _png(figure: Any) -> bytes:
    out = BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def draw_ecg(recording: Recording, words: Words) -> bytes:
    """Draw the first half minute of a recording, ten seconds a row, a mark over each beat that is found.

    Parameters
    ----------
    recording : Recording
    words : Words

    Returns
    -------
    bytes
        PNG; millivolts over seconds.
    """
    from vitalfactory.errors import UnusableRecord
    from vitalfactory.signals.ecg_rhythm import find_beats

    try:
        peaks = find_beats(recording).peaks / recording.fs
    except UnusableRecord:
        peaks = np.array([])
    seconds = len(recording.signal) / recording.fs
    rows = int(min(MOST_ROWS, max(1, -(-seconds // ROW_SECONDS))))
    figure, axes, words = _figure(words, 0.5 + 1.7 * rows, rows)
    times = np.arange(len(recording.signal)) / recording.fs
    shown = recording.signal[times < rows * ROW_SECONDS]
    low, high = np.nanpercentile(shown, (0.1, 99.9))
    room = 0.15 * max(high - low, 0.1)
    for row, axis in enumerate(axes):
        part = (times >= row * ROW_SECONDS) & (times < (row + 1) * ROW_SECONDS)
        axis.plot(times[part], recording.signal[part], color=INK, linewidth=0.8)
        beats = peaks[(peaks >= row * ROW_SECONDS) & (peaks < (row + 1) * ROW_SECONDS)]
        axis.plot(beats, np.full(len(beats), high + room), "v", color=BEAT, markersize=5, label=words.axis_beat)
        axis.set_xlim(row * ROW_SECONDS, (row + 1) * ROW_SECONDS)
        axis.set_ylim(low - room, high + 2 * room)
        axis.set_ylabel(words.axis_millivolts)
    if len(peaks):
        axes[0].legend(loc="lower right", fontsize=8)
    axes[-1].set_xlabel(words.axis_seconds)
    return _png(figure)


def draw_epoch(traces: Mapping[str, Floats], rate: float, start: float, words: Words) -> bytes:
    """Draw an epoch of sleep: its channels over one another, and the spectrogram of the first one.

    Parameters
    ----------
    traces : mapping of str to ndarray of float64, shape (n,)
        Label to microvolts.
    rate : float
        Samples a second.
    start : float
        Seconds from the beginning of the recording.
    words : Words

    Returns
    -------
    bytes
        PNG; microvolts and hertz over seconds.
    """
    from scipy.signal import spectrogram

    figure, axes, words = _figure(words, 1.2 + 1.15 * len(traces) + 1.0, len(traces) + 1)
    for axis, (label, trace) in zip(axes, traces.items(), strict=False):
        axis.plot(start + np.arange(len(trace)) / rate, trace, color=INK, linewidth=0.6)
        axis.set_ylabel(f"{label}\n{words.axis_microvolts}")
        axis.set_xlim(start, start + len(trace) / rate)
    first = next(iter(traces.values()))
    segment = min(len(first), round(SECONDS_A_SEGMENT * rate))
    hertz, times, power = spectrogram(first, rate, nperseg=segment, noverlap=segment * 3 // 4)
    shown = hertz <= HIGHEST_HZ
    low, high = DECIBELS
    mesh = axes[-1].pcolormesh(
        start + times, hertz[shown], 10 * np.log10(power[shown] + 1e-10), vmin=low, vmax=high, cmap="plasma"
    )
    axes[-1].set_xlim(start, start + len(first) / rate)
    axes[-1].set_ylabel(words.axis_hertz)
    axes[-1].set_xlabel(words.axis_seconds_of_night)
    figure.colorbar(mesh, ax=axes[-1], label=words.axis_decibels)
    return _png(figure)


def draw_loss(steps: Sequence[float], losses: Sequence[float], held_out: Mapping[float, float], words: Words) -> bytes:
    """Draw the loss of a training run.

    Parameters
    ----------
    steps, losses : sequence of float
        Of training.
    held_out : mapping of float to float
        Step to the loss on validation rows.
    words : Words

    Returns
    -------
    bytes
        PNG; nats a token over steps.
    """
    figure, (axis,), words = _figure(words, 3.4, 1)
    axis.plot(steps, losses, color=LINE, marker=".", linewidth=1, label=words.axis_train)
    if held_out:
        axis.plot(list(held_out), list(held_out.values()), color=BEAT, marker="o", linewidth=1, label=words.axis_val)
    axis.set_xlabel(words.axis_steps)
    axis.set_ylabel(words.axis_loss)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)
    return _png(figure)
