"""Questions of multiple choice, put to a model letter by letter.

A file is JSON or JSON Lines in the form of CMB or of CMExam; names of fields in any case:

    {"question": "...", "option": {"A": "...", "B": "..."}, "answer": "B"}
    {"Question": "...", "Options": [{"key": "A", "value": "..."}, ...], "Answer": "BD"}

The options stand in the prompt and the model is asked for a letter; each letter is scored by its likelihood there.
The options' own texts are not scored: a long one is less likely than a short one, and a common phrase likelier than
a rare one, whatever they answer. Letters are all alike in that. Where several options are right, as the prompt then
says, every set of two or more letters is scored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from vitalfactory.errors import UnusableRecord, VitalFactoryError
from vitalfactory.files import read_json, read_jsonl
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.intervals import Figure, Floats, bootstrap, mean

LETTERS = "ABCDEFGH"
ASKS = {
    "en": ("Answer with the letter of the right option alone.", "Answer with the letters of all right options, as AB."),
    "zh": ("请只回答正确选项的字母。", "本题有多个正确选项，请只回答所有正确选项的字母，如AB。"),
}
_LINE = re.compile(r"^\s*\(?([A-Ha-h])[).:：、．\s]\s*(\S.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Choice:
    """A question with its options.

    Attributes
    ----------
    id, question : str
    options : dict of str to str
        Letter to text, in the order of the letters.
    right : str
        The right letters, in order.
    """

    id: str
    question: str
    options: dict[str, str]
    right: str

    @property
    def candidates(self) -> list[str]:
        """What is scored: every letter, or every set of letters where several are right."""
        letters = list(self.options)
        if len(self.right) == 1:
            return letters
        return ["".join(some) for count in range(2, len(letters) + 1) for some in combinations(letters, count)]

    def prompt(self, language: str) -> str:
        """Write the question with its options and what is asked for."""
        options = "\n".join(f"{letter}. {text}" for letter, text in self.options.items())
        return f"{self.question}\n{options}\n{ASKS[language][len(self.right) > 1]}"


def read_choices(path: Path) -> tuple[list[Choice], dict[str, int]]:
    """Read questions of multiple choice.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of Choice
        In their order; an id is the row's own, or its place where it has none or one that came before.
    dict of str to int
        Reasons and counts of rows that are no such question.

    Raises
    ------
    VitalFactoryError
        The file is missing, is neither JSON nor JSON Lines, or holds no such question.
    """
    found: dict[str, Choice] = {}
    excluded: Counter[str] = Counter()
    for number, row in enumerate(_rows(path), 1):
        name = str(row.get("id", number))
        try:
            choice = _choice(f"{number}" if name in found else name, {key.lower(): row[key] for key in row})
        except UnusableRecord as error:
            excluded[error.reason] += 1
        else:
            found[choice.id] = choice
    if not found:
        why = ", ".join(f"{reason} {count}" for reason, count in excluded.items()) or "it is empty"
        raise VitalFactoryError(
            f"{path}: no question of multiple choice ({why}); expected rows of question, option and answer"
        )
    return list(found.values()), dict(excluded)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        raise VitalFactoryError(f"{path}: no such file")
    with path.open("rb") as stream:
        whole = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    rows = read_json(path) if whole else read_jsonl(path)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise VitalFactoryError(f"{path}: item {number} is {type(row).__name__}; expected a JSON object")
        yield row


def _choice(name: str, row: Mapping[str, Any]) -> Choice:
    question = row.get("question")
    if not isinstance(question, str) or not question.strip():
        raise UnusableRecord("no question")
    options = _options(row.get("option", row.get("options")))
    if len(options) < 2:
        raise UnusableRecord("fewer than two options")
    if list(options) != list(LETTERS[: len(options)]):
        raise UnusableRecord(f"options are not lettered {LETTERS[0]}, {LETTERS[1]} and so on, up to {LETTERS[-1]}")
    given = row.get("answer")
    told = "".join(map(str, given)) if isinstance(given, list) else str(given or "")
    right = "".join(sorted(set(re.sub(r"[\s,，、;；]", "", told.upper()))))
    if not right:
        raise UnusableRecord("no answer")
    if not set(right) <= set(options):
        raise UnusableRecord("an answer that is none of the options")
    return Choice(name, question.strip(), options, right)


def _options(given: Any) -> dict[str, str]:
    """Read options out of an object, a list of objects or of texts, or lines of one text."""
    pairs: Sequence[tuple[Any, Any]] = ()
    if isinstance(given, str):
        pairs = _LINE.findall(given)
    elif isinstance(given, dict):
        pairs = list(given.items())
    elif isinstance(given, list):
        pairs = [
            (item.get("key"), item.get("value")) if isinstance(item, dict) else (letter, item)
            for letter, item in zip(LETTERS + "?" * len(given), given, strict=False)
        ]
    told = {str(letter).strip().upper(): str(text).strip() for letter, text in pairs if text is not None}
    return {letter: told[letter] for letter in sorted(told) if told[letter]}


def accuracy(rows: Sequence[Prediction]) -> dict[str, Any]:
    """Judge answers to questions of multiple choice.

    Parameters
    ----------
    rows : sequence of Prediction
        With the probability of every candidate.

    Returns
    -------
    dict
        ``rows``, ``several`` (how many have several right options), ``accuracy`` with its interval over questions, and
        ``chance``: what guessing reaches.
    """
    right = np.asarray([row.parsed == row.label for row in rows], dtype=np.float64)

    def statistics(weights: Floats) -> dict[str, Floats]:
        return {"accuracy": mean(weights, right)}

    found: Figure = bootstrap(statistics, [row.group for row in rows])["accuracy"]
    chance = float(np.mean([1 / len(row.probabilities) for row in rows if row.probabilities]))
    several = sum(len(str(row.label)) > 1 for row in rows)
    return {"rows": len(rows), "several": several, "accuracy": found, "chance": chance}
