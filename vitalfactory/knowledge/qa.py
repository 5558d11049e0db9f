"""A question with its answer, and a row that is left out: what this room's modules hand to one another."""

from __future__ import annotations

from typing import NamedTuple

Triple = tuple[str, str, str]
"""Head, relation, tail."""


class QA(NamedTuple):
    """A question with its answer.

    Attributes
    ----------
    id : str
        Unique and stable.
    question, answer : str
        Of the last turn, where there are several.
    context : str
        What is told beside the question.
    history : tuple of str
        Earlier turns: question, answer, question, answer.
    triples : tuple of Triple
        The facts that the answer stands on, where it was made of a graph.
    form : str
        The name of the question's form; ``text`` or ``dialogue`` where it was read from a file.
    kind : {'free', 'list', 'yesno', 'compare'}
        How the answer reads.
    entities : tuple of str
        Whom the question is about, first the one that it belongs to, then all others that it names.
    stratum : str or None
        What splits are stratified by, such as the department.
    cleaned : bool
        Whether marks of HTML or control characters were taken out.
    """

    id: str
    question: str
    answer: str
    context: str = ""
    history: tuple[str, ...] = ()
    triples: tuple[Triple, ...] = ()
    form: str = "text"
    kind: str = "free"
    entities: tuple[str, ...] = ()
    stratum: str | None = None
    cleaned: bool = False

    @property
    def asked(self) -> tuple[str, ...]:
        """Every question of the conversation, the last one last; what is told beside it follows in its line."""
        last = f"{self.question}\n{self.context}" if self.context else self.question
        return (*self.history[::2], last)


class Dropped(NamedTuple):
    """A row of a source that is left out.

    Attributes
    ----------
    id : str
    reason : str
        A short phrase shared by all rows with the same fault.
    detail : str
        What was found; nothing of the row's text.
    """

    id: str
    reason: str
    detail: str = ""
