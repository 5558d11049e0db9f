"""A dataset's card: what a dataset holds, where it comes from, and how its answers read.

The converters write it as ``data/<name>/card.json``; everything that judges a model reads its
question, labels, answers and their synonyms from there and from nowhere else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json

SPLITS = ("train", "val", "test")
Kind = Literal["classify", "multilabel", "diagnosis", "qa"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Split(_Strict):
    """Counts and the hash of one split's file."""

    rows: int
    groups: int
    labels: dict[str, int]
    sha256: str


class Source(_Strict):
    """Where the records come from."""

    name: str
    version: str
    licence: str
    synthetic: bool


class Wordings(_Strict):
    """The question and its answers in another language than the dataset's.

    Attributes
    ----------
    question : list of str
        The wordings of the question.
    answers : dict of str to str
        The output string of each label; empty where the answers are those of the dataset.
    """

    question: list[str]
    answers: dict[str, str] = Field(default_factory=dict)


class Verdicts(_Strict):
    """How an answer says whether the one label that its row asks about is there, or whether what is asked is so."""

    present: str
    absent: str


class Card(_Strict):
    """Everything a reader of the dataset must know.

    Attributes
    ----------
    name, task, kind, language, representation : str
        The dataset's name, its task, the kind of its answers, and how its rows are told.
    question : list of str
        The wordings of the question; each row uses one of them.
    labels : list of str
        The closed vocabulary.
    positive : str or None
        The label whose probability AUC and F1 are about, where there is one.
    answers : dict of str to str
        The exact output string of each label. Where a row may have several (``multilabel``), its output holds
        the strings of its labels and of no others.
    synonyms : dict of str to list of str
        Other wordings of each label that a parser accepts.
    splits : dict of str to Split
    excluded : dict of str to int
        Source rows that became no dataset row: reason and count.
    source : Source
    model_written : str or None
        The model that wrote part of the rows, where one did.
    command : str
    seed : int
    versions : dict of str to str
    scored : list of str or None
        The labels that the task's own mean F1 is over, where it has one.
    other_languages : dict of str to Wordings
        The question in other languages, for a study of wordings.
    epoch_seconds : float or None
        Where rows are epochs of nights: the time from one to the next. Each row then has the columns ``night``,
        and ``start``, in seconds from the beginning of the recording.
    longest_note : int or None
        Where rows are notes: the characters that one is shortened to.
    verdicts : Verdicts or None
        Where each row asks about one label, which its column ``finding`` names: the outputs. ``{finding}`` in a
        question stands for that label's answer. Where rows are questions: the outputs of those whose ``answer_kind`` is
        ``yesno``.
    normal : str or None
        Where a row may have several labels: the one that says that there is none of the others.
    """

    name: str
    task: str
    kind: Kind
    question: list[str]
    labels: list[str]
    positive: str | None
    answers: dict[str, str]
    synonyms: dict[str, list[str]]
    language: str
    representation: str
    splits: dict[str, Split]
    excluded: dict[str, int]
    source: Source
    model_written: str | None
    command: str
    seed: int
    versions: dict[str, str]
    scored: list[str] | None = None
    other_languages: dict[str, Wordings] = Field(default_factory=dict)
    epoch_seconds: float | None = Field(default=None, gt=0)
    longest_note: int | None = Field(default=None, gt=0)
    verdicts: Verdicts | None = None
    normal: str | None = None

    @model_validator(mode="after")
    def _vocabulary_is_closed(self) -> Card:
        for field, name in (("positive", self.positive), ("normal", self.normal)):
            if name is not None and name not in self.labels:
                raise ValueError(f"{field} label {name!r} is not one of {self.labels}")
        for field, names in (("answers", self.answers), ("synonyms", self.synonyms), ("scored", self.scored or ())):
            if unknown := set(names) - set(self.labels):
                raise ValueError(f"{field} names labels that are not in the vocabulary: {sorted(unknown)}")
        if self.scored == []:
            raise ValueError("scored names no labels; leave it out, or name those that the mean F1 is over")
        for name, told in self.other_languages.items():
            if told.answers and set(told.answers) != set(self.labels):
                raise ValueError(f"other_languages.{name}.answers: expected one for each of {self.labels}, or none")
        return self


def read_card(path: Path) -> Card:
    """Read and validate a card.

    Parameters
    ----------
    path : Path
        The ``card.json``, or the folder that holds it.

    Raises
    ------
    VitalFactoryError
        The file is missing, is not JSON or does not fit the schema.
    """
    file = path / "card.json" if path.is_dir() else path
    try:
        return Card.model_validate(read_json(file))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "card"
        raise VitalFactoryError(f"{file}: {where}: {first['msg']}") from None
