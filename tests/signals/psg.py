"""Small EDF recordings and hypnograms in the form of Sleep-EDF, written by edfio."""

from collections.abc import Mapping, Sequence
from datetime import date, time
from pathlib import Path
from zlib import crc32

import numpy as np
from edfio import Edf, EdfAnnotation, EdfSignal, Patient, Recording

NAME = {"W": "W", "N1": "1", "N2": "2", "N3": "3", "N4": "4", "R": "R"}
FS = 100.0
STARTS = (date(1989, 4, 24), time(16, 13))


def tone(seconds: float, hertz: float, microvolts: float = 40.0, fs: float = FS, seed: int = 7) -> np.ndarray:
    """A sine with a little noise."""
    at = np.arange(round(seconds * fs)) / fs
    return microvolts * np.sin(2 * np.pi * hertz * at) + np.random.default_rng(seed).normal(0, 1, len(at))


def write_psg(
    path: Path,
    signals: Mapping[str, tuple[np.ndarray, float]],
    *,
    unit: str = "uV",
    starts: tuple[date, time] = STARTS,
    patient: str = "X",
) -> Path:
    """Write signals of microvolts by label, each with its rate; numbers are scaled to the unit."""
    scale = {"uv": 1.0, "mv": 1e-3, "v": 1e-6}.get(unit.lower(), 1.0)
    made = [
        EdfSignal(values * scale, fs, label=label, physical_dimension=unit) for label, (values, fs) in signals.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    about = Recording(startdate=starts[0])
    Edf(made, patient=Patient(name=patient), recording=about, starttime=starts[1], data_record_duration=1).write(path)
    return path


def write_hypnogram(
    path: Path, stages: Sequence[tuple[str, float]], *, starts: tuple[date, time] = STARTS, gap: float = 0.0
) -> Path:
    """Write stages and their seconds one after the other; ``?`` and ``M`` are unscored and movement time."""
    annotations, onset = [], 0.0
    for stage, seconds in stages:
        text = "Movement time" if stage == "M" else f"Sleep stage {NAME.get(stage, stage)}"
        annotations.append(EdfAnnotation(onset, seconds, text))
        onset += seconds + gap
    path.parent.mkdir(parents=True, exist_ok=True)
    Edf([], annotations=annotations, recording=Recording(startdate=starts[0]), starttime=starts[1]).write(path)
    return path


HERTZ = {"W": 10.0, "N1": 6.0, "N2": 13.5, "N3": 1.5, "N4": 1.0, "R": 5.0}
"""A rhythm for each stage: rough physiology, easily told apart."""


def write_pair(folder: Path, name: str, stages: Sequence[tuple[str, float]]) -> None:
    """Write a night whose EEG has the rhythm of its stages; ``name`` has the first six characters, such as SC4001."""
    seeds = range(crc32(name.encode()), 2**33)  # no two epochs are alike
    parts = zip(stages, seeds, strict=False)
    eeg = np.concatenate([tone(seconds, HERTZ.get(stage, 20.0), seed=seed) for (stage, seconds), seed in parts])
    minutes = sum(seconds for _, seconds in stages)
    signals = {
        "EEG Fpz-Cz": (eeg, FS),
        "EEG Pz-Oz": (eeg[::-1] * 0.5, FS),
        "EOG horizontal": (tone(minutes, 0.7, 80.0), FS),
        "EMG submental": (3 + np.abs(tone(minutes, 0.01, 1.0, 1.0)), 1.0),
    }
    write_psg(folder / f"{name}E0-PSG.edf", signals)
    write_hypnogram(folder / f"{name}EC-Hypnogram.edf", stages)
