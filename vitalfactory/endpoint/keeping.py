"""Questions asked and answers kept: each ended question goes into the ledger before the next one takes its place."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from vitalfactory.endpoint.asking import Answered, Question, ask
from vitalfactory.endpoint.client import TRANSIENT, Bill, Endpoint
from vitalfactory.endpoint.ledger import Ledger
from vitalfactory.endpoint.prices import Price, estimate_tokens
from vitalfactory.endpoint.structured import Form, Mode, probe

GUESSED_ANSWER = 150
"""Tokens of an answer, where none is there to tell."""


@dataclass
class Spending:
    """What one run does, and what it costs.

    Attributes
    ----------
    price : Price or None
    most : float or None
        What the ledger may have cost in the end, earlier runs included.
    before : float
        What it had cost when the run began.
    answered, failed, calls, lost, prompt_tokens, completion_tokens : int
        Of this run, the probe's among them.
    capped : bool
        The run ended because the next question could have gone over ``most``.
    mode : str or None
        How the endpoint was held to the form; None where nothing was asked.
    seconds : float
        Of asking, without the probe.
    """

    price: Price | None = None
    most: float | None = None
    before: float = 0.0
    answered: int = 0
    failed: int = 0
    calls: int = 0
    lost: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    capped: bool = False
    mode: Mode | None = None
    seconds: float = 0.0
    _under_way: dict[str, float] = field(default_factory=dict)

    @property
    def cost(self) -> float:
        """What this run has cost so far; 0 without a price."""
        return self.price.of(self.prompt_tokens, self.completion_tokens) if self.price else 0.0

    def allows(self, question: Question) -> bool:
        """Take a question on, unless what is under way could then cost more than is left."""
        expected = self._expected(question)
        if self.most is not None and self.before + self.cost + sum(self._under_way.values()) + expected > self.most:
            self.capped = True
            return False
        self._under_way[question.key] = expected
        return True

    def is_under_way(self, key: str) -> bool:
        """Whether a question waits for its answer."""
        return key in self._under_way

    def end(self, answered: Answered) -> None:
        """Count how a question ended."""
        self._under_way.pop(answered.key, None)
        self.answered += answered.state == "answered"
        self.failed += answered.state == "failed"
        self.charge(answered)

    def charge(self, bill: Bill | Answered) -> None:
        """Count what was spent."""
        self.calls += bill.calls
        self.lost += bill.lost
        self.prompt_tokens += bill.prompt_tokens
        self.completion_tokens += bill.completion_tokens

    def _expected(self, question: Question) -> float:
        if self.price is None or self.most is None:
            return 0.0
        answer = self.completion_tokens / self.calls if self.calls else GUESSED_ANSWER
        return self.price.of(prompt_tokens(question), answer)


def prompt_tokens(question: Question) -> int:
    """Estimate the tokens of a question."""
    return sum(estimate_tokens(message["content"]) for message in question.messages)


def has_ended(ledger: Ledger | None, key: str, *, retry_failed: bool = False) -> bool:
    """Tell whether a question need not be asked any more.

    One that failed through the endpoint's fault (``TRANSIENT``) is asked again, one that failed otherwise only where
    ``retry_failed`` says so.
    """
    row = ledger.get(key) if ledger else None
    if row is None:
        return False
    return row["state"] == "answered" or not (retry_failed or row.get("reason") in TRANSIENT)


def ask_and_keep(
    endpoint: Endpoint,
    questions: Iterator[Question],
    form: Form,
    parameters: Mapping[str, Any],
    ledger: Ledger,
    spending: Spending,
    *,
    tries: int = 3,
    mode: Mode | None = None,
    bar: Any = None,
) -> None:
    """Ask questions and write each answer into the ledger.

    Parameters
    ----------
    endpoint : Endpoint
    questions : iterator of Question
        Those that have not ended; one that repeats another that is under way is passed over.
    form : Form
    parameters : mapping
    ledger : Ledger
    spending : Spending
        Takes what is done, and ends the run where it would cost too much.
    tries : int
    mode : str, optional
        By default the endpoint is probed.
    bar : tqdm, optional
        Is moved on by one for each question that ended.

    Raises
    ------
    VitalFactoryError
        See :func:`vitalfactory.endpoint.asking.ask`; all that was answered before is kept.
    """
    first = next(questions, None)
    if first is None:
        return
    spending.mode = mode or _probe(endpoint, form, parameters, spending)
    allowed = _allowed(chain([first], questions), spending)
    start = time.perf_counter()
    try:
        for answered in ask(endpoint, allowed, form, parameters, tries=tries, mode=spending.mode):
            ledger.add(endpoint.model, answered)
            spending.end(answered)
            if bar is not None:
                _show(bar, spending)
    finally:
        spending.seconds = time.perf_counter() - start


def _probe(endpoint: Endpoint, form: Form, parameters: Mapping[str, Any], spending: Spending) -> Mode:
    bill = Bill()
    mode = probe(endpoint, form, parameters, bill)
    spending.charge(bill)
    return mode


def _allowed(questions: Iterator[Question], spending: Spending) -> Iterator[Question]:
    for question in questions:
        if spending.is_under_way(question.key):
            continue
        if not spending.allows(question):
            return
        yield question


def _show(bar: Any, spending: Spending) -> None:
    if not bar.disable:
        cost = f", {spending.cost:.2f} {spending.price.currency}" if spending.price else ""
        tokens = (spending.prompt_tokens + spending.completion_tokens) / 1000
        bar.set_postfix_str(f"{tokens:.0f}k tokens{cost}, {spending.failed} failed", refresh=False)
    bar.update()
