"""A run's predictions on disk: one JSON object a row, joined to its dataset by id.

``results/<run>/predictions.jsonl`` holds the test rows and ``predictions_val.jsonl`` the validation
rows that thresholds are chosen on. ``generations.jsonl`` and ``generations_val.jsonl`` hold the
same rows answered in free text. ``run.json`` is the run's manifest, ``card.json`` a copy of the
dataset's card.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import dumps, read_jsonl

Answered = Literal["predictions", "generations"]


class Prediction(BaseModel):
    """One row's gold label and what a model said about it.

    Attributes
    ----------
    id, group : str
    label : str or list of str or None
        The gold label or labels; None where the kind of answer has none.
    probabilities : dict of str to float or None
        A probability for every label of the card; they sum to 1 for the kind ``classify``.
    text : str or None
        What the model wrote, where it wrote.
    parsed : str or list of str or None
        The label read from ``text``, or the most probable one; None is an answer that no label
        could be read from, and counts as wrong.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    group: str
    label: str | list[str] | None
    probabilities: dict[str, float] | None
    text: str | None
    parsed: str | list[str] | None

    def line(self) -> str:
        """Encode the row as one JSON line."""
        return dumps(self.model_dump()) + "\n"


def predictions_file(run: Path, split: str, answered: Answered = "predictions") -> Path:
    """Name the file of a run that holds a split's rows."""
    return run / (f"{answered}.jsonl" if split == "test" else f"{answered}_{split}.jsonl")


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
