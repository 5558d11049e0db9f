"""European Data Format: headers checked before anything is read, one channel at a time, and scored annotations.

Headers are read here, because what they claim decides whether and how much is read; mne reads the rest.

Source: EDF (Kemp et al. 1992) and EDF+ (Kemp and Olivan 2003), https://www.edfplus.info/specs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vitalfactory.errors import UnusableRecord

Floats = NDArray[np.float64]

FIXED_BYTES = 256
CHANNEL_BYTES = 256
BYTES_PER_SAMPLE = 2
MOST_CHANNELS = 512
ANNOTATIONS = "EDF Annotations"
MICROVOLTS = {"uv": 1.0, "\N{MICRO SIGN}v": 1.0, "\N{GREEK SMALL LETTER MU}v": 1.0, "mv": 1e3, "v": 1e6}
"""In a unit, whichever of its letters a file writes in capitals."""
KNOWN_TO_MNE = {"uV", "\N{MICRO SIGN}V", "\N{GREEK SMALL LETTER MU}V", "mV"}
"""Units that mne turns into volts; of any other spelling it gives the numbers as they stand."""
# Widths of the fields that stand once for each channel, in their order in the file.
CHANNEL_FIELDS = {
    "label": 16,
    "transducer": 80,
    "unit": 8,
    "physical_min": 8,
    "physical_max": 8,
    "digital_min": 8,
    "digital_max": 8,
    "filters": 80,
    "samples": 8,
    "reserved": 32,
}


@dataclass(frozen=True)
class Channel:
    """One signal of a header.

    Attributes
    ----------
    unit : str
        As the file writes it.
    rate : float
        Samples a second; 0 where the file has no duration.
    """

    unit: str
    rate: float


@dataclass(frozen=True)
class EdfFile:
    """A recording whose header agrees with its size; signals are read when they are asked for.

    Attributes
    ----------
    path : Path
    start : datetime
    seconds : float
        Length of the recording.
    channels : dict of str to Channel
        By label, annotations left out.
    """

    path: Path
    start: datetime
    seconds: float
    channels: dict[str, Channel]

    def read(self, name: str, start: float = 0.0, end: float | None = None) -> Floats:
        """Read a part of one channel at its own rate.

        Parameters
        ----------
        name : str
            One of ``channels``.
        start, end : float
            Seconds; to the end of the recording by default.

        Returns
        -------
        ndarray of float64, shape (n,)
            Microvolts.

        Raises
        ------
        UnusableRecord
            With the reason ``missing channel``, ``not a voltage`` or ``unreadable``.
        """
        import mne

        if name not in self.channels:
            raise UnusableRecord("missing channel", f"{self.path.name}: no {name!r}; it has {', '.join(self.channels)}")
        channel = self.channels[name]
        unit = channel.unit.lower()
        if unit not in MICROVOLTS:
            raise UnusableRecord("not a voltage", f"{self.path.name}: {name} is in {channel.unit!r}")
        try:
            raw = mne.io.read_raw_edf(self.path, include=[name], preload=False, encoding="latin-1", verbose="ERROR")
            last = raw.n_times if end is None else min(raw.n_times, round(end * channel.rate))
            values: Floats = raw.get_data(start=min(round(start * channel.rate), last), stop=last)[0]
        except (ValueError, OSError, IndexError, RuntimeError) as error:
            raise UnusableRecord("unreadable", f"{self.path.name}: {error}") from None
        return values * MICROVOLTS["v" if channel.unit in KNOWN_TO_MNE else unit]


class Annotation(NamedTuple):
    """A stretch of a recording that somebody has named.

    Attributes
    ----------
    onset, duration : float
        Seconds, from the start of the recording.
    text : str
    """

    onset: float
    duration: float
    text: str


def check_file(path: Path) -> None:
    """Raise :class:`UnusableRecord` with the reason ``no such file`` where there is none."""
    if not path.is_file():
        raise UnusableRecord("no such file", str(path))


def open_edf(path: Path) -> EdfFile:
    """Read a header and hold it against the file.

    Parameters
    ----------
    path : Path

    Raises
    ------
    UnusableRecord
        With the reason ``no such file``, ``not an EDF file``, ``impossible EDF header``, ``truncated`` or
        ``interrupted recording (EDF+D)``.
    """
    check_file(path)
    size = path.stat().st_size
    with path.open("rb") as stream:
        fixed = stream.read(FIXED_BYTES)
        count = _whole(fixed[252:256], path, "number of signals")
        if not 0 < count <= MOST_CHANNELS:
            raise UnusableRecord("impossible EDF header", f"{path.name}: {count} signals")
        fields = _channel_fields(stream.read(count * CHANNEL_BYTES), count, path)
    if fixed[192:197] == b"EDF+D":
        detail = f"{path.name}: has gaps in time; save it as a continuous EDF+C first"
        raise UnusableRecord("interrupted recording (EDF+D)", detail)
    samples = [_whole(field.encode("latin-1"), path, "samples a record") for field in fields["samples"]]
    for label, low, high in zip(fields["label"], fields["digital_min"], fields["digital_max"], strict=True):
        if low == high:
            detail = f"{path.name}: {label} has the numbers from {low} to {high}, which hold no signal"
            raise UnusableRecord("impossible EDF header", detail)
    records, seconds = _records(fixed, size, samples, path)
    channels = {
        label: Channel(unit, number / seconds if seconds else 0.0)
        for label, unit, number in zip(fields["label"], fields["unit"], samples, strict=True)
        if label != ANNOTATIONS
    }
    return EdfFile(path, _start(fixed, path), records * seconds, channels)


def _channel_fields(block: bytes, count: int, path: Path) -> dict[str, list[str]]:
    if len(block) < count * CHANNEL_BYTES:
        raise UnusableRecord("truncated", f"{path.name}: ends within its header")
    fields: dict[str, list[str]] = {}
    place = 0
    for name, width in CHANNEL_FIELDS.items():
        ends = range(place, place + count * width, width)
        fields[name] = [block[start : start + width].decode("latin-1").strip() for start in ends]
        place += count * width
    return fields


def _records(fixed: bytes, size: int, samples: list[int], path: Path) -> tuple[int, float]:
    """Hold the number and length of the data records against the size of the file."""
    head, records = _whole(fixed[184:192], path, "header size"), _whole(fixed[236:244], path, "number of records")
    try:
        seconds = float(fixed[244:252])
    except ValueError:
        seconds = float("nan")
    if head != FIXED_BYTES + len(samples) * CHANNEL_BYTES or not 0 <= seconds < float("inf") or min(samples) < 0:
        claims = f"a header of {head} bytes, records of {seconds} s and {min(samples)} to {max(samples)} samples"
        raise UnusableRecord("impossible EDF header", f"{path.name}: claims {claims}")
    record = BYTES_PER_SAMPLE * sum(samples)
    there = (size - head) // record if record else 0
    if records == -1:  # a recording that was not closed: as many as there are
        records = there
    if records < 0 or not record:
        raise UnusableRecord("impossible EDF header", f"{path.name}: claims {records} records of {record} bytes")
    if there < records:
        raise UnusableRecord("truncated", f"{path.name}: holds {there} of {records} records")
    return records, seconds


def _whole(field: bytes, path: Path, name: str) -> int:
    try:
        return int(field)
    except ValueError:
        raise UnusableRecord("not an EDF file", f"{path.name}: its {name} reads {field[:16]!r}") from None


def _start(fixed: bytes, path: Path) -> datetime:
    text = fixed[168:184].decode("latin-1")
    try:
        return datetime.strptime(text, "%d.%m.%y%H.%M.%S")
    except ValueError:
        raise UnusableRecord("impossible EDF header", f"{path.name}: starts at {text!r}") from None


def read_annotations(path: Path) -> list[Annotation]:
    """Read the annotations of an EDF+ file, in the order of their onsets.

    Raises
    ------
    UnusableRecord
        With the reason ``unreadable``, or one of :func:`open_edf`.
    """
    import mne

    open_edf(path)
    try:
        found = mne.read_annotations(path, encoding="latin-1")
    except (ValueError, OSError, IndexError, RuntimeError) as error:
        raise UnusableRecord("unreadable", f"{path.name}: {error}") from None
    rows = zip(found.onset.tolist(), found.duration.tolist(), map(str, found.description), strict=True)
    return sorted(Annotation(*row) for row in rows)
