"""Rows of a user's own, without answers: laid out as a dataset's rows, and told what was answered.

A file is JSON Lines; each row has an ``id``, which may repeat, and what the dataset's rows ask with:

    {"id": 17, "instruction": "Does this ECG show atrial fibrillation?", "input": "RR intervals: ..."}
    {"id": 17, "messages": [{"role": "user", "content": "<image>Does ..."}], "images": ["ecg/17.png"]}
    {"id": 17, "feature_content": "Chief complaint: ..."}
    {"id": 17, "question": "What are the symptoms of asthma?"}
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from vitalfactory.card import Card
from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.files import dumps, read_jsonl
from vitalfactory.predictions import Prediction
from vitalfactory.recipes import resolve
from vitalfactory.scoring.generation import AnswerKind, Row
from vitalfactory.scoring.model import Job


@dataclass(frozen=True)
class Entry:
    """A row of a user's file.

    Attributes
    ----------
    id : int or str or None
        As the file has it; it may stand there twice.
    row : dict or None
        The row as the dataset has it, without an answer. Its id is made of the user's id and the content.
    failure : str or None
        Why there is no row: a short phrase shared by all rows with the same fault.
    """

    id: int | str | None
    row: Row | None
    failure: str | None = None


def read_input(path: Path, job: Job, note_row: Callable[[Row, Card], Row], limit: int | None = None) -> list[Entry]:
    """Read rows without answers.

    Parameters
    ----------
    path : Path
        JSON Lines: notes where the dataset's answers are diagnoses, rows with ``question`` where it is one of
        questions, else rows with ``instruction`` and ``input``, or with ``messages`` and ``images``, as the dataset
        has them, and ``finding`` where a row asks about one. An answer that a row has is left out.
    job : Job
    note_row : callable
        Lays a note out as a row of the dataset; raises :class:`vitalfactory.errors.UnusableRecord`.
    limit : int, optional
        The first rows only.

    Raises
    ------
    VitalFactoryError
        The file is missing, holds no rows, or a line is not a JSON object.
    """
    entries = []
    for source in islice(read_jsonl(path), limit):
        name = source.get("id")
        name = name if isinstance(name, int | str) and _encodable(name) else None
        try:
            entries.append(Entry(name, _asked(source, name, job, note_row)))
        except UnusableRecord as error:
            entries.append(Entry(name, None, error.reason))
    if not entries:
        raise VitalFactoryError(f"{path}: holds no rows; expected one JSON object a line")
    return entries


def _asked(source: Row, name: int | str | None, job: Job, note_row: Callable[[Row, Card], Row]) -> Row:
    """Lay a user's row out as a row of the dataset."""
    if name is None:
        raise UnusableRecord("no id")
    if job.card.kind == "qa" and "question" in source:
        columns = question_row(_question(source), job)
    elif job.in_messages:
        columns = _with_messages(source, resolve(str(job.recipe["media_dir"])))
    elif job.card.kind == "diagnosis" and "instruction" not in source:
        columns = note_row(source, job.card)
    else:
        columns = _with_instruction(source)
    if job.card.verdicts is not None and job.card.kind == "multilabel":
        columns["finding"] = _finding(source, job.card)
    if not _encodable(columns):
        raise UnusableRecord("broken text")
    key = hashlib.blake2b(dumps([name, columns]).encode("utf-8"), digest_size=8).hexdigest()
    return {"id": key, "group": "", "label": None, **columns}


def _finding(source: Row, card: Card) -> str:
    """Read which label a row asks about."""
    finding = source.get("finding")
    if finding not in card.labels:
        raise UnusableRecord("no finding of the card is asked about")
    return str(finding)


def _question(source: Row) -> str:
    question = source["question"]
    if not isinstance(question, str) or not question.strip():
        raise UnusableRecord("no question")
    return question


def question_row(question: str, job: Job) -> Row:
    """Lay a question out as a row of a job's dataset, without its id: an instruction, or a conversation of one turn."""
    if job.in_messages:
        return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": ""}]}
    return {"instruction": question, "input": "", "output": ""}


def _encodable(value: Any) -> bool:
    """Whether a value can be written as UTF-8: JSON may hold half of a character."""
    try:
        dumps(value).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _with_instruction(source: Row) -> Row:
    columns = {"instruction": source.get("instruction"), "input": source.get("input", "")}
    if not all(isinstance(text, str) for text in columns.values()) or not columns["instruction"]:
        raise UnusableRecord("no instruction")
    return {**columns, "output": ""}


def _with_messages(source: Row, media: Path) -> Row:
    messages = source.get("messages")
    if not isinstance(messages, list) or not all(map(_is_message, messages)):
        raise UnusableRecord("no messages")
    asked = messages[:-1] if messages and messages[-1]["role"] == "assistant" else messages
    roles = [message["role"] for message in asked]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2) + ["user"]:
        raise UnusableRecord("messages do not end with the user's turn")
    images = source.get("images") or []
    if not isinstance(images, list) or sum(message["content"].count("<image>") for message in asked) != len(images):
        raise UnusableRecord("not one <image> mark for each image")
    if not all(isinstance(image, str) and _readable(media / image) for image in images):
        raise UnusableRecord("image missing or broken")
    return {"messages": [*asked, {"role": "assistant", "content": ""}], **({"images": images} if images else {})}


def _is_message(message: Any) -> bool:
    return isinstance(message, dict) and all(isinstance(message.get(field), str) for field in ("role", "content"))


def _readable(image: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(image) as opened:
            opened.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True


def output_row(entry: Entry, kind: AnswerKind, answers: Mapping[str, Prediction], failures: Mapping[str, str]) -> Row:
    """Tell a user's row what was answered.

    Parameters
    ----------
    entry : Entry
    kind : AnswerKind
    answers : mapping of str to Prediction
        By the ids of the rows that were asked.
    failures : mapping of str to str
        Why rows got no answer, by the same ids.

    Returns
    -------
    dict
        The user's id and what the kind tells, or the failure.
    """
    key = entry.row["id"] if entry.row else ""
    if key in answers:
        return {"id": entry.id, **kind.told(answers[key])}
    failure = entry.failure or failures.get(key, "no answer")
    return {"id": entry.id, kind.field: None, "text": None, "failure": failure}
