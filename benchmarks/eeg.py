"""What the benchmarks of sleep staging share: their commands, and how they tell what was measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.ecg import precision
from benchmarks.steps import Step
from vitalfactory.card import Card
from vitalfactory.files import read_json

RECIPE = "train_configs/eeg_smollm2_lora.yaml"
ONE_EPOCH = "num_train_epochs=1.0"


def converting(root: str, *flags: str) -> tuple[str, ...]:
    """Make the command that converts nights into a dataset below a folder."""
    return ("python", "converters/eeg.py", *flags, "--recipe", RECIPE, "--root", root)


def boosting(root: str, out: str) -> Step:
    """Make the step that boosts on a dataset."""
    command = ("python", "-m", "vitalfactory.models.boosted", "--dataset", "eeg", "--root", root, "--out", out)
    return Step("Gradient boosting", command)


def tuning(root: str, out: str, *flags: str) -> list[Step]:
    """Make the steps that tune the language model on a dataset and ask it for the probability of every stage.

    Parameters
    ----------
    root : str
        The folder of the dataset, and of the adapter.
    out : str
        The run's folder.
    *flags : str
        Of ``eval/score.py``.
    """
    adapter = f"{root}/saves"
    changes = (f"dataset_dir={root}", f"output_dir={adapter}", ONE_EPOCH, *precision())
    score = ("--recipe", RECIPE, "--root", root, "--adapter", adapter, "--out", out)
    return [
        Step("Fine-tuning with LLaMA-Factory", ("llamafactory-cli", "train", RECIPE, *changes)),
        Step("The probability of every stage", ("python", "eval/score.py", *score, *flags)),
    ]


def judging(run: str) -> Step:
    """Make the step that judges a run."""
    return Step("Its figures", ("python", "eval/classify.py", run))


def rows(card: Card) -> str:
    """Tell how many epochs of how many subjects each split has."""
    counts = (f"{name} {part.rows} epochs of {part.groups} subjects" for name, part in card.splits.items())
    return f"Rows: {', '.join(counts)}."


def share_of(run: Path, baseline: Path) -> str:
    """Tell which share of a baseline's macro F1 a run reaches."""
    found, reached = (read_json(folder / "metrics.json")["figures"]["macro_f1"]["value"] for folder in (baseline, run))
    return f"The macro F1 of {run.name} is {reached / found:.2f} of that of {baseline.name}."
