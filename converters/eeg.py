"""Nights of polysomnography -> an instruction dataset that asks for the sleep stage of every epoch.

Reads Sleep-EDF Expanded (ODC-BY 1.0, Kemp et al. 2000), any other set through a CSV of psg, hypnogram and subject,
nights already reduced to tables of band powers, or synthetic nights. The group is the subject: all nights of one stand
in the same split. A row, in the default representation:

    instruction  Which sleep stage is this epoch: W, N1, N2, N3 or R?
    input        Fpz-Cz delta 66788 theta 54443 alpha 22101 sigma 67532 beta 21100
                 ...
    output       N2

    python converters/eeg.py --input data/raw/sleep-cassette
    python converters/eeg.py --input nights.csv --channels C3-M2 O1-M2
    python converters/eeg.py --features data/raw/features --folds data/raw/subjects --val-fold 1 --test-fold 2
    python converters/eeg.py --synthetic 20
    python converters/eeg.py --representation bands+emotion --emotion-models emotion --name eeg_emotion
    python converters/eeg.py --representation picture --name eeg_picture --recipe train_configs/eeg_qwen2vl_lora.yaml

Representations, which can be joined by ``+``:

    bands    for each channel and band five digits: the deciles, in this night, of the band's power in the two epochs
             before, the epoch itself, and the two after; a dash where there is none. The chin's amplitude alike, and
             how many spindles and slow waves began in each of the five
    numbers  the voltages in microvolts, channel by channel at each time, as the first project wrote them
    picture  traces and spectrogram of the epoch, for a vision model
    emotion  what four networks that you bring (--emotion-models) say of it, as the first project told it; beside bands
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, check_counts, run
from vitalfactory.files import ROOT, short_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vitalfactory.card import Source
    from vitalfactory.dataset.build import Conversion, Summary
    from vitalfactory.dataset.example import Entry, Example, Excluded, Task
    from vitalfactory.dataset.options import Options
    from vitalfactory.models.emotion import EmotionModels, Standardiser
    from vitalfactory.signals.eeg import Cut, FeatureNight, LeftOut, Night, Table

    Floats = NDArray[np.float64]

RECIPE = "eeg_qwen7b_lora.yaml"
DEFAULT_INPUT = ROOT / "data" / "raw" / "sleep-edf"
PACKAGES = ("antropy", "mne", "numpy", "pillow", "scipy", "yasa")
FILE_TYPES = {"sc": "SC", "st": "ST", "all": ""}
"""Of Sleep-EDF: cassette recordings at home, telemetry in the hospital."""
MOST_HOURS = 24
WORKER_BYTES = 700 * 2**20
"""What a worker may need for a day's recording; no more of them than fit into memory are started."""

CONTEXT = (-2, -1, 0, 1, 2)
"""Neighbours of an epoch that its row tells of, in windows."""
MISSING = "-"
MOST_DIGIT = 9
BANDS = ("delta", "theta", "alpha", "sigma", "beta")
COUNTED = ("spindles", "slow_waves")
CHIN = "EMG log_amplitude"
NUMBER_RATES = (100, 50, 25, 20, 10, 5, 4, 2, 1)
TOKENS_A_NUMBER = 7
TOKENS_BESIDE = {"numbers": 120, "bands": 200, "emotion": 250}
"""Of a row, by Qwen's vocabulary: a voltage; question, template and answer; and bands and codes beside them."""

WORDS = {
    "en": {band: band for band in BANDS} | {"spindles": "spindles", "slow_waves": "slow waves"},
    "zh": dict(zip(BANDS, "δθασβ", strict=True)) | {"spindles": "纺锤波", "slow_waves": "慢波"},
}


def task(scoring: str = "aasm", epoch_seconds: float = 30.0) -> Task:
    """Return the question, its wordings, its answers and what else they may be called.

    Parameters
    ----------
    scoring : {'aasm', 'rk'}
        Five stages, or six with stage 4 apart.
    epoch_seconds : float
        From one epoch to the next.
    """
    from vitalfactory.dataset.example import Task
    from vitalfactory.signals.eeg import STAGES

    labels = STAGES["rk" if scoring == "rk" else "aasm"]
    listed = f"{', '.join(labels[:-1])} or {labels[-1]}"
    chinese = {label: {"W": "清醒", "R": "快速眼动期"}.get(label, f"{label}期") for label in labels}
    told = "、".join(chinese.values())
    return Task(
        name="eeg",
        kind="classify",
        labels=labels,
        positive=None,
        questions={
            "en": (
                f"Which sleep stage is this epoch: {listed}?",
                f"Score this epoch of sleep: {listed}.",
                f"What is the sleep stage, {listed}?",
            ),
            "zh": (
                f"这一帧属于哪个睡眠分期：{told}？",
                f"请判定这一帧的睡眠分期（{told}）。",
                f"睡眠分期是哪一个：{told}？",
            ),
        },
        answers={"en": {label: label for label in labels}, "zh": chinese},
        synonyms={"en": _english_names(labels), "zh": _chinese_names(labels)},
        epoch_seconds=epoch_seconds,
    )


def _english_names(labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    deep = {"N3": ("N4", "S4", "stage 4", "slow wave sleep", "deep sleep")} if "N4" not in labels else {}
    numbered = {f"N{n}": (f"S{n}", f"stage {n}", f"stage N{n}", *deep.get(f"N{n}", ())) for n in range(1, 5)}
    names = {
        "W": ("wake", "awake", "wakefulness", "stage W"),
        "R": ("REM", "REM sleep", "rapid eye movement sleep", "stage R"),
        **numbered,
    }
    return {label: names[label] for label in labels}


def _chinese_names(labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    names = {"W": ("觉醒", "醒", "W期", "W"), "R": ("快速眼动", "REM期", "REM", "R期", "R")}
    return {label: names.get(label, (label, f"{label[1:]}期")) for label in labels}


def convert(
    *,
    input: Sequence[Path] | None = None,
    features: Path | None = None,
    synthetic: int | None = None,
    hours: float = 8.0,
    file_type: str = "all",
    representation: str = "bands",
    channels: Sequence[str] | None = None,
    window: float = 30.0,
    step: float | None = None,
    stages: str = "aasm",
    wake_margin: float | None = 30.0,
    rate: float = 100.0,
    events: bool = True,
    noise: float = 0.0,
    max_windows: int | None = None,
    emotion_models: Path | None = None,
    emotion_window: float = 2.0,
    emotion_step: float = 0.5,
    keep_contradictions: bool = False,
    **shared: Any,
) -> Summary:
    """Turn nights into a registered dataset.

    Parameters
    ----------
    input : sequence of Path, optional
        Folders with ``*-PSG.edf``, or one CSV of psg, hypnogram and subject; ``data/raw/sleep-edf`` by default.
    features : Path, optional
        A folder of nights that are tables of band powers, instead.
    synthetic : int, optional
        Make this many nights instead, in ``data/raw``.
    hours : float
        Length of a synthetic night.
    file_type : {'sc', 'st', 'all'}
        Of Sleep-EDF.
    representation : str
        One of :data:`REPRESENTATIONS`, or several joined by ``+``.
    channels : sequence of str, optional
        The EEG channels; the first two whose label begins with ``EEG`` by default.
    window, step : float
        Seconds; windows do not overlap by default.
    stages : {'aasm', 'rk'}
    wake_margin : float or None
        Minutes of wake kept either side of sleep.
    rate : float
        Samples a second.
    events : bool
        Whether spindles and slow waves are counted.
    noise : float
        Add each training night once more, with white noise of so many microvolts.
    max_windows : int, optional
        Take at most so many windows of a night, evenly spaced; all are looked at for its deciles and for neighbours.
    emotion_models : Path, optional
        For ``bands+emotion``: the folder of the four networks; see :mod:`vitalfactory.models.emotion`.
    emotion_window, emotion_step : float
        Seconds of the stretches that they are asked of.
    keep_contradictions : bool
        Whether several emotions may stand at once in a code, or the most confident one alone.
    **shared
        What every converter shares: the fields of :class:`vitalfactory.dataset.options.Options`.

    Returns
    -------
    Summary

    Raises
    ------
    VitalFactoryError
        The source, the channels or the options are not usable; and see :func:`vitalfactory.dataset.build.build`.
    """
    from vitalfactory.dataset.build import build
    from vitalfactory.dataset.options import Options, split_representation
    from vitalfactory.signals.eeg import Cut

    options = Options(**{"name": "eeg", "recipe": ROOT / "train_configs" / RECIPE, **shared})
    how = Cut(window, window if step is None else step, "rk" if stages == "rk" else "aasm", wake_margin, rate)
    parts = split_representation(representation, tuple(REPRESENTATIONS))
    montage = tuple(channels) if channels else None
    reading = Reading(parts, how, montage, events, options.language, options.wordings, max_windows)
    _check(reading, noise)
    if features is not None:
        _check_tables(reading, file_type, noise)
    nights, source, arguments = _source(options, input, features, synthetic, hours)
    entries, excluded = _entries(nights, file_type, channels)
    reading = reading.with_rate(options.recipe)
    emotions = _emotions(parts, emotion_models, emotion_window, emotion_step, keep_contradictions)
    arguments += ["--representation", representation]
    arguments += [] if features else _flags(file_type, reading, noise, emotions)
    conversion = _conversion(reading, source, arguments, options, noise, emotions)
    return build(conversion, entries, excluded, _bounded(options))


def _conversion(
    reading: Reading,
    source: Source,
    arguments: Sequence[str],
    options: Options,
    noise: float,
    emotions: Emotions | None,
) -> Conversion:
    from vitalfactory.dataset.build import Conversion

    kept = options.root / "data" / ".eeg_cache"
    return Conversion(
        task=task(reading.how.scoring, reading.how.step),
        source=source,
        representation="+".join(reading.parts),
        make=partial(_examples, reading, kept),
        arguments=arguments,
        packages=PACKAGES,
        chunk=1,
        statistics=True,
        prepare=partial(_prepare, reading, kept, noise, options.seed, emotions),
        model_written=f"emotion networks ({emotions.digest[:12]})" if emotions else None,
    )


def _emotions(parts: Sequence[str], folder: Path | None, seconds: float, step: float, keep: bool) -> Emotions | None:
    """Open the networks that the representation asks for; nothing stands in for a missing one."""
    if ("emotion" in parts) != (folder is not None):
        raise VitalFactoryError(
            "--representation emotion and --emotion-models DIR go together: DIR holds the networks HVHA, HVLA, LVHA "
            "and LVLA, which are published nowhere and are yours to bring"
        )
    if tuple(parts) == ("emotion",):
        raise VitalFactoryError(
            "--representation emotion: many epochs have the same codes, so that no text tells one from another; give "
            "bands+emotion"
        )
    if folder is None:
        return None
    for flag, value in (("--emotion-window", seconds), ("--emotion-step", step)):
        if not 0 < value < float("inf"):
            raise VitalFactoryError(f"{flag} {value:g}: expected a number above 0")
    return Emotions(folder, _networks(folder).digest, seconds, step, not keep)


@cache
def _networks(folder: Path) -> EmotionModels:
    from vitalfactory.models.emotion import EmotionModels

    return EmotionModels(folder)


@dataclass(frozen=True)
class Emotions:
    """How epochs are told by the emotion networks.

    Attributes
    ----------
    folder : Path
    digest : str
        Of the networks' files.
    seconds, step : float
        Of the stretches that they are asked of.
    resolve : bool
        Whether of several active emotions the most confident one is kept.
    standardiser : Standardiser or None
        Fitted on the training nights.
    """

    folder: Path
    digest: str
    seconds: float
    step: float
    resolve: bool
    standardiser: Standardiser | None = None

    def inputs(self, heard: Heard) -> list[Floats]:
        """Compute the networks' inputs of every epoch, shape (stretches, 10) each."""
        import numpy as np

        from vitalfactory.models.emotion import band_powers, sub_windows

        eeg, rate = heard.eeg, heard.reading.how.rate
        if len(eeg) != 2:
            raise VitalFactoryError(f"--representation emotion: the networks take two EEG channels, not {len(eeg)}")
        epochs = (np.stack([windows[place] for windows in eeg]) for place in range(len(eeg[0])))
        return [band_powers(sub_windows(epoch, rate, self.seconds, self.step), rate) for epoch in epochs]

    def tell(self, heard: Heard) -> list[str]:
        """Tell every epoch."""
        import numpy as np

        from vitalfactory.models.emotion import codes, summarise, tell

        assert self.standardiser is not None
        inputs = self.inputs(heard)
        activity = _networks(self.folder).activity(self.standardiser.apply(np.concatenate(inputs)))
        found = np.split(codes(activity, resolve=self.resolve), np.cumsum([len(part) for part in inputs])[:-1])
        return [tell(summarise(part), heard.reading.language) for part in found]


@dataclass(frozen=True)
class Felt:
    """A night that the emotion networks are asked of."""

    night: Night
    emotions: Emotions


def _prepare(
    reading: Reading,
    kept: Path,
    noise: float,
    seed: int,
    emotions: Emotions | None,
    entries: Sequence[Entry],
    splits: Mapping[str, str],
) -> list[Entry]:
    """Fit what is fitted on the training nights alone, and add their noisy copies."""
    training = [entry for entry in entries if splits[entry.group] == "train"]
    made = [*entries, *_noisy(training, noise, seed)] if noise else list(entries)
    if emotions is not None:
        fitted = replace(emotions, standardiser=_fit(emotions, reading, kept, training))
        made = [replace(entry, record=Felt(entry.record, fitted)) for entry in made]
    return sorted(made, key=lambda entry: entry.id)


def _noisy(entries: Sequence[Entry], microvolts: float, seed: int) -> list[Entry]:
    from vitalfactory.signals.eeg import NoisyNight

    names = {entry.id: f"{entry.id}_noise" for entry in entries}
    return [
        replace(entry, id=names[entry.id], record=NoisyNight(names[entry.id], entry.record, microvolts, seed))
        for entry in entries
    ]


def _fit(emotions: Emotions, reading: Reading, kept: Path, entries: Sequence[Entry]) -> Standardiser:
    import numpy as np
    from tqdm import tqdm

    from vitalfactory.errors import UnusableRecord
    from vitalfactory.models.emotion import Standardiser

    def inputs() -> Iterator[Floats]:
        for entry in tqdm(entries, desc="fitting the emotion standardiser", unit="night", disable=None):
            try:
                yield np.concatenate(emotions.inputs(Heard(entry.record, reading, kept)))
            except UnusableRecord:  # counted when it is told
                continue

    return Standardiser.fit(inputs())


def _check(reading: Reading, noise: float) -> None:
    how, events = reading.how, reading.events
    for flag, value in (("--window", how.window), ("--step", how.step), ("--rate", how.rate)):
        if not 0 < value < float("inf"):
            raise VitalFactoryError(f"{flag} {value:g}: expected a number above 0")
    if how.wake_margin is not None and how.wake_margin < 0:
        raise VitalFactoryError(f"--wake-margin {how.wake_margin:g}: expected minutes, or none")
    if how.rate < 2 * 30 or (events and how.rate == 2 * 30):
        told = "more than 60 to count spindles, or --no-events" if events else "at least 60"
        raise VitalFactoryError(f"--rate {how.rate:g}: expected {told}; the highest band ends at 30 Hz")
    if not 0 <= noise < float("inf"):
        raise VitalFactoryError(f"--noise {noise:g}: expected microvolts, 0 or more")
    check_counts({"--max-windows": reading.max_windows})


def _check_tables(reading: Reading, file_type: str, noise: float) -> None:
    """Refuse what tables of band powers cannot do; nothing that is asked for is passed over."""
    from vitalfactory.signals.eeg import Cut

    if reading.parts != ("bands",) or reading.how != Cut():
        raise VitalFactoryError(
            "--features: the tables hold five stages and the band powers of 30 s, and nothing else; leave out "
            "--representation, --window, --step, --stages, --wake-margin and --rate"
        )
    needless = {"--file-type": file_type != "all", "--channels": reading.channels, "--noise": noise}
    for flag in (flag for flag, given in {**needless, "--no-events": not reading.events}.items() if given):
        raise VitalFactoryError(f"{flag}: needs signals; tables of band powers have none")


def _source(
    options: Any, folders: Sequence[Path] | None, features: Path | None, count: int | None, hours: float
) -> tuple[list[Night | FeatureNight | LeftOut], Source, list[str]]:
    from vitalfactory.card import Source
    from vitalfactory.signals import eeg

    if sum(given is not None for given in (folders, features, count)) > 1:
        raise VitalFactoryError("give one of --input, --features and --synthetic")
    if count is not None:
        folder = _make(count, hours, options.seed, options.root)
        made = Source(name="synthetic nights", version=f"seed {options.seed}", licence="Apache-2.0", synthetic=True)
        return list(eeg.edf_folder(folder)), made, ["--synthetic", str(count), "--hours", f"{hours:g}"]
    if features is not None:
        known = Source(
            name=f"tables of band powers, {features.name}", version="1", licence="the owner's", synthetic=False
        )
        return list(eeg.feature_folder(features)), known, ["--features", short_path(features)]
    folders = folders or [DEFAULT_INPUT]
    nights: list[Night | FeatureNight | LeftOut] = []
    for folder in folders:
        if not folder.exists():
            raise VitalFactoryError(
                f"{folder}: no such file or folder; give --input FOLDER with *-PSG.edf, --input CSV of "
                "psg,hypnogram,subject, or --synthetic 20 to make nights"
            )
        nights += eeg.edf_folder(folder) if folder.is_dir() else eeg.listed_nights(folder)
    return nights, _describe(nights), ["--input", *map(short_path, folders)]


def _make(count: int, hours: float, seed: int, root: Path) -> Path:
    """Write synthetic nights, or take those that are there already."""
    from vitalfactory.signals.eeg_synthetic import write_nights

    check_counts({"--synthetic": count})
    if not 0.5 <= hours <= MOST_HOURS:
        raise VitalFactoryError(f"--hours {hours:g}: expected 0.5 to {MOST_HOURS}")
    folder = root / "data" / "raw" / f"eeg_synthetic_{seed}_{count}_{hours:g}h"
    write_nights(folder, count, seed, hours)
    return folder


def _describe(nights: Sequence[Any]) -> Source:
    from vitalfactory.card import Source
    from vitalfactory.signals.eeg import SLEEP_EDF, EdfNight, LeftOut

    nights = [night for night in nights if not isinstance(night, LeftOut)]
    named = all(isinstance(night, EdfNight) and SLEEP_EDF.fullmatch(night.psg.name) for night in nights)
    name, licence = ("Sleep-EDF Expanded", "ODC-BY 1.0") if named else ("nights listed in a CSV", "the owner's")
    return Source(name=name, version=f"{len(nights)} nights", licence=licence, synthetic=False)


def _entries(
    nights: Sequence[Any], file_type: str, channels: Sequence[str] | None
) -> tuple[list[Entry], list[Excluded]]:
    """Tell nights from what is left out, and find out whether any has the channels."""
    from vitalfactory.dataset.example import Entry, Excluded
    from vitalfactory.signals.eeg import LeftOut

    entries, excluded = [], []
    for night in nights:
        if isinstance(night, LeftOut):
            excluded.append(Excluded(night.id, night.reason, night.detail))
        elif not night.id.startswith(FILE_TYPES[file_type]):
            excluded.append(Excluded(night.id, "of another --file-type"))
        else:
            entries.append(Entry(night.id, night.group, None, night))
    _check_channels(entries, channels)
    return entries, excluded


def _check_channels(entries: Sequence[Entry], channels: Sequence[str] | None) -> None:
    """Find out whether any night has the channels before all of them are read."""
    from vitalfactory.errors import UnusableRecord
    from vitalfactory.signals.eeg import FeatureNight
    from vitalfactory.signals.eeg_features import choose

    refusal = ""
    for entry in entries:
        if isinstance(entry.record, FeatureNight):
            return
        try:
            choose(entry.record.open().channels, channels)
        except UnusableRecord as error:
            refusal = refusal or (f"{entry.id}: {error.detail}" if error.reason == "missing channel" else "")
        else:
            return
    if refusal:
        raise VitalFactoryError(f"no night has the channels; {refusal}")


def _flags(file_type: str, reading: Reading, noise: float, emotions: Emotions | None) -> list[str]:
    """List what decides how signals are read; tables of band powers have none."""
    how = reading.how
    margin = "none" if how.wake_margin is None else f"{how.wake_margin:g}"
    flags = ["--file-type", file_type, "--stages", how.scoring]
    flags += ["--window", f"{how.window:g}", "--step", f"{how.step:g}", "--wake-margin", margin]
    flags += ["--rate", f"{how.rate:g}"]
    flags += ["--channels", *reading.channels] if reading.channels else []
    flags += [] if reading.events else ["--no-events"]
    flags += ["--noise", f"{noise:g}"] if noise else []
    flags += ["--max-windows", str(reading.max_windows)] if reading.max_windows else []
    if emotions is not None:
        flags += ["--emotion-models", short_path(emotions.folder), "--emotion-window", f"{emotions.seconds:g}"]
        flags += ["--emotion-step", f"{emotions.step:g}", *([] if emotions.resolve else ["--keep-contradictions"])]
    return flags


def _bounded(options: Any) -> Any:
    """Start no more workers on this machine than fit into the memory that is free."""
    import psutil

    if options.engine != "local":
        return options
    free = psutil.virtual_memory().available
    return replace(options, workers=min(options.workers or os.cpu_count() or 1, max(1, free // WORKER_BYTES)))


@dataclass(frozen=True)
class Reading:
    """How nights are read and told.

    Attributes
    ----------
    parts : tuple of str
        Of the representation.
    how : Cut
    channels : tuple of str or None
        The EEG channels.
    events : bool
    language : str
    wordings : int or None
    max_windows : int or None
        Of a night.
    number_rate : float
        Samples a second that ``numbers`` writes; 0 where it is not asked for.
    """

    parts: tuple[str, ...]
    how: Cut
    channels: tuple[str, ...] | None
    events: bool
    language: str
    wordings: int | None
    max_windows: int | None = None
    number_rate: float = 0.0

    def with_rate(self, recipe: Path) -> Reading:
        """Choose the highest rate at which the voltages of a window fit into the recipe's cutoff."""
        from vitalfactory.recipes import read_recipe

        if "numbers" not in self.parts:
            return self
        cutoff = int(read_recipe(recipe).get("cutoff_len", 2048))
        numbers = self.how.window * (len(self.channels) if self.channels else 2)
        beside = sum(TOKENS_BESIDE.get(part, 0) for part in self.parts)
        tokens = {rate: round(beside + numbers * rate * TOKENS_A_NUMBER) for rate in NUMBER_RATES}
        fitting = [rate for rate in NUMBER_RATES if tokens[rate] <= cutoff]
        if not fitting:
            raise VitalFactoryError(
                f"--representation numbers: {self.how.window:g} s take some {tokens[100]} tokens at 100 Hz and "
                f"{tokens[1]} at 1 Hz; {recipe.name} has cutoff_len {cutoff}: give a shorter --window"
            )
        return replace(self, number_rate=float(fitting[0]))


def _examples(reading: Reading, kept: Path, entry: Entry) -> Iterable[Example | Excluded]:
    """Read one night and tell its epochs; runs in the worker processes."""
    from vitalfactory.dataset.example import Example, Excluded, pick

    felt = entry.record if isinstance(entry.record, Felt) else None
    heard = Heard(felt.night if felt else entry.record, reading, kept, felt.emotions if felt else None)
    epochs = heard.table.epochs
    eeg = task(reading.how.scoring, reading.how.step)
    told = [texts for part in reading.parts if (texts := REPRESENTATIONS[part](heard))]
    features = heard.features
    answers = eeg.answers[reading.language]
    chosen = heard.chosen
    for place in chosen:
        start, stage = float(epochs.start[place]), epochs.stage[place]
        name = f"{entry.id}_{start:08.1f}"
        question = pick(eeg.questions[reading.language][: reading.wordings], name)
        text = "\n".join(texts[place] for texts in told)
        columns: dict[str, Any] = {"instruction": question, "input": text, "output": answers[stage]}
        images: dict[str, bytes] = {}
        if "picture" in reading.parts:
            images = {f"{name}.png": heard.draw(place)}
            asked = "\n".join(part for part in (f"<image>{question}", text) if part)
            turns = {"user": asked, "assistant": answers[stage]}
            columns = {"messages": [{"role": role, "content": content} for role, content in turns.items()]}
        columns |= {"night": entry.id, "start": start}
        own = {figure: float(column[place]) for figure, column in features.items()}
        recording = int(heard.table.digest[place])
        yield Example(name, entry.group, stage, columns, own, images=images, recording=recording)
    for reason, count in epochs.dropped.items():
        yield Excluded(entry.id, reason, count=count)
    if left := len(epochs) - len(chosen):
        yield Excluded(entry.id, "over --max-windows", count=left)


@dataclass
class Heard:
    """A night while it is told.

    Attributes
    ----------
    night : Night or FeatureNight
    reading : Reading
    kept : Path
        Where tables are kept, so that a second representation of the same nights is quick.
    emotions : Emotions or None
    """

    night: Night | FeatureNight
    reading: Reading
    kept: Path
    emotions: Emotions | None = None

    @cached_property
    def table(self) -> Table:
        """The epochs and their figures."""
        from vitalfactory.signals.eeg import FeatureNight
        from vitalfactory.signals.eeg_features import cached_table

        if isinstance(self.night, FeatureNight):
            return self.night.table()
        return cached_table(self.night, self.reading.how, self.reading.channels, self.kept, events=self.reading.events)

    @property
    def chosen(self) -> list[int]:
        """The places of the epochs that become rows."""
        count = len(self.table.epochs)
        kept = min(count, self.reading.max_windows or count)
        return [place * count // kept for place in range(kept)]

    @cached_property
    def neighbours(self) -> NDArray[np.int64]:
        """The place of each epoch's neighbours, shape (n, 5), -1 where there is none."""
        from vitalfactory.signals.eeg import neighbours

        return neighbours(self.table.epochs, self.reading.how.window, CONTEXT)

    @cached_property
    def features(self) -> dict[str, Floats]:
        """What a baseline learns from: an epoch's figures, and the standardised powers of all five."""
        from vitalfactory.signals.eeg import standardise

        values = self.table.values
        found = {name: column for name, column in values.items() if " log_" not in name}
        for name, column in values.items():
            if " log_" in name:
                found |= _of_neighbours(name, standardise(column), self.neighbours)
        return {name: column.round(4) for name, column in found.items()}

    @cached_property
    def windows(self) -> dict[str, Floats]:
        """The signals of all epochs by channel, EEG first, shape (n, window * rate) each, in microvolts."""
        from vitalfactory.signals.eeg_features import read_montage

        assert not hasattr(self.night, "table")
        return read_montage(self.night, self.table.epochs, self.reading.how, self.reading.channels)

    @property
    def eeg(self) -> list[Floats]:
        """The windows of the EEG channels."""
        return [windows for name, windows in self.windows.items() if name not in ("EOG", "EMG")]

    def draw(self, place: int) -> bytes:
        """Draw one epoch."""
        from vitalfactory.signals.eeg_picture import draw_epoch

        return draw_epoch({name: windows[place] for name, windows in self.windows.items()}, self.reading.how.rate)


def _of_neighbours(name: str, column: Floats, places: NDArray[np.int64]) -> dict[str, Floats]:
    import numpy as np

    found = {}
    for offset, at in zip(CONTEXT, places.T, strict=True):
        found[f"{name} {offset:+d}" if offset else name] = np.where(at >= 0, column[at], 0.0)
    return found


def _tell_bands(heard: Heard) -> list[str]:
    from vitalfactory.signals.eeg import deciles

    table, words = heard.table, WORDS[heard.reading.language]
    lines = []
    for channel in table.channels:
        figures = {words[band]: deciles(table.values[f"{channel} log_{band}"]) for band in BANDS}
        for kind in COUNTED:
            if (counts := table.values.get(f"{channel} {kind}")) is not None:
                figures[words[kind]] = counts.clip(0, MOST_DIGIT).astype(int)
        lines.append((channel, figures))
    if CHIN in table.values:
        lines.append(("EMG", {"": deciles(table.values[CHIN])}))
    return ["\n".join(_line(channel, figures, at) for channel, figures in lines) for at in heard.neighbours.tolist()]


def _line(channel: str, figures: Mapping[str, NDArray[np.int64]], at: Sequence[int]) -> str:
    """Write a channel's figures: for each five digits, the epoch's own in the middle."""
    told = ("".join(str(column[place]) if place >= 0 else MISSING for place in at) for column in figures.values())
    return " ".join([channel, *(f"{name} {digits}".strip() for name, digits in zip(figures, told, strict=True))])


def _tell_numbers(heard: Heard) -> list[str]:
    """Write voltages as the first project did: ``a.bb,c.dd>`` for each time, in microvolts."""
    import numpy as np

    from vitalfactory.signals.eeg_features import resample

    eeg, rate, target = heard.eeg, heard.reading.how.rate, heard.reading.number_rate
    told = []
    for place in range(len(heard.table.epochs)):
        times = np.stack([resample(windows[place], rate, target) for windows in eeg], axis=1)
        told.append("".join(",".join(f"{value:.2f}" for value in row) + ">" for row in times.tolist()))
    return told


def _tell_picture(heard: Heard) -> list[str]:
    """Tell nothing: the picture itself is the row's image."""
    return []


def _tell_emotion(heard: Heard) -> list[str]:
    assert heard.emotions is not None
    return heard.emotions.tell(heard)


REPRESENTATIONS: dict[str, Callable[[Heard], list[str]]] = {
    "bands": _tell_bands,
    "numbers": _tell_numbers,
    "picture": _tell_picture,
    "emotion": _tell_emotion,
}


def _margin(text: str) -> float | None:
    return None if text == "none" else float(text)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    from vitalfactory.dataset.options import add_arguments, shared

    parser = argparse.ArgumentParser(prog="python converters/eeg.py", description=__doc__.split("\n")[0])
    add = parser.add_argument
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--input", type=Path, nargs="+", metavar="PATH", help="folders of *-PSG.edf, or one CSV of nights"
    )
    where.add_argument("--features", type=Path, metavar="DIR", help="nights that are tables of band powers instead")
    where.add_argument("--synthetic", type=int, metavar="N", help="make N synthetic nights instead")
    add("--hours", type=float, default=8.0, metavar="H", help="length of a synthetic night (default: 8)")
    known = ", ".join(REPRESENTATIONS)
    add(
        "--file-type", choices=tuple(FILE_TYPES), default="all", help="of Sleep-EDF: cassette, telemetry (default: all)"
    )
    add("--representation", default="bands", metavar="R", help=f"{known}, or some joined by + (default: bands)")
    add("--channels", nargs="+", metavar="NAME", help="the EEG channels (default: the first two called EEG)")
    add("--window", type=float, default=30.0, metavar="S", help="seconds of an epoch (default: 30)")
    add("--step", type=float, metavar="S", help="seconds from one epoch to the next (default: the window)")
    add("--stages", choices=("aasm", "rk"), default="aasm", help="five stages, or six with N4 apart (default: aasm)")
    add(
        "--wake-margin", type=_margin, default=30.0, metavar="MIN", help="wake kept around sleep, or none (default: 30)"
    )
    add("--rate", type=float, default=100.0, metavar="HZ", help="resample signals to this rate (default: 100)")
    add("--no-events", dest="events", action="store_false", help="do not count spindles and slow waves")
    add(
        "--noise", type=float, default=0.0, metavar="UV", help="train on each night once more, with so much white noise"
    )
    add("--max-windows", type=int, metavar="N", help="take at most N windows of a night, evenly spaced (default: all)")
    add("--emotion-models", type=Path, metavar="DIR", help="the networks HVHA, HVLA, LVHA, LVLA, for emotion")
    add("--emotion-window", type=float, default=2.0, metavar="S", help="seconds that they are asked of (default: 2)")
    add("--emotion-step", type=float, default=0.5, metavar="S", help="seconds from one to the next (default: 0.5)")
    add("--keep-contradictions", action="store_true", help="let a code name several emotions at once")
    add_arguments(parser, name="eeg", recipe=RECIPE)
    arguments = parser.parse_args(argv)

    from vitalfactory.dataset.build import print_summary

    not_own = {"json", "debug", *shared(arguments)}
    own = {name: value for name, value in vars(arguments).items() if name not in not_own}
    print_summary(convert(**own, **shared(arguments)), as_json=arguments.json)


if __name__ == "__main__":
    run(main)
