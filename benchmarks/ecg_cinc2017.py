"""Atrial fibrillation on the real records of the CinC 2017 Challenge: the table of docs/results.md.

Folds 0 and 1 train, 2 validates (every choice is made there), 3 tests; noisy records are left out. Takes
about an hour on two cores, and goes on where it stopped.

    python -m benchmarks.ecg_cinc2017
    python -m benchmarks.ecg_cinc2017 --input FOLDER/training2017 --folds FOLDER/cv
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ecg import REFERENCE, RUNS, plan
from benchmarks.publish import RESULTS, compare_table, measured_with, publish
from benchmarks.steps import Cost, Step, run_steps
from vitalfactory.card import Card, read_card
from vitalfactory.errors import run
from vitalfactory.files import ROOT, read_jsonl

FOLDER = ROOT / "results" / "ecg_cinc2017"
INPUT = Path("data/raw/training2017")
FOLDS = Path("data/raw/cv")


def steps(records: Path, folds: Path) -> list[Step]:
    """Lay out the commands for records and folds at these places."""
    split = ("--folds", str(folds), "--val-fold", "2", "--test-fold", "3")
    return plan(FOLDER, ["--input", str(records), *split, "--balance", "blend"])


def _section(costs: dict[str, Cost], table: str) -> str:
    """Write the section of docs/results.md."""
    card = read_card(FOLDER / "data" / "ecg")
    train = next(cost.seconds for line, cost in costs.items() if line.startswith("llamafactory-cli train"))
    commands = "\n".join(f"    {step.line()}" for step in steps(INPUT, FOLDS))
    about = measured_with(card, FOLDER / "runs" / "after")
    return (
        f"{table}\n\n{_rows(card)} Fine-tuning took {train / 60:.0f} minutes.\n\n"
        f"Command: `python -m benchmarks.ecg_cinc2017`, which runs\n\n{commands}\n\n{about}"
    )


def _rows(card: Card) -> str:
    parts = [
        f"{name} {part.rows} rows of {part.groups} records ({_positive(name)} AF)" for name, part in card.splits.items()
    ]
    left_out = ", ".join(f"{reason} {count}" for reason, count in card.excluded.items())
    return f"Rows: {'; '.join(parts)}. Left out: {left_out}."


def _positive(split: str) -> int:
    """Count the records with atrial fibrillation, each once however often ``--balance`` repeats it."""
    rows = read_jsonl(FOLDER / "data" / "ecg" / f"{split}.jsonl")
    return len({row["group"] for row in rows if row["label"] == "AF"})


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ecg_cinc2017", description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, default=INPUT, help="the records (default: %(default)s)")
    parser.add_argument("--folds", type=Path, default=FOLDS, help="cv0.csv to cv3.csv (default: %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="start anew, whatever an earlier run has done")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    costs = run_steps(steps(arguments.input, arguments.folds), FOLDER, fresh=arguments.fresh)
    runs = FOLDER / "runs"
    table = compare_table([runs / name for name in RUNS], runs / REFERENCE)
    publish(RESULTS, "ecg_cinc2017", _section(costs, table))


if __name__ == "__main__":
    run(main)
