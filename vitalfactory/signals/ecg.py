"""Single-lead ECG recordings: what a source holds, and how each record is read.

A source is a generator of records; a record is light, and reads its signal when it is asked to:

    for record in cinc2017(Path("data/raw/training2017")):
        recording = record.read()       # Recording(signal=array of 9000 millivolts, fs=300.0)

Sources
-------
- PhysioNet/CinC Challenge 2017 (ODC-BY 1.0, Clifford et al. 2017, recordings by AliveCor): a folder
  of ``A00001.mat`` and ``A00001.hea`` with ``REFERENCE.csv``, lines such as ``A00001,N``.
- Any folder of WFDB records with a ``labels.csv`` of record, label and, where known, patient.
- Synthetic recordings, made in code (see :mod:`vitalfactory.signals.ecg_synthetic`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.files import read_csv
from vitalfactory.signals.wfdb_record import read_first_signal

REFERENCE = "REFERENCE.csv"
LABELS = "labels.csv"
_CHALLENGE_HEADER_ROWS = {("record", "label"), ("data_source", "class")}
AF = {"A": True, "AF": True, "N": False, "O": False, "no AF": False}
"""Whether a source's label says atrial fibrillation; other labels, such as ``~`` for noise, say nothing of it."""
_SAFE_NAME = re.compile(r"[\w.+-]+(/[\w.+-]+)*")


@dataclass(frozen=True)
class Recording:
    """A signal in memory.

    Attributes
    ----------
    signal : ndarray of float64, shape (n,)
        One lead in millivolts.
    fs : float
        Sampling rate in hertz.
    """

    signal: NDArray[np.float64]
    fs: float


def digest_of(recording: Recording) -> int:
    """Hash a signal to 63 bits, to tell whether another recording stands under a known id."""
    raw = hashlib.blake2b(np.ascontiguousarray(recording.signal).tobytes(), digest_size=8).digest()
    return int.from_bytes(raw, "big") >> 1


class Record(Protocol):
    """One recording of a source, not yet read."""

    @property
    def id(self) -> str:
        """Unique in its source."""

    @property
    def group(self) -> str:
        """The patient, or the record itself where no patient is known."""

    @property
    def label(self) -> str:
        """The label as the source writes it."""

    def read(self) -> Recording:
        """Read the signal; raises :class:`UnusableRecord` where that cannot be done."""


@dataclass(frozen=True)
class WfdbRecord:
    """A record of a folder in PhysioNet's WFDB format; its first signal is read.

    Attributes
    ----------
    id, group, label : str
    folder : Path
        The record's files are ``<folder>/<id>.hea`` and what that header names.
    """

    id: str
    group: str
    label: str
    folder: Path

    def read(self) -> Recording:
        """Read the first signal.

        Raises
        ------
        UnusableRecord
            With the reason ``no such record``, ``outside the folder``, ``unreadable`` or ``not a voltage``.
        """
        if not _SAFE_NAME.fullmatch(self.id) or ".." in self.id.split("/"):
            raise UnusableRecord("outside the folder", self.id)
        stem = self.folder / self.id
        if not stem.with_name(f"{stem.name}.hea").is_file():
            raise UnusableRecord("no such record", f"{stem}.hea is missing")
        return Recording(*read_first_signal(stem))


@dataclass(frozen=True)
class SyntheticRecord:
    """A record that is made when it is read.

    Attributes
    ----------
    id, group, label : str
        ``N`` sinus rhythm, ``A`` atrial fibrillation, ``O`` another rhythm.
    seed : int
        Decides the whole recording, together with the id.
    """

    id: str
    group: str
    label: str
    seed: int

    def read(self) -> Recording:
        """Make the signal."""
        from vitalfactory.signals.ecg_synthetic import FS, make

        number = int(self.id.removeprefix("S"))
        return Recording(make(self.label, np.random.default_rng((self.seed, number))), FS)


def cinc2017(folder: Path) -> Iterator[WfdbRecord]:
    """List a folder of the Challenge's training set.

    Parameters
    ----------
    folder : Path
        Holds ``REFERENCE.csv``, with or without a header line.

    Yields
    ------
    WfdbRecord
        Every line of the reference, also where its record is missing: :meth:`WfdbRecord.read` tells.

    Raises
    ------
    VitalFactoryError
        The reference is missing or a line has fewer than two columns.
    """
    reference = folder / REFERENCE
    for place, (number, cells) in enumerate(read_csv(reference)):
        if place == 0 and tuple(cell.lower() for cell in cells[:2]) in _CHALLENGE_HEADER_ROWS:
            continue
        if len(cells) < 2:
            raise VitalFactoryError(f"{reference}:{number}: expected 'record,label', found {','.join(cells)!r}")
        yield WfdbRecord(cells[0], cells[0], cells[1], folder)


def wfdb_folder(folder: Path) -> Iterator[WfdbRecord]:
    """List a folder of WFDB records with a ``labels.csv``.

    Parameters
    ----------
    folder : Path
        ``labels.csv`` has the columns ``record``, ``label`` and, optionally, ``patient``.

    Yields
    ------
    WfdbRecord

    Raises
    ------
    VitalFactoryError
        ``labels.csv`` is missing or lacks a column or a value.
    """
    labels = folder / LABELS
    lines = read_csv(labels)
    _, header = next(lines, (0, []))
    if missing := {"record", "label"} - set(header):
        raise VitalFactoryError(
            f"{labels}: lacks the column {', '.join(sorted(missing))}; expected record,label and, where known, patient"
        )
    for number, cells in lines:
        row = dict(zip(header, cells, strict=False))
        if not row.get("record") or not row.get("label"):
            raise VitalFactoryError(f"{labels}:{number}: a record or its label is empty")
        yield WfdbRecord(row["record"], row.get("patient") or row["record"], row["label"], folder)


def synthetic(count: int, seed: int) -> Iterator[SyntheticRecord]:
    """List synthetic records: four in ten sinus rhythm, three fibrillation, three other rhythms.

    Parameters
    ----------
    count : int
    seed : int

    Yields
    ------
    SyntheticRecord
        ``S00001``, ``S00002``, ...; the first records are the same for every ``count``.
    """
    labels = "NAONANOANO"
    for number in range(1, count + 1):
        name = f"S{number:05d}"
        yield SyntheticRecord(name, name, labels[(number - 1) % len(labels)], seed)


def read_folder(folder: Path) -> Iterator[WfdbRecord]:
    """List the records of a folder in whichever of the two forms it has.

    Raises
    ------
    VitalFactoryError
        There is no such folder, or it has neither ``REFERENCE.csv`` nor ``labels.csv``.
    """
    if not folder.is_dir():
        raise VitalFactoryError(f"{folder}: no such folder")
    if (folder / REFERENCE).is_file():
        return cinc2017(folder)
    if (folder / LABELS).is_file():
        return wfdb_folder(folder)
    raise VitalFactoryError(f"{folder}: holds neither {REFERENCE} (CinC 2017) nor {LABELS} (any WFDB folder)")
