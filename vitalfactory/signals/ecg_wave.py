"""The averaged beat of a record and its atrial activity, in few numbers.

The points stand closest, every 20 ms, where the P wave is: on the CinC 2017 records, as many points of 10 ms
there, or 37 points of 20 ms over the whole beat, told a boosted classifier no more than these 22.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vitalfactory.signals.ecg_rhythm import Beats, beat_windows, summarise

TIMES_MS = (*range(-280, -59, 20), -40, -20, 20, 40, 100, 160, 220, 280, 340, 400)
"""Of the points, after R: twelve for the P wave, four for the QRS complex, six for ST and T. R itself is 100."""
LEVEL_MS = (-320, -260)
"""The stretch whose median is zero: before the P wave at most rates."""
SMOOTH_MS = 20
MOST = 99
"""In per cent of R; it keeps a point at two digits."""
FIGURES = (
    "p_amplitude",
    "pr_interval",
    "p_match_share",
    "p_jitter",
    "f_peak_hz",
    "f_amplitude",
    "f_share",
    "f_organisation",
    "tq_noise",
    "qrs_width",
    "r_variation",
)

Floats = NDArray[np.float64]


def average_beat(beats: Beats) -> Floats:
    """Average the beats of a record: the median at each time from R, 20 ms smoothed.

    Parameters
    ----------
    beats : Beats
        What :func:`vitalfactory.signals.ecg_rhythm.find_beats` found.

    Returns
    -------
    ndarray, shape (22,)
        At :data:`TIMES_MS`, in per cent of the height of R over the level before the P wave. Where fewer
        than three whole beats lie in the record, its ends are repeated.
    """
    fs = beats.fs
    before, after = int(0.36 * fs), int(0.44 * fs)
    beat = np.median(beat_windows(beats, before, after), axis=0)
    times = np.arange(-before, after) * 1000 / fs
    level = float(np.median(beat[(times >= LEVEL_MS[0]) & (times <= LEVEL_MS[1])]))
    height = max(float(beat[before]) - level, 1e-6)
    width = int(SMOOTH_MS * fs / 1000) | 1  # odd, so that smoothing moves nothing in time
    smooth = np.convolve(beat - level, np.ones(width) / width, "same")
    return np.asarray(np.interp(TIMES_MS, times, smooth) * 100 / height)


def describe_wave(beats: Beats) -> tuple[list[int], dict[str, float]]:
    """Tell a record's beat and atrial activity in numbers that go into a text.

    Parameters
    ----------
    beats : Beats

    Returns
    -------
    beat : list of int
        :func:`average_beat` in whole per cent, from -99 to 99.
    figures : dict of str to float
        Those of :func:`vitalfactory.signals.ecg_rhythm.summarise` that are named in :data:`FIGURES`:
        intervals in milliseconds, ``f_peak_hz`` in hertz, all others shares.
    """
    points = np.clip(np.round(average_beat(beats)), -MOST, MOST)
    summary = summarise(beats)
    return [int(point) for point in points], {name: summary[name] for name in FIGURES}
