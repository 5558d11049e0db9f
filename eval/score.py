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
    from vitalfactory.scoring.likelihood import Question
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
    from vitalfactory.errors import VitalFactoryError
    from vitalfactory.predictions import answer_rows
    from vitalfactory.render import Renderer
    from vitalfactory.scoring.model import load

    if job.card.kind != "classify":
        raise VitalFactoryError(
            f"{job.dataset}: its answers are of the kind {job.card.kind!r}; score.py needs 'classify'"
        )
    job.open("predictions", {"answers": job.card.answers, "limit": limit})
    model, tokenizer = load(job)
    for split in splits:
        renderer = Renderer(job.recipe, tokenizer, job.registry, f"{job.dataset}_{split}")

        def answer(rows: Sequence[dict[str, Any]], renderer: Renderer = renderer) -> Iterator[Prediction]:
            return _answer(job, model, renderer, rows, batch_size)

        print(answer_rows(job.out, split, "predictions", job.rows(split, limit), answer))


def _answer(
    job: Job, model: Any, renderer: Renderer, rows: Sequence[dict[str, Any]], batch_size: int
) -> Iterator[Prediction]:
    from tqdm import tqdm

    from vitalfactory.predictions import Prediction
    from vitalfactory.scoring import likelihood

    by_id = {row["id"]: row for row in rows}
    questions = [_question(job, renderer, row) for row in rows]
    scored = likelihood.score(model, questions, batch_size)
    for name, values in tqdm(scored, desc="scoring", total=len(rows), unit="row", disable=None):
        row = by_id[name]
        probabilities = dict(zip(job.card.labels, values, strict=True))
        best = max(probabilities, key=lambda label: probabilities[label])
        yield Prediction(
            id=name, group=row["group"], label=row["label"], probabilities=probabilities, text=None, parsed=best
        )


def _question(job: Job, renderer: Renderer, row: dict[str, Any]) -> Question:
    from vitalfactory.scoring.likelihood import Question, until_stop

    rendered = [renderer.render(row, job.card.answers[label]) for label in job.card.labels]
    answers = [until_stop(candidate.answer, renderer.stop_ids) for candidate in rendered]
    return Question(row["id"], str(row.get("instruction", "")), rendered[0].prompt, answers)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    from vitalfactory.scoring.model import add_arguments, read_job

    parser = argparse.ArgumentParser(prog="python eval/score.py", description=__doc__.split("\n")[0])
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    score(read_job(arguments), arguments.split, arguments.limit, arguments.batch_size)


if __name__ == "__main__":
    run(main)
