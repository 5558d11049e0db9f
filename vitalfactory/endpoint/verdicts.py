"""Verdicts of a model that judges: each is asked for once, and kept in a file as soon as it comes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from vitalfactory.endpoint.asking import Question, ask
from vitalfactory.endpoint.client import Endpoint
from vitalfactory.endpoint.structured import Checked, Form, WrongAnswer, bare_schema, said
from vitalfactory.files import dumps, recover_jsonl

LONGEST_VERDICT = 64
"""Tokens."""

Read = Callable[[str, type[BaseModel]], Any]


@dataclass(frozen=True)
class Judge:
    """The model that is asked for its opinion."""

    url: str
    model: str


def ask_verdicts(
    judge: Judge, form: type[BaseModel], read: Read, questions: Sequence[list[dict[str, str]]], path: Path
) -> list[Any]:
    """Ask what is not answered in the file of verdicts yet.

    Parameters
    ----------
    judge : Judge
    form : type of BaseModel
        A verdict's form.
    read : callable
        Takes what the judge wrote and the form, and returns the verdict; raises ValueError.
    questions : sequence of list of dict
        Chat messages.
    path : Path
        JSON Lines; the caller holds its lock.

    Returns
    -------
    list
        A verdict for each question, None where there is none.

    Raises
    ------
    VitalFactoryError
        The endpoint cannot be asked.
    """
    from tqdm import tqdm

    keys = [_key(judge.model, messages) for messages in questions]
    verdicts = {row["key"]: row["verdict"] for row in recover_jsonl(path) if row["verdict"] is not None}
    todo = {key: messages for key, messages in zip(keys, questions, strict=True) if key not in verdicts}
    if not todo:
        return [verdicts[key] for key in keys]
    wanted = Form(form.__name__.lower(), bare_schema(form.model_json_schema()), lambda text: _checked(text, form, read))
    asked = (Question(key, messages) for key, messages in todo.items())
    answers = ask(Endpoint(judge.url, judge.model), asked, wanted, {"temperature": 0, "max_tokens": LONGEST_VERDICT})
    with path.open("a", encoding="utf-8") as stream:
        for answer in tqdm(answers, desc=f"judging ({wanted.name})", total=len(todo), unit="question", disable=None):
            verdicts[answer.key] = answer.value
            kept = {"key": answer.key, "model": judge.model, "verdict": answer.value, "failure": answer.reason}
            stream.write(dumps(kept) + "\n")
            stream.flush()
    return [verdicts.get(key) for key in keys]


def _key(model: str, messages: Sequence[Mapping[str, str]]) -> str:
    return hashlib.blake2b(dumps([model, messages]).encode("utf-8", "replace"), digest_size=16).hexdigest()


def _checked(text: str, form: type[BaseModel], read: Read) -> Checked:
    try:
        return Checked(read(said(text), form))
    except ValueError as error:
        raise WrongAnswer(str(error)) from None
