"""Which entities of a knowledge graph an answer names, and which it should name.

The vocabulary is made of the heads and tails of a dataset's facts. A name that is itself a list counts as its parts,
and "a virus" as "virus". Names are looked for in their normal form (width, case, blanks), from left to right and the
longest first, so that "high fever" is not "fever". A Latin word is found as a whole word alone; Chinese has no such
bounds.

An answer should name the entities of the facts that it stands on which its reference names and its question does
not: the tails of a list or a comparison, the heads that a question of reverse looks for, the disease and its drugs
of a hop. What a question names is held neither for nor against an answer. A question of yes or no asks for no names.

The check looks for names and does not understand them: "no fever" names fever, and a synonym that the graph does not
have is not found.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vitalfactory.predictions import asked_of

_BREAKS = re.compile(r"[、，；。：！？;!?\n]|(?<!\d)[,:]|[,:](?!\d)|\.(?=\s|$|[\u3400-\u9fff])")
_ARTICLES = ("a ", "an ", "the ")


class Vocabulary:
    """The names that are looked for.

    Parameters
    ----------
    names : iterable of str
        Heads and tails.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(part for name in names for part in parts_of(name))
        lengths: dict[str, set[int]] = {}
        for name in self._names:
            lengths.setdefault(name[0], set()).add(len(name))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}

    def __len__(self) -> int:
        """Count the names."""
        return len(self._names)

    def named(self, text: str) -> frozenset[str]:
        """Find the names in a text, each in its normal form."""
        return frozenset(name for segment in _segments(text) for name in self._in(segment))

    def _in(self, segment: str) -> Iterator[str]:
        place = 0
        while place < len(segment):
            name = self._at(segment, place)
            place += len(name) if name else 1
            if name:
                yield name

    def _at(self, segment: str, place: int) -> str:
        """Return the longest name that begins at a place, as whole words; empty where there is none."""
        if _joined(segment, place):
            return ""
        for length in self._lengths.get(segment[place], ()):
            name = segment[place : place + length]
            if name in self._names and not _joined(segment, place + length):
                return name
        return ""


def _joined(text: str, place: int) -> bool:
    """Whether a place lies within a Latin word."""
    return 0 < place < len(text) and _latin(text[place - 1]) and _latin(text[place])


def _latin(character: str) -> bool:
    return character.isalnum() and not "\u3400" <= character <= "\u9fff"


def _segments(text: str) -> Iterator[str]:
    """Cut a text at its marks, each piece in its normal form."""
    for piece in _BREAKS.split(text):
        if told := " ".join(unicodedata.normalize("NFKC", piece).casefold().split()):
            yield told


def parts_of(name: str) -> list[str]:
    """Bring a name to its normal form: one name, or several where it is a list."""
    parts = []
    for segment in _segments(name):
        article = next((word for word in _ARTICLES if segment.startswith(word)), "")
        parts.append(segment.removeprefix(article))
    return [part for part in parts if any(map(str.isalnum, part))]


def vocabulary_of(rows: Iterable[Mapping[str, Any]]) -> Vocabulary:
    """Take the names out of the facts of a dataset's rows."""
    return Vocabulary({name for row in rows for head, _, tail in row.get("triples", ()) for name in (head, tail)})


def wanted_of(row: Mapping[str, Any], reference: str, vocabulary: Vocabulary) -> frozenset[str]:
    """Find the entities that an answer to a row should name.

    Parameters
    ----------
    row : mapping
        A row of the dataset.
    reference : str
        Its answer.
    vocabulary : Vocabulary

    Returns
    -------
    frozenset of str
        Empty where the answer is no matter of names.
    """
    if row.get("answer_kind") == "yesno":
        return frozenset()
    backing = {part for head, _, tail in row.get("triples", ()) for name in (head, tail) for part in parts_of(name)}
    return (vocabulary.named(reference) & backing) - vocabulary.named(asked_of(row))


def said_of(row: Mapping[str, Any], answer: str, vocabulary: Vocabulary) -> frozenset[str]:
    """Find the entities that an answer names and its question does not."""
    return vocabulary.named(answer) - vocabulary.named(asked_of(row))
