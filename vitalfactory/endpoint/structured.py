"""The form that an answer must have, how an endpoint is held to it, and whether it really is.

Many endpoints take ``response_format`` and pass over it. So the endpoint is asked once, before any question, to say one
word, under a schema that allows only another one.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from vitalfactory.diagnosis import Diagnosis, read_answer
from vitalfactory.endpoint.client import REJECTED, Bill, Client, Endpoint, Failed, Stop

Mode = Literal["json_schema", "json_object", "plain"]
MODES: tuple[Mode, ...] = ("json_schema", "json_object", "plain")
"""How an endpoint is held to a form, the strictest first."""

PROBES = 2
"""Times that each mode is tried: one strange answer is no proof that the endpoint does not keep to it."""
PROBE_TOKENS = 64
WORD = "zq71"
_WORD_SAID = re.compile(rf'"probe"\s*:\s*"{WORD}"')
PROBE_QUESTION = "Answer with the single word hello, without JSON."
MOST_DISEASES = 16
"""A small model held to a schema would go on with a list until the answer is cut off."""
UNANNOUNCED = ("title", "description", "minLength", "default")
"""Keywords that some endpoints refuse, and that reading the answer checks in any case."""


class WrongAnswer(Exception):
    """An answer that is not of the form asked for; says to the model what is wrong with it."""


@dataclass(frozen=True)
class Checked:
    """An answer that has the form asked for.

    Attributes
    ----------
    value : Any
    repaired : bool
        It took tolerance to read it.
    """

    value: Any
    repaired: bool = False


@dataclass(frozen=True)
class Form:
    """What an answer must be.

    Attributes
    ----------
    name : str
        Of the schema.
    schema : mapping or None
        JSON schema; None is plain text.
    read : callable
        Reads the text of an answer; raises :class:`WrongAnswer`.
    """

    name: str
    schema: Mapping[str, Any] | None
    read: Callable[[str], Checked]


def said(text: str) -> str:
    """Return what a model says after it has thought aloud between ``<think>`` and ``</think>``."""
    return text.rpartition("</think>")[2].strip()


def _read_diagnosis(text: str) -> Checked:
    reading = read_answer(said(text))
    if reading.diagnosis is None:
        raise WrongAnswer(
            f"That is not the JSON object asked for ({reading.fault}). Answer again with that object alone: "
            '{"diseases": [at least one name], "reason": "..."}'
        )
    return Checked(reading.diagnosis.model_dump(), reading.how != "valid")


def _read_text(text: str) -> Checked:
    if not (answer := said(text)):
        raise WrongAnswer("The answer is empty. Answer the question above.")
    return Checked(answer)


def diagnosis_form() -> Form:
    """Return the form of a diagnosis; its value is ``{"diseases": [...], "reason": ...}``."""
    schema = bare_schema(Diagnosis.model_json_schema())
    schema["properties"]["diseases"]["maxItems"] = MOST_DISEASES
    return Form("diagnosis", schema, _read_diagnosis)


def text_form() -> Form:
    """Return the form of free text; its value is the text, which is not empty."""
    return Form("text", None, _read_text)


def bare_schema(schema: Any) -> Any:
    """Take out of a JSON schema what not every endpoint accepts, property names apart."""
    if isinstance(schema, list):
        return [bare_schema(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        name: {key: bare_schema(value) for key, value in part.items()} if name == "properties" else bare_schema(part)
        for name, part in schema.items()
        if name not in UNANNOUNCED
    }


def response_format(form: Form, mode: Mode) -> dict[str, Any]:
    """Return the parameters that hold an endpoint to a form.

    Returns
    -------
    dict
        ``response_format``, or nothing where the mode or the form is plain.
    """
    if mode == "plain" or form.schema is None:
        return {}
    if mode == "json_object":
        return {"response_format": {"type": "json_object"}}
    schema = {"name": form.name, "schema": form.schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def probe(endpoint: Endpoint, form: Form, parameters: Mapping[str, Any], bill: Bill | None = None) -> Mode:
    """Find the strictest mode that an endpoint really keeps to.

    Parameters
    ----------
    endpoint : Endpoint
    form : Form
        Its schema is sent along, so that an endpoint that cannot take it is found now.
    parameters : mapping
        Of the questions to come.
    bill : Bill, optional
        Takes what the probe costs.

    Raises
    ------
    VitalFactoryError
        The endpoint is not there, refuses the key or the model, or takes no request with these parameters.
    """

    async def ask() -> Mode:
        async with Client(endpoint) as client:
            return await find_mode(client, form, parameters, bill or Bill())

    with ThreadPoolExecutor(1) as thread:  # the caller may have a loop of its own
        return thread.submit(asyncio.run, ask()).result()


async def find_mode(client: Client, form: Form, parameters: Mapping[str, Any], bill: Bill) -> Mode:
    """Do the same with a client that is open."""
    if form.schema is not None:
        for mode in MODES[:-1]:
            for _ in range(PROBES):
                kept = await _keeps(client, form, mode, parameters, bill)
                if kept:
                    return mode
                if kept is None:
                    break
    await _takes_requests(client, parameters, bill)
    return "plain"


async def _keeps(client: Client, form: Form, mode: Mode, parameters: Mapping[str, Any], bill: Bill) -> bool | None:
    """Tell whether an endpoint kept to a mode this time; None where it refuses to be asked in it."""
    schema = {
        "type": "object",
        "properties": {"probe": {"type": "string", "enum": [WORD]}, "answer": form.schema},
        "required": ["probe", "answer"],
        "additionalProperties": False,
    }
    held = response_format(Form("probe", schema, _read_text), mode)
    try:
        completion = await client.complete(_question(), {**parameters, **held, **_short(parameters)}, bill)
    except Failed as fault:
        return None if fault.reason.startswith(REJECTED) else False
    return _WORD_SAID.search(completion.text) is not None if mode == "json_schema" else _is_object(completion.text)


async def _takes_requests(client: Client, parameters: Mapping[str, Any], bill: Bill) -> None:
    """Ask once without a form; the words of a refusal repeat nothing but the probe's own text."""
    try:
        await client.complete(_question(), {**parameters, **_short(parameters)}, bill)
    except Failed as fault:
        if fault.reason.startswith(REJECTED):
            raise Stop(f"{client.endpoint.base_url}: takes no request: {fault.reason} {fault.detail[:200]}") from None


def _question() -> list[dict[str, str]]:
    return [{"role": "user", "content": PROBE_QUESTION}]


def _short(parameters: Mapping[str, Any]) -> dict[str, int]:
    """Limit the probe's answer by the name that the parameters use."""
    name = "max_completion_tokens" if "max_completion_tokens" in parameters else "max_tokens"
    return {name: PROBE_TOKENS}


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
