"""Files of medical questions and answers, told apart by content.

Instructions as JSON or JSON Lines (BenTsao and Alpaca), conversations in one text, and letters to doctors as CSV:

    {"instruction": "肝炎双重感染最可能的并发症是什么？", "input": "", "output": "肝癌和肝硬化。"}
    {"instruction": " <user>: 这个药有效吗？ <bot>: 有效。 <user>: 有什么副作用？", "output": "恶心。", "input": ""}
    department,title,ask,answer
    心血管科,高血压患者能吃党参吗？,我有高血压，您好高血压可以吃党参吗？,高血压病人可以口服党参的。
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.knowledge.qa import QA, Dropped
from vitalfactory.knowledge.records import read_records

QUESTION = ("instruction", "question", "title")
CONTEXT = ("input", "ask")
ANSWER = ("output", "answer")
"""What a field is called; the first that a row has is taken."""
NOTHING = "无"
"""Stands in a letter that is its title alone."""
_MARK = re.compile(r"<(user|bot)>[:：]")


def read_qa(path: Path, name: str) -> Iterator[QA | Dropped]:
    """Read a file row by row.

    Parameters
    ----------
    path : Path
        JSON or JSON Lines of ``instruction``, ``input`` and ``output``, conversations among them; or CSV of
        ``department``, ``title``, ``ask`` and ``answer``.
    name : str
        What the rows' ids begin with.

    Yields
    ------
    QA or Dropped
        One for each row, in the order of the file.

    Raises
    ------
    VitalFactoryError
        See :func:`vitalfactory.knowledge.records.read_records`; or a CSV file has no column of questions.
    """
    for found in _rows(path, name):
        yield found if isinstance(found, Dropped) else _qa(*found)


def read_questions(path: Path) -> Iterator[str]:
    """Read the questions of an evaluation file: those of its rows, with or without answers.

    Parameters
    ----------
    path : Path
        As for :func:`read_qa`; answers may be missing.

    Yields
    ------
    str
        Of a conversation every question.

    Raises
    ------
    VitalFactoryError
        See :func:`read_qa`; or the file holds no question.
    """
    asked = False
    for found in _rows(path, path.stem):
        for question in () if isinstance(found, Dropped) else _questions(found[1]):
            asked = True
            yield question
    if not asked:
        raise VitalFactoryError(f"{path}: holds no question; expected rows with one of {', '.join(QUESTION)}")


def _rows(path: Path, name: str) -> Iterator[tuple[str, dict[str, Any]] | Dropped]:
    """Read a file's rows as objects; the first line of a CSV file names their fields."""
    columns: list[str] | None = None
    for record in read_records(path, name):
        if isinstance(record, Dropped):
            yield record
        elif isinstance(record.value, dict):
            yield record.id, record.value
        elif columns is None:
            columns = _columns(record.value, path)
        elif len(record.value) != len(columns):
            yield Dropped(record.id, "wrong number of cells", f"{len(record.value)} under {len(columns)} columns")
        else:
            yield record.id, dict(zip(columns, record.value, strict=True))


def _questions(row: Mapping[str, Any]) -> list[str]:
    parts = [row.get(name) for name in (*QUESTION, *CONTEXT)]
    texts = [part for part in parts if isinstance(part, str) and part.strip() not in ("", NOTHING)]
    if len(texts) == 1 and _MARK.search(texts[0]):
        return [turn for turn in (part.strip() for part in _MARK.split(texts[0])[2::4]) if turn]
    return ["\n".join(texts), *texts[:1]] if len(texts) > 1 else texts


def _columns(cells: Sequence[Any], path: Path) -> list[str]:
    columns = [str(cell).strip().casefold() for cell in cells]
    if not set(columns) & {*QUESTION, *CONTEXT}:
        raise VitalFactoryError(
            f"{path}: neither JSON nor CSV with the columns department, title, ask, answer; "
            f"its first line has {len(columns)} cells"
        )
    return columns


def _qa(row_id: str, row: Mapping[str, Any]) -> QA | Dropped:
    try:
        asked = [_field(row, names) for names in (QUESTION, CONTEXT)]
        answer = _field(row, ANSWER)
        department = _field(row, ("department",)) or None
        told = list(dict.fromkeys(text for text in asked if text and text != NOTHING))
        if not told:
            raise UnusableRecord("no question")
        if "<user>" in told[0]:
            turns = turns_of("\n".join(told))
            return QA(row_id, turns[-1], answer, history=turns[:-1], form="dialogue", stratum=department)
    except UnusableRecord as error:
        return Dropped(row_id, error.reason, error.detail)
    return QA(row_id, told[0], answer, context="".join(told[1:]), stratum=department)


def _field(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Take a field by the first of its names that the row has; empty where it has none."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str):
            return value.strip()
        if value is not None:
            raise UnusableRecord("not text", f"{name} is {type(value).__name__}")
    return ""


def turns_of(text: str) -> tuple[str, ...]:
    """Take a conversation apart at its ``<user>:`` and ``<bot>:``.

    Returns
    -------
    tuple of str
        User and bot by turns; the last is the user's.

    Raises
    ------
    UnusableRecord
        The two do not take turns, or one says nothing.
    """
    before, *parts = _MARK.split(text)
    roles, turns = parts[::2], tuple(part.strip() for part in parts[1::2])
    if before.strip() or roles != (["user", "bot"] * len(roles))[: len(roles)] or len(roles) % 2 == 0:
        raise UnusableRecord("turns out of order", f"{len(roles)} turns")
    if not all(turns):
        raise UnusableRecord("empty turn")
    return turns
