"""A model's answers in free text: to the rows of a dataset, or to rows of a user's own.

    python eval/generate.py --recipe train_configs/ecg_smollm2_lora.yaml --out results/ecg_smollm2
    python eval/generate.py --recipe train_configs/ecg_smollm2_lora.yaml --out results/ecg_smollm2 --sample 5
    python eval/generate.py --recipe train_configs/clinical_smollm2_lora.yaml --base-url http://127.0.0.1:8080/v1 \
        --json-schema --out results/clinical_served
    python eval/generate.py --recipe train_configs/clinical_smollm2_lora.yaml --input notes.jsonl --out answers.jsonl

The model is loaded here, or asked at an OpenAI-compatible endpoint. Writes generations.jsonl (test) beside the run's
predictions, or samples.jsonl with several answers a row; an answer that nothing can be read from is kept with its text
and counts as wrong. With --input, writes one row for each row of the file, in its order: diseases and a reason for
a note, findings for an image, an answer to a question, a label for rows of the other tasks. A run that was cut off goes
on where it stopped.
Decoding is greedy, with --beams a beam search, with --sample drawn from all tokens at a temperature.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, check_counts, run

if TYPE_CHECKING:
    from vitalfactory.card import Card
    from vitalfactory.predictions import Answered, Prediction
    from vitalfactory.scoring.generation import Backend, Row, Sampling, Written
    from vitalfactory.scoring.inputs import Entry
    from vitalfactory.scoring.model import Job

TEST = ["test"]
TURN_MARKS = re.compile(r"<(?=\|[^<>|\s]{1,40}\|>|/?s>)")
"""Where a mark of a chat template begins."""


def generate(
    job: Job,
    splits: Sequence[str],
    limit: int | None,
    backend_of: Callable[[str], Backend],
    settings: Mapping[str, Any],
    sampling: Sampling | None = None,
    save_every: int = 1,
) -> None:
    """Answer splits of a job's dataset into its run folder.

    Parameters
    ----------
    job : Job
    splits : sequence of str
    limit : int or None
        The first rows of each split only.
    backend_of : callable
        A split to what answers its rows.
    settings : mapping
        How answers are decoded, as the manifest tells it.
    sampling : Sampling, optional
        Several answers a row, into a file of their own.
    save_every : int
        See :func:`vitalfactory.predictions.keep_answers`.

    Raises
    ------
    VitalFactoryError
        The run's folder holds another run, or rows got no answer.
    """
    from vitalfactory.predictions import answer_rows, check_all_answered
    from vitalfactory.scoring.generation import predict

    answered: Answered = "samples" if sampling else "generations"
    job.open(answered, {**settings, "limit": limit})
    failures: dict[str, str] = {}
    for split in splits:

        def answer(rows: Sequence[Row], split: str = split) -> Iterator[Prediction]:
            return predict(job.card, backend_of(split), rows, failures)

        rows = job.rows(split, limit)
        if sampling:
            rows = [{**row, "id": f"{row['id']}#{place + 1}"} for row in rows for place in range(sampling.count)]
        print(answer_rows(job.out, split, answered, rows, answer, save_every))
    check_all_answered(job.out, failures)


def loaded_here(
    job: Job, batch_size: int, max_new_tokens: int, sampling: Sampling | None, beams: int = 1
) -> Callable[[str], Backend]:
    """Answer with the recipe's model, loaded once in this process when there is something to answer.

    Parameters
    ----------
    job : Job
    batch_size, max_new_tokens, sampling, beams
        See :func:`vitalfactory.scoring.generation.decode`.

    Returns
    -------
    callable
        A split to its backend.
    """
    from vitalfactory.render import Renderer
    from vitalfactory.scoring.generation import decode
    from vitalfactory.scoring.model import load

    loaded = cache(lambda: load(job))

    def backend_of(split: str) -> Backend:
        def answer(rows: Sequence[Row]) -> Iterator[Written]:
            model, tokenizer = loaded()
            renderer = Renderer(job.recipe, tokenizer, job.registry, f"{job.dataset}_{split}")
            return decode(model, renderer, rows, batch_size, max_new_tokens, sampling, beams)

        return answer

    return backend_of


def at_endpoint(job: Job, concurrency: int, max_new_tokens: int, json_schema: bool) -> Callable[[str], Backend]:
    """Answer by asking an OpenAI-compatible endpoint.

    It is sent the chat messages that the recipe's template puts into tokens. Whatever it answers is the model's answer,
    and is not asked for again; what a content filter withholds is an empty answer.

    Parameters
    ----------
    job : Job
        With an endpoint.
    concurrency : int
    max_new_tokens : int
    json_schema : bool
        Let the endpoint write nothing but JSON of the answers' schema.

    Returns
    -------
    callable
        A split to its backend.

    Raises
    ------
    VitalFactoryError
        The address is none, or the kind of answers has no schema.
    """
    from vitalfactory.endpoint.asking import Question, ask
    from vitalfactory.endpoint.client import CONTENT_FILTER, Endpoint
    from vitalfactory.endpoint.structured import Checked, Form, probe
    from vitalfactory.render import Chat
    from vitalfactory.scoring.generation import SCHEMA_TOKENS, Written, schema_of

    endpoint = Endpoint(str(job.endpoint), str(job.recipe["model_name_or_path"]), concurrency)
    schema = schema_of(job.card, max_new_tokens) if json_schema else None
    form = Form(job.card.kind, schema, Checked)
    parameters = {"temperature": 0, "max_tokens": max_new_tokens * (SCHEMA_TOKENS if json_schema else 1)}

    def backend_of(split: str) -> Backend:
        def answer(rows: Sequence[Row]) -> Iterator[Written]:
            mode = probe(endpoint, form, parameters)  # before LLaMA-Factory is imported, which takes long
            if json_schema and mode != "json_schema":
                raise VitalFactoryError(f"{endpoint.base_url}: does not keep to a JSON schema; leave --json-schema out")
            chat = Chat(job.recipe, job.registry, f"{job.dataset}_{split}")
            questions = (Question(row["id"], chat.messages(row)) for row in rows)
            for one in ask(endpoint, questions, form, parameters, tries=1, mode=mode):
                text = "" if one.reason == CONTENT_FILTER else one.text
                yield Written(one.key, text, one.cut, one.reason)

        return answer

    return backend_of


def note_row(source: Row, card: Card) -> Row:
    """Lay a note out under the question of a dataset of notes, shortened as the dataset's are.

    Raises
    ------
    UnusableRecord
        The row holds no note; see :func:`vitalfactory.notes.note.note_of`.
    """
    from vitalfactory.notes.note import note_of, shorten

    # A note is data: marks in it must not end the turn that it stands in.
    text = TURN_MARKS.sub("< ", note_of(source).text)
    if card.longest_note is not None:
        text = shorten(text, card.longest_note)
    return {"instruction": card.question[0], "input": text, "output": ""}


def answer_input(
    job: Job,
    entries: Sequence[Entry],
    settings: Mapping[str, Any],
    answer: Callable[[Sequence[Row], dict[str, str]], Iterator[Prediction]],
    save_every: int = 1,
) -> None:
    """Answer a user's rows into a file of one row each, in their order.

    What the model wrote is kept beside it as soon as it is there, in ``<out>.ledger.jsonl``; ``<out>.run.json`` is the
    manifest. A row that got no answer is written with its failure, and asked again by the same command.

    Parameters
    ----------
    job : Job
        Its ``out`` is the file.
    entries : sequence of Entry
    settings : mapping
        How answers are decoded, as the manifest tells it.
    answer : callable
        Takes rows, and a dict to fill with the failures by id; yields predictions in any order.
    save_every : int
        See :func:`vitalfactory.predictions.keep_answers`.

    Raises
    ------
    VitalFactoryError
        The answers at hand were made with something else.
    """
    from vitalfactory.files import write_jsonl
    from vitalfactory.predictions import counted, keep_answers, note_run, read_predictions
    from vitalfactory.scoring.generation import kind_of
    from vitalfactory.scoring.inputs import output_row

    kind = kind_of(job.card)
    about = {**job.model_manifest(), "dataset": job.card.name}
    asked = {**settings, "question": job.card.question[0], "longest_note": job.card.longest_note}
    note_run(job.out.with_suffix(".run.json"), job.out, about, {"answers": asked})
    ledger = job.out.with_suffix(".ledger.jsonl")
    failures: dict[str, str] = {}
    rows = {entry.row["id"]: entry.row for entry in entries if entry.row}  # the same row twice is asked once
    new = keep_answers(ledger, list(rows.values()), lambda todo: answer(todo, failures), save_every)
    answers = {prediction.id: prediction for prediction in read_predictions(ledger)}
    written = [output_row(entry, kind, answers, failures) for entry in entries]
    write_jsonl(job.out, written)
    failed = [row["failure"] for row in written if "failure" in row]
    unread = sum(row[kind.field] is None for row in written) - len(failed)
    print(
        f"{job.out}: {len(written)} rows, {new} answered now, {unread} answers not read, {len(failed)} rows without one"
    )
    if failed:
        print(f"  {counted(failed)}")


def scored_here(job: Job, batch_size: int) -> Callable[[Sequence[Row], dict[str, str]], Iterator[Prediction]]:
    """Answer with the probability of every label; see :func:`vitalfactory.scoring.model.score_rows`."""
    from vitalfactory.render import Renderer
    from vitalfactory.scoring.model import load, score_rows

    def answer(rows: Sequence[Row], _: dict[str, str]) -> Iterator[Prediction]:
        model, tokenizer = load(job)
        renderer = Renderer(job.recipe, tokenizer, job.registry, f"{job.dataset}_test")
        answers = {label: job.card.answers[label] for label in job.card.labels}
        return score_rows(model, renderer, rows, answers, batch_size)

    return answer


def _sampling(arguments: argparse.Namespace) -> Sampling | None:
    from vitalfactory.scoring.generation import Sampling

    if arguments.sample is None:
        return None
    if arguments.sample < 1:
        raise VitalFactoryError(f"--sample {arguments.sample}: expected at least 1 answer a row")
    if arguments.temperature <= 0:
        raise VitalFactoryError(
            f"--temperature {arguments.temperature}: expected more than 0; leave --sample out for greedy decoding"
        )
    return Sampling(arguments.sample, arguments.temperature, arguments.seed)


APART = (
    ("base_url", ("adapter", "model", "sample", "probabilities", "beams")),
    ("input", ("split", "sample")),
    ("sample", ("beams",)),
    ("probabilities", ("beams",)),
)
"""A flag, and those that mean nothing beside it."""
NEEDED = (("served_model", "base_url"), ("json_schema", "base_url"), ("probabilities", "input"))
"""A flag, and the one that it needs."""


def _check_flags(arguments: argparse.Namespace) -> None:
    given = {name for name, value in vars(arguments).items() if value not in (None, False, TEST)}
    for one, others in APART:
        for other in others:
            if {one, other} <= given:
                raise VitalFactoryError(f"{_flag(other)} does not go with {_flag(one)}; leave one of them out")
    for one, needed in NEEDED:
        if one in given and needed not in given:
            raise VitalFactoryError(f"{_flag(one)} needs {_flag(needed)}")
    check_counts({_flag(name): getattr(arguments, name) for name in ("save_every", "max_new_tokens", "beams")})
    if arguments.input and arguments.out.suffix != ".jsonl":
        raise VitalFactoryError(f"--out {arguments.out}: with --input, expected a file named *.jsonl")
    if arguments.input and arguments.input.resolve() == arguments.out.resolve():
        raise VitalFactoryError(f"--out {arguments.out}: is the input itself; name another file")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _parser() -> argparse.ArgumentParser:
    from vitalfactory.scoring.model import add_arguments

    parser = argparse.ArgumentParser(prog="python eval/generate.py", description=(__doc__ or "").split("\n")[0])
    add_arguments(parser)
    parser.set_defaults(split=TEST)
    add = parser.add_argument
    add("--input", type=Path, metavar="FILE", help="answer these rows without answers; --out is then a file *.jsonl")
    add("--probabilities", action="store_true", help="of --input: each label's probability instead of free text")
    add("--max-new-tokens", type=int, metavar="N", help="longest answer (default: label 16, findings 128, else 256)")
    add("--beams", type=int, metavar="N", help="beam search with N beams (default: greedy decoding)")
    add("--save-every", type=int, default=1, metavar="N", help="put answers safely on disk N at a time (default: 1)")
    add("--base-url", metavar="URL", help="ask an OpenAI-compatible endpoint; its key is OPENAI_API_KEY's")
    add("--served-model", metavar="NAME", help="the endpoint's name of the model (default: model_name_or_path)")
    add("--concurrency", type=int, default=16, metavar="N", help="requests at a time (default: 16)")
    add(
        "--json-schema",
        action="store_true",
        help="of --base-url: let the endpoint write nothing but the answer's form, whose own limits end an answer",
    )
    add("--sample", type=int, metavar="N", help="sample N answers a row into samples.jsonl instead")
    add("--temperature", type=float, default=1.0, metavar="T", help="of --sample (default: 1.0)")
    add("--seed", type=int, default=2026, help="of --sample (default: 2026)")
    return parser


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    arguments = _parser().parse_args(argv)

    from vitalfactory.scoring.generation import kind_of
    from vitalfactory.scoring.model import read_job

    _check_flags(arguments)
    sampling = _sampling(arguments)
    if arguments.base_url:
        arguments.adapter, arguments.model = "none", arguments.served_model
    job = replace(read_job(arguments), endpoint=arguments.base_url)
    kind = kind_of(job.card)
    longest = arguments.max_new_tokens or kind.longest
    how: dict[str, Any] = {"do_sample": False, "max_new_tokens": longest}
    if arguments.base_url:
        how["json_schema"] = arguments.json_schema
        backend_of = at_endpoint(job, arguments.concurrency, longest, arguments.json_schema)
    else:
        how |= {"do_sample": True, **asdict(sampling)} if sampling else {}
        how |= {"num_beams": arguments.beams} if arguments.beams else {}
        backend_of = loaded_here(job, arguments.batch_size, longest, sampling, arguments.beams or 1)
    if arguments.input:
        _answer_input(arguments, job, how, backend_of)
    else:
        generate(job, arguments.split, arguments.limit, backend_of, how, sampling, arguments.save_every)


def _answer_input(
    arguments: argparse.Namespace, job: Job, how: Mapping[str, Any], backend_of: Callable[[str], Backend]
) -> None:
    from vitalfactory.scoring.generation import predict
    from vitalfactory.scoring.inputs import read_input
    from vitalfactory.scoring.model import check_closed

    entries = read_input(arguments.input, job, note_row, arguments.limit)
    if arguments.probabilities:
        check_closed(job)
        how, answer = {"answers": job.card.answers}, scored_here(job, arguments.batch_size)
    else:
        answer = partial(predict, job.card, backend_of("test"))
    answer_input(job, entries, how, answer, arguments.save_every)


if __name__ == "__main__":
    run(main)
