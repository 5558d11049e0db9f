"""Synthetic nights of polysomnography with sleep stages, in the file form of Sleep-EDF Expanded.

A night is drawn in three steps: the scored stage of every epoch, what the sleeper shows from second to
second, and the signals.

The stages are those of Rechtschaffen and Kales (1968), drawn from a Markov chain whose transitions
change over the night: deep sleep comes early, REM sleep late. Its numbers were fitted to 24 whole-night
hypnograms of Sleep-EDF Expanded (Kemp et al. 2000; PhysioNet, Goldberger et al. 2000; ODC-BY 1.0).

What is shown follows the scored stages loosely, as in life: transitions lie inside epochs, an epoch
shows only a share of its stage's signature, and stage 1 looks in part like wake, stage 2 and REM sleep.

Every EEG channel is a background that falls with frequency, narrow-band noise (delta, theta, alpha,
sigma, beta) under slowly changing envelopes, and graphoelements: spindles, K-complexes, vertex waves,
sawtooth waves. Blinks, slow and rapid eye movements, body movements, electrode pops, sweat and mains
hum come on top. Amplitudes were chosen so that band powers differ between stages, subjects and epochs
about as in 76 nights of the Sleep-EDF recordings. Subjects differ in the amplitude of each rhythm, in
the frequency of alpha and spindles and more; their nights differ a little.

Made for demonstrations and tests: no figure from these recordings says anything about patients.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import replacing

Floats = NDArray[np.float64]
Samples = NDArray[np.float32]
Wave = Callable[[np.random.Generator], Floats]

FS = 100.0
EPOCH_SECONDS = 30.0
CHANNELS = ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal", "EMG submental")
FRONTAL, OCCIPITAL, EYES, CHIN = CHANNELS

RATES = {FRONTAL: FS, OCCIPITAL: FS, EYES: FS, CHIN: 1.0}
"""Samples a second; the chin's EMG is its rms envelope, as in the sleep-cassette recordings."""
RANGES = {FRONTAL: 200.0, OCCIPITAL: 200.0, EYES: 1000.0, CHIN: 10.0}
"""Microvolts, on either side of zero, at which the recorder saturates."""
DIGITAL_RANGE = (-2047, 2047)

STAGES = "W1234R"
DESCRIPTIONS = {**{stage: f"Sleep stage {stage}" for stage in f"{STAGES}?"}, "M": "Movement time"}

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SUBJECTS = sorted((a + b for a in _DIGITS for b in _DIGITS), key=lambda code: not code.isdigit())
"""Two characters for each subject: 00 to 99 as in the SC set, then the other pairs of digits and capitals, 0A to ZZ."""
FIRST_DATE = datetime.date(1989, 1, 1)

# Of 24 whole-night hypnograms, between the first and the last epoch of sleep: probability of the next stage (columns
# W, 1, 2, 3, 4, R) after each stage (rows), at one sixth, the middle and five sixths of the sleep period. A transition
# between two of these times was counted at both, the more at the nearer.
TRANSITION_TIMES = (1 / 6, 1 / 2, 5 / 6)
TRANSITIONS = (
    (
        (0.883, 0.109, 0.005, 0.002, 0.000, 0.002),
        (0.049, 0.738, 0.200, 0.001, 0.000, 0.011),
        (0.009, 0.019, 0.883, 0.073, 0.002, 0.014),
        (0.004, 0.010, 0.199, 0.663, 0.122, 0.002),
        (0.003, 0.001, 0.012, 0.137, 0.847, 0.000),
        (0.008, 0.022, 0.034, 0.001, 0.000, 0.935),
    ),
    (
        (0.793, 0.187, 0.009, 0.000, 0.000, 0.011),
        (0.057, 0.565, 0.298, 0.000, 0.000, 0.080),
        (0.008, 0.019, 0.913, 0.042, 0.001, 0.017),
        (0.009, 0.008, 0.232, 0.641, 0.110, 0.000),
        (0.002, 0.008, 0.014, 0.140, 0.837, 0.000),
        (0.011, 0.036, 0.019, 0.000, 0.000, 0.934),
    ),
    (
        (0.789, 0.188, 0.004, 0.000, 0.000, 0.019),
        (0.062, 0.623, 0.226, 0.000, 0.000, 0.089),
        (0.011, 0.029, 0.922, 0.021, 0.001, 0.015),
        (0.009, 0.006, 0.286, 0.608, 0.090, 0.000),
        (0.003, 0.002, 0.010, 0.115, 0.870, 0.000),
        (0.019, 0.046, 0.010, 0.000, 0.000, 0.925),
    ),
)
LEANING_SPREAD = (0.5, 0.3, 0.25, 0.25, 0.6, 0.25)
"""Standard deviation, between nights, of the logarithm of how readily each stage is entered."""
MOVEMENT_SHARE = 0.0014
SLEEP_HOURS = (7.6, 1.2)
"""Mean and standard deviation of the sleep period of the same nights."""

# What the epochs of a scored stage look like, as weights of W, 1, 2, 3, 4, R before their chance variation. These four
# constants decide how hard the stages are to tell apart.
APPEARANCE = {
    "W": (0.890, 0.090, 0.005, 0.001, 0.001, 0.013),
    "1": (0.155, 0.500, 0.210, 0.001, 0.001, 0.133),
    "2": (0.008, 0.080, 0.795, 0.075, 0.002, 0.040),
    "3": (0.002, 0.003, 0.250, 0.675, 0.070, 0.000),
    "4": (0.002, 0.001, 0.020, 0.117, 0.860, 0.000),
    "R": (0.010, 0.155, 0.045, 0.000, 0.000, 0.790),
}
APPEARANCE |= {"?": APPEARANCE["W"], "M": APPEARANCE["W"]}
APPEARANCE_SPREAD = 1.35
"""Standard deviation of the weights' logarithm; the deviation fades within an epoch or two."""
BOUNDARY_SECONDS = 10.0
"""Standard deviation of what lies between a transition and the boundary of epochs that it is scored at."""

# Root mean square in microvolts in the stages W, 1, 2, 3, 4, R, for an average subject with the eyes closed.
BACKGROUND = {
    FRONTAL: (11.5, 8.0, 10.0, 9.0, 9.0, 8.5),
    OCCIPITAL: (8.0, 7.0, 8.0, 6.5, 6.5, 7.2),
    EYES: (16.0, 3.8, 5.2, 4.5, 4.5, 3.2),
}
RHYTHMS = {
    "delta": {FRONTAL: (4.0, 4.5, 14.0, 26.5, 44.0, 4.0), OCCIPITAL: (3.0, 4.0, 10.0, 17.5, 27.0, 3.5)},
    "theta": {FRONTAL: (3.5, 3.0, 4.2, 5.4, 6.0, 3.4), OCCIPITAL: (2.8, 3.2, 4.4, 5.0, 5.5, 3.2)},
    "alpha": {FRONTAL: (4.2, 2.3, 2.4, 2.4, 2.4, 1.7), OCCIPITAL: (8.5, 2.8, 2.2, 2.0, 1.8, 2.1)},
    "sigma": {FRONTAL: (1.2, 1.0, 1.9, 1.9, 1.5, 0.7), OCCIPITAL: (1.2, 0.9, 1.6, 1.5, 1.3, 0.6)},
    "beta": {FRONTAL: (6.0, 2.6, 1.3, 0.7, 0.6, 2.1), OCCIPITAL: (6.2, 1.9, 1.0, 0.5, 0.5, 1.6)},
}
SLOW_EYES = (20.0, 18.0, 3.0, 2.0, 2.0, 7.0)
CHIN_TONE = (3.3, 2.1, 1.5, 1.3, 1.2, 0.55)
ALPHA_OWN = (1.0, 0.8, 0.4, 0.3, 0.3, 0.5)
"""Exponent of the subject's alpha factor in each stage: strong alpha shows in wake above all."""
SCALP_LEAK = 0.5
"""Share of the frontal EEG that the eye electrodes show."""
MOVEMENT_RATE = (1 / 60, 1 / 250, 1 / 900, 1 / 1500, 1 / 2000, 1 / 700)
"""Body movements a second in each stage."""
SPINDLE_RATE = (0.0, 0.1, 1.0, 0.5, 0.25, 0.02)
"""Spindles, as a multiple of the subject's density in stage 2."""

HABITS = ("background", "theta", "alpha", "sigma", "beta")
AMPLITUDES = {
    "attenuation": 0.15,
    "delta": 0.15,
    "theta": 0.2,
    "alpha": 0.5,
    "beta": 0.25,
    "spindle": 0.3,
    "eyes": 0.3,
    "muscle": 0.35,
}
"""Standard deviation, between subjects, of the logarithm of each factor on an amplitude."""
NIGHT_SPREAD = 0.12
"""The same between the nights of one subject."""


@dataclass(frozen=True)
class Subject:
    """What a sleeper keeps from night to night; the defaults are an average one.

    Attributes
    ----------
    attenuation, delta, theta, alpha, beta, spindle, eyes, muscle : float
        Factors on the amplitude of all EEG (skull and skin), of each rhythm, of spindles and sigma, of
        eye movements and of the chin's EMG.
    alpha_hertz, spindle_hertz : float
        Peak frequencies.
    spindles_per_minute : float
        Density in stage 2.
    corner_hertz : float
        Where the background begins to fall: the higher, the flatter the spectrum.
    habits : tuple of tuple of float, 5 by 6
        Logarithm of a factor on the amplitude of each of ``HABITS`` in each stage.
    """

    attenuation: float = 1.0
    delta: float = 1.0
    theta: float = 1.0
    alpha: float = 1.0
    beta: float = 1.0
    spindle: float = 1.0
    eyes: float = 1.0
    muscle: float = 1.0
    alpha_hertz: float = 9.8
    spindle_hertz: float = 13.2
    spindles_per_minute: float = 4.0
    corner_hertz: float = 1.3
    habits: tuple[tuple[float, ...], ...] = ((0.0,) * len(STAGES),) * len(HABITS)


def draw_subject(rng: np.random.Generator) -> Subject:
    """Draw a sleeper.

    Parameters
    ----------
    rng : Generator
        The only source of chance.

    Returns
    -------
    Subject
    """
    average = replace(
        Subject(),
        alpha_hertz=float(np.clip(rng.normal(9.8, 0.8), 8.3, 11.7)),
        spindle_hertz=float(np.clip(rng.normal(13.2, 0.6), 11.8, 14.8)),
        spindles_per_minute=float(np.clip(rng.lognormal(np.log(4), 0.4), 1.2, 10)),
        corner_hertz=float(rng.uniform(1.0, 1.6)),
        habits=tuple(tuple(row) for row in rng.normal(0, 0.22, (len(HABITS), len(STAGES))).tolist()),
    )
    return _varied(average, AMPLITUDES, rng)


def _varied(subject: Subject, spread: Mapping[str, float], rng: np.random.Generator) -> Subject:
    changed = {name: float(getattr(subject, name) * rng.lognormal(0, size)) for name, size in spread.items()}
    return replace(subject, **changed)  # type: ignore[arg-type]


def make_stages(rng: np.random.Generator, hours: float = 8.0) -> list[str]:
    """Draw the stage of every epoch of a night.

    Parameters
    ----------
    rng : Generator
        The only source of chance.
    hours : float
        Length of the whole recording, with the wake before and after sleep.

    Returns
    -------
    list of str
        ``W``, ``1``, ``2``, ``3``, ``4``, ``R`` or, now and then, ``M`` for movement time; one for every 30 s.

    Raises
    ------
    VitalFactoryError
        The recording is shorter than an epoch.
    """
    epochs = round(hours * 3600 / EPOCH_SECONDS)
    if epochs < 1:
        raise VitalFactoryError(f"a night of {hours:g} hours: expected at least one epoch of {EPOCH_SECONDS:g} seconds")
    before = min(rng.lognormal(np.log(40), 0.5), 0.12 * epochs)
    after = min(rng.lognormal(np.log(20), 0.5), 0.06 * epochs)
    longest = max(rng.normal(*SLEEP_HOURS), 5.0) * 3600 / EPOCH_SECONDS
    asleep = round(min(epochs - before - after, longest))
    start = round((epochs - asleep) * before / (before + after))
    moving = rng.random(asleep) < MOVEMENT_SHARE
    sleep = ["M" if moves else stage for moves, stage in zip(moving, _sleep(rng, asleep), strict=True)]
    return ["W"] * start + sleep + ["W"] * (epochs - asleep - start)


def _sleep(rng: np.random.Generator, count: int) -> list[str]:
    """Walk the chain from a first epoch of stage 1."""
    leaning = np.exp(rng.normal(0, LEANING_SPREAD))
    tables = np.array(TRANSITIONS) * leaning
    stay = range(len(STAGES))
    tables[:, stay, stay] /= leaning  # a night's leaning changes where the sleeper goes, not how long a stage lasts
    place = np.arange(count) / max(count, 1)
    mixture = np.stack([np.interp(place, TRANSITION_TIMES, corner) for corner in np.eye(3)], axis=1)
    cumulative = np.cumsum(np.einsum("nk,kij->nij", mixture, tables), axis=2)
    states = [STAGES.index("1")]
    for rows, draw in zip(cumulative, rng.random(count), strict=True):
        row = rows[states[-1]]
        states.append(int(np.searchsorted(row, draw * row[-1], side="right")))
    return [STAGES[state] for state in states[:count]]


def make_night(stages: Sequence[str], subject: Subject, rng: np.random.Generator) -> dict[str, Samples]:
    """Make the signals of a night.

    Parameters
    ----------
    stages : sequence of str
        One for every epoch, as :func:`make_stages` gives them; ``?`` is made like wake.
    subject : Subject
        Whose night it is.
    rng : Generator
        The only source of chance.

    Returns
    -------
    dict of str to ndarray of float32
        Microvolts of every channel: shape (epochs * 3000,), and (epochs * 30,) for the EMG envelope at 1 Hz.
    """
    tonight = _varied(subject, dict.fromkeys(AMPLITUDES, NIGHT_SPREAD), rng)
    course = _course(stages, rng)
    frontal, occipital = _scalp(course, tonight, rng)
    eyes = _background(course, BACKGROUND[EYES], tonight, rng)
    eyes += np.float32(SCALP_LEAK) * frontal
    _add_eye_movements(frontal, occipital, eyes, course, tonight, rng)
    night = {}
    for channel, signal in ((FRONTAL, frontal), (OCCIPITAL, occipital), (EYES, eyes)):
        _add_artefacts(signal, rng)
        night[channel] = _recorded(signal, RANGES[channel])
    night[CHIN] = _chin(course, tonight, rng)
    return night


def night_name(number: int) -> str:
    """Name a night as the SC set does: ``SC4``, the subject's two characters, and 1 or 2 for the night.

    Parameters
    ----------
    number : int
        From 0. Two nights in a row are of one subject: 0 is ``SC4001`` and 1 is ``SC4002``, 2 is ``SC4011``.

    Returns
    -------
    str
        Six characters, of which the first five name the subject; see ``SUBJECTS`` for those after the hundredth.
    """
    subject, night = divmod(number, 2)
    return f"SC4{SUBJECTS[subject]}{night + 1}"


def night_files(folder: Path, name: str) -> tuple[Path, Path]:
    """Name the two files of a night: its signals and its hypnogram."""
    return folder / f"{name}E0-PSG.edf", folder / f"{name}EC-Hypnogram.edf"


def write_night(
    folder: Path, name: str, stages: Sequence[str], signals: Mapping[str, Samples], start: datetime.datetime
) -> tuple[Path, Path]:
    """Write a night as two files, each in one step, the hypnogram last.

    Parameters
    ----------
    folder : Path
        Made when missing.
    name : str
        Six characters, as :func:`night_name` gives them.
    stages : sequence of str
        One for every epoch; a run of the same stage becomes one annotation.
    signals : mapping of str to ndarray
        Microvolts of every channel, as :func:`make_night` gives them.
    start : datetime
        Of the recording.

    Returns
    -------
    tuple of Path
        ``<name>E0-PSG.edf``, plain EDF, and ``<name>EC-Hypnogram.edf``, EDF+ with annotations alone.

    Raises
    ------
    ValueError
        A channel leaves its range.
    """
    from edfio import Edf, EdfAnnotation, EdfSignal, Patient, Recording

    folder.mkdir(parents=True, exist_ok=True)
    psg, hypnogram = night_files(folder, name)
    patient, recording = Patient(name="Synthetic"), Recording(startdate=start.date())
    channels = [
        EdfSignal(
            signals[channel].astype(np.float64),
            RATES[channel],
            label=channel,
            physical_dimension="uV",
            physical_range=(-RANGES[channel], RANGES[channel]),
            digital_range=DIGITAL_RANGE,
        )
        for channel in CHANNELS
    ]
    whole = Edf(
        channels,
        patient=patient,
        recording=recording,
        starttime=start.time(),
        data_record_duration=EPOCH_SECONDS,
    )
    with replacing(psg) as stream:
        whole.write(stream)
    annotations = [EdfAnnotation(*run) for run in _runs(stages)]
    scored = Edf([], patient=patient, recording=recording, starttime=start.time(), annotations=annotations)
    with replacing(hypnogram) as stream:
        scored.write(stream)
    return psg, hypnogram


def _runs(stages: Sequence[str]) -> list[tuple[float, float, str]]:
    """Onset and duration in seconds, and description, of every run of the same stage."""
    runs, onset = [], 0.0
    for stage, epochs in groupby(stages):
        duration = EPOCH_SECONDS * len(list(epochs))
        runs.append((onset, duration, DESCRIPTIONS[stage]))
        onset += duration
    return runs


def write_nights(folder: Path, count: int, seed: int, hours: float = 8.0) -> None:
    """Make and write nights, two by two of one subject; those whose files are both there are left alone.

    Parameters
    ----------
    folder : Path
        Made when missing.
    count : int
        Nights, 2592 at most.
    seed : int
        Decides every night together with its number, whatever ``count`` is.
    hours : float
        Length of each.

    Raises
    ------
    VitalFactoryError
        There are no names for so many, or a night would be shorter than an epoch.
    """
    if count > 2 * len(SUBJECTS):
        raise VitalFactoryError(
            f"{count} nights: names go as far as {2 * len(SUBJECTS)}; use several folders and seeds"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        name = night_name(number)
        if all(path.is_file() for path in night_files(folder, name)):
            continue
        subject = draw_subject(np.random.default_rng((seed, 0, number // 2)))
        rng = np.random.default_rng((seed, 1, number))
        evening = datetime.time(rng.integers(21, 24), rng.integers(0, 60))
        start = datetime.datetime.combine(FIRST_DATE + datetime.timedelta(days=number), evening)
        stages = make_stages(rng, hours)
        write_night(folder, name, stages, make_night(stages, subject, rng), start)


@dataclass(frozen=True)
class _Course:
    """What the sleeper shows from second to second.

    Attributes
    ----------
    weights : ndarray, shape (seconds, 6)
        Share of every stage's signature; each row's sum is 1.
    movement : ndarray, shape (seconds,)
        Strength of body movements, about 1 in one.
    opened : ndarray, shape (seconds,)
        How far it is wake with open eyes, from 0 to 1.
    restless : ndarray, shape (seconds,)
        Tension of the muscles, of mean 0 and variance 1.
    """

    weights: Floats
    movement: Floats
    opened: Floats
    restless: Floats

    @property
    def seconds(self) -> int:
        return len(self.weights)

    def mean(self, values: Sequence[float]) -> Floats:
        """Average a quantity that each stage has its own value of, shape (seconds,)."""
        return np.asarray(self.weights @ np.array(values))

    def amplitude(self, values: Sequence[float]) -> Floats:
        """Average amplitudes, by their logarithms."""
        return np.asarray(np.exp(self.mean(np.log(values).tolist())))


def _course(stages: Sequence[str], rng: np.random.Generator) -> _Course:
    weights = _shown(stages, rng)
    seconds = len(weights)
    opened = weights[:, 0] / (1 + np.exp(8 * (_wander(rng, seconds, 60.0) + 0.1)))
    restless = _wander(rng, seconds, 240.0)
    rate = (0.3 + opened) * np.exp(0.8 * restless - 0.3) * (weights @ np.array(MOVEMENT_RATE))
    movement = np.zeros(seconds)
    for at in _times(rng, rate):
        length = int(np.clip(rng.lognormal(np.log(4), 0.6), 1, 25))
        movement[int(at) : int(at) + length] += rng.lognormal(-0.7, 0.5)
    for epoch in np.flatnonzero(np.array(stages) == "M"):
        start, length = int(EPOCH_SECONDS * epoch + rng.uniform(0, 12)), int(rng.uniform(16, 28))
        movement[start : start + length] += rng.uniform(0.8, 1.5)
    return _Course(weights, movement, opened, restless)


def _shown(stages: Sequence[str], rng: np.random.Generator) -> Floats:
    """Weights of the stages' signatures, shape (seconds, 6): epochs vary, boundaries are moved and blurred."""
    count, per_epoch = len(stages), int(EPOCH_SECONDS)
    logits = np.log(np.array([APPEARANCE[stage] for stage in stages]) + 1e-4)
    logits += APPEARANCE_SPREAD * np.stack([_wander(rng, count, 1.0) for _ in STAGES], axis=1)
    weights = np.exp(logits)
    weights /= weights.sum(axis=1, keepdims=True)
    moved = np.arange(count * per_epoch) + BOUNDARY_SECONDS * _wander(rng, count * per_epoch, 60.0)
    shown = weights[np.clip(moved // per_epoch, 0, count - 1).astype(np.int64)]
    padded = np.pad(shown, ((3, 3), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, np.ones(7) / 7, mode="valid") for column in padded.T], axis=1)


def _wander(rng: np.random.Generator, count: int, memory: float) -> Floats:
    """Draw a first-order autoregressive course of mean 0 and variance 1 that is forgotten over ``memory`` steps."""
    from scipy.signal import lfilter

    keep = float(np.exp(-1 / memory))
    noise = rng.standard_normal(count)
    noise[1:] *= np.sqrt(1 - keep**2)
    return np.asarray(lfilter([1.0], [1.0, -keep], noise))


def _times(rng: np.random.Generator, rate: Floats) -> Floats:
    """Draw the seconds of a Poisson process; ``rate`` in events a second, shape (seconds,)."""
    at = np.repeat(np.arange(len(rate)), rng.poisson(rate))
    return np.asarray(at + rng.random(len(at)))


def _sampled(per_second: Floats) -> Samples:
    """Interpolate a course of seconds to samples, shape (seconds * 100,)."""
    steps = np.diff(per_second, append=per_second[-1:]).astype(np.float32)
    ramp = np.arange(FS, dtype=np.float32) / np.float32(FS)
    return np.asarray(per_second.astype(np.float32)[:, None] + steps[:, None] * ramp).ravel()


def _noise(rng: np.random.Generator, seconds: int, b: Sequence[float], a: Sequence[float]) -> Samples:
    """Draw filtered white noise of unit variance, shape (seconds * 100,)."""
    from scipy.signal import lfilter

    impulse = np.zeros(4096)
    impulse[0] = 1
    size = np.sqrt(np.sum(lfilter(b, a, impulse) ** 2))
    white = rng.standard_normal(int(seconds * FS), dtype=np.float32)
    return np.asarray(lfilter((np.array(b) / size).astype(np.float32), np.array(a, dtype=np.float32), white))


def _rhythm(rng: np.random.Generator, seconds: int, hertz: float, width: float) -> Samples:
    """Draw narrow-band noise of unit variance around ``hertz``, ``width`` wide at half its power."""
    radius = np.exp(-np.pi * width / FS)
    poles = [1.0, -2 * radius * np.cos(2 * np.pi * hertz / FS), radius**2]
    # Without zeros the power falls faster above the peak; the recorder's filter takes what is left below a slow one.
    return _noise(rng, seconds, [1.0] if hertz < 2 else [1.0, 0.0, -1.0], poles)


def _background(course: _Course, levels: Sequence[float], subject: Subject, rng: np.random.Generator) -> Samples:
    """Make noise whose power falls with the square of frequency, larger during movements."""
    keep = float(np.exp(-2 * np.pi * subject.corner_hertz / FS))
    gain = course.amplitude(levels) * np.exp(course.mean(subject.habits[0])) * (1 + 6 * course.movement)
    gain *= np.exp(0.15 * _wander(rng, course.seconds, 200.0))
    return np.asarray(_sampled(gain) * _noise(rng, course.seconds, [1.0], [1.0, -keep]))


def _scalp(course: _Course, subject: Subject, rng: np.random.Generator) -> tuple[Samples, Samples]:
    """Make both EEG channels without what the eyes add."""
    frontal = _background(course, BACKGROUND[FRONTAL], subject, rng)
    occipital = _background(course, BACKGROUND[OCCIPITAL], subject, rng)
    for name, hertz, width, correlation in (
        ("delta", 1.0, 1.0, 0.6),
        ("theta", 5.6, 2.2, 0.5),
        ("alpha", subject.alpha_hertz, 1.3, 0.4),
        ("sigma", subject.spindle_hertz, 2.5, 0.4),
        ("beta", 23.0, 16.0, 0.3),
    ):
        gain = _gain(name, course, subject, rng)
        rhythm = _rhythm(rng, course.seconds, hertz, width)
        frontal += _sampled(gain * course.amplitude(RHYTHMS[name][FRONTAL])) * rhythm
        rhythm *= np.float32(correlation)
        rhythm += np.float32(np.sqrt(1 - correlation**2)) * _rhythm(rng, course.seconds, hertz, width)
        occipital += _sampled(gain * course.amplitude(RHYTHMS[name][OCCIPITAL])) * rhythm
    _add_graphoelements(frontal, occipital, course, subject, rng)
    frontal *= np.float32(subject.attenuation)
    occipital *= np.float32(subject.attenuation)
    return frontal, occipital


def _gain(rhythm: str, course: _Course, subject: Subject, rng: np.random.Generator) -> Floats:
    """Course of a rhythm's amplitude, as a factor on what the stages say, shape (seconds,)."""
    gain = np.exp(0.25 * _wander(rng, course.seconds, 6.0) + 0.18 * _wander(rng, course.seconds, 200.0))
    if rhythm in HABITS:
        gain *= np.exp(course.mean(subject.habits[HABITS.index(rhythm)]))
    if rhythm == "alpha":
        gain *= subject.alpha ** course.mean(ALPHA_OWN) * np.exp(-1.2 * course.opened)
    elif rhythm == "beta":  # with the muscles' part in it
        tension = course.weights[:, 0] * (course.restless - 1) + course.opened
        gain *= subject.beta * (1 + 4 * course.movement) * np.exp(0.4 * tension)
    else:
        gain *= {"delta": subject.delta, "theta": subject.theta, "sigma": subject.spindle}[rhythm]
    return np.asarray(gain)


def _spindle(hertz: float) -> Wave:
    def wave(rng: np.random.Generator) -> Floats:
        time = np.arange(int(rng.uniform(0.5, 1.5) * FS)) / FS
        window = np.sin(np.pi * time * FS / len(time))
        return np.asarray(window * np.sin(2 * np.pi * (hertz + rng.normal(0, 0.25)) * time + rng.uniform(0, 6.3)))

    return wave


def _biphasic(width: float) -> Wave:
    """Make a sharp negative wave, ``width`` seconds wide, and the slower positive one after it."""

    def wave(rng: np.random.Generator) -> Floats:
        wide = width * rng.uniform(0.8, 1.25)
        time = np.arange(int(9 * wide * FS)) / (wide * FS)
        return np.asarray(0.6 * np.exp(-0.5 * ((time - 5.5) / 1.3) ** 2) - np.exp(-0.5 * (time - 2.5) ** 2))

    return wave


def _sawtooth(rng: np.random.Generator) -> Floats:
    time = np.arange(int(rng.uniform(1.5, 5.0) * FS)) / FS
    window = np.minimum(1, 4 * np.sin(np.pi * time * FS / len(time)))
    return np.asarray(window * (2 * (rng.uniform(2.2, 4.5) * time % 1) - 1))


def _blink(rng: np.random.Generator) -> Floats:
    return np.hanning(int(rng.uniform(0.25, 0.45) * FS))


def _jump(rng: np.random.Generator) -> Floats:
    """Make a step to either side as a recorder without direct current shows it: a saccade, or an electrode's pop."""
    time = np.arange(int(1.5 * FS)) / FS
    shape = (1 - np.exp(-time / rng.uniform(0.02, 0.05))) * np.exp(-time / rng.uniform(0.25, 0.7))
    return np.asarray(rng.choice([-1.0, 1.0]) * shape)


# Events a minute in the stages W, 1, 2, 3, 4, R; microvolts on Fpz-Cz and Pz-Oz; spread of their logarithm.
GRAPHOELEMENTS: tuple[tuple[Wave, tuple[float, ...], tuple[float, float], float], ...] = (
    (_biphasic(0.13), (0, 0.1, 1.2, 0.8, 0.2, 0.02), (95.0, 45.0), 0.25),  # K-complexes
    (_biphasic(0.045), (0, 2.0, 0.4, 0, 0, 0.1), (50.0, 22.0), 0.25),  # vertex waves
    (_sawtooth, (0, 0, 0, 0, 0, 1.5), (12.0, 7.0), 0.3),
)


def _add_events(
    signals: Sequence[tuple[Samples, float]], rate: Floats, wave: Wave, spread: float, rng: np.random.Generator
) -> None:
    """Add waves at chance times to every signal, each with its amplitude; ``spread`` is of their logarithm."""
    for at in _times(rng, rate):
        shape = (wave(rng) * rng.lognormal(0, spread)).astype(np.float32)
        start = int(at * FS)
        for signal, size in signals:
            part = signal[start : start + len(shape)]
            part += np.float32(size) * shape[: len(part)]


def _add_graphoelements(
    frontal: Samples, occipital: Samples, course: _Course, subject: Subject, rng: np.random.Generator
) -> None:
    """Add spindles, slower ones in front and faster ones behind, and the waves of ``GRAPHOELEMENTS``."""
    often = course.mean(SPINDLE_RATE) * subject.spindles_per_minute / 60
    for hertz, sizes in ((subject.spindle_hertz, (18.0, 8.0)), (subject.spindle_hertz + 0.6, (5.0, 13.0))):
        scaled = [(frontal, subject.spindle * sizes[0]), (occipital, subject.spindle * sizes[1])]
        _add_events(scaled, often, _spindle(hertz), 0.3, rng)
    for wave, per_minute, sizes, spread in GRAPHOELEMENTS:
        _add_events([(frontal, sizes[0]), (occipital, sizes[1])], course.mean(per_minute) / 60, wave, spread, rng)


def _add_eye_movements(
    frontal: Samples, occipital: Samples, eyes: Samples, course: _Course, subject: Subject, rng: np.random.Generator
) -> None:
    """Add blinks, slow and rapid eye movements to the three channels, which show them more or less."""
    slow = _rhythm(rng, course.seconds, 0.4, 0.3)
    slow *= _sampled(subject.eyes * course.mean(SLOW_EYES) * np.exp(0.5 * _wander(rng, course.seconds, 30.0)))
    eyes += slow
    frontal += np.float32(0.15) * slow
    wake, rem = course.weights[:, 0], course.weights[:, 5]
    bursts = rem / (1 + np.exp(-3 * (_wander(rng, course.seconds, 15.0) - 0.4)))
    for rate, wave, sizes, spread in (
        (0.35 * course.opened + 0.03 * wake, _blink, (120.0, 9.0, 75.0), 0.45),
        (0.45 * course.opened + 0.06 * wake, _jump, (25.0, 5.0, 170.0), 0.6),
        (0.8 * bursts, _jump, (12.0, 2.0, 120.0), 0.5),
    ):
        scaled = [(one, subject.eyes * size) for one, size in zip((frontal, occipital, eyes), sizes, strict=True)]
        _add_events(scaled, rate, wave, spread, rng)


def _chin(course: _Course, subject: Subject, rng: np.random.Generator) -> Samples:
    """Make the rms envelope of the chin's EMG, shape (seconds,): its tone, and twitches in REM sleep."""
    tone = subject.muscle * course.amplitude(CHIN_TONE)
    tone *= np.exp(0.25 * _wander(rng, course.seconds, 90.0) + 0.12 * rng.standard_normal(course.seconds))
    twitches = (rng.random(course.seconds) < 0.02 * course.weights[:, 5]) * rng.lognormal(0, 0.4, course.seconds)
    envelope = tone + 2.5 * course.movement + twitches
    return np.asarray(np.clip(envelope, 0, RANGES[CHIN]), dtype=np.float32)


def _add_artefacts(signal: Samples, rng: np.random.Generator) -> None:
    """Add pops of the electrode, sweat on some nights, mains hum and the amplifier's noise to one channel."""
    seconds = int(len(signal) / FS)
    pops = np.full(seconds, rng.lognormal(0, 0.8) / 3600)
    _add_events([(signal, 120.0)], pops, _jump, 0.5, rng)
    if rng.random() < 0.3:
        start, length = int(rng.uniform(0, seconds)), int(rng.uniform(300, 2400))
        part = signal[int(start * FS) : int((start + length) * FS)]
        part += np.float32(rng.uniform(10, 25)) * _rhythm(rng, length, 0.25, 0.3)[: len(part)]
    # 50 Hz is all that 100 samples a second can hold: the hum alternates in sign, and beats as its frequency strays.
    beat = 2 * np.pi * (rng.uniform(0.005, 0.05) * np.arange(seconds) + rng.random())
    hum = _sampled(rng.uniform(0.2, 1.0) * np.sin(beat))
    hum[1::2] *= -1
    signal += hum
    signal += np.float32(rng.uniform(0.4, 0.9)) * rng.standard_normal(len(signal), dtype=np.float32)


def _recorded(signal: Samples, highest: float) -> Samples:
    """Filter as the recorder does, above 0.3 Hz, and cut at what it can hold."""
    from scipy.signal import lfilter

    keep = np.exp(-2 * np.pi * 0.3 / FS)
    passed = lfilter(np.array([1, -1], dtype=np.float32), np.array([1, -keep], dtype=np.float32), signal)
    return np.asarray(np.clip(passed, -highest, highest), dtype=np.float32)
