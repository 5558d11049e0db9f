"""The table of all tasks in the README, taken from docs/results.md.

python -m benchmarks.overview
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.publish import RESULTS, publish, published
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import ROOT

README = ROOT / "README.md"
MAJORITY, BEFORE, AFTER = "majority class", "before", "after"
"""Runs of every table."""
UNMEASURED = "not yet measured"


@dataclass(frozen=True)
class Task:
    """Where a task's figures stand.

    Attributes
    ----------
    title : str
    section : str
        The benchmark.
    figure : str
        A column of its table.
    baseline : str
        A run of its table.
    before : bool
        Whether the benchmark asks the model before its training too.
    """

    title: str
    section: str
    figure: str
    baseline: str
    before: bool = False


TASKS = (
    Task("Atrial fibrillation, real ECGs", "ecg_cinc2017", "AUROC", "boosted", before=True),
    Task("Sleep stages, real nights", "eeg_sleep_edf", "Macro F1", "boosted"),
    Task("Diagnoses, synthetic notes", "clinical", "Micro F1 over diseases", "tfidf"),
    Task("Medical questions, made facts", "medqa", "Entity F1", "nearest", before=True),
    Task("Chest X-rays, real images of 64 x 64", "cxr", "Mean AUROC of the findings", "cnn"),
)


def overview() -> str:
    """Lay out the table in Markdown.

    Raises
    ------
    VitalFactoryError
        A table of docs/results.md lacks the figure or the baseline.
    """
    lines = [
        "| Task | Figure | Majority class | Baseline | Model before | Model fine-tuned |",
        "|---|---|---|---|---|---|",
    ]
    for task in TASKS:
        runs = _runs(published(RESULTS, task.section), task)
        model, baseline = runs[task.baseline]
        before = _figure(runs, BEFORE) if task.before else "-"
        cells = (task.title, task.figure, runs[MAJORITY][1], f"{model}: {baseline}", before, _figure(runs, AFTER))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _figure(runs: Mapping[str, tuple[str, str]], name: str) -> str:
    return runs[name][1] if name in runs else UNMEASURED


def _runs(text: str, task: Task) -> dict[str, tuple[str, str]]:
    """Read a column of the first table that names runs: run to model and figure."""
    lines = text.partition("| Run |")
    table = (lines[1] + lines[2]).partition("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    names = {row[0] for row in rows}
    if not rows or task.figure not in rows[0] or not {MAJORITY, task.baseline} <= names:
        raise VitalFactoryError(
            f"{RESULTS}: {task.section}: expected a table with {task.figure!r}, {MAJORITY!r} and {task.baseline!r}; "
            f"run python -m benchmarks.{task.section}"
        )
    column = rows[0].index(task.figure)
    return {row[0]: (row[1], row[column]) for row in rows[2:]}


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overview", description=__doc__.split("\n")[0])
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.parse_args(argv)
    publish(README, "overview", overview())


if __name__ == "__main__":
    run(main)
