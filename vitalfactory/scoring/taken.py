"""Runs made out of answers that came as a file: what LLaMA-Factory's do_predict wrote, or diagnoses by id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vitalfactory.card import Kind, read_card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_jsonl, sha256, write_text
from vitalfactory.predictions import Prediction, dataset_manifest, gold_of, open_run, predictions_file
from vitalfactory.scoring.generation import kind_of


def from_llamafactory(file: Path, data: Path, split: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Join LLaMA-Factory's ``generated_predictions.jsonl`` to the rows of a split.

    Parameters
    ----------
    file : Path
        Lines of ``prompt``, ``predict`` and ``label``, without ids, in the order of the split.
    data : Path
        The dataset's folder.
    split : str

    Yields
    ------
    tuple of dict and str
        A row, and what was answered to it.

    Raises
    ------
    VitalFactoryError
        The file has another number of lines than the split, or a line that is not about its row.
    """
    rows, written = list(read_jsonl(data / f"{split}.jsonl")), list(read_jsonl(file))
    if len(written) != len(rows):
        raise VitalFactoryError(
            f"{file}: {len(written)} lines, {data / f'{split}.jsonl'} has {len(rows)}; expected one line a row: "
            f"predict on {read_card(data).name}_{split} alone, without max_samples"
        )
    for number, (line, row) in enumerate(zip(written, rows, strict=True), 1):
        if fault := disagreement(line, row):
            raise VitalFactoryError(
                f"{file}:{number}: {fault} (row {row['id']!r} of {split}.jsonl); the order is not the dataset's"
            )
        yield row, line["predict"].encode("utf-8", "replace").decode("utf-8")


def take_over(folder: Path, file: Path, data: Path, split: str, model: str, kind: Kind) -> None:
    """Make a run out of LLaMA-Factory's ``generated_predictions.jsonl``, each answer read as its kind is.

    Parameters
    ----------
    folder : Path
        The run to make.
    file, data, split
        See :func:`from_llamafactory`.
    model : str
        The model's name for the manifest.
    kind : str
        The kind of answers that is expected.

    Raises
    ------
    VitalFactoryError
        The dataset is of another kind; or see :func:`from_llamafactory` and :func:`keep`.
    """
    card = read_card(data)
    if card.kind != kind:
        raise VitalFactoryError(f"{data}: its answers are of the kind {card.kind!r}; expected {kind!r}")
    read = kind_of(card).reader(card)
    predictions = []
    for row, text in from_llamafactory(file, data, split):
        known = {"id": row["id"], "group": row["group"], "label": gold_of(row, kind)}
        predictions.append(Prediction(**known, probabilities=None, text=text, parsed=read(row, text, False)))
    keep(folder, data, split, predictions, model, file)


def disagreement(line: Mapping[str, Any], row: Mapping[str, Any]) -> str | None:
    """Say how a line of LLaMA-Factory's output contradicts the row in the same place."""
    for name in ("prompt", "predict", "label"):
        if not isinstance(line.get(name), str):
            return f"expected a text under {name!r}"
    question, output = _told(row)
    if line["label"].strip() != output.strip():
        return "its label is not the row's output"
    # Decoding may change the space around punctuation.
    if "".join(question.split()) not in "".join(line["prompt"].split()):
        return "the prompt does not hold the row's input"
    return None


def _told(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a row asks and what it answers, Alpaca or ShareGPT."""
    if "messages" in row:
        *_, question, answer = (str(message["content"]) for message in row["messages"])
        return question.replace("<image>", ""), answer
    return str(row.get("input") or row["instruction"]), str(row["output"])


def keep(
    folder: Path,
    data: Path,
    split: str,
    predictions: Sequence[Prediction],
    model: str,
    source: Path,
    *,
    fields: bool = False,
) -> None:
    """Write predictions as a run's generations.

    Parameters
    ----------
    folder : Path
        The run to make.
    data : Path
        The dataset's folder.
    split : str
    predictions : sequence of Prediction
    model : str
        The model's name for the manifest.
    source : Path
        The file that they came in, named in the manifest.
    fields : bool
        It held fields, not the model's own texts.

    Raises
    ------
    VitalFactoryError
        The folder holds another run.
    """
    manifest = {
        "model": model,
        "method": "language model",
        "recipe": None,
        "adapter": None,
        **dataset_manifest(data, read_card(data)),
    }
    decoding = {"file": source.name, "sha256": sha256(source), **({"fields": True} if fields else {})}
    open_run(folder, manifest, {"generations": decoding}, data / "card.json")
    write_text(predictions_file(folder, split, "generations"), "".join(row.line() for row in predictions))
