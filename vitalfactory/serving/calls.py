"""One request to a server, with its status and headers: what tells whether it is closed, and what it honours."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from typing import IO, Any
from urllib.parse import urlsplit

from vitalfactory.endpoint.client import LOOPBACK
from vitalfactory.errors import VitalFactoryError

SECONDS = 300.0
"""For one answer: a large model on a processor is slow."""


@dataclass(frozen=True)
class Reply:
    """What a server answered.

    Attributes
    ----------
    status : int
    headers : mapping of str to str
    body : Any
        Out of its JSON; None where it is none.
    """

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def choice(self) -> dict[str, Any]:
        """The first choice of a completion; empty where it is none."""
        try:
            choice = self.body["choices"][0]
        except (KeyError, IndexError, TypeError):
            return {}
        return choice if self.status == 200 and isinstance(choice, dict) else {}

    @property
    def text(self) -> str:
        """What it says; empty where it says nothing."""
        message = self.choice.get("message")
        return str(message.get("content") or "") if isinstance(message, dict) else ""


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follow nobody to another address: the key would go along."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


def call(url: str, body: Mapping[str, Any] | None, key: str | None, **headers: str) -> Reply:
    """Send one request.

    Parameters
    ----------
    url : str
    body : mapping or None
        Sent as JSON; None asks with GET.
    key : str or None
    **headers : str

    Raises
    ------
    VitalFactoryError
        Nobody answers, or not in time.
    """
    login = {"Authorization": f"Bearer {key}"} if key else {}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **login, **headers})
    handlers: list[urllib.request.BaseHandler] = [_Stay()]
    if urlsplit(url).hostname in LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=SECONDS) as response:
            return _reply(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return _reply(error.code, error.headers, error.read())
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise VitalFactoryError(f"{url}: no answer ({reason}); start the endpoint, or give another address") from None


def _reply(status: int, headers: Message, body: bytes) -> Reply:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    return Reply(status, {name.lower(): text for name, text in headers.items()}, value)


def chat(url: str, text: str | list[dict[str, Any]], key: str | None, model: str, **parameters: Any) -> Reply:
    """Ask one question, greedily unless the parameters say otherwise.

    Parameters
    ----------
    url : str
        The base address.
    text : str or list of dict
        The message's content.
    key : str or None
    model : str
    **parameters : Any
        What else the request holds.
    """
    messages = [{"role": "user", "content": text}]
    body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 8, **parameters}
    return call(f"{url.rstrip('/')}/chat/completions", body, key)
