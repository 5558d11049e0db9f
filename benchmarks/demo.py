"""``make demo``: the whole ECG path in minutes, on synthetic recordings or on your own.

python -m benchmarks.demo
python -m benchmarks.demo --ecg data/raw/training2017
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ecg import plan
from benchmarks.steps import run_steps
from vitalfactory.errors import run
from vitalfactory.files import ROOT

FOLDER = ROOT / "results" / "demo"
RECORDS = "640"
SPLIT = ("--split", "70/10/20")
TRAINING = ("per_device_train_batch_size=4", "num_train_epochs=1.0")
"""So few rows need more steps of fewer rows."""


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description="The whole ECG path in minutes.")
    parser.add_argument(
        "--ecg", type=Path, metavar="DIR", help="real recordings, such as training2017 (default: synthetic)"
    )
    parser.add_argument("--fresh", action="store_true", help="start anew, whatever an earlier demo has done")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    if arguments.ecg is None:
        print("Synthetic ECGs: these figures show that the path works, and say nothing about patients.")
        source = ["--synthetic", RECORDS, *SPLIT]
    else:
        source = ["--input", str(arguments.ecg.resolve()), "--limit", RECORDS, *SPLIT, "--balance", "blend"]
    run_steps(plan(FOLDER, source, TRAINING), FOLDER, fresh=arguments.fresh)
    print(f"Report: {FOLDER / 'runs' / 'after' / 'report.html'}")


if __name__ == "__main__":
    run(main)
