"""Emotion codes of an EEG: what four small networks say of the band powers of two channels.

An earlier project (EEG2LLM) told a language model of every sleep window whether it looked like high or low valence
(HV, LV) with high or low arousal (HA, LA). Its four networks are published nowhere: whoever has them, or others of
the same input and output, brings a folder in which each stands in one of three forms:

    HVHA.safetensors with HVHA.json    weights and the layers that they belong to
    HVHA.keras, or HVHA.h5             a whole Keras model; needs ``pip install "vitalfactory[emotion]"``

The JSON names layers and their settings as Keras does, and tensors in Keras' layout, channels last:

    {"input": [10, 1], "layers": [
        {"layer": "Conv1D", "filters": 8, "kernel_size": 3, "activation": "relu", "kernel": "a.w", "bias": "a.b"},
        {"layer": "MaxPooling1D", "pool_size": 2},
        {"layer": "Flatten"},
        {"layer": "Dense", "units": 2, "activation": "softmax", "kernel": "b.w", "bias": "b.b"}]}

An epoch is told in five steps; the standardiser is fitted before, on the training recordings alone:

    inputs = standardiser.apply(band_powers(sub_windows(epoch, fs), fs))
    text = tell(summarise(codes(models.activity(inputs), resolve=True)), "en")
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.files import sha256
from vitalfactory.models.emotion_networks import (
    ACCEPTED,
    CLASSES,
    FORMS,
    INPUTS,
    Strict,
    check_size,
    first_fault,
    read_network,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NETWORKS = ("HVHA", "HVLA", "LVHA", "LVLA")
BANDS = ((4, 8), (8, 12), (12, 16), (16, 25), (25, 45))
"""Theta, alpha, low and high beta, gamma, in hertz; the upper edge belongs to the next band."""
CHANNELS = 2
CODES = 2 ** len(NETWORKS)
MIN_FS_HZ = 2.0 * BANDS[-1][1]
MIN_SECONDS = 0.25
"""The narrowest band, of 4 Hz, holds a frequency of the Fourier transform from this length on."""
MAX_RUNS = 12
"""A sequence is told up to so many runs of one code; how many more there are is told as a number."""

BATCH = 256


def sub_windows(signal: NDArray[Any], fs: float, seconds: float = 2.0, step: float = 0.5) -> Floats:
    """Cut an epoch into windows that overlap; what is left at its end is dropped.

    Parameters
    ----------
    signal : ndarray, shape (channels, n)
        In microvolts.
    fs : float
        Sampling rate in hertz.
    seconds, step : float
        Length of a window, and the time from one to the next; both are rounded to whole samples.

    Returns
    -------
    ndarray, shape (windows, channels, samples)
        A view of the signal.

    Raises
    ------
    UnusableRecord
        ``too short``: the epoch holds no whole window.
    VitalFactoryError
        The signal is not (channels, n), or a window or a step is shorter than a sample.
    """
    signal = np.asarray(signal, dtype=np.float64)
    if signal.ndim != 2:
        raise VitalFactoryError(f"an EEG epoch of shape {signal.shape}: expected (channels, samples)")
    if not all(1 <= part * fs < math.inf for part in (seconds, step)):
        raise VitalFactoryError(f"windows of {seconds} s every {step} s at {fs} Hz: expected at least a sample of each")
    length = round(seconds * fs)
    if signal.shape[1] < length:
        raise UnusableRecord("too short", f"{signal.shape[1] / fs:.2f} s, of which a window takes {seconds} s")
    found = np.lib.stride_tricks.sliding_window_view(signal, length, axis=1)[:, :: round(step * fs)]
    return found.transpose(1, 0, 2)


def band_powers(windows: NDArray[Any], fs: float) -> Floats:
    """Compute the ten numbers that the networks look at.

    They are what PyEEG's ``bin_power`` calls power, as the earlier project had it: the sum of the magnitudes of the
    discrete Fourier transform over a band, neither squared, nor tapered, nor divided by the window's length, nor put
    on a logarithmic scale. A band holds its lower edge and not its upper one.

    Parameters
    ----------
    windows : ndarray, shape (m, 2, samples)
        In microvolts, as :func:`sub_windows` gives them.
    fs : float
        Sampling rate in hertz, at least 90.

    Returns
    -------
    ndarray, shape (m, 10)
        In microvolts: the five bands of the first channel from low to high, then those of the second.

    Raises
    ------
    UnusableRecord
        ``not finite``: a sample is no number.
    VitalFactoryError
        There are not two channels, the sampling rate is too low for the highest band, or the windows are shorter than
        0.25 s.
    """
    if windows.ndim != 3 or windows.shape[1] != CHANNELS:
        raise VitalFactoryError(f"EEG windows of shape {windows.shape}: expected (windows, {CHANNELS}, samples)")
    if not fs >= MIN_FS_HZ:
        raise VitalFactoryError(f"EEG at {fs} Hz: the band up to {BANDS[-1][1]} Hz needs at least {MIN_FS_HZ:.0f} Hz")
    samples = windows.shape[2]
    if samples / fs < MIN_SECONDS:
        raise VitalFactoryError(f"EEG windows of {samples / fs:.3f} s: the bands need at least {MIN_SECONDS} s")
    if not np.isfinite(windows).all():
        raise UnusableRecord("not finite")
    magnitude = np.abs(np.fft.rfft(windows, axis=2))
    # The small number keeps an edge that falls on a frequency there, whichever way the division rounds.
    places = [[math.floor(edge * samples / fs + 1e-9) for edge in band] for band in BANDS]
    return np.stack([magnitude[:, :, low:high].sum(axis=2) for low, high in places], axis=2).reshape(-1, INPUTS)


class _StandardiserForm(Strict):
    mean: list[float] = Field(min_length=INPUTS, max_length=INPUTS)
    scale: list[Annotated[float, Field(gt=0)]] = Field(min_length=INPUTS, max_length=INPUTS)


@dataclass(frozen=True)
class Standardiser:
    """Mean and standard deviation of each of the ten numbers over the training recordings.

    Attributes
    ----------
    mean, scale : ndarray, shape (10,)
        In microvolts; the scale of a number that is always the same is 1.
    """

    mean: Floats
    scale: Floats

    @classmethod
    def fit(cls, recordings: Iterable[NDArray[Any]]) -> Standardiser:
        """Fit to recordings one after another, in memory that does not grow with them.

        Parameters
        ----------
        recordings : iterable of ndarray, shape (m, 10)
            Band powers of the training recordings and of no others, an array a recording. Their sums are added
            without rounding, so the order of the recordings changes no bit of the result.

        Returns
        -------
        Standardiser

        Raises
        ------
        VitalFactoryError
            There is not a single sub-window, or an array is of another shape or holds what is no finite number.
        """
        count = 0
        totals, squares = [Fraction(0)] * INPUTS, [Fraction(0)] * INPUTS
        for recording in recordings:
            inputs = _checked_inputs(recording)
            if not len(inputs):
                continue
            middles = inputs.mean(axis=0)
            around = inputs - middles
            count += len(inputs)
            sums = zip(middles.tolist(), around.sum(axis=0).tolist(), (around**2).sum(axis=0).tolist(), strict=True)
            for place, (middle, rest, square) in enumerate(sums):
                totals[place] += len(inputs) * Fraction(middle) + Fraction(rest)
                squares[place] += (
                    Fraction(square) + 2 * Fraction(middle) * Fraction(rest) + len(inputs) * Fraction(middle) ** 2
                )
        if not count:
            raise VitalFactoryError("no sub-window of a training recording to fit the standardiser to")
        means = np.asarray([float(total / count) for total in totals])
        variances = [square / count - (total / count) ** 2 for total, square in zip(totals, squares, strict=True)]
        deviations = np.asarray([math.sqrt(variance) for variance in variances])
        return cls(means, np.where(deviations > 1e-9 * np.abs(means), deviations, 1.0))

    def apply(self, inputs: NDArray[Any]) -> Floats:
        """Standardise band powers of shape (m, 10); what is returned has no unit."""
        return (_checked_inputs(inputs) - self.mean) / self.scale

    def to_json(self) -> dict[str, list[float]]:
        """Give the numbers as a JSON object that :meth:`from_json` reads back to the bit."""
        return {"mean": self.mean.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_json(cls, value: Any) -> Standardiser:
        """Read what :meth:`to_json` gave.

        Raises
        ------
        VitalFactoryError
            It does not hold ten finite means and ten positive scales.
        """
        try:
            form = _StandardiserForm.model_validate(value)
        except ValidationError as error:
            raise VitalFactoryError(f"the emotion standardiser: {first_fault(error)}") from None
        return cls(np.asarray(form.mean), np.asarray(form.scale))


def _checked_inputs(inputs: NDArray[Any]) -> Floats:
    inputs = np.asarray(inputs, dtype=np.float64)
    if inputs.ndim != 2 or inputs.shape[1] != INPUTS:
        raise VitalFactoryError(f"band powers of shape {inputs.shape}: expected (sub-windows, {INPUTS})")
    if not np.isfinite(inputs).all():
        raise VitalFactoryError("band powers: expected finite numbers")
    return inputs


def codes(activity: NDArray[Any], *, resolve: bool) -> Ints:
    """Read which networks are active, as four bits.

    Parameters
    ----------
    activity : ndarray, shape (m, 4)
        Probability that each network gives to its emotion; a network is active above 0.5.
    resolve : bool
        Keep of several active networks only the one with the highest probability, and of equal ones the first. Where
        none is active, the code stays 0.

    Returns
    -------
    ndarray of int, shape (m,)
        0 to 15, HVHA as the highest bit and LVLA as the lowest.

    Raises
    ------
    VitalFactoryError
        The activity is of another shape, or holds what is no number.
    """
    activity = np.asarray(activity, dtype=np.float64)
    if activity.ndim != 2 or activity.shape[1] != len(NETWORKS) or np.isnan(activity).any():
        raise VitalFactoryError(f"activity of shape {activity.shape}: expected numbers, (sub-windows, {len(NETWORKS)})")
    active = activity > 0.5
    if resolve:
        strongest = np.where(active, activity, -np.inf).argmax(axis=1)
        active &= np.arange(len(NETWORKS)) == strongest[:, None]
    return active @ (2 ** np.arange(len(NETWORKS), dtype=np.int64)[::-1])


@dataclass(frozen=True)
class Emotion:
    """The codes of an epoch.

    Attributes
    ----------
    shares : ndarray, shape (16,)
        Share of the sub-windows with each code; they sum to 1.
    sequence : ndarray of int, shape (m,)
        The code of each sub-window in turn.
    """

    shares: Floats
    sequence: Ints


def summarise(codes: NDArray[Any]) -> Emotion:
    """Count the codes of an epoch, as :func:`codes` gives them.

    Raises
    ------
    VitalFactoryError
        There is none, or one is not between 0 and 15.
    """
    sequence = np.asarray(codes, dtype=np.int64)
    if sequence.ndim != 1 or not len(sequence) or sequence.min() < 0 or sequence.max() >= CODES:
        raise VitalFactoryError(f"emotion codes: expected at least one, each from 0 to {CODES - 1}")
    return Emotion(np.bincount(sequence, minlength=CODES) / len(sequence), sequence)


TEXT = {
    "en": ("Emotion {shares}; sequence {runs}", ", ", " and {count} more runs"),
    "zh": ("情绪{shares}；序列{runs}", "，", "，其后还有{count}段"),
}


def tell(emotion: Emotion, language: str) -> str:
    """Say which codes an epoch has, and in which order.

    Parameters
    ----------
    emotion : Emotion
    language : {"en", "zh"}

    Returns
    -------
    str
        Such as ``Emotion 1000 62%, 0000 38%; sequence 1000x5 0000x3``: the shares from the greatest on in whole per
        cent, and the sequence as runs of one code with their lengths. After 12 runs the others are only counted.

    Raises
    ------
    VitalFactoryError
        There is no text in that language.
    """
    if language not in TEXT:
        raise VitalFactoryError(f"{language}: no such language; there are {tuple(TEXT)}")
    sentence, comma, more = TEXT[language]
    order = sorted(np.flatnonzero(emotion.shares).tolist(), key=lambda code: (-emotion.shares[code], code))
    shares = comma.join(f"{code:04b} {_per_cent(float(emotion.shares[code]))}" for code in order)
    runs = [f"{code:04b}x{len(list(run))}" for code, run in groupby(emotion.sequence.tolist())]
    told = " ".join(runs[:MAX_RUNS])
    if len(runs) > MAX_RUNS:
        told += more.format(count=len(runs) - MAX_RUNS)
    return sentence.format(shares=shares, runs=told)


def _per_cent(share: float) -> str:
    return f"{round(100 * share)}%" if share >= 0.005 else "<1%"


class EmotionModels:
    """The four networks of a folder, opened and tried; they run on the processor, in forked workers too.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    VitalFactoryError
        A network is missing, stands there twice, is not a file of its form, may run code when it is opened, is too
        large, or does not turn (n, 10, 1) into the probabilities of two classes; or Keras is needed and missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = _find(folder)
        paths = [path for files in self._files.values() for path in files]
        for path in paths:
            check_size(path)
        lines = [f"{path.name} {sha256(path)}\n" for path in paths]
        self._digest = hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()
        self._networks = {name: read_network(files) for name, files in self._files.items()}
        self.activity(np.outer((0.0, 1.0, -1.0), np.linspace(-2.0, 2.0, INPUTS)))  # so that a wrong one is told of now

    @property
    def digest(self) -> str:
        """SHA-256 over the names and contents of the networks' files, as 64 hexadecimal digits."""
        return self._digest

    def activity(self, inputs: NDArray[Any]) -> Floats:
        """Ask each network for the probability of its emotion.

        Parameters
        ----------
        inputs : ndarray, shape (m, 10)
            As :meth:`Standardiser.apply` gives them.

        Returns
        -------
        ndarray, shape (m, 4)
            The probability of class 1, in the order of :data:`NETWORKS`.

        Raises
        ------
        VitalFactoryError
            The inputs are of another shape or not finite, or what a network says are no probabilities.
        """
        rows = _checked_inputs(inputs).astype(np.float32)[:, :, None]
        found = np.empty((len(rows), len(NETWORKS)))
        with _one_thread():
            for place, name in enumerate(NETWORKS):
                for start in range(0, len(rows), BATCH):
                    batch = rows[start : start + BATCH]
                    said = np.asarray(self._networks[name](batch), dtype=np.float64)
                    self._check_probabilities(name, said)
                    found[start : start + BATCH, place] = said[:, 1]
        return found

    def _check_probabilities(self, name: str, said: Floats) -> None:
        if not ((said >= 0).all() and (np.abs(said.sum(axis=1) - 1) < 1e-3).all()):
            raise VitalFactoryError(
                f"{self._files[name][0]}: its outputs are not the probabilities of {CLASSES} classes (such as "
                f"{said[0].tolist()}); expected a network that ends with softmax"
            )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let PyTorch compute in the calling thread: a forked worker would wait for ever for its parent's threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _find(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Find the files of each network.

    Raises
    ------
    VitalFactoryError
        Networks are missing, all of which are named, or one stands there in two forms.
    """
    if not folder.is_dir():
        raise VitalFactoryError(
            f"{folder}: no such folder; expected one with {ACCEPTED} for each of {', '.join(NETWORKS)}"
        )
    found: dict[str, tuple[Path, ...]] = {}
    missing = []
    for name in NETWORKS:
        forms = [tuple(folder / f"{name}{suffix}" for suffix in form) for form in FORMS]
        whole = [files for files in forms if all(path.is_file() for path in files)]
        if len(whole) > 1:
            names = " and ".join(files[0].name for files in whole)
            raise VitalFactoryError(f"{folder}: holds {name} twice, as {names}; keep one of them")
        if whole:
            found[name] = whole[0]
        else:
            others = sorted(path.name for path in folder.iterdir() if name in path.name)
            missing.append(f"{name} (there is only {', '.join(others)})" if others else name)
    if missing:
        raise VitalFactoryError(
            f"{folder}: holds no network for {', '.join(missing)}; expected {ACCEPTED} for each of "
            f"{', '.join(NETWORKS)}; pickled networks can run code when they are opened and are refused"
        )
    return found
