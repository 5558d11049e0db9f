"""What the classical baselines share: the rows of a dataset in, a run of predictions out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.card import Card, read_card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_jsonl
from vitalfactory.predictions import Answered, Prediction, answer_rows, dataset_manifest, open_run

Floats = NDArray[np.float64]
Predict = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Table:
    """A dataset's rows as numbers.

    Attributes
    ----------
    folder : Path
    card : Card
    names : list of str
        The features, in the order of the columns.
    """

    folder: Path
    card: Card
    names: list[str]

    def rows(self, split: str) -> list[dict[str, Any]]:
        """Read a split's rows."""
        return list(read_jsonl(self.folder / f"{split}.jsonl"))

    def features(self, rows: Sequence[dict[str, Any]]) -> Floats:
        """Lay the rows' features out, shape (rows, features); NaN where a row lacks one."""
        values = [[row["features"].get(name, np.nan) for name in self.names] for row in rows]
        return np.asarray(values, dtype=np.float64).reshape(len(rows), len(self.names))


def read_table(folder: Path) -> Table:
    """Open a dataset for a baseline.

    Parameters
    ----------
    folder : Path
        ``data/<name>``.

    Raises
    ------
    VitalFactoryError
        The dataset has no closed answers, no training rows, or rows without ``features``.
    """
    card = read_card(folder)
    if card.kind != "classify":
        raise VitalFactoryError(f"{folder}: its answers are of the kind {card.kind!r}; a baseline needs 'classify'")
    first = next(read_jsonl(folder / "train.jsonl"), None)
    if first is None:
        raise VitalFactoryError(f"{folder}: train.jsonl has no rows; a baseline learns from them")
    if not first.get("features"):
        raise VitalFactoryError(f"{folder}: its rows carry no features; convert with a representation that has them")
    return Table(folder, card, sorted(first["features"]))


def write_run(
    out: Path, table: Table, model: str, method: str, predict: Predict, settings: Mapping[str, Any] | None = None
) -> None:
    """Predict val and test into a run's folder.

    Parameters
    ----------
    out : Path
        The run's folder.
    table : Table
    model, method : str
        The model's name and the kind of model, for the manifest.
    predict : callable
        Features, shape (rows, features), to probabilities, shape (rows, labels), in the card's order of labels.
    settings : mapping, optional
        What the model was made with, for the manifest.

    Raises
    ------
    VitalFactoryError
        The folder holds another run.
    """
    made_with = {"features": len(table.names), **(settings or {})}

    def answer(rows: Sequence[dict[str, Any]]) -> Iterator[Prediction]:
        for row, values in zip(rows, predict(table.features(rows)) if rows else (), strict=True):
            yield _prediction(row, table.card.labels, values)

    about = {"model": model, "method": method}
    write_answers(out, table.folder, table.card, about, made_with, table.rows, answer)


def write_answers(
    out: Path,
    folder: Path,
    card: Card,
    model: Mapping[str, Any],
    made_with: Mapping[str, Any],
    rows_of: Callable[[str], Sequence[dict[str, Any]]],
    answer: Callable[[Sequence[dict[str, Any]]], Iterator[Prediction]],
    answered: Answered = "predictions",
) -> None:
    """Answer val and test into a run's folder.

    Parameters
    ----------
    out : Path
        The run's folder.
    folder : Path
        The dataset's.
    card : Card
    model : mapping
        ``model`` and ``method`` for the manifest; and ``recipe``, ``adapter`` and ``adapter_sha256`` where it has them.
    made_with : mapping
        What the answers are made with, for the manifest.
    rows_of : callable
        A split to its rows.
    answer : callable
        Rows to their answers.
    answered : str
        The kind of answers.

    Raises
    ------
    VitalFactoryError
        The folder holds another run.
    """
    manifest = {"recipe": None, "adapter": None, "adapter_sha256": None, **model, **dataset_manifest(folder, card)}
    open_run(out, manifest, {answered: dict(made_with)}, folder / "card.json")
    for split in ("val", "test"):
        print(answer_rows(out, split, answered, rows_of(split), answer))


def _prediction(row: dict[str, Any], labels: Sequence[str], values: Floats) -> Prediction:
    best = labels[int(np.argmax(values))]
    probabilities = {label: float(value) for label, value in zip(labels, values, strict=True)}
    return Prediction(
        id=row["id"], group=row["group"], label=row["label"], probabilities=probabilities, text=None, parsed=best
    )


def parse_arguments(argv: Sequence[str], module: str, description: str) -> tuple[Path, Path]:
    """Read a baseline's command line.

    Returns
    -------
    folder : Path
        The dataset's folder.
    out : Path
        The run's folder.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--dataset", required=True, metavar="NAME", help="the dataset's name")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of data/ (default: the repository)")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder, such as results/ecg_boosted")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    return arguments.root / "data" / arguments.dataset, arguments.out
