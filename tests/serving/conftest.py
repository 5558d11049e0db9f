"""A real server over the embedded model, and how it is asked."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from vitalfactory.models import embedded
from vitalfactory.serving.local import KEYS, serve

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face."
"""The system message that LLaMA-Factory's template ``smollm2`` trains with."""

Reply = tuple[int, Any]


def post(url: str, body: object, key: str | None = None) -> Reply:
    """Send a JSON body, or a string as it is, and return the status and the answer."""
    parts = urlsplit(url)
    assert parts.hostname
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=300)
    try:
        connection.request("POST", parts.path, body if isinstance(body, str) else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def chat(url: str, text: str, key: str | None = None, **parameters: object) -> Reply:
    """Ask one question, greedily."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    body = {"model": "any", "messages": messages, "temperature": 0, "max_tokens": 8, **parameters}
    return post(f"{url}/chat/completions", body, key)


@pytest.fixture(scope="session", autouse=True)
def no_key() -> Iterator[None]:
    """Keep a developer's own key out of the servers."""
    with pytest.MonkeyPatch.context() as patch:
        for name in KEYS:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def endpoint(no_key: None) -> Iterator[str]:
    """Serve the embedded model, two requests at the same time."""
    with serve(embedded.gguf_file(), parallel=2, context=512) as url:
        yield url
