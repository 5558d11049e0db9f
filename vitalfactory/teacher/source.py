"""The rows to be labelled: notes or prompts, what of each is sent, and why some are not."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.files import dumps, read_jsonl
from vitalfactory.teacher.options import Answer, Options

HELD_OUT = ("val", "test")
KINDS = ("diagnosis", "qa")
PROMPT_FIELDS = ("instruction", "input", "messages")
STATED, PERSONAL = "states its diagnosis", "personal details"
HELD_OUT_ROW, HELD_OUT_ID = "row of a val or test split", "id of a val or test split"
CHINESE = re.compile("[\u3400-\u9fff]")


@dataclass(frozen=True)
class Row:
    """One row of the input.

    Attributes
    ----------
    id : str
    key : str or None
        Of its id and its content; None where it has no content.
    columns : dict
        What the output repeats: the note or the prompt as it is sent.
    messages : list of dict
    why_not : callable
        Says why it is not sent, None where it may be.
    """

    id: str
    key: str | None
    columns: dict[str, Any]
    messages: list[dict[str, str]]
    why_not: Callable[[], str | None]


class Source:
    """The rows of the input, read as often as they are needed.

    Parameters
    ----------
    options : Options
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.rows = 0
        first: dict[str, Any] | None = None
        for row in self._read():  # a line that is no JSON is told before anything is paid for
            first = first or row
            self.rows += 1
        if first is None:
            raise VitalFactoryError(f"{options.input}: holds no rows")
        self.answer: Answer = options.answer or ("text" if self._is_prompt(first) else "diagnosis")
        self._is_split_file = options.input.stem in HELD_OUT and (options.input.parent / "card.json").is_file()

    def _read(self) -> Iterator[dict[str, Any]]:
        return islice(read_jsonl(self.options.input), self.options.limit)

    def _is_prompt(self, row: Mapping[str, Any]) -> bool:
        """Tell a prompt from a note; a row of a dataset of diagnoses is either, as its answer is wanted."""
        if self.options.answer == "diagnosis" and isinstance(row.get("input"), str) and row["input"]:
            return False
        return "instruction" in row or "messages" in row

    @cached_property
    def held_out(self) -> HeldOut:
        """What must not be sent."""
        return HeldOut.of(self.options.root)

    def __iter__(self) -> Iterator[Row]:
        """Give every row."""
        for number, row in enumerate(self._read(), 1):
            try:
                yield self._prompt(row) if self._is_prompt(row) else self._note(row)
            except UnusableRecord as error:
                name = f"row {number}" if row.get("id") in (None, "") else str(row["id"])
                yield Row(name, None, {}, [], partial(str, error.reason))

    def _note(self, row: Mapping[str, Any]) -> Row:
        from vitalfactory.diagnosis import QUESTIONS
        from vitalfactory.notes.note import Note, has_diagnosis, note_key, note_of, strip_diagnosis
        from vitalfactory.notes.personal import scrub

        note = note_of(row)
        text = strip_diagnosis(note.text) if self.options.strip_diagnosis else note.text
        text = scrub(text) if self.options.scrub else text
        if not text.strip():
            raise UnusableRecord("nothing but a diagnosis")
        question = QUESTIONS[self.options.language or language_of(text)][0]
        messages = [{"role": "user", "content": f"{question}\n{text}"}]

        def why_not() -> str | None:
            if reason := self._held_out(row, "diagnosis", note.id, note.text):
                return reason
            if self.answer == "diagnosis" and has_diagnosis(text):
                return STATED
            return self._personal(text)

        return Row(note.id, note_key(Note(note.id, text)), {"feature_content": text}, messages, why_not)

    def _prompt(self, row: Mapping[str, Any]) -> Row:
        from vitalfactory.notes.personal import scrub

        if row.get("id") in (None, ""):
            raise UnusableRecord("no id")
        given = messages = _messages(row)
        if self.options.scrub:
            messages = [{**message, "content": scrub(message["content"])} for message in messages]
        name = str(row["id"])
        key = hashlib.blake2b(dumps([name, messages]).encode("utf-8", "replace"), digest_size=8).hexdigest()
        columns = {"messages": messages} if self.options.scrub else {n: row[n] for n in PROMPT_FIELDS if n in row}

        def why_not() -> str | None:
            return self._held_out(row, "qa", name, _text_of(given)) or self._personal(_text_of(messages))

        return Row(name, key, columns, messages, why_not)

    def _held_out(self, row: Mapping[str, Any], kind: str, name: str, text: str) -> str | None:
        """Say whether a row is one that models are judged on."""
        if self.options.allow_test:
            return None
        if self._is_split_file or row.get("split") in HELD_OUT or self.held_out.has(text):
            return HELD_OUT_ROW
        return HELD_OUT_ID if (kind, name) in self.held_out.ids else None

    def _personal(self, text: str) -> str | None:
        """Say whether a text has personal details that were not taken out or allowed."""
        from vitalfactory.notes.personal import find_personal

        allowed = self.options.allow_personal or self.options.scrub
        return PERSONAL if not allowed and find_personal(text) else None


def _messages(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a prompt's messages, up to the last that the user says.

    Raises
    ------
    UnusableRecord
        It has no text to answer.
    """
    given = row.get("messages")
    if given is None:
        parts = [row.get("instruction"), row.get("input") or ""]
        whole = "\n".join(filter(None, parts)) if all(isinstance(part, str) for part in parts) else None
        given = [{"role": "user", "content": whole}]
    if not isinstance(given, list) or not all(isinstance(message, dict) for message in given):
        raise UnusableRecord("no prompt")
    messages = [{"role": str(message.get("role")), "content": message.get("content")} for message in given]
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if not messages or not all(isinstance(message["content"], str) for message in messages):
        raise UnusableRecord("no prompt")
    if not messages[-1]["content"].strip():
        raise UnusableRecord("empty prompt")
    return messages


def _text_of(messages: Iterable[Mapping[str, str]]) -> str:
    return "\n".join(message["content"] for message in messages)


def language_of(text: str) -> str:
    """Tell which language a note is in: ``zh`` where a fifth of its characters are Chinese, else ``en``."""
    return "zh" if 5 * len(CHINESE.findall(text)) > len(text) else "en"


@dataclass
class HeldOut:
    """What stands in the val and test splits of the datasets that a model is judged on.

    Attributes
    ----------
    contents : set of bytes
        Hashes of the notes or prompts, as the datasets hold them.
    ids : set of tuple of str and str
        Kinds of datasets with the ids and groups of their rows.
    lengths : set of int
        To which the datasets shorten their notes.
    """

    contents: set[bytes] = field(default_factory=set)
    ids: set[tuple[str, str]] = field(default_factory=set)
    lengths: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, root: Path) -> HeldOut:
        """Read the splits of every dataset of diagnoses or questions under a root."""
        from vitalfactory.card import read_card

        found = cls()
        for path in sorted((root / "data").glob("*/card.json")):
            card = read_card(path)
            if card.kind not in KINDS:
                continue
            found.lengths |= {card.longest_note} if card.longest_note else set()
            for split in HELD_OUT:
                file = path.with_name(f"{split}.jsonl")
                for row in read_jsonl(file) if file.is_file() else ():
                    found._add(row, card.kind)
        return found

    def _add(self, row: Mapping[str, Any], kind: str) -> None:
        self.ids |= {(kind, str(row[name])) for name in ("id", "group") if name in row}
        content = row["input"] if kind == "diagnosis" else _text_of(_messages(row))
        self.contents.add(_digest(content))

    def has(self, text: str) -> bool:
        """Tell whether a note or a prompt stands there, whole or as a dataset would tell it."""
        from vitalfactory.notes.note import shorten, strip_diagnosis

        if not self.contents:
            return False
        forms = {text, strip_diagnosis(text)}
        forms |= {shorten(form, length) for form in forms for length in self.lengths}
        return any(_digest(form) in self.contents for form in forms)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.strip().encode("utf-8", "replace"), digest_size=16).digest()
