"""A row's recording, found again in the source that its dataset's card names, where that is at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_jsonl
from vitalfactory.signals import ecg, eeg
from vitalfactory.signals.eeg_features import read_montage
from vitalfactory.studio.folders import Folders
from vitalfactory.studio.state import flags_of


@dataclass(frozen=True)
class Epoch:
    """The signals of one epoch.

    Attributes
    ----------
    traces : mapping of str to ndarray of float64, shape (n,)
        Channel to microvolts.
    rate : float
        Samples a second.
    start : float
        Seconds from the beginning of the recording.
    """

    traces: Mapping[str, Any]
    rate: float
    start: float


def name_of(row: Mapping[str, Any]) -> str:
    """Name the record of a row: that of a copy which ``--balance`` made is the first one's."""
    return str(row["id"]).partition("+")[0]


def find_ecg(row: Mapping[str, Any], folder: Path, card: Card, folders: Folders) -> ecg.Recording | None:
    """Find the recording of a row of ECGs.

    Parameters
    ----------
    row : mapping
    folder : Path
        The dataset's.
    card : Card
    folders : Folders
        The source must lie in them.

    Returns
    -------
    Recording or None
        From the source, else what the dataset keeps of a test row for its report; None where there is neither.

    Raises
    ------
    UnusableRecord
        The recording cannot be read any more.
    """
    name, flags = name_of(row), flags_of(card.command)
    if "--synthetic" in flags:
        made = {record.id: record for record in ecg.synthetic(int(flags["--synthetic"][0]), card.seed)}
        return made[name].read() if name in made else None
    for place in _places(flags, folders):
        for record in ecg.read_folder(place):
            if record.id == name:
                return record.read()
    for kept in read_jsonl(folder / "previews.jsonl"):
        if kept["id"] == name:
            return ecg.Recording(np.array(kept["trace"]) * kept["scale"], float(kept["fs"]))
    return None


def find_epoch(row: Mapping[str, Any], root: Path, card: Card, folders: Folders) -> Epoch | None:
    """Find the signals of a row of sleep.

    Parameters
    ----------
    row : mapping
    root : Path
        Where synthetic nights are kept.
    card : Card
    folders : Folders
        The source must lie in them.

    Returns
    -------
    Epoch or None
        None where the night is not at hand, or is a table without signals.

    Raises
    ------
    UnusableRecord
        The night cannot be read any more.
    """
    flags = flags_of(card.command)
    places = _places(flags, folders)
    if "--synthetic" in flags:
        count, hours = flags["--synthetic"][0], float(flags.get("--hours", ["8"])[0])
        places = [root / "data" / "raw" / f"eeg_synthetic_{card.seed}_{count}_{hours:g}h"]
    for place in places:
        nights = eeg.edf_folder(place) if place.is_dir() else eeg.listed_nights(place)
        for night in nights:
            if night.id == row["night"] and not isinstance(night, eeg.LeftOut):
                return _epoch(night, float(row["start"]), str(row["label"]), flags)
    return None


def _epoch(night: eeg.Night, start: float, stage: str, flags: Mapping[str, list[str]]) -> Epoch:
    window, rate = float(flags["--window"][0]), float(flags["--rate"][0])
    how = eeg.Cut(window, window, "aasm", None, rate)
    epochs = eeg.Epochs(np.array([start]), (stage,), {})
    traces = read_montage(night, epochs, how, flags.get("--channels"))
    return Epoch({name: windows[0] for name, windows in traces.items()}, rate, start)


def _places(flags: Mapping[str, list[str]], folders: Folders) -> list[Path]:
    """Find the folders that a card names among those that may be read."""
    found = []
    for given in flags.get("--input", ()):
        try:
            found.append(folders.inside(str(ROOT / given)))
        except VitalFactoryError:
            continue
    return found
