"""The probability that a model gives to every answer, for each row of a dataset.

    python eval/score.py --recipe train_configs/ecg_smollm2_lora.yaml --out results/ecg_smollm2
    python eval/score.py --recipe train_configs/ecg_smollm2_lora.yaml --adapter none --out results/ecg_smollm2_before

Rows are rendered by LLaMA-Factory's own template from the recipe, as in training. A run that was cut
off goes on where it stopped. Writes predictions.jsonl (test) and predictions_val.jsonl.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import run

if TYPE_CHECKING:
    from vitalfactory.predictions import Prediction
    from vitalfactory.render import Renderer
    from vitalfactory.scoring.model import Job


def score(job: Job, splits: Sequence[str], limit: int | None, batch_size: int) -> None:
    """Score splits of a job's dataset into its run folder.

    Parameters
    ----------
    job : Job
    splits : sequence of str
    limit : int or None
        The first rows of each split only.
    batch_size : int

    Raises
    ------
    VitalFactoryError
        The dataset is not one of closed answers, or the run's folder holds another run.
    """
    from vitalfactory.predictions import answer_rows
    from vitalfactory.render import Renderer
    from vitalfactory.scoring.model import check_closed, load, score_rows

    check_closed(job)
    job.open("predictions", {"answers": job.card.answers, "limit": limit})
    model, tokenizer = load(job)
    for split in splits:
        renderer = Renderer(job.recipe, tokenizer, job.registry, f"{job.dataset}_{split}")

        def answer(rows: Sequence[dict[str, Any]], renderer: Renderer = renderer) -> Iterator[Prediction]:
            answers = {label: job.card.answers[label] for label in job.card.labels}
            return score_rows(model, renderer, rows, answers, batch_size)

        print(answer_rows(job.out, split, "predictions", job.rows(split, limit), answer))


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    from vitalfactory.scoring.model import add_arguments, read_job

    parser = argparse.ArgumentParser(prog="python eval/score.py", description=__doc__.split("\n")[0])
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    score(read_job(arguments), arguments.split, arguments.limit, arguments.batch_size)


if __name__ == "__main__":
    run(main)
