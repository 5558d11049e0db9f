"""What a converter hands over: a task, the entries of a source, and the examples made of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import UnusableRecord
from vitalfactory.files import dumps

if TYPE_CHECKING:
    from vitalfactory.card import Kind, Verdicts

_SAFE_NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*")
"""Of an image: no part of it begins with a dot, so that none leads out of the folder."""


@dataclass(frozen=True)
class Task:
    """A question with a closed set of answers, in every language that the pack speaks.

    Attributes
    ----------
    name : str
        The task's name in every room: ``ecg``, ``eeg``, ``clinical``, ``medqa`` or ``cxr``.
    kind : str
        The kind of its answers.
    labels : sequence of str
        The closed vocabulary.
    positive : str or None
        The label that AUC and F1 are about.
    questions : mapping of str to sequence of str
        Language to the wordings of the question.
    answers : mapping of str to mapping of str to str
        Language to the output string of each label.
    synonyms : mapping of str to mapping of str to sequence of str
        Language to the other wordings of each label that a parser accepts.
    scored : sequence of str, optional
        The labels that the task's own mean F1 is over.
    epoch_seconds : float, optional
        Where rows are epochs of nights: see :class:`vitalfactory.card.Card`.
    longest_note : int, optional
        Where rows are notes: see :class:`vitalfactory.card.Card`.
    verdicts : mapping of str to Verdicts, optional
        Where rows ask about one label, or for yes or no: language to the outputs; see
        :class:`vitalfactory.card.Card`.
    normal : str, optional
        Where a row may have several labels: see :class:`vitalfactory.card.Card`.
    """

    name: str
    kind: Kind
    labels: Sequence[str]
    positive: str | None
    questions: Mapping[str, Sequence[str]]
    answers: Mapping[str, Mapping[str, str]]
    synonyms: Mapping[str, Mapping[str, Sequence[str]]]
    scored: Sequence[str] | None = None
    epoch_seconds: float | None = None
    longest_note: int | None = None
    verdicts: Mapping[str, Verdicts] | None = None
    normal: str | None = None


@dataclass(frozen=True)
class Entry:
    """One record of a source before it is read: light enough to hold all of them.

    Attributes
    ----------
    id : str
        Unique and stable.
    group : str
        The patient, or the record where no patient is published.
    label : str or None
        What splits are stratified by.
    record : object
        What the converter reads the record with; must be picklable.
    """

    id: str
    group: str
    label: str | None
    record: Any


@dataclass(frozen=True)
class Example:
    """One row of a dataset.

    Attributes
    ----------
    id, group : str
    label : str or None
        The one label of the row, where there is one.
    columns : mapping of str to object
        ``instruction``, ``input`` and ``output``; or ``messages``.
    features : mapping of str to float, optional
        What a classical baseline learns from.
    preview : mapping of str to object, optional
        What a report draws of a test row: ``fs`` in hertz, ``unit``, ``scale`` and ``trace``, a list
        of whole numbers that times ``scale`` are in ``unit``.
    images : mapping of str to bytes, optional
        File name in the dataset's ``images`` folder to the file's content, in the order of the ``<image>``
        marks in the text. Rows may share an image: the same name with the same content.
    recording : int, optional
        Hash of what was recorded: the same recording must not stand in two splits, however it is told.
    labels : sequence of str, optional
        The labels of the row, where it may have several.
    """

    id: str
    group: str
    label: str | None
    columns: Mapping[str, Any]
    features: Mapping[str, float] = field(default_factory=dict)
    preview: Mapping[str, Any] | None = None
    images: Mapping[str, bytes] = field(default_factory=dict)
    recording: int | None = None
    labels: Sequence[str] | None = None

    def row(self, folder: str = "images") -> dict[str, Any]:
        """Lay the example out as a row of a dataset file; features keep six significant digits.

        Parameters
        ----------
        folder : str
            Where its images lie, from LLaMA-Factory's ``dataset_dir``.

        Raises
        ------
        UnusableRecord
            With the reason ``outside the folder``: an image's name would lead there.
        """
        row: dict[str, Any] = {"id": self.id, "group": self.group, **self.columns}
        for name in self.images:
            if not _SAFE_NAME.fullmatch(name):
                raise UnusableRecord("outside the folder", f"an image called {name!r}")
        if self.images:
            row["images"] = [f"{folder}/{name}" for name in self.images]
            row["image_sha256"] = [hashlib.sha256(content).hexdigest() for content in self.images.values()]
        if self.label is not None:
            row["label"] = self.label
        if self.labels is not None:
            row["labels"] = list(self.labels)
        if self.features:
            row["features"] = {name: float(f"{value:.6g}") for name, value in self.features.items()}
        return row


@dataclass(frozen=True)
class Excluded:
    """Source rows that became no dataset row.

    Attributes
    ----------
    id : str
        The record.
    reason : str
    detail : str
    count : int
        How many rows of that record were left out for this reason.
    bad : bool
        Whether something is wrong with them, so that they count against ``--max-bad``.
    """

    id: str
    reason: str
    detail: str = ""
    count: int = 1
    bad: bool = False


def digest(*parts: object) -> int:
    """Hash the parts to 64 bits: the same on every machine and in every process."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")


def pick(wordings: Sequence[str], row_id: str) -> str:
    """Choose one wording by a hash of the row's id."""
    return wordings[digest("wording", row_id) % len(wordings)]


def labels_of(row: Mapping[str, Any]) -> Sequence[str]:
    """List a row's labels: one, several or none."""
    if "labels" in row:
        return list(row["labels"])
    return [row["label"]] if "label" in row else []


def content_of(row: Mapping[str, Any]) -> str:
    """Return what a row shows the model, without the wording of its question: its images, else its text."""
    if images := row.get("image_sha256") or row.get("images"):
        return dumps(images)
    if "messages" in row:
        return dumps([message["content"] for message in row["messages"] if message["role"] != "assistant"])
    return str(row["input"] or row["instruction"])
