"""Records in the format of the CinC 2017 Challenge, made in code: MAT v4 of int16, a header, a reference."""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitalfactory.signals.ecg_synthetic import make

FS = 300
INT16 = 30


def mat_bytes(samples: NDArray[np.int16], *, kind: int = INT16, rows: int = 1, columns: int | None = None) -> bytes:
    """Lay out a MAT v4 matrix ``val``; its header may claim another size than it has."""
    claimed = len(samples) if columns is None else columns
    return struct.pack("<5i", kind, rows, claimed, 0, 4) + b"val\0" + samples.astype("<i2").tobytes()


def header_text(name: str, length: int, fs: float = FS) -> str:
    """Write a header as the Challenge's are: one signal, 1000 units a millivolt, 24 bytes into the MAT file."""
    return f"{name} 1 {fs:g} {length} 05:05:15 1/05/2000\r\n{name}.mat 16+24 1000/mV 16 0 0 0 0 ECG \r\n"


def write_record(folder: Path, name: str, millivolts: NDArray[np.float64], fs: float = FS) -> None:
    """Write one record's two files."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = np.round(1000 * millivolts).clip(-32767, 32767).astype(np.int16)
    (folder / f"{name}.mat").write_bytes(mat_bytes(samples))
    (folder / f"{name}.hea").write_text(header_text(name, len(samples), fs), newline="")


def write_reference(folder: Path, records: Iterable[Sequence[str]], head: str = "", end: str = "\n") -> None:
    """Write ``REFERENCE.csv``."""
    lines = [*([head] if head else []), *(",".join(record) for record in records)]
    (folder / "REFERENCE.csv").write_text("".join(line + end for line in lines), encoding="utf-8", newline="")


def write_cinc(folder: Path, records: Sequence[tuple[str, str]], seconds: float = 10.0) -> None:
    """Write synthetic records of the labels N, A and O (others are told as N), and their reference."""
    for number, (name, label) in enumerate(records):
        signal = make(label if label in "NAO" else "N", np.random.default_rng((2026, number)), seconds)
        write_record(folder, name, signal)
    write_reference(folder, records)
