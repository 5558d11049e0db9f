"""One recording without a label as a source of its own, so that a converter tells it as it told those of a dataset.

A source has a label for every recording; the one written here stands for none, and no model is shown it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.files import dumps, write_text
from vitalfactory.signals.cxr import NO_FINDING
from vitalfactory.signals.ecg import REFERENCE
from vitalfactory.signals.edf import open_edf
from vitalfactory.signals.wfdb_record import challenge_header

NAME = "asked"
"""The recording's id."""
STAGE = "Sleep stage 2"
"""Of every epoch: sleep, so that no epoch is left out as wake far from it."""


def ecg_source(files: Sequence[Path], folder: Path) -> Path:
    """Lay an ECG out as a folder of the CinC 2017 Challenge.

    Parameters
    ----------
    files : sequence of Path
        A ``.mat`` file, alone or with its ``.hea``; alone it is read as one of the Challenge's, 300 Hz and 1000 steps a
        millivolt.
    folder : Path
        Filled; must be empty.

    Returns
    -------
    Path
        What to give a converter as its input.

    Raises
    ------
    VitalFactoryError
        There is not one ``.mat`` file, or it is none of the Challenge's.
    """
    signals = [file for file in files if file.suffix.lower() == ".mat"]
    headers = [file for file in files if file.suffix.lower() == ".hea"]
    if len(signals) != 1 or len(headers) > 1 or len(files) != len(signals) + len(headers):
        raise VitalFactoryError("an ECG: expected one .mat file, alone or with its .hea")
    shutil.copyfile(signals[0], folder / f"{NAME}.mat")
    try:
        text = _renamed(headers[0]) if headers else challenge_header(signals[0], NAME)
    except UnusableRecord as error:
        raise VitalFactoryError(error.detail) from None
    write_text(folder / f"{NAME}.hea", text)
    write_text(folder / REFERENCE, f"{NAME},N\n")
    return folder


def _renamed(header: Path) -> str:
    """Let a header name the signal as it is called here."""
    lines = header.read_text(encoding="utf-8", errors="replace").splitlines()
    renamed = []
    for place, line in enumerate(lines):
        first, blank, rest = line.partition(" ")
        name = NAME if place == 0 else f"{NAME}.mat" if first.lower().endswith(".mat") else first
        renamed.append(f"{name}{blank}{rest}")
    return "\n".join([*renamed, ""])


def night_source(psg: Path, folder: Path) -> Path:
    """Lay a night, or a part of one, out as a list of nights.

    Parameters
    ----------
    psg : Path
        EDF.
    folder : Path
        Filled; must be empty.

    Returns
    -------
    Path
        What to give a converter as its input.

    Raises
    ------
    VitalFactoryError
        It is not an EDF file whose header agrees with its size.
    """
    from edfio import Edf, EdfAnnotation, Recording

    try:
        opened = open_edf(psg)
    except UnusableRecord as error:
        raise VitalFactoryError(f"{error.reason}: {error.detail}") from None
    shutil.copyfile(psg, folder / f"{NAME}.edf")
    scored = Edf(
        [],
        annotations=[EdfAnnotation(0.0, opened.seconds, STAGE)],
        recording=Recording(startdate=opened.start.date()),
        starttime=opened.start.time(),
    )
    scored.write(folder / "hypnogram.edf")
    table = folder / "nights.csv"
    write_text(table, f"psg,hypnogram,subject\n{NAME}.edf,hypnogram.edf,{NAME}\n")
    return table


def xray_source(image: Path, folder: Path) -> Path:
    """Lay a chest X-ray out as a file of images and their findings.

    Parameters
    ----------
    image : Path
    folder : Path
        Filled; must be empty.

    Returns
    -------
    Path
        What to give a converter as its input.
    """
    name = f"{NAME}{image.suffix.lower()}"
    shutil.copyfile(image, folder / name)
    labels = folder / "labels.json"
    write_text(labels, dumps([{"image_path": name, "disease_names": [NO_FINDING]}]) + "\n")
    return labels
