"""Beats and the rhythm summary of a single-lead ECG.

The summary holds what a cardiologist looks at to tell atrial fibrillation from other rhythms: how
irregular the RR intervals are, whether a P wave stands before each QRS complex, and whether the
baseline between the beats shows 4-9 Hz fibrillatory activity. Everything is computed from one
record alone; nothing is fitted.

Sources: Task Force of the ESC/NASPE 1996 (SDNN, RMSSD, pNN50); Lake and Moorman 2011 (coefficient
of sample entropy for short RR series); Sarkar et al. 2008 (Lorenz plot of RR differences); Petrutiu
et al. 2006 (fibrillatory waves at 4-9 Hz after QRS-T subtraction).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from vitalfactory.errors import UnusableRecord
from vitalfactory.signals.ecg import Recording

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MIN_BEATS = 6
MIN_SECONDS = 5.0
MAX_SECONDS = 3600.0
"""The entropy of an RR series takes memory by the square of its length."""
FS_HZ = (100.0, 10_000.0)
"""The beat detector looks at 5 to 30 Hz; below 100 Hz a P wave is a few samples."""
MAX_ABS_MV = 50.0
BAND_HZ = (0.5, 40.0)
IRREGULAR_CHANGE = 0.10
"""A beat-to-beat change above this share of the median RR interval counts as irregular."""


@dataclass(frozen=True)
class Beats:
    """R peaks of one record.

    Attributes
    ----------
    signal : ndarray, shape (n,)
        Band-passed signal in millivolts, turned so that the QRS complexes point upwards.
    fs : float
        Sampling rate in hertz.
    peaks : ndarray of int, shape (b,)
        Sample index of each R peak.
    inverted : bool
        Whether the recording was turned over.
    """

    signal: Floats
    fs: float
    peaks: Ints
    inverted: bool

    @property
    def rr(self) -> Floats:
        """RR intervals in milliseconds, shape (b - 1,)."""
        return np.diff(self.peaks) * (1000.0 / self.fs)


@cache
def band_pass(fs: float) -> Floats:
    """Design the filter of 0.5 to 40 Hz, second-order sections for ``scipy.signal.sosfiltfilt``; ``fs`` in hertz."""
    from scipy.signal import butter

    high = min(BAND_HZ[1], 0.45 * fs)
    return np.asarray(butter(2, (BAND_HZ[0], high), "bandpass", fs=fs, output="sos"))


def find_beats(recording: Recording) -> Beats:
    """Find the R peaks of a record after checking its length, range and polarity.

    Parameters
    ----------
    recording : Recording

    Returns
    -------
    Beats

    Raises
    ------
    UnusableRecord
        With the reason ``sampling rate``, ``too short``, ``too long``, ``not finite``, ``flat``,
        ``out of range`` or ``too few beats``.
    """
    from scipy.signal import sosfiltfilt
    from sleepecg import detect_heartbeats

    check_usable(recording)
    signal, fs = recording.signal, recording.fs
    filtered = sosfiltfilt(band_pass(fs), signal)
    found = np.asarray(detect_heartbeats(_without_spikes(filtered, fs), fs), dtype=np.int64)
    if len(found) < MIN_BEATS:
        raise UnusableRecord("too few beats")
    inverted = _points_down(filtered, found, fs)
    upright = -filtered if inverted else filtered
    peaks = _refine(upright, found, fs)
    if len(peaks) < MIN_BEATS:
        raise UnusableRecord("too few beats")
    return Beats(upright, fs, peaks, inverted)


def check_usable(recording: Recording) -> None:
    """Refuse a record that is too short, too long, flat, out of range or not finite; see :func:`find_beats`."""
    signal, fs = recording.signal, recording.fs
    if not FS_HZ[0] <= fs <= FS_HZ[1]:
        raise UnusableRecord("sampling rate", f"{fs} Hz is not between {FS_HZ[0]:.0f} and {FS_HZ[1]:.0f}")
    seconds = len(signal) / fs
    if seconds < MIN_SECONDS:
        raise UnusableRecord("too short", f"{seconds:.1f} s of at least {MIN_SECONDS:.0f}")
    if seconds > MAX_SECONDS:
        raise UnusableRecord("too long", f"{seconds:.0f} s of at most {MAX_SECONDS:.0f}")
    if not np.isfinite(signal).all():
        raise UnusableRecord("not finite")
    if np.ptp(signal) < 1e-3:
        raise UnusableRecord("flat")
    if np.abs(signal).max() > MAX_ABS_MV:
        raise UnusableRecord("out of range", f"{np.abs(signal).max():.0f} mV of at most {MAX_ABS_MV:.0f}")


def _without_spikes(signal: Floats, fs: float) -> Floats:
    """Clip the signal to 1.5 times the usual height of a second, so that one artefact does not hide the beats."""
    second = int(fs)
    whole = signal[: len(signal) // second * second].reshape(-1, second)
    limit = 1.5 * float(np.median(np.abs(whole).max(axis=1)))
    return np.clip(signal, -limit, limit)


def _windows(signal: Floats, centres: Ints, before: int, after: int) -> Floats:
    """Stack ``signal[c - before : c + after]`` for every centre whose window fits."""
    inside = (centres >= before) & (centres + after <= len(signal))
    rows: Floats = signal[centres[inside, None] + np.arange(-before, after)]
    return rows


def beat_windows(beats: Beats, before: int, after: int) -> Floats:
    """Stack the signal around every R peak.

    Parameters
    ----------
    beats : Beats
    before, after : int
        Samples up to each peak, and from it on.

    Returns
    -------
    ndarray, shape (k, before + after)
        The windows that lie in the record; where fewer than three do, those of all beats, with the record's
        first and last values repeated outside it.
    """
    windows = _windows(beats.signal, beats.peaks, before, after)
    if len(windows) >= 3:
        return windows
    return _windows(np.pad(beats.signal, (before, after), "edge"), beats.peaks + before, before, after)


def _points_down(signal: Floats, peaks: Ints, fs: float) -> bool:
    half = int(0.06 * fs)
    qrs = _windows(signal, peaks, half, half)
    if not len(qrs):
        return False
    return bool(-np.median(qrs.min(axis=1)) > 1.25 * np.median(qrs.max(axis=1)))


def _refine(signal: Floats, peaks: Ints, fs: float) -> Ints:
    """Move each detection to the highest sample within 60 ms, and keep each peak once."""
    half = int(0.06 * fs)
    inside = peaks[(peaks >= half) & (peaks + half <= len(signal))]
    windows = _windows(signal, inside, half, half)
    moved = inside - half + windows.argmax(axis=1)
    return np.unique(moved).astype(np.int64)


def summarise(beats: Beats) -> dict[str, float]:
    """Describe a record's rhythm in numbers.

    Parameters
    ----------
    beats : Beats
        What :func:`find_beats` found.

    Returns
    -------
    dict of str to float
        Name to finite number. Intervals are in milliseconds, rates in beats a minute, shares
        between 0 and 1; see ``docs/data-format.md`` for each name.
    """
    return {**rr_statistics(beats.rr), **_atrial_statistics(beats)}


def rr_statistics(rr: Floats) -> dict[str, float]:
    """Figures of an RR series alone.

    Parameters
    ----------
    rr : ndarray, shape (k,), k >= 2
        RR intervals in milliseconds.

    Returns
    -------
    dict of str to float
    """
    median, mean, sdnn = float(np.median(rr)), float(rr.mean()), float(rr.std())
    change = np.diff(rr)
    size = np.abs(change)
    relative = size / median
    irregular = relative > IRREGULAR_CHANGE
    rmssd = float(np.sqrt((change**2).mean()))
    spread = np.percentile(rr, (5, 25, 75, 95)) / median
    return {
        "beats": float(len(rr) + 1),
        "heart_rate": 60_000.0 / mean,
        "rr_mean": mean,
        "rr_median": median,
        "rr_min": float(rr.min()),
        "rr_max": float(rr.max()),
        "sdnn": sdnn,
        "rmssd": rmssd,
        "pnn50": float((size > 50).mean()),
        "rr_cv": sdnn / mean,
        "rmssd_share": rmssd / mean,
        "change_median": float(np.median(relative)),
        "change_p75": float(np.percentile(relative, 75)),
        "irregular_share": float(irregular.mean()),
        "longest_irregular_run": float(_longest_run(irregular)),
        "longest_regular_run": float(_longest_run(~irregular)),
        "rr_p05": float(spread[0]),
        "rr_p25": float(spread[1]),
        "rr_p75": float(spread[2]),
        "rr_p95": float(spread[3]),
        "early_share": float((rr < 0.85 * median).mean()),
        "late_share": float((rr > 1.15 * median).mean()),
        "premature_pairs": float(((rr[:-1] < 0.88 * median) & (rr[1:] > 1.08 * median)).mean()),
        "turning_points": _turning_points(rr),
        "lag1": _autocorrelation(rr, 1),
        "lag2": _autocorrelation(rr, 2),
        "change_lag1": _autocorrelation(change, 1),
        "sd1_sd2": _poincare(rr),
        "sample_entropy": _sample_entropy(rr),
        "shannon_entropy": _shannon_entropy(rr / median),
        "lorenz_cells": _lorenz_cells(change),
    }


def _longest_run(flags: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.view(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def _turning_points(rr: Floats) -> float:
    """Share of intervals that are a local extremum; 2/3 for a random series."""
    if len(rr) < 3:
        return 0.0
    turn = (rr[1:-1] - rr[:-2]) * (rr[1:-1] - rr[2:]) > 0
    return float(turn.mean())


def _autocorrelation(values: Floats, lag: int) -> float:
    if len(values) <= lag + 1:
        return 0.0
    centred = values - values.mean()
    power = float(centred @ centred)
    return float(centred[:-lag] @ centred[lag:] / power) if power > 0 else 0.0


def _poincare(rr: Floats) -> float:
    across = float(np.std(rr[1:] - rr[:-1]))
    along = float(np.std(rr[1:] + rr[:-1]))
    return across / along if along > 0 else 1.0


def _sample_entropy(rr: Floats, tolerance_ms: float = 30.0) -> float:
    """Coefficient of sample entropy, m = 1 (Lake and Moorman 2011), with a fixed tolerance."""
    close = np.abs(rr[:, None] - rr[None, :]) <= tolerance_ms
    pairs = np.triu(np.ones((len(rr) - 1, len(rr) - 1), dtype=bool), 1)
    matches = int((close[:-1, :-1] & pairs).sum())
    longer = int((close[:-1, :-1] & close[1:, 1:] & pairs).sum())
    entropy = np.log(max(matches, 1) / max(longer, 0.5))
    return float(entropy + np.log(2 * tolerance_ms) - np.log(rr.mean()))


def _shannon_entropy(values: Floats) -> float:
    """Entropy in bits of the histogram of RR over its median, bins of 5 % from 0.4 to 1.8."""
    counts = np.histogram(np.clip(values, 0.4, 1.8 - 1e-9), bins=28, range=(0.4, 1.8))[0]
    share = counts[counts > 0] / len(values)
    return float(-(share * np.log2(share)).sum())


def _lorenz_cells(change: Floats, cell_ms: float = 40.0) -> float:
    """Occupied cells of the plot of successive RR differences, per pair (Sarkar et al. 2008)."""
    if len(change) < 2:
        return 0.0
    cells = np.round(np.stack((change[:-1], change[1:])) / cell_ms).astype(np.int64)
    return float(len(np.unique(cells, axis=1).T) / cells.shape[1])


def _atrial_statistics(beats: Beats) -> dict[str, float]:
    fs = beats.fs
    before, after = int(0.36 * fs), int(0.44 * fs)
    windows = beat_windows(beats, before, after)
    height = max(float(np.median(windows[:, before])), 1e-6)
    template = np.median(windows, axis=0)
    match = _correlations(windows, template)
    return {
        "r_amplitude": height,
        "r_variation": float(np.std(windows[:, before]) / height),
        "quality": float(np.median(match)),
        "odd_beats": float(np.mean(match < 0.8)),
        "match_p10": float(np.percentile(match, 10)),
        "qrs_width": _width(template, before, fs),
        "inverted": float(beats.inverted),
        **_p_wave(windows, template, before, fs, height),
        **_fibrillation(beats, windows, template, before, height),
    }


def _correlations(rows: Floats, template: Floats) -> Floats:
    """Pearson correlation of every row with a template; 0 where a side is constant."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    shape = template - template.mean()
    norm = np.sqrt((centred**2).sum(axis=1) * (shape @ shape))
    return np.asarray(np.divide(centred @ shape, norm, out=np.zeros(len(rows)), where=norm > 1e-12))


def _width(template: Floats, centre: int, fs: float) -> float:
    """Width of the R wave at half its height, in milliseconds."""
    above = template > template[centre] / 2
    left = centre - np.argmin(above[centre::-1]) + 1
    right = centre + np.argmin(above[centre:]) - 1
    return float((right - left + 1) * 1000 / fs)


def _p_wave(windows: Floats, template: Floats, centre: int, fs: float, height: float) -> dict[str, float]:
    """Evidence of a P wave in the 60 to 260 ms before each R peak."""
    start, stop = centre - int(0.26 * fs), centre - int(0.06 * fs)
    segment = windows[:, start:stop]
    ramp = np.linspace(0, 1, stop - start)
    edge = max(3, int(0.015 * fs))
    left, right = segment[:, :edge].mean(axis=1), segment[:, -edge:].mean(axis=1)
    level = segment - (left[:, None] + (right - left)[:, None] * ramp)
    mean = level.mean(axis=0)
    noise = float(level.std(axis=0).mean())
    match = _correlations(level, mean)
    odd, even = level[1::2].mean(axis=0), level[::2].mean(axis=0)
    top = int(np.argmax(mean))
    return {
        "p_amplitude": float(mean.max() / height),
        "p_trough": float(mean.min() / height),
        "p_energy": float(np.sqrt(np.mean(mean**2)) / height),
        "p_to_noise": float(np.sqrt(np.mean(mean**2)) / max(noise, 1e-6)),
        "p_match": float(np.median(match)),
        "p_match_share": float(np.mean(match > 0.5)),
        "p_halves": float(_correlations(odd[None], even)[0]),
        "pr_interval": float((stop - start - top) * 1000 / fs + 60),
        "p_jitter": float(np.std(level.argmax(axis=1)) * 1000 / fs),
    }


def _fibrillation(beats: Beats, windows: Floats, template: Floats, centre: int, height: float) -> dict[str, float]:
    """4-9 Hz activity of what is left when every beat's QRS-T is subtracted."""
    residual = _subtract(beats, template, centre)
    fs = beats.fs
    first, last = int(beats.peaks[0]), int(beats.peaks[-1])
    power, hertz = _spectrum(residual[first:last], fs)
    total = max(float(power[(hertz >= 2) & (hertz <= 20)].sum()), 1e-12)
    band = (hertz >= 4) & (hertz <= 9)
    inside = power[band]
    peak = int(np.argmax(inside))
    near = inside[max(0, peak - 1) : peak + 2].sum()
    spread = windows.std(axis=0)
    quiet = spread[: centre - int(0.06 * fs)]
    return {
        "f_share": float(inside.sum() / total),
        "f_amplitude": float(np.sqrt(inside.sum()) / height),
        "f_peak_hz": float(hertz[band][peak]),
        "f_organisation": float(near / max(float(inside.sum()), 1e-12)),
        "f_low": float(power[(hertz >= 1) & (hertz < 4)].sum() / total),
        "f_high": float(power[(hertz > 9) & (hertz <= 20)].sum() / total),
        "residual_share": float(residual[first:last].std() / max(float(beats.signal[first:last].std()), 1e-6)),
        "tq_noise": float(quiet.mean() / height),
    }


def _subtract(beats: Beats, template: Floats, centre: int) -> Floats:
    """Take the median beat, scaled to each beat, off the signal from 60 ms before R to 340 ms after."""
    fs = beats.fs
    start, stop = centre - int(0.06 * fs), centre + int(0.34 * fs)
    taper = np.ones(stop - start)
    edge = int(0.02 * fs)
    taper[:edge] = np.linspace(0, 1, edge)
    taper[-edge:] = np.linspace(1, 0, edge)
    shape = template[start:stop] * taper
    residual = beats.signal.copy()
    offset = start - centre
    energy = max(float(shape @ shape), 1e-12)
    limit = np.append(beats.peaks[1:], len(residual)) + offset
    for peak, end in zip(beats.peaks + offset, limit, strict=True):
        length = min(len(shape), end - peak, len(residual) - peak)
        if peak < 0 or length <= 0:
            continue
        part = beats.signal[peak : peak + length]
        gain = np.clip(float(part @ shape[:length]) / energy, 0.3, 2.0)
        residual[peak : peak + length] -= gain * shape[:length]
    return residual


def _spectrum(signal: Floats, fs: float) -> tuple[Floats, Floats]:
    from scipy.signal import welch

    length = min(len(signal), int(3 * fs))
    hertz, power = welch(signal, fs, nperseg=length, detrend=False)
    return np.asarray(power) * float(hertz[1]), np.asarray(hertz)
