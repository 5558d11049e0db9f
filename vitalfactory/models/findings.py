"""What the models of findings in chest X-rays share: images and findings in, a run of probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.card import Card, read_card
from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.files import read_jsonl
from vitalfactory.models.baseline import Floats, write_answers
from vitalfactory.predictions import Prediction

Rows = Sequence[dict[str, Any]]
Predict = Callable[[Rows], Iterable[Floats]]
HALF = 0.5
"""From this probability on, a finding is named."""


@dataclass(frozen=True)
class Findings:
    """A dataset whose rows are chest X-rays, each with all of its findings.

    Attributes
    ----------
    folder : Path
    card : Card
    """

    folder: Path
    card: Card

    def rows(self, split: str) -> list[dict[str, Any]]:
        """Read a split's rows."""
        return list(read_jsonl(self.folder / f"{split}.jsonl"))

    def truth(self, rows: Rows) -> NDArray[np.bool_]:
        """Lay the rows' findings out, shape (rows, labels), in the card's order of labels."""
        told = [[label in row["labels"] for label in self.card.labels] for row in rows]
        return np.asarray(told, dtype=np.bool_).reshape(len(rows), len(self.card.labels))

    def pixels(self, rows: Rows, side: int) -> NDArray[np.uint8]:
        """Read the rows' images, grey and scaled to squares, shape (rows, side, side).

        Raises
        ------
        VitalFactoryError
            An image is missing or broken.
        """
        from tqdm import tqdm

        images = np.empty((len(rows), side, side), dtype=np.uint8)
        for place, row in enumerate(tqdm(rows, desc="reading", unit="image", leave=False, disable=None)):
            images[place] = _read(self.folder.parent.parent / row["images"][0], side)
        return images


def _read(path: Path, side: int) -> NDArray[np.uint8]:
    from PIL import Image

    from vitalfactory.signals.cxr_image import read_grey

    try:
        grey = read_grey(path)
    except UnusableRecord as error:
        raise VitalFactoryError(f"{path}: {error.reason} ({error.detail}); convert the dataset again") from None
    return np.asarray(grey.resize((side, side), Image.Resampling.BOX))


def open_findings(folder: Path) -> Findings:
    """Open a dataset of chest X-rays.

    Parameters
    ----------
    folder : Path
        ``data/<name>``.

    Raises
    ------
    VitalFactoryError
        Its rows are no chest X-rays with all their findings, or training or validation has no rows.
    """
    card = read_card(folder)
    if card.kind != "multilabel":
        raise VitalFactoryError(f"{folder}: its answers are of the kind {card.kind!r}; expected 'multilabel'")
    if card.verdicts is not None:
        raise VitalFactoryError(
            f"{folder}: its rows ask about one finding each; convert with --representation list, a row for an image"
        )
    for split in ("train", "val"):
        first = next(read_jsonl(folder / f"{split}.jsonl"), None)
        if first is None:
            raise VitalFactoryError(f"{folder}: {split}.jsonl has no rows; give the converter another --split")
        if not first.get("images"):
            raise VitalFactoryError(f"{folder}: its rows have no images")
    return Findings(folder, card)


def write_run(
    out: Path, findings: Findings, model: Mapping[str, Any], settings: Mapping[str, Any], predict: Predict
) -> None:
    """Predict val and test into a run's folder.

    Parameters
    ----------
    out : Path
        The run's folder.
    findings : Findings
    model : mapping
        ``model`` and ``method`` for the manifest; and ``recipe``, ``adapter`` and ``adapter_sha256`` where it has them.
    settings : mapping
        What the model was made with, for the manifest.
    predict : callable
        Rows to the probabilities of each, shape (labels,), in their order and in the card's order of labels.

    Raises
    ------
    VitalFactoryError
        The folder holds another run.
    """

    def answer(rows: Rows) -> Iterator[Prediction]:
        for row, values in zip(rows, predict(rows), strict=True):
            yield prediction_of(row, findings.card.labels, values)

    write_answers(out, findings.folder, findings.card, model, settings, findings.rows, answer)


def prediction_of(row: Mapping[str, Any], labels: Sequence[str], values: Floats) -> Prediction:
    """Write a row's probabilities as a prediction, which names what reaches one half, or the most probable label."""
    probabilities = {label: float(value) for label, value in zip(labels, values, strict=True)}
    best = max(probabilities, key=lambda label: probabilities[label])
    named = [label for label, value in probabilities.items() if value >= HALF] or [best]
    known = {"id": row["id"], "group": row["group"], "label": row["labels"]}
    return Prediction(**known, probabilities=probabilities, text=None, parsed=named)
