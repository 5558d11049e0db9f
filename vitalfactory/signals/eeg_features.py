"""Figures of the epochs of a night: band powers, complexity, spindles and slow waves, eye and chin.

Band powers are medians over Welch segments of 4 s (Welch 1967), which leave short artefacts out. Hjorth's mobility and
complexity (1970), spectral entropy and permutation entropy (Bandt and Pompe 2002) are antropy's; spindles (Lacourse et
al. 2018) and slow waves (Massimini et al. 2004, Carrier et al. 2011) are yasa's (Vallat and Walker 2021).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vitalfactory.errors import UnusableRecord
from vitalfactory.files import dumps
from vitalfactory.signals.edf import Channel
from vitalfactory.signals.eeg import (
    BROKEN_ARRAYS,
    FLAT,
    Cut,
    Epochs,
    Floats,
    Night,
    Signals,
    Table,
    cut,
    hashes,
    read_arrays,
)

BANDS = {"delta": (0.5, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 12.0), "sigma": (12.0, 16.0), "beta": (16.0, 30.0)}
"""Hertz."""
SEGMENT_SECONDS = 4
SMALLEST_POWER = 1e-10
ENVELOPE_HZ = 10
"""A slower chin channel is the envelope of the muscle's activity already, as in Sleep-EDF's cassettes."""
FLAT_CHANNEL = "flat channel"
MOST_EEG = 2
PIECE_SECONDS = 7200
SHORTEST_PIECE = 20
"""Seconds of signal below which yasa's filters find nothing to hold on to."""
VERSION = 2
"""Of the figures: another one makes tables that were kept earlier void."""


@dataclass(frozen=True)
class Montage:
    """Which channels are read.

    Attributes
    ----------
    eeg : tuple of str
    eog, emg : str or None
    """

    eeg: tuple[str, ...]
    eog: str | None
    emg: str | None


def choose(channels: Mapping[str, Channel], wanted: Sequence[str] | None) -> Montage:
    """Choose the channels of a recording.

    Parameters
    ----------
    channels : mapping of str to Channel
    wanted : sequence of str or None
        The EEG channels; by default the first two whose label begins with ``EEG``, or all where none does.

    Raises
    ------
    UnusableRecord
        With the reason ``missing channel``; its detail lists those that are there.
    """
    present = ", ".join(channels)
    if missing := [name for name in wanted or () if name not in channels]:
        raise UnusableRecord("missing channel", f"no {', '.join(missing)}; it has {present}")
    eeg = list(wanted or _beginning(channels, "EEG")[:MOST_EEG])
    if not eeg:
        raise UnusableRecord("missing channel", f"none is called EEG; give --channels; it has {present}")
    eog, emg = (next(iter(_beginning(channels, kind)), None) for kind in ("EOG", "EMG"))
    return Montage(tuple(eeg), eog, emg)


def _beginning(channels: Mapping[str, Channel], kind: str) -> list[str]:
    return [name for name in channels if name.upper().startswith(kind)]


def short(channel: str) -> str:
    """Name a channel in a text: without its kind."""
    return channel[4:].strip() if channel.upper().startswith("EEG ") else channel


def read_windows(signals: Signals, name: str, epochs: Epochs, how: Cut) -> Floats:
    """Read the windows of one channel, resampled.

    Returns
    -------
    ndarray of float64, shape (n, window * rate)
        Microvolts; a view where windows overlap.

    Raises
    ------
    UnusableRecord
        With the reason ``flat channel`` or ``not finite``, or one of the file.
    """
    return windows_of(read_stretch(signals, name, epochs, how), epochs, how)


def read_stretch(signals: Signals, name: str, epochs: Epochs, how: Cut) -> Floats:
    """Read one channel from the first window to the end of the last, resampled; raises as :func:`read_windows`."""
    return resample(_recorded(signals, name, epochs, how), signals.channels[name].rate, how.rate)


def _recorded(signals: Signals, name: str, epochs: Epochs, how: Cut) -> Floats:
    signal = signals.read(name, *_span(epochs, how))
    if not np.isfinite(signal).all():
        raise UnusableRecord("not finite", f"{name}: a sample is no number")
    if not len(signal) or np.ptp(signal) == 0:
        raise UnusableRecord(FLAT_CHANNEL, name)
    return signal


Read = Callable[[Signals, str, Epochs, Cut], Floats]
"""Reads a channel, or raises :class:`UnusableRecord`."""


def unless_flat(read: Read, signals: Signals, name: str | None, epochs: Epochs, how: Cut) -> Floats | None:
    """Read a channel that a night may lack; None where it does, and where the channel is flat."""
    if name is None:
        return None
    try:
        return read(signals, name, epochs, how)
    except UnusableRecord as error:
        if error.reason != FLAT_CHANNEL:
            raise
        return None


def _span(epochs: Epochs, how: Cut) -> tuple[float, float]:
    return float(epochs.start[0]), float(epochs.start[-1]) + how.window


def windows_of(signal: Floats, epochs: Epochs, how: Cut) -> Floats:
    """Cut what :func:`read_stretch` has read into windows, shape (n, window * rate)."""
    size = round(how.window * how.rate)
    places = np.round((epochs.start - epochs.start[0]) * how.rate).astype(np.int64)
    if short_by := int(places[-1]) + size - len(signal):
        signal = np.pad(signal, (0, max(0, short_by)), mode="edge")
    windows: Floats = np.lib.stride_tricks.sliding_window_view(signal, size)[places]
    return windows


def resample(signal: Floats, rate: float, target: float) -> Floats:
    """Resample with a polyphase filter, which keeps what is above the new half rate out."""
    from scipy.signal import resample_poly

    ratio = Fraction(target / rate).limit_denominator(1000)
    resampled: Floats = signal if ratio == 1 else resample_poly(signal, ratio.numerator, ratio.denominator)
    return resampled


def table(night: Night, how: Cut, wanted: Sequence[str] | None = None, *, events: bool = True) -> Table:
    """Compute the figures of every scored window of a night, one channel in memory at a time.

    Eye and chin are left out where their channel is flat.

    Parameters
    ----------
    night : Night
    how : Cut
    wanted : sequence of str, optional
        EEG channels; see :func:`choose`.
    events : bool
        Whether spindles and slow waves are counted, which takes most of the time.

    Raises
    ------
    UnusableRecord
        The night cannot be used.
    """
    signals = night.open()
    montage = choose(signals.channels, wanted)
    epochs = cut(night.annotations(), signals.seconds, how)
    if not len(epochs):
        left = ", ".join(f"{reason} {count}" for reason, count in epochs.dropped.items())
        raise UnusableRecord("no window", f"of {how.window:g} s lies in a scored stage{': ' + left if left else ''}")
    values: dict[str, Floats] = {}
    alive = np.ones(len(epochs), dtype=np.bool_)
    digest = np.zeros(len(epochs), dtype=np.int64)
    for place, name in enumerate(montage.eeg):
        signal = read_stretch(signals, name, epochs, how)
        windows = windows_of(signal, epochs, how)
        if place == 0:
            digest = hashes(windows)
        alive &= np.ptp(windows, axis=1) > 0
        values |= _named(short(name), {**band_powers(windows, how.rate), **complexity(windows, how.rate)})
        if events:
            values |= _named(short(name), count_events(signal, epochs, how))
    if (eyes := unless_flat(read_windows, signals, montage.eog, epochs, how)) is not None:
        values |= _named("EOG", band_powers(eyes, how.rate))
    if (tone := unless_flat(chin, signals, montage.emg, epochs, how)) is not None:
        values["EMG log_amplitude"] = tone
    kept = {name: column[alive] for name, column in values.items()}
    return Table(epochs.keep(alive, FLAT), kept, digest[alive])


def read_montage(night: Night, epochs: Epochs, how: Cut, wanted: Sequence[str] | None) -> dict[str, Floats]:
    """Read the windows of EEG, eye and chin by short name; eye and chin only where they are no envelope and not flat.

    Returns
    -------
    dict of str to ndarray of float64, shape (n, window * rate)
        Microvolts.

    Raises
    ------
    UnusableRecord
        The night cannot be used.
    """
    signals = night.open()
    montage = choose(signals.channels, wanted)
    found = {short(name): read_windows(signals, name, epochs, how) for name in montage.eeg}
    beside = {"EOG": montage.eog, "EMG": montage.emg}
    if montage.emg and signals.channels[montage.emg].rate < ENVELOPE_HZ:
        del beside["EMG"]
    for told, name in beside.items():
        if (windows := unless_flat(read_windows, signals, name, epochs, how)) is not None:
            found[told] = windows
    return found


def cached_table(night: Night, how: Cut, wanted: Sequence[str] | None, folder: Path, *, events: bool) -> Table:
    """Compute a night's table, or take it from a folder where it was kept.

    A table is known again by the files' names, sizes and times and by everything that it was computed with; one that
    cannot be read is computed anew.

    Parameters
    ----------
    night, how, wanted, events
        As in :func:`table`.
    folder : Path
        Made when missing.
    """
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in _files(night)]
    key = hashlib.sha256(repr((VERSION, night, how, wanted, events, stamps)).encode()).hexdigest()[:24]
    path = folder / f"{key}.npz"
    if (kept := _load(path)) is not None:
        return kept
    made = table(night, how, wanted, events=events)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{key}.{os.getpid()}.npz")
    about = {"stage": made.epochs.stage, "dropped": made.epochs.dropped, "names": tuple(made.values)}
    columns = np.stack(list(made.values.values()))
    np.savez(partial, start=made.epochs.start, values=columns, digest=made.digest, about=np.asarray(dumps(about)))
    partial.replace(path)
    return made


def _files(night: Night) -> list[Path]:
    return [path for path in (night.psg, night.hypnogram) if path.is_file()]


def _load(path: Path) -> Table | None:
    if not path.is_file():
        return None
    try:
        start, values, digest, about = read_arrays(path, ("start", "values", "digest", "about"))
        told = json.loads(str(about))
        epochs = Epochs(start, tuple(told["stage"]), told["dropped"])
        return Table(epochs, dict(zip(told["names"], values, strict=True)), digest)
    except BROKEN_ARRAYS:
        return None


def _named(channel: str, figures: Mapping[str, Floats]) -> dict[str, Floats]:
    return {f"{channel} {name}": column for name, column in figures.items()}


def band_powers(windows: Floats, rate: float) -> dict[str, Floats]:
    """Compute the power in each band.

    Parameters
    ----------
    windows : ndarray of float64, shape (n, k)
        Microvolts.
    rate : float

    Returns
    -------
    dict of str to ndarray, shape (n,)
        ``log_<band>``, the decadic logarithm of microvolts squared, and ``rel_<band>``, the share of all bands.
    """
    from scipy.signal import welch

    segment = min(windows.shape[1], round(SEGMENT_SECONDS * rate))
    hertz, density = welch(windows, rate, window="hamming", nperseg=segment, average="median", axis=-1)
    width = hertz[1] - hertz[0]
    powers = {
        band: density[:, (hertz >= low) & (hertz < high)].sum(axis=1) * width + SMALLEST_POWER
        for band, (low, high) in BANDS.items()
    }
    total = np.sum(list(powers.values()), axis=0)
    logs = {f"log_{band}": np.log10(power) for band, power in powers.items()}
    return logs | {f"rel_{band}": power / total for band, power in powers.items()}


def complexity(windows: Floats, rate: float) -> dict[str, Floats]:
    """Compute Hjorth's mobility and complexity, spectral and permutation entropy, each of shape (n,)."""
    import antropy

    with np.errstate(divide="ignore", invalid="ignore"):  # of flat windows, which are dropped
        mobility, complex_ = antropy.hjorth_params(windows, axis=-1)
        spectral = antropy.spectral_entropy(windows, rate, method="welch", normalize=True, axis=-1)
    permutation = [antropy.perm_entropy(window, order=3, normalize=True) for window in windows]
    found = {"mobility": mobility, "complexity": complex_, "spectral_entropy": spectral}
    return {name: np.nan_to_num(np.asarray(column)) for name, column in found.items()} | {
        "permutation_entropy": np.asarray(permutation)
    }


def count_events(signal: Floats, epochs: Epochs, how: Cut) -> dict[str, Floats]:
    """Count the spindles and slow waves of a stretch that begin in each window, by kind, shape (n,) each.

    They are looked for in sleep and wake alike, two hours at a time: nobody's stages decide where.
    """
    import yasa

    detectors = {"spindles": yasa.spindles_detect, "slow_waves": yasa.sw_detect}
    counts = {}
    for kind, detect in detectors.items():
        begin = np.sort(np.concatenate([epochs.start[0] + part for part in _onsets(detect, signal, how.rate)]))
        edges = np.searchsorted(begin, (epochs.start, epochs.start + how.window))
        counts[kind] = (edges[1] - edges[0]).astype(np.float64)
    return counts


def _onsets(detect: Callable[..., Any], signal: Floats, rate: float) -> Iterator[Floats]:
    """Find the onsets of events in seconds, in pieces: on a whole night at once, yasa takes more than a gigabyte."""
    size = round(PIECE_SECONDS * rate)
    for start in range(0, len(signal), size):
        piece = signal[start : start + size]
        found = detect(piece, rate, verbose="CRITICAL") if len(piece) >= SHORTEST_PIECE * rate else None
        yield start / rate + found.summary()["Start"].to_numpy() if found is not None else np.empty(0)


def chin(signals: Signals, name: str, epochs: Epochs, how: Cut) -> Floats:
    """Compute the decadic logarithm of the chin muscle's amplitude in microvolts, shape (n,)."""
    rate = signals.channels[name].rate
    first, _ = _span(epochs, how)
    signal = _recorded(signals, name, epochs, how)
    if rate >= ENVELOPE_HZ:
        signal = signal - signal.mean()
    power = np.concatenate(([0.0], np.cumsum(signal**2)))
    begin = np.minimum(np.round((epochs.start - first) * rate).astype(np.int64), len(signal) - 1)
    end = np.maximum(
        np.minimum(np.round((epochs.start - first + how.window) * rate).astype(np.int64), len(signal)), begin + 1
    )
    return np.asarray(0.5 * np.log10((power[end] - power[begin]) / (end - begin) + SMALLEST_POWER))
