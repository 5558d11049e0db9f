"""Nights of polysomnography: what a source holds, which epochs of a night were scored, and their figures.

A source is a generator of nights; a night is light, and reads its signals when it is asked to:

    for night in edf_folder(Path("data/raw/sleep-cassette")):
        table = night.table(Cut())       # Table(start, stage, values, ...)

Sources
-------
- Sleep-EDF Expanded (ODC-BY 1.0, Kemp et al. 2000): ``SC4ssNEO-PSG.edf`` and ``ST7ssNJ0-PSG.edf`` (subject ss,
  night N), each with a ``-Hypnogram.edf`` of the same first six characters in the same folder.
- Any other set through a CSV of psg, hypnogram and subject; the signal may be a CSV of one value a line.
- Nights already reduced to tables of band powers, one ``.npz`` and ``.json`` each.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.files import read_csv, read_json
from vitalfactory.signals.edf import Annotation, Channel, check_file, open_edf, read_annotations

Floats = NDArray[np.float64]
Scoring = Literal["aasm", "rk"]

STAGES: dict[Scoring, tuple[str, ...]] = {
    "aasm": ("W", "N1", "N2", "N3", "R"),
    "rk": ("W", "N1", "N2", "N3", "N4", "R"),
}
"""The stages of the AASM, and those of Rechtschaffen and Kales, who tell stage 4 from stage 3."""
SCORED = {
    "Sleep stage W": "W",
    "Sleep stage 1": "N1",
    "Sleep stage 2": "N2",
    "Sleep stage 3": "N3",
    "Sleep stage 4": "N4",
    "Sleep stage R": "R",
    "Sleep stage N1": "N1",
    "Sleep stage N2": "N2",
    "Sleep stage N3": "N3",
    "Sleep stage N4": "N4",
}
"""What an annotation says to its stage."""
UNSCORED = {"Sleep stage ?": "not scored", "Movement time": "movement"}
"""Annotations of time that has no stage, and what their windows are counted under."""
PAST_SIGNAL, BEYOND_MARGIN, FLAT = "past the end of the signal", "wake beyond the margin", "flat signal"

SLEEP_EDF = re.compile(r"(?P<subject>(?P<set>SC|ST)[47]\w\w)(?P<night>\d)\w\w-PSG\.edf")
SLACK = 0.01
"""Seconds by which times may differ and still be the same."""


@dataclass(frozen=True)
class Cut:
    """How a night is cut into windows.

    Attributes
    ----------
    window, step : float
        Seconds. Windows lie inside one annotation and start at its onset and every step after.
    scoring : {'aasm', 'rk'}
    wake_margin : float or None
        Minutes of wake that are kept before the first and after the last epoch of sleep; None keeps all.
    rate : float
        Samples a second that signals are resampled to.
    """

    window: float = 30.0
    step: float = 30.0
    scoring: Scoring = "aasm"
    wake_margin: float | None = 30.0
    rate: float = 100.0


@dataclass(frozen=True)
class Epochs:
    """The scored windows of a night.

    Attributes
    ----------
    start : ndarray of float64, shape (n,)
        Seconds from the start of the recording, ascending.
    stage : tuple of str
        One of ``STAGES`` each.
    dropped : mapping of str to int
        Windows that were left out, by reason.
    """

    start: Floats
    stage: tuple[str, ...]
    dropped: Mapping[str, int]

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.stage)

    def keep(self, chosen: NDArray[np.bool_], reason: str) -> Epochs:
        """Drop the windows that are not chosen, counted under a reason."""
        stage = tuple(name for name, kept in zip(self.stage, chosen, strict=True) if kept)
        left = len(self) - len(stage)
        dropped = {**self.dropped, reason: self.dropped.get(reason, 0) + left} if left else self.dropped
        return Epochs(self.start[chosen], stage, dropped)


def cut(annotations: Sequence[Annotation], seconds: float, how: Cut) -> Epochs:
    """Cut the scored time of a night into windows.

    Parameters
    ----------
    annotations : sequence of Annotation
        By onset. Those that name no stage are passed over.
    seconds : float
        Length of the signal.
    how : Cut

    Returns
    -------
    Epochs

    Raises
    ------
    UnusableRecord
        With the reason ``impossible annotation``, ``overlapping annotations``, ``no stage is scored`` or
        ``unknown sleep stage``.
    """
    known = [annotation for annotation in annotations if _names_stage(annotation.text)]
    if not any(annotation.text in SCORED for annotation in known):
        raise UnusableRecord("no stage is scored")
    _check_order(known)
    found: list[tuple[float, str]] = []
    dropped: Counter[str] = Counter()
    for onset, duration, text in known:
        count, inside = (_fitting(time, how) for time in (duration, min(duration, seconds - onset)))
        dropped[PAST_SIGNAL] += count - inside
        if text in UNSCORED:
            dropped[UNSCORED[text]] += inside
        else:
            stage = "N3" if SCORED[text] == "N4" and how.scoring == "aasm" else SCORED[text]
            found += [(onset + how.step * place, stage) for place in range(inside)]
    counts = {reason: count for reason, count in dropped.items() if count}
    epochs = Epochs(np.asarray([start for start, _ in found]), tuple(stage for _, stage in found), counts)
    return _trim_wake(epochs, how)


def _fitting(seconds: float, how: Cut) -> int:
    """Count the windows that fit into a time."""
    return max(0, math.floor((seconds - how.window + SLACK) / how.step) + 1)


def _names_stage(text: str) -> bool:
    if text in SCORED or text in UNSCORED:
        return True
    if text.lower().startswith("sleep stage"):
        raise UnusableRecord("unknown sleep stage", f"{text!r}; expected one of {', '.join(SCORED)}")
    return False


def _check_order(annotations: Sequence[Annotation]) -> None:
    end = 0.0
    for annotation in annotations:
        finite = math.isfinite(annotation.onset) and math.isfinite(annotation.duration)
        if not finite or annotation.onset < -SLACK or annotation.duration < 0:
            detail = f"{annotation.text!r} at {annotation.onset:g} s for {annotation.duration:g} s"
            raise UnusableRecord("impossible annotation", detail)
        if annotation.onset < end - SLACK:
            detail = f"{annotation.text!r} at {annotation.onset:g} s begins before the one before it ends ({end:g} s)"
            raise UnusableRecord("overlapping annotations", detail)
        end = annotation.onset + annotation.duration


def _trim_wake(epochs: Epochs, how: Cut) -> Epochs:
    asleep = epochs.start[[stage != "W" for stage in epochs.stage]] if len(epochs) else np.empty(0)
    if how.wake_margin is None or not len(asleep):
        return epochs
    margin = 60 * how.wake_margin + SLACK
    inside = (epochs.start >= asleep[0] - margin) & (epochs.start <= asleep[-1] + margin)
    return epochs.keep(inside, BEYOND_MARGIN)


class Signals(Protocol):
    """An opened recording."""

    @property
    def seconds(self) -> float:
        """Its length."""

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Its channels by label."""

    def read(self, name: str, start: float = 0.0, end: float | None = None) -> Floats:
        """Read a part of one channel, in microvolts at its own rate."""


@dataclass(frozen=True)
class EdfNight:
    """A night as a pair of EDF files.

    Attributes
    ----------
    id, group : str
        The night, and the subject whose it is.
    psg, hypnogram : Path
    """

    id: str
    group: str
    psg: Path
    hypnogram: Path

    def open(self) -> Signals:
        """Open the signals; raises :class:`UnusableRecord` where they cannot be used."""
        return open_edf(self.psg)

    def annotations(self) -> list[Annotation]:
        """Read the scored stages.

        Raises
        ------
        UnusableRecord
            With the reason ``hypnogram of another night``, or that of :func:`vitalfactory.signals.edf.open_edf`.
        """
        start, scored = open_edf(self.psg).start, open_edf(self.hypnogram).start
        if start != scored:
            detail = f"{self.psg.name} starts at {start}, {self.hypnogram.name} at {scored}"
            raise UnusableRecord("hypnogram of another night", detail)
        return read_annotations(self.hypnogram)


@dataclass(frozen=True)
class CsvNight:
    """A night of one channel as a CSV of microvolts, one value a line, with a CSV of its stages.

    Attributes
    ----------
    id, group : str
    psg, hypnogram : Path
        The stages have the columns ``Time`` (seconds) and ``Stage``; each holds until the next line.
    channel : str
    rate : float
        Samples a second.
    codes : mapping of str to str
        What the file calls a stage to its name, where it does not use the name itself.
    """

    id: str
    group: str
    psg: Path
    hypnogram: Path
    channel: str
    rate: float
    codes: Mapping[str, str]

    def open(self) -> Signals:
        """Read the signal; raises :class:`UnusableRecord` where it is not there or holds other things than numbers."""
        check_file(self.psg)
        try:
            values = np.loadtxt(self.psg, dtype=np.float64, delimiter=",", ndmin=1)
        except ValueError as error:
            raise UnusableRecord("unreadable", f"{self.psg.name}: {error}") from None
        if values.ndim > 1:
            raise UnusableRecord("unreadable", f"{self.psg.name}: expected one value a line")
        return _InMemory(self.channel, self.rate, values)

    def annotations(self) -> list[Annotation]:
        """Read the stages; the last one holds until the end of the signal. Raises as :meth:`open`."""
        check_file(self.hypnogram)
        lines = read_csv(self.hypnogram)
        _, header = next(lines, (0, []))
        if not {"Time", "Stage"} <= set(header):
            raise UnusableRecord("unreadable", f"{self.hypnogram.name}: expected the columns Time and Stage")
        cells = [(number, dict(zip(header, line, strict=False))) for number, line in lines]
        rows = [(self._seconds(row.get("Time", ""), number), self._text(row.get("Stage", ""))) for number, row in cells]
        ends = [*(onset for onset, _ in rows[1:]), self.open().seconds] if rows else []
        return [Annotation(onset, end - onset, text) for (onset, text), end in zip(rows, ends, strict=True)]

    def _seconds(self, cell: str, number: int) -> float:
        try:
            return float(cell)
        except ValueError:
            raise UnusableRecord("unreadable", f"{self.hypnogram.name}:{number}: {cell!r} is no time") from None

    def _text(self, code: str) -> str:
        name = self.codes.get(code, "") if self.codes else code
        if name not in (*STAGES["rk"], "?"):  # a bare number means another stage in every system
            detail = f"{self.hypnogram.name}: {code!r}; name the stages in the column codes, such as 5=W 4=R"
            raise UnusableRecord("unknown sleep stage", detail)
        return f"Sleep stage {name}"


@dataclass(frozen=True)
class _InMemory:
    channel: str
    rate: float
    values: Floats

    @property
    def seconds(self) -> float:
        return len(self.values) / self.rate

    @property
    def channels(self) -> Mapping[str, Channel]:
        return {self.channel: Channel("uV", self.rate)}

    def read(self, name: str, start: float = 0.0, end: float | None = None) -> Floats:
        if name != self.channel:
            raise UnusableRecord("missing channel", f"no {name!r}; it has {self.channel}")
        return self.values[round(start * self.rate) : None if end is None else round(end * self.rate)]


@dataclass(frozen=True)
class NoisyNight:
    """A night with white noise added to its signals, to train on as well: its stages stay what they are.

    Where nothing was recorded, there is no noise either, so that flat time is left out as in the night itself.

    Attributes
    ----------
    id : str
    night : EdfNight or CsvNight
    microvolts : float
        Standard deviation of the noise.
    seed : int
    """

    id: str
    night: EdfNight | CsvNight
    microvolts: float
    seed: int

    @property
    def group(self) -> str:
        """The subject."""
        return self.night.group

    @property
    def psg(self) -> Path:
        """The file of its signals."""
        return self.night.psg

    @property
    def hypnogram(self) -> Path:
        """The file of its stages."""
        return self.night.hypnogram

    def open(self) -> Signals:
        """Open the signals."""
        return _Noisy(self.night.open(), self)

    def annotations(self) -> list[Annotation]:
        """Read the scored stages."""
        return self.night.annotations()


@dataclass(frozen=True)
class _Noisy:
    signals: Signals
    night: NoisyNight

    @property
    def seconds(self) -> float:
        return self.signals.seconds

    @property
    def channels(self) -> Mapping[str, Channel]:
        return self.signals.channels

    def read(self, name: str, start: float = 0.0, end: float | None = None) -> Floats:
        clean = self.signals.read(name, start, end)
        random = np.random.default_rng((self.night.seed, *f"{self.night.id} {name} {start}".encode()))
        noise = random.normal(0, self.night.microvolts, len(clean))
        return clean + np.where(still(clean, round(self.channels[name].rate)), 0.0, noise)


def still(signal: Floats, samples: int) -> NDArray[np.bool_]:
    """Find where a signal stays the same for so many samples or more: nothing was recorded there."""
    if not len(signal):
        return np.zeros(0, dtype=np.bool_)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(signal)) + 1))
    lengths = np.diff(np.append(starts, len(signal)))
    return np.repeat(lengths >= max(2, samples), lengths)


Night = EdfNight | CsvNight | NoisyNight
"""A night whose signals are at hand."""


@dataclass(frozen=True)
class LeftOut:
    """A file of a source that is no night, and why."""

    id: str
    reason: str
    detail: str = ""


def edf_folder(folder: Path) -> Iterator[EdfNight | LeftOut]:
    """List the nights of Sleep-EDF Expanded below a folder.

    Parameters
    ----------
    folder : Path

    Yields
    ------
    EdfNight or LeftOut
        Every ``*-PSG.edf``; left out where it is not named as in that set, or has not one hypnogram beside it.

    Raises
    ------
    VitalFactoryError
        There is no such folder, or no ``*-PSG.edf`` in it.
    """
    if not folder.is_dir():
        raise VitalFactoryError(f"{folder}: no such folder")
    found = sorted(folder.rglob("*-PSG.edf"))
    if not found:
        raise VitalFactoryError(
            f"{folder}: holds no *-PSG.edf; list another set's files in a CSV of psg,hypnogram,subject"
        )
    for psg in found:
        name = psg.name.removesuffix("-PSG.edf")
        match = SLEEP_EDF.fullmatch(psg.name)
        scored = sorted(psg.parent.glob(f"{name[:6]}*-Hypnogram.edf"))
        if match is None:
            yield LeftOut(name, "not named as in Sleep-EDF", "list it in a CSV of psg,hypnogram,subject")
        elif len(scored) != 1:
            yield LeftOut(name, "no hypnogram" if not scored else "several hypnograms", str(psg.parent))
        else:
            yield EdfNight(name, match["subject"], psg, scored[0])


def listed_nights(table: Path) -> Iterator[Night]:
    """List the nights that a CSV names.

    Parameters
    ----------
    table : Path
        Columns ``psg``, ``hypnogram`` (paths from the CSV's folder) and ``subject``. A signal that is a CSV itself has
        ``rate`` (hertz) and, optionally, ``channel`` and ``codes`` (what its stages are called, ``5=W 4=R``) as well.

    Yields
    ------
    EdfNight or CsvNight

    Raises
    ------
    VitalFactoryError
        A column or a value is missing, or a path leads out of the folder.
    """
    lines = read_csv(table)
    _, header = next(lines, (0, []))
    if missing := {"psg", "hypnogram", "subject"} - set(header):
        raise VitalFactoryError(
            f"{table}: lacks the column {', '.join(sorted(missing))}; expected psg,hypnogram,subject"
        )
    found = [(f"{table}:{number}", dict(zip(header, cells, strict=False))) for number, cells in lines]
    names = Counter(_night_name(row.get("psg", "")) for _, row in found)
    for where, row in found:
        if not (row.get("psg") and row.get("hypnogram") and row.get("subject")):
            raise VitalFactoryError(f"{where}: psg, hypnogram or subject is empty")
        psg, hypnogram = (_inside(table.parent, row[name], where) for name in ("psg", "hypnogram"))
        name = _night_name(row["psg"])
        if names[name] > 1:  # devices number the nights of each subject anew
            name = f"{row['subject']}_{name}"
        if psg.suffix.lower() == ".csv":
            yield CsvNight(name, row["subject"], psg, hypnogram, row.get("channel") or "EEG", *_coding(row, where))
        else:
            yield EdfNight(name, row["subject"], psg, hypnogram)


def _night_name(psg: str) -> str:
    return Path(psg).stem.removesuffix("-PSG")


def _inside(folder: Path, name: str, where: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise VitalFactoryError(f"{where}: {name} leads out of {folder}")
    return path


def _coding(row: Mapping[str, str], where: str) -> tuple[float, dict[str, str]]:
    try:
        rate = float(row.get("rate") or "")
    except ValueError:
        rate = 0.0
    pairs = [pair.partition("=") for pair in (row.get("codes") or "").split()]
    if not 0 < rate < float("inf"):
        raise VitalFactoryError(f"{where}: a signal in a CSV needs its rate in hertz, such as 100")
    return rate, {code: stage for code, _, stage in pairs}


@dataclass(frozen=True)
class Table:
    """The epochs of a night and their figures.

    Attributes
    ----------
    epochs : Epochs
    values : mapping of str to ndarray of float64, shape (n,)
        ``<channel> <figure>``, such as ``Fpz-Cz log_delta``, to one number for each epoch.
    digest : ndarray of int64, shape (n,)
        Hash of what was recorded, to know an epoch again under another name.
    """

    epochs: Epochs
    values: Mapping[str, Floats]
    digest: NDArray[np.int64]

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """Channels with band powers, in their order."""
        return tuple(dict.fromkeys(name.rsplit(" ", 1)[0] for name in self.values if name.endswith(" log_delta")))


def neighbours(epochs: Epochs, window: float, offsets: Sequence[int]) -> NDArray[np.int64]:
    """Find the epochs that lie some windows before and after each one.

    Parameters
    ----------
    epochs : Epochs
    window : float
        Seconds.
    offsets : sequence of int
        In windows.

    Returns
    -------
    ndarray of int64, shape (n, offsets)
        Places; -1 where no scored epoch starts at that time.
    """
    times = epochs.start[:, None] + window * np.asarray(offsets)
    at = np.searchsorted(epochs.start, times - SLACK)
    found = np.minimum(at, len(epochs) - 1)
    return np.where(np.abs(epochs.start[found] - times) <= SLACK, found, -1)


def deciles(values: Floats) -> NDArray[np.int64]:
    """Tell in which tenth of a night's values each one lies, 0 to 9; equal values lie in the same."""
    from scipy.stats import rankdata

    places: NDArray[np.int64] = (10 * (rankdata(values) - 0.5) / len(values)).astype(np.int64)
    return places


def standardise(values: Floats) -> Floats:
    """Subtract the median of a night and divide by its interquartile range."""
    quarter, half, three = np.percentile(values, (25, 50, 75))
    standard: Floats = (values - half) / max(three - quarter, 1e-6)
    return standard


def hashes(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Hash each row of an array to 63 bits, shape (n,)."""
    found = [hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=8).digest() for row in rows]
    return np.asarray([int.from_bytes(raw, "big") >> 1 for raw in found], dtype=np.int64)


UNLABELLED = -100


@dataclass(frozen=True)
class FeatureNight:
    """A night of which only a table of band powers is left.

    Attributes
    ----------
    id, group : str
    path : Path
        An ``.npz`` of ``features`` (epochs, channels, figures), ``labels`` (0 W, 1 N1, 2 N2, 3 N3, 4 R, -100 not
        scored) and ``onsets_sec``, beside a ``.json`` with ``channel_names``, ``feature_names`` and
        ``epoch_duration_sec``.
    """

    id: str
    group: str
    path: Path

    def table(self) -> Table:
        """Read the table.

        Raises
        ------
        UnusableRecord
            With the reason ``unreadable``, ``not finite``, ``no stage is scored`` or ``unknown sleep stage``.
        """
        try:
            features, labels, onsets = read_arrays(self.path, ("features", "labels", "onsets_sec"))
            about = self._about()
        except (*BROKEN_ARRAYS, VitalFactoryError) as error:
            raise UnusableRecord("unreadable", f"{self.path.name}: {error}") from None
        names = [
            f"{_short(channel)} {figure}" for channel in about["channel_names"] for figure in about["feature_names"]
        ]
        columns = features.reshape(len(features), -1) if features.size and features.ndim else features
        numbers = all(np.issubdtype(array.dtype, np.number) for array in (features, labels, onsets))
        if not numbers or columns.shape != (*labels.shape, len(names)) or labels.shape != onsets.shape:
            raise UnusableRecord("unreadable", f"{self.path.name}: its arrays and its .json do not fit together")
        if not (np.isfinite(columns).all() and np.isfinite(onsets).all()):
            raise UnusableRecord("not finite", f"{self.path.name}: a figure or an onset is no number")
        if unknown := set(labels.tolist()) - {*range(len(STAGES["aasm"])), UNLABELLED}:
            raise UnusableRecord("unknown sleep stage", f"{self.path.name}: labels {sorted(unknown)}")
        scored = labels != UNLABELLED
        stages = tuple(STAGES["aasm"][int(label)] if label >= 0 else "W" for label in labels.tolist())
        if not scored.any():
            raise UnusableRecord("no stage is scored")
        epochs = Epochs(onsets.astype(np.float64), stages, {}).keep(scored, UNSCORED["Sleep stage ?"])
        return Table(
            epochs, dict(zip(names, columns[scored].T.astype(np.float64), strict=True)), hashes(columns[scored])
        )

    def _about(self) -> dict[str, Any]:
        about = read_json(self.path.with_suffix(".json"))
        if not isinstance(about, dict) or not {"channel_names", "feature_names"} <= set(about):
            raise UnusableRecord("unreadable", f"{self.path.stem}.json: expected channel_names and feature_names")
        return about


def _short(channel: str) -> str:
    return "EOG" if channel.lower() in ("horizontal", "eog") else channel


BROKEN_ARRAYS = (OSError, ValueError, KeyError, EOFError, BadZipFile)
"""What numpy raises of an ``.npz`` that is cut off, is none, or lacks an array."""


def read_arrays(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Read arrays of an ``.npz`` without ever running what it holds; raises one of :data:`BROKEN_ARRAYS`."""
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return [arrays[name] for name in names]


def feature_folder(folder: Path) -> Iterator[FeatureNight]:
    """List nights that are tables of band powers: ``<subject>__<night>.npz`` with its ``.json``.

    Raises
    ------
    VitalFactoryError
        There is no such folder, or no table in it.
    """
    if not folder.is_dir():
        raise VitalFactoryError(f"{folder}: no such folder")
    found = sorted(folder.glob("*__*.npz"))
    if not found:
        raise VitalFactoryError(f"{folder}: holds no <subject>__<night>.npz")
    for path in found:
        yield FeatureNight(path.stem, path.stem.partition("__")[0], path)
