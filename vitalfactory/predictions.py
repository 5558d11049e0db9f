"""A run's predictions on disk: one JSON object a row, joined to its dataset by id.

``results/<run>/predictions.jsonl`` holds the test rows and ``predictions_val.jsonl`` the validation
rows that thresholds are chosen on. ``generations.jsonl`` and ``generations_val.jsonl`` hold the
same rows answered in free text, ``samples.jsonl`` several sampled answers to each, with ids ``<id>#1``,
``<id>#2`` and so on. ``likelihoods.jsonl`` holds how likely each reference answer is, ``choices.jsonl`` the answers to
questions of multiple choice. ``run.json`` is the run's manifest, ``card.json`` a copy of the dataset's card.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vitalfactory.card import Card, Kind
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, dumps, lock, read_json, read_jsonl, recover_jsonl, sha256, write_json, write_text
from vitalfactory.processor import hardware

PACKAGES = ("vitalfactory", "llamafactory", "torch", "transformers", "peft", "scikit-learn")

Answered = Literal["predictions", "generations", "samples", "likelihoods", "choices"]
Answer = Callable[[Sequence[dict[str, Any]]], Iterator["Prediction"]]
OPTIONAL = ("cut", "logprob", "tokens", "unread")


class Prediction(BaseModel):
    """One row's gold label and what a model said about it.

    Attributes
    ----------
    id, group : str
    label : str or list of str or None
        The gold label or labels, or the reference answer; None where a row has none. See :func:`gold_of`.
    probabilities : dict of str to float or None
        A probability for every label of the card, which sum to 1 for the kind ``classify``; for every answer that was
        scored where the card has no labels.
    text : str or None
        What the model wrote, where it wrote.
    parsed : str or list of str or None
        The label read from ``text``, or the most probable one; None is an answer that no label
        could be read from, and counts as wrong.
    cut : bool or None
        Whether ``text`` ended at the longest answer allowed and not by itself; None where that is not known.
    logprob : float or None
        The sum of the log-probabilities of the reference answer's tokens, where they were scored.
    tokens : int or None
        How many these are, with the one that ends the answer.
    unread : list of str or None
        Of a judged row with several labels: those that nothing could be read about.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    group: str
    label: str | list[str] | None
    probabilities: dict[str, float] | None
    text: str | None
    parsed: str | list[str] | None
    cut: bool | None = None
    logprob: float | None = None
    tokens: int | None = None
    unread: list[str] | None = None

    def line(self) -> str:
        """Encode the row as one JSON line; what only some rows have is left out of the others."""
        return dumps(self.model_dump(exclude={name for name in OPTIONAL if getattr(self, name) is None})) + "\n"


def gold_of(row: Mapping[str, Any], kind: Kind) -> str | list[str] | None:
    """Return what is true of a dataset's row: its labels or its label; of a question its reference answer.

    Parameters
    ----------
    row : mapping
        A row of a dataset, or of a user's own without an answer.
    kind : str
        The card's.
    """
    if kind != "qa":
        gold: str | list[str] | None = row.get("labels", row.get("label"))
        return gold
    return str(row["messages"][-1]["content"] if "messages" in row else row["output"]) or None


def asked_of(row: Mapping[str, Any]) -> str:
    """Return what a dataset's row asks, with all earlier turns of a conversation."""
    if "messages" in row:
        return "\n".join(str(turn["content"]) for turn in row["messages"][:-1])
    return "\n".join(filter(None, (str(row["instruction"]), str(row.get("input") or ""))))


def named(file: str, split: str) -> str:
    """Name a run's file for a split, test's as it is: ``metrics.json``, ``metrics_val.json``."""
    stem, dot, kind = file.partition(".")
    return file if split == "test" else f"{stem}_{split}{dot}{kind}"


def predictions_file(run: Path, split: str, answered: Answered = "predictions") -> Path:
    """Name the file of a run that holds a split's rows."""
    return run / named(f"{answered}.jsonl", split)


def read_predictions(path: Path) -> list[Prediction]:
    """Read and validate a predictions file.

    Raises
    ------
    VitalFactoryError
        The file is missing, a row does not fit the schema, or an id stands twice.
    """
    rows: dict[str, Prediction] = {}
    for number, row in enumerate(read_jsonl(path), 1):
        prediction = validate(row, f"{path}:{number}")
        if prediction.id in rows:
            raise VitalFactoryError(f"{path}:{number}: id {prediction.id!r} stands twice")
        rows[prediction.id] = prediction
    return list(rows.values())


def validate(row: dict[str, Any], where: str) -> Prediction:
    """Check one row against the schema.

    Raises
    ------
    VitalFactoryError
        Names ``where``, the field and what is wrong with it.
    """
    try:
        return Prediction.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        raise VitalFactoryError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def shown(path: Path) -> str:
    """Name a path as a manifest does: relative to the repository where it is inside."""
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def dataset_manifest(folder: Path, card: Card) -> dict[str, Any]:
    """Name a dataset in a run's manifest, with the hash of each split.

    Parameters
    ----------
    folder : Path
        The dataset's folder.
    card : Card

    Returns
    -------
    dict
        ``dataset``, ``dataset_dir``, ``dataset_sha256`` and ``synthetic``.
    """
    return {
        "dataset": card.name,
        "dataset_dir": shown(folder),
        "dataset_sha256": {split: sha256(folder / f"{split}.jsonl") for split in card.splits},
        "synthetic": card.source.synthetic,
    }


def open_run(run: Path, manifest: dict[str, Any], decoding: dict[str, Any], card: Path) -> None:
    """Start a run's folder, or go on with one of the same model and dataset.

    Parameters
    ----------
    run : Path
        The run's folder; its name is the run's.
    manifest : dict
        What the answers depend on: ``model``, ``method``, ``recipe``, ``adapter``, and what
        :func:`dataset_manifest` says of the dataset.
    decoding : dict
        How answers were had: ``predictions``, ``generations`` and so on to its settings.
    card : Path
        The dataset's ``card.json``, copied into the run.

    Raises
    ------
    VitalFactoryError
        The folder holds another run.
    """
    note_run(run / "run.json", run, manifest, decoding)
    write_text(run / "card.json", card.read_text(encoding="utf-8"))


def note_run(path: Path, run: Path, manifest: Mapping[str, Any], decoding: Mapping[str, Any]) -> None:
    """Write what answers are made with, or check that it is what those at hand were made with.

    Parameters
    ----------
    path : Path
        The manifest's file.
    run : Path
        What holds the answers, as errors name it.
    manifest, decoding : mapping
        See :func:`open_run`.

    Raises
    ------
    VitalFactoryError
        The answers at hand were made with something else.
    """
    with lock(path.with_name(f".{path.name}.lock")):
        old = read_json(path) if path.exists() else {}
        changed = [key for key, value in manifest.items() if old and old.get(key) != value]
        if changed:
            raise VitalFactoryError(f"{run}: holds a run with another {', '.join(changed)}; choose another --out")
        for answered, settings in decoding.items():
            if old.get("decoding", {}).get(answered, settings) != settings:
                raise VitalFactoryError(f"{run}: its {answered} were made with other settings; choose another --out")
        written = {
            "run": run.name,
            **manifest,
            "decoding": {**old.get("decoding", {}), **decoding},
            "versions": {name: version(name) for name in PACKAGES},
            "hardware": hardware(),
            "date": datetime.now(UTC).date().isoformat(),
        }
        write_json(path, written)


def answer_rows(
    run: Path, split: str, answered: Answered, rows: Sequence[dict[str, Any]], answer: Answer, save_every: int = 0
) -> str:
    """Answer a split's rows into a run's folder.

    Parameters
    ----------
    run : Path
        A folder that :func:`open_run` has started.
    split : str
    answered : {'predictions', 'generations', 'samples', 'likelihoods', 'choices'}
    rows : sequence of dict
        The split's rows.
    answer, save_every
        See :func:`keep_answers`.

    Returns
    -------
    str
        The file, which is in the order of the rows, how many rows were answered now, and how fast.

    Raises
    ------
    VitalFactoryError
        Another process is at work on the same file.
    """
    path = predictions_file(run, split, answered)
    start = time.perf_counter()
    new = keep_answers(path, rows, answer, save_every)
    rate = new / (time.perf_counter() - start)
    return f"{split}: {path}, {new} of {len(rows)} rows answered now, {rate:.1f} rows/s"


def counted(reasons: Iterable[str]) -> str:
    """Say how often each reason stands, the most frequent first."""
    return ", ".join(f"{reason} {count}" for reason, count in Counter(reasons).most_common())


def check_all_answered(run: Path, failures: Mapping[str, str]) -> None:
    """Check that every row of a run was answered.

    Parameters
    ----------
    run : Path
    failures : mapping of str to str
        Why rows got no answer, by their ids.

    Raises
    ------
    VitalFactoryError
        Some were not.
    """
    if failures:
        raise VitalFactoryError(
            f"{run}: {len(failures)} rows got no answer ({counted(failures.values())}); the others are kept, and the "
            "same command asks for these again"
        )


def keep_answers(path: Path, rows: Sequence[dict[str, Any]], answer: Answer, save_every: int = 0) -> int:
    """Answer the rows that a file does not answer yet, each kept as soon as it is there.

    Parameters
    ----------
    path : Path
        JSON Lines of predictions; in the end those of the rows stand first, in their order.
    rows : sequence of dict
        Each has an id of its own.
    answer : callable
        Takes the rows still to do and yields their predictions in any order. A row that it leaves out stays to do.
    save_every : int
        Every answer outlives the process as soon as it is there; every ``save_every`` answers also outlive a loss of
        power. 0 leaves that to the end.

    Returns
    -------
    int
        How many rows were answered now.

    Raises
    ------
    VitalFactoryError
        Another process is at work on the same file.
    """
    with lock(path.with_name(f".{path.name}.lock"), wait=False):
        done = {row["id"]: validate(row, str(path)) for row in recover_jsonl(path)}
        before = len(done)
        todo = [row for row in rows if row["id"] not in done]
        with path.open("a", encoding="utf-8") as stream:
            for number, prediction in enumerate(answer(todo) if todo else (), 1):
                done[prediction.id] = prediction
                stream.write(prediction.line())
                stream.flush()
                if save_every and number % save_every == 0:
                    os.fsync(stream.fileno())
        first = [row["id"] for row in rows if row["id"] in done]
        write_text(path, "".join(done[name].line() for name in dict.fromkeys([*first, *done])))
    return len(done) - before
