"""A real endpoint whose model is a judge that a test makes up."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TypeVar

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response


class MadeJudge(ABC):
    """Counts what it is asked; it does not keep to JSON by itself."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @abstractmethod
    def verdict(self, question: str) -> str:
        """Answer a question."""

    def __call__(self, request: Request) -> Response:
        question = request.get_json()["messages"][-1]["content"]
        if "single word hello" in question:  # whether JSON is kept to
            return self._say("hello")
        self.asked.append(question)
        return self._say(self.verdict(question))

    def _say(self, text: str) -> Response:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        return Response(json.dumps(body), content_type="application/json")


Made = TypeVar("Made", bound=MadeJudge)


def serve(judge: Made, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Put a judge behind an endpoint for one test."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    httpserver.expect_request("/v1/chat/completions").respond_with_handler(judge)
    yield judge
    httpserver.check_assertions()
