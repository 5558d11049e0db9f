"""``make demo-clinical``: a teacher, a student and their figures, on synthetic notes; some forty minutes on two cores.

python -m benchmarks.demo_clinical
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.clinical import Size, plan
from benchmarks.steps import run_steps
from vitalfactory.errors import run
from vitalfactory.files import ROOT
from vitalfactory.predictions import shown

FOLDER = ROOT / "results" / "demo_clinical"
SMALL = Size("360", "70/15/15", "40", ("num_train_epochs=1.0",))


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_clinical", description="The clinical path.")
    parser.add_argument("--fresh", action="store_true", help="start anew, whatever an earlier demo has done")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    print("Synthetic notes, and a teacher of 135 million parameters: these figures show that the path works.")
    run_steps(plan(shown(FOLDER), SMALL), FOLDER, fresh=arguments.fresh)
    print(f"Report: {FOLDER / 'runs' / 'after' / 'report.html'}")


if __name__ == "__main__":
    run(main)
