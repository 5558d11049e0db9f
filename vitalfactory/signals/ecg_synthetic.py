"""Synthetic single-lead ECGs with the rhythm of sinus, atrial fibrillation, or its look-alikes.

Each beat is a sum of Gaussian bumps for the P, Q, R, S and T waves (McSharry et al. 2003). Sinus
rhythm breathes (respiratory variation of the RR interval). Atrial fibrillation has irregular RR
intervals, no P wave, and f-waves of 4-9 Hz. The other rhythms are its hard negatives: premature
beats, bigeminy, marked sinus arrhythmia and tachycardia. Noise, wander, muscle artefact and
inverted leads come in every class. Made for demonstrations and tests: no figure from these records
says anything about patients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FS = 300.0
SECONDS = 30.0

# Centre relative to R in s (scaled with the square root of RR for P and T), height in mV, width in s.
WAVES = {"P": (-0.16, 0.12, 0.022), "Q": (-0.035, -0.10, 0.010), "R": (0.0, 1.0, 0.011), "S": (0.035, -0.18, 0.011)}
T_WAVE = (0.28, 0.28, 0.045)


def make(label: str, rng: np.random.Generator, seconds: float = SECONDS) -> Floats:
    """Make one recording.

    Parameters
    ----------
    label : {'N', 'A', 'O'}
        Sinus rhythm, atrial fibrillation, or another rhythm.
    rng : Generator
        The only source of chance.
    seconds : float
        Length.

    Returns
    -------
    ndarray, shape (seconds * 300,)
        Millivolts at 300 Hz.
    """
    rr, premature, wide = RHYTHMS[label](rng, seconds)
    times = 0.3 + np.concatenate(([0.0], np.cumsum(rr)))
    p_height = rng.uniform(0.2, 1.0) * np.ones(len(times))
    if label == "A":
        p_height[:] = 0.0
    signal = _beats(times, np.append(rr, rr[-1]), p_height, premature, wide, rng, seconds)
    if label == "A":
        signal += _f_waves(rng, seconds)
    signal += _noise(rng, seconds)
    return signal if rng.random() > 0.1 else -signal


Rhythm = tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]


def _count(mean: float, seconds: float) -> int:
    return int(seconds / mean * 1.6) + 4


def _breathing(rng: np.random.Generator, mean: float, depth: float, seconds: float) -> Floats:
    count = _count(mean, seconds)
    phase = 2 * np.pi * rng.uniform(0.18, 0.33) * mean * np.arange(count) + rng.uniform(0, 2 * np.pi)
    slow = np.cumsum(rng.normal(0, 0.004, count))
    return np.asarray(mean * (1 + depth * np.sin(phase) + slow + rng.normal(0, 0.008, count)))


def _none(rr: Floats) -> NDArray[np.bool_]:
    return np.zeros(len(rr) + 1, dtype=bool)


def _sinus(rng: np.random.Generator, seconds: float) -> Rhythm:
    rr = _breathing(rng, rng.uniform(0.65, 1.1), rng.uniform(0.01, 0.06), seconds)
    return rr, _none(rr), _none(rr)


def _fibrillation(rng: np.random.Generator, seconds: float) -> Rhythm:
    mean = rng.uniform(0.45, 1.0)
    spread = rng.uniform(0.10, 0.28)
    count = _count(mean, seconds)
    rr = np.clip(mean * rng.lognormal(-(spread**2) / 2, spread, count), 0.30, 2.0)
    return rr, _none(rr), _none(rr)


def _other(rng: np.random.Generator, seconds: float) -> Rhythm:
    kind = rng.choice(["premature", "bigeminy", "arrhythmia", "tachycardia"], p=[0.45, 0.2, 0.2, 0.15])
    if kind == "tachycardia":
        rr = _breathing(rng, rng.uniform(0.38, 0.52), 0.01, seconds)
        return rr, _none(rr), _none(rr)
    depth = rng.uniform(0.12, 0.22) if kind == "arrhythmia" else 0.03
    rr = _breathing(rng, rng.uniform(0.7, 1.0), depth, seconds)
    early = _none(rr)
    if kind == "premature":
        early[1:] = rng.random(len(rr)) < rng.uniform(0.08, 0.3)
        early[1:] &= ~early[:-1]
    elif kind == "bigeminy":
        early[1::2] = rng.random(len(early[1::2])) < 0.9
    shorten = rng.uniform(0.6, 0.8)
    places = np.flatnonzero(early[1:])
    rr[places] *= shorten
    pause = places[places + 1 < len(rr)] + 1
    rr[pause] *= 2 - shorten
    return rr, early, early & (rng.random(len(early)) < rng.choice([0.0, 0.8]))


RHYTHMS = {"N": _sinus, "A": _fibrillation, "O": _other}


def _beats(
    times: Floats,
    rr: Floats,
    p_height: Floats,
    premature: NDArray[np.bool_],
    wide: NDArray[np.bool_],
    rng: np.random.Generator,
    seconds: float,
) -> Floats:
    """Sum the bumps of every beat; premature beats have another P wave, wide ones none and a broad QRS."""
    signal = np.zeros(int(seconds * FS))
    scale = {name: rng.uniform(0.8, 1.25) for name in (*WAVES, "T")}
    height = rng.uniform(0.5, 1.4)
    p_height = np.where(premature, 0.6 * p_height, p_height) * ~wide
    stretch = np.where(wide, 2.6, 1.0)
    before = np.sqrt(np.concatenate(([rr[0]], rr[:-1])))
    for name, (centre, size, width) in WAVES.items():
        at = times + centre * (before if name == "P" else stretch)
        sizes = height * scale[name] * size * (p_height if name == "P" else np.ones(len(times)))
        _add(signal, at, sizes, width * (np.ones(len(times)) if name == "P" else stretch))
    centre, size, width = T_WAVE
    sign = np.where(wide, -1.2, 1.0)
    _add(signal, times + centre * np.sqrt(np.minimum(rr, 1.0)), height * scale["T"] * size * sign, width * stretch**0.5)
    return signal


def _add(signal: Floats, centres: Floats, sizes: Floats, widths: Floats) -> None:
    reach = int(4 * widths.max() * FS)
    offsets = np.arange(-reach, reach + 1)
    middle = np.round(centres * FS).astype(np.int64)
    at = middle[:, None] + offsets
    bump = sizes[:, None] * np.exp(-0.5 * ((at / FS - centres[:, None]) / widths[:, None]) ** 2)
    inside = (at >= 0) & (at < len(signal))
    np.add.at(signal, at[inside], bump[inside])


def _f_waves(rng: np.random.Generator, seconds: float) -> Floats:
    """Sawtooth-like waves whose rate drifts between 4 and 9 Hz."""
    count = int(seconds * FS)
    drift = np.interp(np.arange(count), np.linspace(0, count, 12), rng.normal(0, 0.5, 12))
    hertz = np.clip(rng.uniform(4.5, 8.5) + drift, 4.0, 9.0)
    phase = 2 * np.pi * np.cumsum(hertz) / FS
    return np.asarray(rng.uniform(0.01, 0.1) * (np.sin(phase) + 0.35 * np.sin(2 * phase + 0.6)))


def _noise(rng: np.random.Generator, seconds: float) -> Floats:
    count = int(seconds * FS)
    time = np.arange(count) / FS
    wander = rng.uniform(0.02, 0.25) * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * time + rng.uniform(0, 6))
    white = rng.normal(0, rng.uniform(0.005, 0.07), count)
    start, length = rng.uniform(0, seconds), rng.uniform(0.5, 4.0)
    burst = ((time > start) & (time < start + length)) * rng.normal(0, rng.choice([0.0, 0.05, 0.2]), count)
    return np.asarray(wander + white + burst)
