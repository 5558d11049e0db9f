"""ECG recordings -> an instruction dataset that asks for atrial fibrillation, or for the Challenge's four classes.

Reads the training set of the PhysioNet/CinC Challenge 2017 (ODC-BY 1.0, Clifford et al. 2017), any
folder of WFDB records with a labels.csv, or synthetic records. A row, in the default representation:

    instruction  Does this ECG show atrial fibrillation?
    input        Rate 74, RR change 2%, irregular 4%, shortest 93%, entropy 12, ...
    output       no AF

    python converters/ecg.py --input data/raw/training2017
    python converters/ecg.py --synthetic 400
    python converters/ecg.py --download
    python converters/ecg.py --representation rhythm+mscnn --folds data/raw/cv --val-fold 2 --test-fold 3
    python converters/ecg.py --representation picture --name ecg_picture --recipe train_configs/ecg_qwen2vl7b_lora.yaml

Representations, which can be joined by ``+``:

    rhythm   a summary of rhythm and P waves, and ten RR intervals
    rr       RR intervals alone
    wave     the averaged beat, its P wave and the fibrillatory waves
    raw      the first ten seconds, a digit each 40 ms; with --preview N the first N samples at 100 Hz as numbers
    mscnn    what an encoder of python -m vitalfactory.models.mscnn says: its probability and a code of its features
    mamba    the same, of python -m vitalfactory.models.mamba
    picture  the strip on paper, 25 mm/s and 10 mm/mV, for a vision model
"""

from __future__ import annotations

import argparse
import hashlib
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, check_counts, run
from vitalfactory.files import ROOT, short_path

if TYPE_CHECKING:
    from vitalfactory.card import Source
    from vitalfactory.dataset.build import Prepare, Summary
    from vitalfactory.dataset.example import Entry, Example, Excluded, Task
    from vitalfactory.models.encoder import Encoding
    from vitalfactory.signals.ecg import Record, Recording
    from vitalfactory.signals.ecg_rhythm import Beats

RECIPE = "ecg_qwen7b_lora.yaml"
DEFAULT_INPUT = ROOT / "data" / "raw" / "training2017"
DOWNLOAD_URL = "https://physionet.org/files/challenge-2017/1.0.0/training2017.zip"
PACKAGES = ("numpy", "pillow", "scipy", "sleepecg", "wfdb")

ENCODERS = ("mscnn", "mamba")
"""Representations that a network of :mod:`vitalfactory.models` writes."""
NOISY = "~"
LABELS = {
    "af": {"A": "AF", "N": "no AF", "O": "no AF", "AF": "AF", "no AF": "no AF"},
    "cinc": {"N": "normal rhythm", "A": "AF", "O": "other rhythm", NOISY: "noise"},
}
"""What a source's labels are called: atrial fibrillation or not, or the Challenge's four classes."""
# The Challenge's two sets of labels, told apart by their counts of A, N, O and ~.
LABEL_VERSIONS: dict[tuple[int, ...], str] = {(738, 5050, 2456, 284): "v3", (771, 5154, 2557, 46): "v0"}

SHOWN_RR = 10
"""RR intervals of a row: 10 are enough beside the summary of all, and keep a row short."""
MOST_RR = 40
RAW_SECONDS = 10
RAW_STEP_MS = 40
RAW_STEP_MV = 0.2
RAW_ZERO = 3
"""The digit of 0 mV: R peaks point upwards."""
PREVIEW_HZ = 100
PREVIEW_SECONDS = 10
PREVIEW_STEP = 3
PREVIEW_SCALE = 0.005


def task(labels: str = "af") -> Task:
    """Return the question, its wordings, its answers and what else they may be called.

    Parameters
    ----------
    labels : {'af', 'cinc'}
    """
    return _four_classes() if labels == "cinc" else _fibrillation()


def _fibrillation() -> Task:
    from vitalfactory.dataset.example import Task

    return Task(
        name="ecg",
        kind="classify",
        labels=("AF", "no AF"),
        positive="AF",
        questions={
            "en": (
                "Does this ECG show atrial fibrillation?",
                "Is atrial fibrillation present in this ECG?",
                "Is the rhythm of this ECG atrial fibrillation?",
            ),
            "zh": ("这段心电图是否显示心房颤动？", "这段心电图有没有房颤？", "该心电图的节律是心房颤动吗？"),
        },
        answers={"en": {"AF": "AF", "no AF": "no AF"}, "zh": {"AF": "有房颤", "no AF": "没有房颤"}},
        synonyms={
            "en": {
                "AF": ("atrial fibrillation", "AFib", "A-fib", "auricular fibrillation", "yes"),
                "no AF": ("no atrial fibrillation", "sinus rhythm", "no"),
            },
            "zh": {
                "AF": ("房颤", "心房颤动", "心房纤颤", "有心房颤动", "是"),
                "no AF": ("无房颤", "没有心房颤动", "未见房颤", "窦性心律", "否", "没有"),
            },
        },
    )


def _four_classes() -> Task:
    from vitalfactory.dataset.example import Task

    return Task(
        name="ecg",
        kind="classify",
        labels=("normal rhythm", "AF", "other rhythm", "noise"),
        positive=None,
        scored=("normal rhythm", "AF", "other rhythm"),
        questions={
            "en": (
                "What does this ECG show: normal rhythm, AF, other rhythm or noise?",
                "Is this ECG noise, other rhythm, AF or normal rhythm?",
                "Name the rhythm of this ECG: AF, normal rhythm, noise or other rhythm.",
            ),
            "zh": (
                "这段心电图属于哪一类：正常节律、房颤、其他节律还是噪声？",
                "该心电图是噪声、其他节律、房颤还是正常节律？",
                "请判断心电图的节律：房颤、正常节律、噪声或其他节律。",
            ),
        },
        answers={
            "en": {name: name for name in ("normal rhythm", "AF", "other rhythm", "noise")},
            "zh": {"normal rhythm": "正常节律", "AF": "房颤", "other rhythm": "其他节律", "noise": "噪声"},
        },
        synonyms={
            "en": {
                "normal rhythm": ("normal", "sinus rhythm", "normal sinus rhythm"),
                "AF": ("atrial fibrillation", "AFib", "A-fib"),
                "other rhythm": ("other", "another rhythm", "other arrhythmia"),
                "noise": ("noisy", "too noisy"),
            },
            "zh": {
                "normal rhythm": ("正常", "窦性心律", "正常窦性心律"),
                "AF": ("心房颤动", "心房纤颤"),
                "other rhythm": ("其他", "其它节律", "其他心律失常"),
                "noise": ("噪音", "干扰"),
            },
        },
    )


def convert(
    *,
    input: Path | None = None,
    synthetic: int | None = None,
    download: bool = False,
    representation: str = "rhythm",
    labels: str = "af",
    encoder: Sequence[Path] | None = None,
    preview: int | None = None,
    **shared: Any,
) -> Summary:
    """Turn a source of ECGs into a registered dataset.

    Parameters
    ----------
    input : Path, optional
        A folder with ``REFERENCE.csv`` or ``labels.csv``; ``data/raw/training2017`` by default.
    synthetic : int, optional
        Make this many records instead.
    download : bool
        Fetch the Challenge's training set to the default folder first.
    representation : str
        One of :data:`REPRESENTATIONS`, or several joined by ``+``.
    labels : {'af', 'cinc'}
        Atrial fibrillation against normal and other rhythms, or the Challenge's four classes.
    encoder : sequence of Path, optional
        The checkpoint of each network in the representation, in its order; ``checkpoints/<network>`` by default.
    preview : int, optional
        For ``raw``: this many samples at 100 Hz as numbers with four decimals instead of digits.
    **shared
        What every converter shares: the fields of :class:`vitalfactory.dataset.options.Options`.

    Returns
    -------
    Summary

    Raises
    ------
    VitalFactoryError
        The representation is none, its encoder is missing or has learned from what the dataset tests on; and
        see :func:`vitalfactory.dataset.build.build`.
    """
    from vitalfactory.dataset.build import Conversion, build
    from vitalfactory.dataset.options import Options

    parts = _parts(representation, preview)
    options = Options(**{"name": "ecg", "recipe": ROOT / "train_configs" / RECIPE, **shared})
    encoders = _encoders(parts, encoder)
    records, source, arguments = _source(options.seed, input, synthetic, download)
    entries, excluded = _entries(records, labels)
    arguments += ["--representation", representation, "--labels", labels]
    arguments += ["--preview", str(preview)] if preview is not None else []
    arguments += ["--encoder", *map(short_path, encoders.values())] if encoders else []
    conversion = Conversion(
        task=task(labels),
        source=source,
        representation=representation,
        make=partial(_examples, parts, labels, options.language, options.wordings, preview),
        arguments=arguments,
        packages=PACKAGES,
        prepare=_preparation(encoders),
        model_written=_written_by(encoders),
    )
    return build(conversion, entries, excluded, options)


def _parts(representation: str, preview: int | None) -> tuple[str, ...]:
    from vitalfactory.dataset.options import split_representation

    parts = split_representation(representation, tuple(REPRESENTATIONS))
    if preview is not None and ("raw" not in parts or preview < 1):
        raise VitalFactoryError(f"--preview {preview}: expected at least 1, with --representation raw")
    return parts


def _encoders(parts: Sequence[str], given: Sequence[Path] | None) -> dict[str, Path]:
    """Find the checkpoint of each network; one that is missing is an error and never replaced by something else."""
    needed = [part for part in parts if part in ENCODERS]
    if given is not None and len(given) != len(needed):
        raise VitalFactoryError(
            f"--encoder: {len(given)} given, and the representation has {len(needed)} networks"
            f"{': ' + ', '.join(needed) if needed else ''}; give one for each, in its order"
        )
    folders = given or [ROOT / "checkpoints" / name for name in needed]
    encoders = dict(zip(needed, folders, strict=True))
    if encoders:
        from vitalfactory.models.encoder import read_manifest

        for name, folder in encoders.items():
            read_manifest(folder, name)
    return encoders


def _preparation(encoders: Mapping[str, Path]) -> Prepare | None:
    return partial(_encode, encoders) if encoders else None


def _encode(encoders: Mapping[str, Path], entries: Sequence[Entry], splits: Mapping[str, str]) -> list[Entry]:
    """Give every entry what the encoders say of it, once it is sure that they may."""
    from vitalfactory.models.encoder import Encoder

    records = [entry.record for entry in entries]
    told: dict[str, Mapping[str, Encoding]] = {}
    for name, folder in encoders.items():
        encoder = Encoder(folder, name)
        encoder.check_splits(splits, records)
        told[name] = encoder.encode(records)
    return [
        replace(entry, record=Encoded(entry.record, {name: said.get(entry.id) for name, said in told.items()}))
        for entry in entries
    ]


@dataclass(frozen=True)
class Encoded:
    """A record with what encoders say of it, None where they could not read it."""

    record: Record
    said: Mapping[str, Encoding | None]

    def read(self) -> Recording:
        """Read the record."""
        return self.record.read()


def _written_by(encoders: Mapping[str, Path]) -> str | None:
    from vitalfactory.models.encoder import MAIN, read_manifest

    manifests = {name: read_manifest(folder, name) for name, folder in encoders.items()}
    told = [f"{name} ({manifest.networks[MAIN].sha256[:12]})" for name, manifest in manifests.items()]
    return ", ".join(told) or None


def _source(
    seed: int, folder: Path | None, count: int | None, download: bool
) -> tuple[Sequence[Record], Source, list[str]]:
    from vitalfactory.card import Source
    from vitalfactory.signals import ecg

    if (folder is not None) + (count is not None) + download > 1:
        raise VitalFactoryError("give one of --input, --synthetic and --download")
    if count is not None:
        check_counts({"--synthetic": count})
        made = Source(name="synthetic ECGs", version=f"seed {seed}", licence="Apache-2.0", synthetic=True)
        return list(ecg.synthetic(count, seed)), made, ["--synthetic", str(count)]
    if download:
        _download()
    folder = folder or DEFAULT_INPUT
    if not folder.is_dir():
        raise VitalFactoryError(
            f"{folder}: no such folder; give --input FOLDER with recordings, --synthetic 400 to make some, "
            "or --download to fetch the CinC 2017 training set (94 MB) from PhysioNet"
        )
    records = list(ecg.read_folder(folder))
    return records, _describe(folder, records), ["--input", short_path(folder)]


def _download() -> None:
    from vitalfactory.download import fetch, unpack

    if DEFAULT_INPUT.is_dir():
        return
    archive = fetch(DOWNLOAD_URL, DEFAULT_INPUT.with_suffix(".zip"))
    unpack(archive, DEFAULT_INPUT.parent)


def _describe(folder: Path, records: Sequence[Record]) -> Source:
    from vitalfactory.card import Source
    from vitalfactory.signals.ecg import LABELS as LABEL_FILE
    from vitalfactory.signals.ecg import REFERENCE

    if not (folder / REFERENCE).is_file():
        digest = hashlib.sha256((folder / LABEL_FILE).read_bytes()).hexdigest()[:12]
        return Source(name="WFDB folder", version=f"labels {digest}", licence="the owner's", synthetic=False)
    counts = tuple(sum(record.label == label for record in records) for label in ("A", "N", "O", NOISY))
    digest = hashlib.sha256((folder / REFERENCE).read_bytes()).hexdigest()[:12]
    version = LABEL_VERSIONS.get(counts, "of a part of the set")
    name = "PhysioNet/CinC Challenge 2017, training set"
    return Source(name=name, version=f"labels {version}, {REFERENCE} {digest}", licence="ODC-BY 1.0", synthetic=False)


def _entries(records: Sequence[Record], labels: str) -> tuple[list[Entry], list[Excluded]]:
    from vitalfactory.dataset.example import Entry, Excluded

    known = LABELS[labels]
    entries, excluded = [], []
    for record in records:
        if record.label in known or record.label in known.values():
            entries.append(Entry(record.id, record.group, known.get(record.label, record.label), record))
        elif record.label == NOISY:
            excluded.append(Excluded(record.id, "noisy (~)"))
        else:
            excluded.append(Excluded(record.id, "unknown label", record.label))
    return entries, excluded


def _examples(
    parts: Sequence[str], labels: str, language: str, wordings: int | None, numbers: int | None, entry: Entry
) -> list[Example]:
    """Read one record and tell it; runs in the worker processes."""
    from vitalfactory.dataset.example import Example, pick
    from vitalfactory.signals.ecg import digest_of

    ecg = task(labels)
    heard = Heard(entry.record.read(), getattr(entry.record, "said", {}), language, numbers)
    preview = _preview(heard.beats)  # a record without beats is left out of every representation alike
    told = [REPRESENTATIONS[part](heard) for part in parts]
    text = "\n".join(part for part, _ in told if part)
    features = {name: value for _, figures in told for name, value in figures.items()}
    assert entry.label is not None
    question, answer = pick(ecg.questions[language][:wordings], entry.id), ecg.answers[language][entry.label]
    images: dict[str, bytes] = {}
    columns: dict[str, Any] = {"instruction": question, "input": text, "output": answer}
    if PICTURE in parts:
        images = {f"{entry.id}.png": _draw(heard)}
        asked = "\n".join(part for part in (f"<image>{question}", text) if part)
        columns = {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
    recording = digest_of(heard.recording)
    return [Example(entry.id, entry.group, entry.label, columns, features, preview, images, recording)]


@dataclass
class Heard:
    """A record while it is told.

    Attributes
    ----------
    recording : Recording
    said : mapping of str to Encoding
        What encoders say of it.
    language : str
    preview : int or None
        How many samples ``raw`` prints as numbers.
    """

    recording: Recording
    said: Mapping[str, Encoding | None]
    language: str
    preview: int | None

    @cached_property
    def beats(self) -> Beats:
        """The record's beats; raises :class:`UnusableRecord` where they cannot be found."""
        from vitalfactory.signals.ecg_rhythm import find_beats

        return find_beats(self.recording)

    @cached_property
    def summary(self) -> Mapping[str, float]:
        """What :func:`vitalfactory.signals.ecg_rhythm.summarise` finds."""
        from vitalfactory.signals.ecg_rhythm import summarise

        return summarise(self.beats)


Told = tuple[str, Mapping[str, float]]
"""A part of a row's input, and the numbers that a baseline learns from in its place."""


def _tell_rhythm(heard: Heard) -> Told:
    return f"{_tell_summary(heard.summary, heard.language)}\n{_tell_rr(heard.beats)}", heard.summary


def _tell_intervals(heard: Heard) -> Told:
    from vitalfactory.signals.ecg_rhythm import rr_statistics

    return _tell_rr(heard.beats, MOST_RR), rr_statistics(heard.beats.rr)


def _tell_wave(heard: Heard) -> Told:
    from vitalfactory.signals.ecg_wave import describe_wave

    beat, figures = describe_wave(heard.beats)
    numbers = {
        "beat": " ".join(map(str, beat)),
        "p": _percent(figures["p_amplitude"]),
        "pr": round(figures["pr_interval"]),
        "p_waves": _percent(figures["p_match_share"]),
        "f_hz": f"{figures['f_peak_hz']:.1f}",
        "f": _percent(figures["f_amplitude"]),
        "f_share": _percent(figures["f_share"]),
        "qrs": round(figures["qrs_width"]),
    }
    points = {f"beat_{place}": float(value) for place, value in enumerate(beat)}
    return WAVE[heard.language].format_map(numbers), {**points, **figures}


WAVE = {
    "en": (
        "Beat {beat}. P wave {p}%, PR {pr} ms, in {p_waves}% of beats. "
        "F waves {f}%, {f_hz} Hz, share {f_share}%. QRS {qrs} ms."
    ),
    "zh": "平均心搏{beat}。P波{p}%，PR{pr}毫秒，见于{p_waves}%心搏。f波{f}%，{f_hz}赫兹，占{f_share}%。QRS{qrs}毫秒。",
}


def _tell_raw(heard: Heard) -> Told:
    if heard.preview is not None:
        return _tell_preview(heard.recording, heard.preview), {}
    signal, fs = heard.beats.signal, heard.beats.fs
    count = int(min(RAW_SECONDS, len(signal) / fs) * 1000 / RAW_STEP_MS)
    edges = [round(place * RAW_STEP_MS * fs / 1000) for place in range(count + 1)]
    steps = [signal[start:end] for start, end in pairwise(edges)]
    shown = [float(step[abs(step).argmax()]) for step in steps]  # so that no spike falls between two digits
    for peak in heard.beats.peaks[heard.beats.peaks < edges[-1]]:
        shown[bisect_right(edges, peak) - 1] = float(signal[peak])  # nor an R peak behind a deeper S wave
    return "ECG " + "".join(str(min(max(round(RAW_ZERO + value / RAW_STEP_MV), 0), 9)) for value in shown), {}


def _tell_preview(recording: Recording, count: int) -> str:
    """Write samples as the first project did: a control, which shows two seconds in some 1,400 tokens."""
    signal = recording.signal[:: max(1, round(recording.fs / PREVIEW_HZ))]
    standard = (signal - signal.mean()) / max(float(signal.std()), 1e-9)
    return " ".join(f"{value:.4f}" for value in standard[:count])


def _tell_encoder(name: str, heard: Heard) -> Told:
    from vitalfactory.errors import UnusableRecord
    from vitalfactory.signals.ecg import digest_of

    said = heard.said.get(name)
    if said is None or said.digest != digest_of(heard.recording):
        raise UnusableRecord("not the recording that the encoder saw", name)
    code = " ".join(f"{number:02d}" for number in said.code)
    numbers = {f"{name}_{place}": float(number) for place, number in enumerate(said.code)}
    text = NETWORK[heard.language].format(name=NETWORK_NAMES[name], percent=f"{100 * said.probability:.1f}", code=code)
    return text, {f"{name}_probability": said.probability, **numbers}


NETWORK_NAMES = {"mscnn": "CNN", "mamba": "Mamba"}
NETWORK = {"en": "{name} AF {percent}%, code {code}.", "zh": "{name}房颤{percent}%，编码{code}。"}
PICTURE = "picture"


def _draw(heard: Heard) -> bytes:
    from vitalfactory.signals.ecg_paper import draw_paper

    return draw_paper(heard.recording)


def _tell_picture(heard: Heard) -> Told:
    """Tell nothing: the picture itself is the row's image."""
    return "", heard.summary


REPRESENTATIONS: dict[str, Callable[[Heard], Told]] = {
    "rhythm": _tell_rhythm,
    "rr": _tell_intervals,
    "wave": _tell_wave,
    "raw": _tell_raw,
    "mscnn": partial(_tell_encoder, "mscnn"),
    "mamba": partial(_tell_encoder, "mamba"),
    PICTURE: _tell_picture,
}


def _tell_rr(beats: Beats, count: int = SHOWN_RR) -> str:
    """Write RR intervals in hundredths of a second, which keeps most of them at two digits."""
    return "RR " + " ".join(str(round(interval / 10)) for interval in beats.rr[:count])


def _percent(share: float) -> int:
    return round(100 * min(max(share, 0.0), 0.99))


def _tell_summary(s: Mapping[str, float], language: str) -> str:
    numbers = {
        "rate": round(s["heart_rate"]),
        "change": _percent(s["change_median"]),
        "irregular": _percent(s["irregular_share"]),
        "shortest": _percent(s["rr_p05"]),
        "entropy": round(10 * (s["sample_entropy"] + 4)),
        "p_waves": _percent(s["p_match_share"]),
        "jitter": round(s["p_jitter"]),
        "r_variation": _percent(s["r_variation"]),
    }
    return SUMMARY[language].format_map(numbers)


SUMMARY = {
    "en": (
        "Rate {rate}, RR change {change}%, irregular {irregular}%, shortest {shortest}%, entropy {entropy}, "
        "P waves {p_waves}%, jitter {jitter} ms, R variation {r_variation}%."
    ),
    "zh": (
        "心率{rate}，RR变化{change}%，不规则{irregular}%，最短{shortest}%，熵{entropy}，"
        "P波{p_waves}%，抖动{jitter}毫秒，R波变异{r_variation}%。"
    ),
}


def _preview(beats: Beats) -> Mapping[str, object]:
    """Keep the first ten seconds at a third of the rate, for a report to draw."""
    fs = beats.fs / PREVIEW_STEP
    shown = beats.signal[: int(PREVIEW_SECONDS * beats.fs) : PREVIEW_STEP]
    trace = (shown / PREVIEW_SCALE).round().astype(int).tolist()
    return {"fs": fs, "unit": "mV", "scale": PREVIEW_SCALE, "trace": trace}


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    from vitalfactory.dataset.options import add_arguments, shared

    parser = argparse.ArgumentParser(prog="python converters/ecg.py", description=__doc__.split("\n")[0])
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--input", type=Path, help="folder of records (default: data/raw/training2017)")
    where.add_argument("--synthetic", type=int, metavar="N", help="make N synthetic records instead")
    where.add_argument("--download", action="store_true", help="fetch the CinC 2017 training set from PhysioNet first")
    add = parser.add_argument
    known = ", ".join(REPRESENTATIONS)
    add(
        "--representation",
        default="rhythm",
        metavar="R",
        help=f"{known}, or some of them joined by + (default: rhythm)",
    )
    add(
        "--labels", choices=tuple(LABELS), default="af", help="AF or not, or the Challenge's four classes (default: af)"
    )
    add(
        "--encoder",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="the networks' checkpoints (default: checkpoints/NETWORK)",
    )
    add("--preview", type=int, metavar="N", help="raw: the first N samples at 100 Hz as numbers, a control")
    add_arguments(parser, name="ecg", recipe=RECIPE)
    arguments = parser.parse_args(argv)

    from vitalfactory.dataset.build import print_summary

    names = ("input", "synthetic", "download", "representation", "labels", "encoder", "preview")
    own = {name: getattr(arguments, name) for name in names}
    print_summary(convert(**own, **shared(arguments)), as_json=arguments.json)


if __name__ == "__main__":
    run(main)
