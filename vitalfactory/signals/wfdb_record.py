"""The first signal of a WFDB record, its headers checked before memory is taken for what they claim.

Signals of 16 bits, as the CinC 2017 Challenge and most of PhysioNet have them, are read here: the ``wfdb``
package takes four times as long for a record, and a second to import. It reads every other format.

Source: the WFDB header format, https://physionet.org/physiotools/wag/header-5.htm.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitalfactory.errors import UnusableRecord

MOST_SAMPLES_PER_BYTE = 64
"""Of compressed signals; those of the usual formats have one at most."""
MAT_HEADER = struct.Struct("<5i")
MAT_INT16 = 30
"""MAT version 4's type number of little-endian int16 values, as the Challenge's files hold."""
NO_SAMPLE = -32768
"""What stands for a missing sample of 16 bits."""
DEFAULT_FS, DEFAULT_GAIN = 250.0, 200.0
MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "\N{MICRO SIGN}v": 1e-3, "v": 1e3}
"""Voltages by their name in lower case."""

_RECORD = re.compile(
    r"[^\s/]+(?P<segments>/\d+)?\s+(?P<signals>\d+)(?:\s+(?P<fs>[\d.eE+-]+)(?:/\S+)?(?:\s+(?P<frames>\d+)(?:\s.*)?)?)?"
)
_SIGNAL = re.compile(
    r"(?P<file>\S+)\s+(?P<format>\d+)(?:x(?P<per_frame>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?"
    r"(?:\s+(?P<gain>[\d.eE+-]+)(?:\((?P<baseline>-?\d+)\))?(?:/(?P<unit>\S+))?"
    r"(?:\s+\d+(?:\s+(?P<zero>-?\d+)(?:\s.*)?)?)?)?"
)


@dataclass(frozen=True)
class Signal:
    """One signal of a header; ``offset`` is in bytes, ``gain`` in steps a ``unit``."""

    file: str
    format: str
    per_frame: int
    skew: int
    offset: int
    gain: float
    unit: str
    baseline: int


@dataclass(frozen=True)
class Header:
    """What a record's header claims; ``frames`` is None where it does not say."""

    fs: float
    frames: int | None
    signals: tuple[Signal, ...]


def read_header(path: Path) -> Header:
    """Read a record's header.

    Raises
    ------
    UnusableRecord
        It is not the header of one segment with a signal.
    """
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    record = _RECORD.fullmatch(lines[0]) if lines else None
    if record is None:
        raise UnusableRecord("unreadable", f"{path.name}: not a WFDB header")
    if record["segments"]:
        raise UnusableRecord("unreadable", "a record of several segments; cut it into records of one")
    count = int(record["signals"])
    if not 0 < count <= len(lines) - 1:
        raise UnusableRecord("unreadable", f"{path.name}: {count} signals in a header of {len(lines)} lines")
    signals = tuple(_signal(line, path) for line in lines[1 : count + 1])
    frames = int(record["frames"]) if record["frames"] else None
    return Header(float(record["fs"] or DEFAULT_FS), frames or None, signals)


def _signal(line: str, path: Path) -> Signal:
    found = _SIGNAL.fullmatch(line)
    if found is None:
        raise UnusableRecord("unreadable", f"{path.name}: not a signal of a WFDB header: {line[:80]!r}")
    zero = int(found["zero"] or 0)
    return Signal(
        file=found["file"],
        format=found["format"],
        per_frame=int(found["per_frame"] or 1),
        skew=int(found["skew"] or 0),
        offset=int(found["offset"] or 0),
        gain=float(found["gain"] or 0) or DEFAULT_GAIN,
        unit=found["unit"] or "mV",
        baseline=int(found["baseline"]) if found["baseline"] else zero,
    )


def read_first_signal(stem: Path) -> tuple[NDArray[np.float64], float]:
    """Read the first signal of a record.

    Parameters
    ----------
    stem : Path
        The header without its ``.hea``.

    Returns
    -------
    signal : ndarray of float64, shape (n,)
        Millivolts, NaN where a sample is missing.
    fs : float
        Sampling rate in hertz.

    Raises
    ------
    UnusableRecord
        With the reason ``outside the folder``, ``unreadable`` or ``not a voltage``.
    """
    try:
        header = read_header(stem.with_name(f"{stem.name}.hea"))
        unit = header.signals[0].unit
        if unit.lower() not in MILLIVOLTS:
            raise UnusableRecord("not a voltage", f"{stem.name}: the first signal is in {unit}")
        _check_sizes(stem.parent, header)
        signal, fs = (_read_plain(stem.parent, header), header.fs) if _is_plain(header) else _read_by_wfdb(stem)
        return signal * MILLIVOLTS[unit.lower()], fs
    except UnusableRecord:
        raise
    except Exception as error:  # wfdb raises whatever its parser stumbles over
        raise UnusableRecord("unreadable", f"{stem.name}: {type(error).__name__}: {error}") from None


def _check_sizes(folder: Path, header: Header) -> None:
    length = header.frames or 0
    frames = length + max(signal.skew for signal in header.signals)
    claimed = frames * sum(signal.per_frame for signal in header.signals)
    for name in {signal.file for signal in header.signals}:
        if Path(name).name != name:
            raise UnusableRecord("outside the folder", name)
        file = folder / name
        size = file.stat().st_size
        if claimed > MOST_SAMPLES_PER_BYTE * size:
            raise UnusableRecord("unreadable", f"{name}: the header claims {claimed} samples in {size} bytes")
        if file.suffix == ".mat":
            _check_mat(file, length, size)


def _check_mat(file: Path, claimed: int, size: int) -> None:
    with file.open("rb") as stream:
        head = stream.read(MAT_HEADER.size)
    if len(head) < MAT_HEADER.size:
        raise UnusableRecord("unreadable", f"{file.name}: cut off inside its header")
    kind, rows, columns, _, name_length = MAT_HEADER.unpack(head)
    if kind != MAT_INT16 or rows < 1 or columns < 1 or not 0 < name_length < 64:
        raise UnusableRecord("unreadable", f"{file.name}: not a MAT version 4 file of int16 values")
    needed = MAT_HEADER.size + name_length + 2 * rows * columns
    if needed > size or claimed > columns:
        raise UnusableRecord("unreadable", f"{file.name}: claims {rows} x {columns} samples, the file has {size} bytes")


def challenge_header(file: Path, name: str) -> str:
    """Write the header that the CinC 2017 Challenge gives a file: 300 Hz, 1000 steps a millivolt.

    Parameters
    ----------
    file : Path
        MAT version 4 of one row of int16 values.
    name : str
        The record's, whose file is ``<name>.mat``.

    Raises
    ------
    UnusableRecord
        With the reason ``unreadable``: it is another file.
    """
    with file.open("rb") as stream:
        head = stream.read(MAT_HEADER.size)
    _check_mat(file, 0, file.stat().st_size)
    _, rows, columns, _, name_length = MAT_HEADER.unpack(head)
    if rows != 1:
        raise UnusableRecord("unreadable", f"{file.name}: {rows} signals and no header that says which is the ECG")
    offset = MAT_HEADER.size + name_length
    return f"{name} 1 300 {columns}\n{name}.mat 16+{offset} 1000/mV 16 0 0 0 0 ECG\n"


def _of_first_file(header: Header) -> list[Signal]:
    return [signal for signal in header.signals if signal.file == header.signals[0].file]


def _is_plain(header: Header) -> bool:
    """Whether the first file holds nothing but signals of 16 bits, one sample a frame."""
    return header.frames is not None and all(
        signal.format == "16" and signal.per_frame == 1 and not signal.skew for signal in _of_first_file(header)
    )


def _read_plain(folder: Path, header: Header) -> NDArray[np.float64]:
    first, together = header.signals[0], len(_of_first_file(header))
    count = (header.frames or 0) * together
    samples = np.fromfile(folder / first.file, "<i2", count, offset=first.offset)
    if len(samples) < count:
        raise UnusableRecord("unreadable", f"{first.file}: {len(samples)} of {count} samples")
    samples = samples[::together]
    signal: NDArray[np.float64] = (samples.astype(np.float64) - first.baseline) / first.gain
    signal[samples == NO_SAMPLE] = np.nan
    return signal


def _read_by_wfdb(stem: Path) -> tuple[NDArray[np.float64], float]:
    import wfdb

    record = wfdb.rdrecord(str(stem), channels=[0])
    return np.ascontiguousarray(record.p_signal[:, 0], dtype=np.float64), float(record.fs)
