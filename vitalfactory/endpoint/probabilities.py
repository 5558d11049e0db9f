"""The probability of every answer of a closed set, from a server of llama.cpp.

Each answer is forced: a grammar allows its own tokens alone, the ones that it was trained as, and the server tells how
likely each of them was to the model before the grammar took the others away, the token that ends the answer included.
This is what :mod:`vitalfactory.scoring.likelihood` computes of a model that is loaded: no answer needs to stand among
the likeliest. Other servers tell the likeliest tokens of what they would have said and take no such grammar.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from vitalfactory.card import Card
from vitalfactory.endpoint.asking import Answered, Question, ask
from vitalfactory.endpoint.client import Client, Endpoint, Stop
from vitalfactory.endpoint.structured import Checked, Form
from vitalfactory.errors import VitalFactoryError

FORM = Form("answer", None, Checked)
PARAMETERS = {"temperature": 0, "logprobs": True, "top_logprobs": 1}
PREFERRED = 100
"""Added to the logit of the token that ends an answer; what is told of it is without."""


@dataclass(frozen=True)
class Scored:
    """How likely the answers to one question are.

    Attributes
    ----------
    key : str
    probabilities : dict of str to float or None
        Of each label, adding up to 1; None where a request failed.
    reason : str or None
        Why it did: a short phrase that can be counted.
    """

    key: str
    probabilities: dict[str, float] | None
    reason: str | None


def label_probabilities(endpoint: Endpoint, messages: list[dict[str, Any]], card: Card) -> dict[str, float]:
    """Ask for the probability of every label of a dataset, for one question.

    Parameters
    ----------
    endpoint : Endpoint
    messages : list of dict
        Chat messages, as :class:`vitalfactory.render.Chat` lays them out.
    card : Card
        Of a dataset with one label a row.

    Returns
    -------
    dict of str to float
        Adding up to 1.

    Raises
    ------
    VitalFactoryError
        See :func:`score_answers`; also where the question is not answered.
    """
    answers = {label: card.answers[label] for label in card.labels}
    (scored,) = score_answers(endpoint, [Question("", messages)], answers)
    if scored.probabilities is None:
        raise VitalFactoryError(f"{endpoint.base_url}: the question was not answered ({scored.reason})")
    return scored.probabilities


def score_answers(endpoint: Endpoint, questions: Iterable[Question], answers: Mapping[str, str]) -> Iterator[Scored]:
    """Ask for the probability of every answer, for many questions.

    Parameters
    ----------
    endpoint : Endpoint
    questions : iterable of Question
    answers : mapping of str to str
        The output string of each label.

    Yields
    ------
    Scored
        In any order, one for each question.

    Raises
    ------
    VitalFactoryError
        The endpoint forces no answer or tells no log-probabilities, or cannot be asked.
    """
    forced = force(endpoint, answers)
    asked = (
        replace(question, key=f"{question.key}\n{label}", parameters=parameters)
        for question in questions
        for label, parameters in forced.items()
    )
    told: dict[str, dict[str, Answered]] = {}
    for one in ask(endpoint, asked, FORM, PARAMETERS, tries=1, mode="plain"):
        key, _, label = one.key.rpartition("\n")
        if one.state == "answered" and (one.text != answers[label] or one.cut or one.logprob is None):
            raise _forces_nothing(endpoint)
        of_key = told.setdefault(key, {})
        of_key[label] = one
        if len(of_key) == len(answers):
            yield _scored(key, [told[key][label] for label in answers], answers)
            del told[key]


def _scored(key: str, each: list[Answered], answers: Mapping[str, str]) -> Scored:
    """Divide by the sum over the answers."""
    reason = next((one.reason for one in each if one.state == "failed"), None)
    if reason is not None:
        return Scored(key, None, reason)
    logs = [one.logprob if one.logprob is not None else -math.inf for one in each]
    highest = max(logs)
    shares = [math.exp(log - highest) for log in logs]
    return Scored(key, {label: share / sum(shares) for label, share in zip(answers, shares, strict=True)}, None)


def force(endpoint: Endpoint, answers: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Make the parameters that let an endpoint say one answer and nothing else.

    Parameters
    ----------
    endpoint : Endpoint
    answers : mapping of str to str

    Returns
    -------
    dict of str to dict
        For each label.

    Raises
    ------
    VitalFactoryError
        The endpoint is no server of llama.cpp, or is not there.
    """

    async def ask_tokens() -> tuple[list[list[int] | None], int | None]:
        async with Client(endpoint) as client:
            return [await client.tokenize(answer) for answer in answers.values()], await client.end_token()

    with ThreadPoolExecutor(1) as thread:  # the caller may have a loop of its own
        told, end = thread.submit(asyncio.run, ask_tokens()).result()
    if end is None or not all(told):
        raise _forces_nothing(endpoint)
    return {label: _forced(tokens, end) for label, tokens in zip(answers, told, strict=True) if tokens}


def _forced(tokens: list[int], end: int) -> dict[str, Any]:
    # A grammar leaves every token free that ends an answer, so the right one is preferred.
    grammar = "root ::= " + " ".join(f"<[{token}]>" for token in tokens)
    return {"grammar": grammar, "logit_bias": {str(end): PREFERRED}, "max_tokens": len(tokens) + 1}


def _forces_nothing(endpoint: Endpoint) -> Stop:
    return Stop(
        f"{endpoint.base_url}: tells no log-probability of an answer that it is given, as llama.cpp's server does; "
        "serve the model by python -m vitalfactory.serving start RECIPE --constrained, or leave --base-url out"
    )
