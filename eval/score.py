"""The probability that a model gives to every answer, for each row of a dataset.

    python eval/score.py --recipe train_configs/ecg_smollm2_lora.yaml --out results/ecg_smollm2
    python eval/score.py --recipe train_configs/ecg_smollm2_lora.yaml --adapter none --out results/ecg_smollm2_before

Rows are rendered by LLaMA-Factory's own template from the recipe, as in training. A run that was cut off goes on
where it stopped. Writes predictions.jsonl (test) and predictions_val.jsonl. Where each row asks about one finding
(converters/cxr.py --representation yesno), a row gets the probability that it is present.

    python eval/score.py --recipe train_configs/medqa_smollm2_lora.yaml --out results/medqa_smollm2
    python eval/score.py --recipe train_configs/medqa_smollm2_lora.yaml --choices cmb.json --out results/medqa_smollm2

Of medical questions, how likely each reference answer is goes into likelihoods.jsonl, and "yes" against "no", where a
row asks for one of them, into predictions.jsonl. With --choices, questions of multiple choice (CMB, CMExam) are
answered as well, letter against letter, into choices.jsonl; vitalfactory/scoring/qa_choices.py says what the file
looks like.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, run

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
    from vitalfactory.scoring.model import check_closed, load, score_findings, score_rows, verdicts_of

    if job.card.kind == "multilabel":
        scored, answers = score_findings, verdicts_of(job).model_dump()
    else:
        check_closed(job)
        scored, answers = score_rows, {label: job.card.answers[label] for label in job.card.labels}
    job.open("predictions", {"answers": answers, "limit": limit})
    model, tokenizer = load(job)
    for split in splits:
        renderer = Renderer(job.recipe, tokenizer, job.registry, f"{job.dataset}_{split}")

        def answer(rows: Sequence[dict[str, Any]], renderer: Renderer = renderer) -> Iterator[Prediction]:
            return scored(model, renderer, rows, answers, batch_size)

        print(answer_rows(job.out, split, "predictions", job.rows(split, limit), answer))


def score_questions(
    job: Job, splits: Sequence[str], limit: int | None, batch_size: int, choices: Path | None = None
) -> None:
    """Score the references of medical questions, yes against no, and multiple choice.

    Parameters
    ----------
    job, splits, limit, batch_size
        See :func:`score`.
    choices : Path, optional
        Questions of multiple choice.

    Raises
    ------
    VitalFactoryError
        See :func:`score`, and :func:`vitalfactory.scoring.qa_choices.read_choices`.
    """
    from vitalfactory.predictions import answer_rows, gold_of
    from vitalfactory.render import Renderer
    from vitalfactory.scoring.model import load, score_references, score_rows

    verdicts = job.card.verdicts
    answers = {text: text for text in ((verdicts.present, verdicts.absent) if verdicts else ())}
    asked = _read_choices(job, choices) if choices else []
    job.open("likelihoods", {"limit": limit})
    loaded = cache(lambda: load(job))

    def renderer_of(split: str) -> Renderer:
        return Renderer(job.recipe, loaded()[1], job.registry, f"{job.dataset}_{split}")

    for split in splits:

        def references(rows: Sequence[dict[str, Any]], split: str = split) -> Iterator[Prediction]:
            return score_references(loaded()[0], renderer_of(split), rows, batch_size)

        def yes_or_no(rows: Sequence[dict[str, Any]], split: str = split) -> Iterator[Prediction]:
            return score_rows(loaded()[0], renderer_of(split), rows, answers, batch_size)

        rows = job.rows(split, limit)
        print(answer_rows(job.out, split, "likelihoods", rows, references))
        decided = [{**row, "label": gold_of(row, "qa")} for row in rows if row["answer_kind"] == "yesno"]
        if answers and decided:
            job.open("predictions", {"answers": answers, "limit": limit})
            print(answer_rows(job.out, split, "predictions", decided, yes_or_no))

    def letters(rows: Sequence[dict[str, Any]]) -> Iterator[Prediction]:
        for candidates in sorted({tuple(row["candidates"]) for row in rows}):
            alike = [row for row in rows if tuple(row["candidates"]) == candidates]
            letter = {text: text for text in candidates}
            yield from score_rows(loaded()[0], renderer_of("test"), alike, letter, batch_size)

    if asked:
        print(answer_rows(job.out, "test", "choices", asked, letters))


def _read_choices(job: Job, file: Path) -> list[dict[str, Any]]:
    """Lay questions of multiple choice out as rows of the dataset, and note the file in the run."""
    from vitalfactory.files import sha256
    from vitalfactory.scoring.inputs import question_row
    from vitalfactory.scoring.qa_choices import read_choices

    choices, excluded = read_choices(file)
    job.open("choices", {"file": file.name, "sha256": sha256(file), "rows": len(choices), "excluded": excluded})
    return [
        {
            **question_row(choice.prompt(job.card.language), job),
            "id": choice.id,
            "group": choice.id,
            "label": choice.right,
            "candidates": choice.candidates,
        }
        for choice in choices
    ]


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    from vitalfactory.scoring.model import add_arguments, read_job

    parser = argparse.ArgumentParser(prog="python eval/score.py", description=__doc__.split("\n")[0])
    add_arguments(parser)
    choices = "of medical questions: questions of multiple choice, JSON or JSON Lines"
    parser.add_argument("--choices", type=Path, metavar="FILE", help=choices)
    arguments = parser.parse_args(argv)
    job = read_job(arguments)
    if job.card.kind == "qa":
        score_questions(job, arguments.split, arguments.limit, arguments.batch_size, arguments.choices)
        return
    if arguments.choices:
        raise VitalFactoryError(f"--choices: is for medical questions; {job.dataset} has answers of another kind")
    score(job, arguments.split, arguments.limit, arguments.batch_size)


if __name__ == "__main__":
    run(main)
