"""The probability that a model gives to every answer, for each row of a dataset.

    python eval/score.py --recipe train_configs/ecg_smollm2_lora.yaml --out results/ecg_smollm2
    python eval/score.py --recipe train_configs/ecg_smollm2_lora.yaml --adapter none --out results/ecg_smollm2_before
    python eval/score.py --recipe train_configs/ecg_smollm2_lora.yaml --base-url http://127.0.0.1:8000/v1 \
        --out results/ecg_served

The model is loaded here, or asked at the endpoint that ``python -m vitalfactory.serving start --constrained`` opens,
which tells log-probabilities. Rows are rendered by LLaMA-Factory's own template from the recipe, as in training. A run
that was cut off goes on where it stopped. Writes predictions.jsonl (test) and predictions_val.jsonl. Where each row
asks about one finding (converters/cxr.py --representation yesno), a row gets the probability that it is present.

    python eval/score.py --recipe train_configs/medqa_smollm2_lora.yaml --out results/medqa_smollm2
    python eval/score.py --recipe train_configs/medqa_smollm2_lora.yaml --choices cmb.json --out results/medqa_smollm2

Of medical questions, how likely each reference answer is goes into likelihoods.jsonl, and "yes" against "no", where a
row asks for one of them, into predictions.jsonl. With --choices, questions of multiple choice (CMB, CMExam) are
answered as well, letter against letter, into choices.jsonl; vitalfactory/scoring/qa_choices.py says what the file
looks like.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, run

if TYPE_CHECKING:
    from vitalfactory.predictions import Answer, Prediction
    from vitalfactory.render import Renderer
    from vitalfactory.scoring.model import Job

BackendOf = Callable[[str], "Answer"]
CONCURRENCY = 8


def score(
    job: Job, splits: Sequence[str], limit: int | None, backend_of: Callable[[Mapping[str, str]], BackendOf]
) -> None:
    """Score splits of a job's dataset into its run folder.

    Parameters
    ----------
    job : Job
    splits : sequence of str
    limit : int or None
        The first rows of each split only.
    backend_of : callable
        Takes the output string of each label; returns a callable from a split to what scores its rows.

    Raises
    ------
    VitalFactoryError
        The dataset is not one of closed answers, or the run's folder holds another run.
    """
    from vitalfactory.predictions import answer_rows
    from vitalfactory.scoring.model import check_closed, verdicts_of

    if job.card.kind == "multilabel":
        answers = verdicts_of(job).model_dump()
    else:
        check_closed(job)
        answers = {label: job.card.answers[label] for label in job.card.labels}
    backend = backend_of(answers)
    job.open("predictions", {"answers": answers, "limit": limit})
    for split in splits:
        print(answer_rows(job.out, split, "predictions", job.rows(split, limit), backend(split)))


def loaded_here(job: Job, batch_size: int, answers: Mapping[str, str]) -> BackendOf:
    """Score with the recipe's model, loaded once in this process when there is something to score.

    Parameters
    ----------
    job : Job
    batch_size : int
    answers : mapping of str to str
        The output string of each label.

    Returns
    -------
    callable
        A split to what scores its rows.
    """
    from vitalfactory.render import Renderer
    from vitalfactory.scoring.model import load, score_findings, score_rows

    scored = score_findings if job.card.kind == "multilabel" else score_rows
    loaded = cache(lambda: load(job))

    def backend(split: str) -> Answer:
        def answer(rows: Sequence[dict[str, Any]]) -> Iterator[Prediction]:
            model, tokenizer = loaded()
            renderer = Renderer(job.recipe, tokenizer, job.registry, f"{job.dataset}_{split}")
            return scored(model, renderer, rows, answers, batch_size)

        return answer

    return backend


def at_endpoint(job: Job, concurrency: int, answers: Mapping[str, str], failures: dict[str, str]) -> BackendOf:
    """Score by asking a server of llama.cpp; see :mod:`vitalfactory.endpoint.probabilities`.

    It is sent the chat messages that the recipe's template puts into tokens.

    Parameters
    ----------
    job : Job
        With an endpoint.
    concurrency : int
    answers : mapping of str to str
        The output string of each label.
    failures : dict of str to str
        Takes why a row got no answer, by its id.

    Returns
    -------
    callable
        A split to what scores its rows.

    Raises
    ------
    VitalFactoryError
        The address is none, or the endpoint tells no log-probabilities.
    """
    from vitalfactory.endpoint.asking import Question
    from vitalfactory.endpoint.client import Endpoint
    from vitalfactory.endpoint.probabilities import force, score_answers
    from vitalfactory.scoring.model import found, labelled

    endpoint = Endpoint(str(job.endpoint), str(job.recipe["model_name_or_path"]), concurrency)
    force(endpoint, answers)  # before LLaMA-Factory is imported, which takes long
    told = found if job.card.kind == "multilabel" else labelled

    def backend(split: str) -> Answer:
        def answer(rows: Sequence[dict[str, Any]]) -> Iterator[Prediction]:
            from tqdm import tqdm

            from vitalfactory.render import Chat

            chat = Chat(job.recipe, job.registry, f"{job.dataset}_{split}")
            by_id = {row["id"]: row for row in rows}
            questions = (Question(row["id"], chat.messages(row)) for row in rows)
            scored = score_answers(endpoint, questions, answers)
            for one in tqdm(scored, desc="scoring", total=len(rows), unit="row", disable=None):
                if one.probabilities is None:
                    failures[one.key] = str(one.reason)
                else:
                    yield told(by_id[one.key], one.probabilities)

        return answer

    return backend


def score_served(job: Job, splits: Sequence[str], limit: int | None, concurrency: int) -> None:
    """Do the same by asking the job's endpoint.

    Raises
    ------
    VitalFactoryError
        See :func:`score` and :func:`at_endpoint`; also where rows got no answer.
    """
    from vitalfactory.predictions import check_all_answered

    failures: dict[str, str] = {}
    score(job, splits, limit, lambda answers: at_endpoint(job, concurrency, answers, failures))
    check_all_answered(job.out, failures)


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


SERVED = ("served_model", "concurrency")
"""Flags that mean nothing without --base-url."""
LOADED = ("adapter", "model", "choices")
"""Flags that mean nothing beside it."""


def _check_flags(arguments: argparse.Namespace) -> None:
    given = {name for name, value in vars(arguments).items() if value is not None}
    wrong = [name for name in (LOADED if arguments.base_url else SERVED) if name in given]
    if wrong:
        flag = f"--{wrong[0].replace('_', '-')}"
        fault = "does not go with --base-url; leave one of them out" if arguments.base_url else "needs --base-url"
        raise VitalFactoryError(f"{flag} {fault}")


def _parser() -> argparse.ArgumentParser:
    from vitalfactory.scoring.model import add_arguments

    parser = argparse.ArgumentParser(prog="python eval/score.py", description=(__doc__ or "").split("\n")[0])
    add_arguments(parser)
    add = parser.add_argument
    add("--choices", type=Path, metavar="FILE", help="of medical questions: multiple choice, JSON or JSON Lines")
    add("--base-url", metavar="URL", help="ask a server of llama.cpp; its key is OPENAI_API_KEY's")
    add("--served-model", metavar="NAME", help="the endpoint's name of the model (default: model_name_or_path)")
    add("--concurrency", type=int, metavar="N", help=f"requests at a time (default: {CONCURRENCY})")
    return parser


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    from vitalfactory.scoring.model import read_job

    arguments = _parser().parse_args(argv)
    _check_flags(arguments)
    if arguments.base_url:
        arguments.adapter, arguments.model = "none", arguments.served_model
    job = replace(read_job(arguments), endpoint=arguments.base_url)
    if arguments.choices and job.card.kind != "qa":
        raise VitalFactoryError(f"--choices: is for medical questions; {job.dataset} has answers of another kind")
    if arguments.base_url:
        score_served(
            job,
            arguments.split,
            arguments.limit,
            CONCURRENCY if arguments.concurrency is None else arguments.concurrency,
        )
    elif job.card.kind == "qa":
        score_questions(job, arguments.split, arguments.limit, arguments.batch_size, arguments.choices)
    else:
        score(job, arguments.split, arguments.limit, partial(loaded_here, job, arguments.batch_size))


if __name__ == "__main__":
    run(main)
