"""What a diagnosis' reason is worth: its likeness to another reason, and the share of its facts that the note holds.

ROUGE-1, ROUGE-2 and ROUGE-L are the F1 of rouge-chinese, the implementation that LLaMA-Factory measures with, over
distinct n-grams and the longest common subsequence. Chinese is cut into words by jieba, other languages at
everything that is neither letter nor digit. Width, case and punctuation make no difference.

The evidence check takes a reason apart into facts, at line ends, commas, colons, semicolons and the ends of
sentences, but not within a number such as 14.2. A piece that is only the name of a disease of the answer, or that
has nothing but words such as "the" and "with", is no fact. A fact is found in the note where either

- its words and numbers stand there one after another, whatever punctuation is between them; or
- all its numbers stand there, and of its other content at least ``ENOUGH``: its words without those of
  ``FILLERS``, and its Chinese as pairs of neighbouring characters.

The check looks for words and does not understand them: "fever" is found in "denies fever", and a synonym that the
note does not use is not found. It tells invented facts from copied ones, not right conclusions from wrong ones.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Container, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any

from vitalfactory.diagnosis import normalise

ENOUGH = 0.75
_FILLERS = """
a an and are as at be been by for from had has have he her his in is it its of on or patient she
that the their there this to was were which with
"""
FILLERS = frozenset(_FILLERS.split())

_HAN = "\u3400-\u9fff"
_BREAKS = re.compile(r"[，、;；。！!？?：\n]|(?<!\d)[,.:]|[,.:](?!\d)")
_TOKENS = re.compile(rf"\d+(?:[./]\d+)*|[{_HAN}]+|(?:(?![{_HAN}])[^\W\d_])+")


def words_of(text: str, language: str) -> list[str]:
    """Cut a text into words and numbers.

    Parameters
    ----------
    text : str
    language : str
        ``zh`` is cut by jieba.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    if language != "zh":
        return _TOKENS.findall(plain)
    return [word for word in _jieba().lcut(plain) if any(map(str.isalnum, word))]


@cache
def _jieba() -> Any:
    with _quiet():
        import jieba  # type: ignore[import-untyped]
    jieba.setLogLevel("WARNING")
    return jieba


@cache
def _rouge() -> Any:
    with _quiet():
        from rouge_chinese import Rouge  # type: ignore[import-untyped]
    return Rouge()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what Python says of a library's own source text when it compiles it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def rouge(said: str, gold: str, language: str) -> tuple[float, float, float]:
    """Compare a reason with the gold one.

    Parameters
    ----------
    said, gold : str
    language : str

    Returns
    -------
    tuple of float
        ROUGE-1, ROUGE-2 and ROUGE-L, as F1; 0 where either text has no words.
    """
    hypothesis, reference = words_of(said, language), words_of(gold, language)
    if not hypothesis or not reference:
        return 0.0, 0.0, 0.0
    scores = _rouge().get_scores(" ".join(hypothesis), " ".join(reference))[0]
    return scores["rouge-1"]["f"], scores["rouge-2"]["f"], scores["rouge-l"]["f"]


def facts_of(reason: str, names: Container[str] = ()) -> list[str]:
    """Take a reason apart into its facts.

    Parameters
    ----------
    reason : str
    names : container of str
        Names of diseases in normal form: a piece that is one of them is no fact.
    """
    pieces = (piece.strip() for piece in _BREAKS.split(reason))
    return [piece for piece in pieces if normalise(piece) not in names and any(_content(_tokens(piece)))]


class Evidence:
    """A note in which facts are looked for.

    Parameters
    ----------
    note : str
    """

    def __init__(self, note: str) -> None:
        tokens = _tokens(note)
        self._line = _line(tokens)
        characters = (character for token in tokens if _is_han(token) for character in token)
        self._content = {*tokens, *characters, *(piece for content in _content(tokens) for piece in content)}

    def holds(self, fact: str) -> bool:
        """Say whether a fact is found in the note, by the rule of this module."""
        tokens = _tokens(fact)
        if _line(tokens) in self._line:
            return True
        numbers, others = _content(tokens)
        found = sum(piece in self._content for piece in others)
        return self._content.issuperset(numbers) and found >= ENOUGH * len(others)

    def share(self, reason: str, names: Container[str] = ()) -> float:
        """Return the share of a reason's facts that are found in the note; 0 where it has none."""
        facts = facts_of(reason, names)
        return sum(map(self.holds, facts)) / len(facts) if facts else 0.0


def _tokens(text: str) -> list[str]:
    """Cut a text into words, numbers and runs of Chinese characters."""
    return _TOKENS.findall(unicodedata.normalize("NFKC", text).casefold())


def _is_han(token: str) -> bool:
    return "\u3400" <= token[0] <= "\u9fff"


def _line(tokens: list[str]) -> str:
    """Lay tokens out with a blank around each and around each Chinese character, so that words match as wholes."""
    return f" {' '.join(' '.join(token) if _is_han(token) else token for token in tokens)} "


def _content(tokens: list[str]) -> tuple[list[str], list[str]]:
    """Return the numbers of a text, and its other content."""
    numbers = [token for token in tokens if token[0].isdigit()]
    return numbers, [piece for token in tokens if not token[0].isdigit() for piece in _pieces(token)]


def _pieces(token: str) -> Iterator[str]:
    if not _is_han(token):
        yield from () if token in FILLERS else (token,)
    elif len(token) == 1:
        yield token
    else:
        yield from map("".join, pairwise(token))
