"""What the wording of the question changes, and what the model says when it is free to: two studies of docs/results.md.

Needs the row ``rhythm (all rows)`` of ``python -m benchmarks.ecg_ablation``, whose model and test rows it takes. Some
forty minutes on two cores; goes on where it stopped.

    python -m benchmarks.ecg_studies
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.ecg import RECIPE
from benchmarks.ecg_ablation import FOLDER as ABLATION
from benchmarks.publish import RESULTS, measured_with, publish
from benchmarks.steps import Step, run_steps
from vitalfactory.card import read_card
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import ROOT
from vitalfactory.predictions import shown

FOLDER = ROOT / "results" / "ecg_studies"
TRAINED = ABLATION / "rhythm_all"
RUN = TRAINED / "rhythm"
WORDING_ROWS = "400"
TEXT_ROWS = "400"
LONGEST = ("--max-new-tokens", "32")
SAMPLES = ("--sample", "5", "--temperature", "1.0")
MODELS = {"before": "none", "after": f"{shown(TRAINED)}/saves"}


def steps() -> list[Step]:
    """Lay out the commands."""
    root = shown(FOLDER)
    data = ("--recipe", RECIPE, "--root", shown(TRAINED))
    against = ("--split", "test", "--limit", WORDING_ROWS, "--against", shown(RUN))
    wordings = ("--adapter", MODELS["after"], *against, "--out", f"{root}/wordings")
    plan = [Step("The same rows under every wording", ("python", "eval/wordings.py", *data, *wordings), shows=True)]
    for when, adapter in MODELS.items():
        model = (*data, "--adapter", adapter, "--split", "test", "--limit", TEXT_ROWS, "--out", f"{root}/{when}")
        plan += [
            Step(f"The probability of every answer, {when} training", ("python", "eval/score.py", *model)),
            Step(f"Greedy answers in free text, {when} training", ("python", "eval/generate.py", *model, *LONGEST)),
            Step(f"Sampled answers, {when} training", ("python", "eval/generate.py", *model, *LONGEST, *SAMPLES)),
        ]
    folders = [f"{root}/{when}" for when in MODELS]
    return [*plan, Step("What was said", ("python", "eval/free_text.py", *folders), shows=True)]


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ecg_studies", description=__doc__.split("\n")[0])
    parser.add_argument("--fresh", action="store_true", help="start anew, whatever an earlier run has done")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    if not (RUN / "metrics.json").is_file():
        raise VitalFactoryError(
            f"{TRAINED}: not measured yet; run python -m benchmarks.ecg_ablation --only 'rhythm (all rows)' first"
        )
    run_steps(steps(), FOLDER, fresh=arguments.fresh)
    publish_studies()


def publish_studies() -> None:
    """Put both studies into docs/results.md, with what they were measured with."""
    card = read_card(TRAINED / "data" / "ecg")
    about = f"Command: `python -m benchmarks.ecg_studies`. {measured_with(card, FOLDER / 'after')}"
    wordings = (FOLDER / "wordings" / "wordings.md").read_text(encoding="utf-8").strip()
    said = (FOLDER / "logs" / f"{len(steps()):02d}.log").read_text(encoding="utf-8").strip()
    publish(RESULTS, "ecg_wordings", f"{wordings}\n\nThe first {WORDING_ROWS} test rows. {about}")
    publish(RESULTS, "ecg_free_text", f"```text\n{said}\n```\n\nThe first {TEXT_ROWS} test rows. {about}")


if __name__ == "__main__":
    run(main)
