"""ECG recordings -> an instruction dataset that asks for atrial fibrillation.

Reads the training set of the PhysioNet/CinC Challenge 2017 (ODC-BY 1.0, Clifford et al. 2017), any
folder of WFDB records with a labels.csv, or synthetic records. A row, in the default representation:

    instruction  Does this ECG show atrial fibrillation?
    input        Rate 74, RR change 2%, irregular 4%, shortest 93%, entropy 12, ...
    output       no AF

    python converters/ecg.py --input data/raw/training2017
    python converters/ecg.py --synthetic 400
    python converters/ecg.py --download
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import ROOT

if TYPE_CHECKING:
    from vitalfactory.card import Source
    from vitalfactory.dataset.build import Summary
    from vitalfactory.dataset.example import Entry, Example, Excluded, Task
    from vitalfactory.signals.ecg import Record
    from vitalfactory.signals.ecg_rhythm import Beats

RECIPE = "ecg_qwen7b_lora.yaml"
DEFAULT_INPUT = ROOT / "data" / "raw" / "training2017"
DOWNLOAD_URL = "https://physionet.org/files/challenge-2017/1.0.0/training2017.zip"
PACKAGES = ("numpy", "scipy", "sleepecg", "wfdb")

LABELS = {"A": "AF", "N": "no AF", "O": "no AF", "AF": "AF", "no AF": "no AF"}
NOISY = "~"
# The Challenge's two sets of labels, told apart by their counts of A, N, O and ~.
LABEL_VERSIONS: dict[tuple[int, ...], str] = {(738, 5050, 2456, 284): "v3", (771, 5154, 2557, 46): "v0"}

SHOWN_RR = 10
"""RR intervals of a row: 10 are enough beside the summary of all, and keep a row short."""
MOST_RR = 40
PREVIEW_SECONDS = 10
PREVIEW_STEP = 3
PREVIEW_SCALE = 0.005


def task() -> Task:
    """Return the question, its wordings, its answers and what else they may be called."""
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


def convert(
    *,
    input: Path | None = None,
    synthetic: int | None = None,
    download: bool = False,
    representation: str = "rhythm",
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
    representation : {'rhythm', 'rr'}
        RR intervals with a summary of rhythm and P waves, or RR intervals alone.
    **shared
        What every converter shares: the fields of :class:`vitalfactory.dataset.options.Options`.

    Returns
    -------
    Summary

    Raises
    ------
    VitalFactoryError
        See :func:`vitalfactory.dataset.build.build`.
    """
    from vitalfactory.dataset.build import Conversion, build
    from vitalfactory.dataset.options import Options

    if representation not in REPRESENTATIONS:
        raise VitalFactoryError(f"--representation {representation}: expected one of {', '.join(REPRESENTATIONS)}")
    options = Options(**{"name": "ecg", "recipe": ROOT / "train_configs" / RECIPE, **shared})
    records, source, arguments = _source(options.seed, input, synthetic, download)
    entries, excluded = _entries(records)
    conversion = Conversion(
        task=task(),
        source=source,
        representation=representation,
        make=partial(_examples, representation, options.language, options.wordings),
        arguments=[*arguments, "--representation", representation],
        packages=PACKAGES,
    )
    return build(conversion, entries, excluded, options)


def _source(
    seed: int, folder: Path | None, count: int | None, download: bool
) -> tuple[Sequence[Record], Source, list[str]]:
    from vitalfactory.card import Source
    from vitalfactory.signals import ecg

    if (folder is not None) + (count is not None) + download > 1:
        raise VitalFactoryError("give one of --input, --synthetic and --download")
    if count is not None:
        if count < 1:
            raise VitalFactoryError(f"--synthetic {count}: expected at least 1")
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
    shown = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    return records, _describe(folder, records), ["--input", str(shown)]


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


def _entries(records: Sequence[Record]) -> tuple[list[Entry], list[Excluded]]:
    from vitalfactory.dataset.example import Entry, Excluded

    entries, excluded = [], []
    for record in records:
        if record.label in LABELS:
            entries.append(Entry(record.id, record.group, LABELS[record.label], record))
        elif record.label == NOISY:
            excluded.append(Excluded(record.id, "noisy (~)"))
        else:
            excluded.append(Excluded(record.id, "unknown label", record.label))
    return entries, excluded


def _examples(representation: str, language: str, wordings: int | None, entry: Entry) -> list[Example]:
    """Read one record and tell it; runs in the worker processes."""
    from vitalfactory.dataset.example import Example, pick
    from vitalfactory.signals.ecg_rhythm import find_beats

    ecg = task()
    beats = find_beats(entry.record.read())
    text, features = REPRESENTATIONS[representation](beats, language)
    assert entry.label is not None
    columns = {
        "instruction": pick(ecg.questions[language][:wordings], entry.id),
        "input": text,
        "output": ecg.answers[language][entry.label],
    }
    return [Example(entry.id, entry.group, entry.label, columns, features, _preview(beats))]


def _tell_rhythm(beats: Beats, language: str) -> tuple[str, Mapping[str, float]]:
    from vitalfactory.signals.ecg_rhythm import summarise

    summary = summarise(beats)
    return f"{_tell_summary(summary, language)}\n{_tell_rr(beats)}", summary


def _tell_intervals(beats: Beats, language: str) -> tuple[str, Mapping[str, float]]:
    from vitalfactory.signals.ecg_rhythm import rr_statistics

    del language  # numbers read the same in all of them
    return _tell_rr(beats, MOST_RR), rr_statistics(beats.rr)


REPRESENTATIONS = {"rhythm": _tell_rhythm, "rr": _tell_intervals}


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
    parser.add_argument("--representation", choices=tuple(REPRESENTATIONS), default="rhythm", help="how it is told")
    add_arguments(parser, name="ecg", recipe=RECIPE)
    arguments = parser.parse_args(argv)

    from vitalfactory.dataset.build import print_summary

    own = {name: getattr(arguments, name) for name in ("input", "synthetic", "download", "representation")}
    print_summary(convert(**own, **shared(arguments)), as_json=arguments.json)


if __name__ == "__main__":
    run(main)
