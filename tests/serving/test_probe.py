"""The probe tells what an endpoint honours from what it takes and passes over, and sends nothing but made text."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from vitalfactory.endpoint.structured import PROBE_QUESTION
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.serving import probe
from vitalfactory.serving.__main__ import main

KEY = "secret"
STORY = "Once upon a time there was a ship"


class Endpoint:
    """An endpoint that honours what a test wants it to."""

    def __init__(self, server: HTTPServer, **honours: Any) -> None:
        self.honours = {"key": KEY, **honours}
        self.asked: list[dict[str, Any]] = []
        self.url = server.url_for("/v1")
        server.expect_request("/v1/models").respond_with_json({"data": [{"id": "listed"}]})
        server.expect_request("/props", method="GET").respond_with_json({"eos_token": "<end>"})
        server.expect_request("/tokenize", method="POST").respond_with_handler(self.tokenize)
        server.expect_request("/v1/chat/completions", method="POST").respond_with_handler(self.complete)

    def tokenize(self, request: Request) -> Response:
        if not self.honours.get("forced"):
            return Response("{}", 404)
        return Response(
            json.dumps({"tokens": [["yes", "no", "<end>"].index(json.loads(request.get_data())["content"])]})
        )

    def complete(self, request: Request) -> Response:
        if self.honours["key"] and request.headers.get("Authorization") != f"Bearer {self.honours['key']}":
            return Response("{}", 401)
        body = json.loads(request.get_data())
        self.asked.append(body)
        if "image_url" in str(body["messages"]) and not self.honours.get("images"):
            return Response("{}", 400)
        origin = {"Access-Control-Allow-Origin": self.honours["origin"]} if self.honours.get("origin") else {}
        return Response(json.dumps(self.answer(body)), headers=origin, content_type="application/json")

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        text, finish = self.said(body), "stop"
        if self.honours.get("max_tokens") and body["max_tokens"] == 1:
            text, finish = text.split(" ")[0], "length"
        choice: dict[str, Any] = {"message": {"content": text}, "finish_reason": finish}
        if self.honours.get("logprobs") and body.get("logprobs"):
            token = {"token": text, "logprob": self.honours["logprobs"]}
            choice["logprobs"] = {"content": [{**token, "top_logprobs": [token]}]}
        tokens = 9 + (64 if self.honours.get("images") == "seen" and "image_url" in str(body["messages"]) else 0)
        return {"choices": [choice], "usage": {"prompt_tokens": tokens, "completion_tokens": 1}}

    def said(self, body: dict[str, Any]) -> str:
        if "grammar" in body and self.honours.get("forced"):
            return ["yes", "no"][int(body["grammar"].split("<[")[1].split("]>")[0])]
        if "response_format" in body and self.honours.get("schema"):
            fooled = self.honours["schema"] == "weak" and "Ignore" in str(body["messages"])
            return "A poem" if fooled else json.dumps({"probe": "zq71", **self.whole(body)})
        if body.get("temperature"):
            return f"{STORY} {body['seed'] if self.honours.get('seed') else len(self.asked)}"
        return STORY if self.honours.get("greedy", True) else f"{STORY} {len(self.asked)}"

    def whole(self, body: dict[str, Any]) -> dict[str, Any]:
        schema = body["response_format"]["json_schema"]["schema"]
        return {"answer": {"diseases": ["a"], "reason": "b"}} if "answer" in schema["properties"] else {}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


Table = list[tuple[dict[str, Any], str, bool | None]]
HONOURED: Table = [
    ({}, "key required", True),
    ({"key": None}, "key required", False),
    ({}, "closed to other pages", True),
    ({"origin": "*"}, "closed to other pages", False),
    ({"origin": probe.ORIGIN}, "closed to other pages", False),
    ({"origin": "http://127.0.0.1"}, "closed to other pages", True),
    ({}, "JSON schema", False),
    ({"schema": True}, "JSON schema", True),
    ({"schema": "weak"}, "JSON schema", False),
    ({}, "log-probabilities", False),
    ({"logprobs": -0.5}, "log-probabilities", True),
    ({"logprobs": 0.5}, "log-probabilities", False),
    ({}, "probability of an answer", False),
    ({"logprobs": -0.5}, "probability of an answer", False),
    ({"forced": True}, "probability of an answer", False),
    ({"forced": True, "logprobs": -0.5}, "probability of an answer", True),
    ({}, "temperature 0", True),
    ({"greedy": False}, "temperature 0", False),
    ({}, "seed", False),
    ({"seed": True}, "seed", True),
    ({}, "max_tokens", False),
    ({"max_tokens": True}, "max_tokens", True),
    ({}, "images", False),
    ({"images": "passed over"}, "images", False),
    ({"images": "seen"}, "images", True),
]


@pytest.mark.parametrize(("honours", "name", "holds"), HONOURED, ids=lambda value: str(value).replace("/", ""))
def test_what_is_honoured(httpserver: HTTPServer, honours: dict[str, Any], name: str, holds: bool | None) -> None:
    endpoint = Endpoint(httpserver, **honours)
    answer: Callable[[probe.Target], probe.Answer] = probe.QUESTIONS[name]
    assert answer(probe.Target(endpoint.url, "m", KEY))[0] is holds


def test_an_endpoint_that_does_not_sample_shows_no_seed(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Endpoint, "said", lambda self, body: "no AF")
    target = probe.Target(Endpoint(httpserver).url, "m", KEY)
    assert probe.QUESTIONS["seed"](target)[0] is None
    monkeypatch.setattr(Endpoint, "said", lambda self, body: "AF")
    assert probe.QUESTIONS["max_tokens"](target)[0] is None, "one word is short of any limit"


def test_the_table_and_the_same_as_json(httpserver: HTTPServer, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint = Endpoint(httpserver, schema=True)
    main(["probe", endpoint.url, "--json"])
    *table, last = capsys.readouterr().out.splitlines()
    assert table[0] == f"{endpoint.url}, model listed"
    assert [line[: line.index("  ")] for line in table[1:]] == list(probe.QUESTIONS)
    found = json.loads(last)
    assert (found["url"], found["model"]) == (endpoint.url, "listed")
    holds = {one["name"]: one["holds"] for one in found["findings"]}
    assert (holds["JSON schema"], holds["seed"]) == (True, False)
    assert KEY not in "\n".join([*table, last])


def test_nothing_but_made_text_is_sent(httpserver: HTTPServer) -> None:
    endpoint = Endpoint(httpserver, schema=True, forced=True, logprobs=-1, images="seen")
    probe.probe(endpoint.url, None)
    texts = {
        message["content"]
        for body in endpoint.asked
        for message in body["messages"]
        if isinstance(message["content"], str)
    }
    assert texts <= {*probe.HOSTILE, probe.ASK_LONG, probe.ASK_ANY, PROBE_QUESTION}


@pytest.mark.parametrize(
    ("status", "key", "told"),
    [
        (401, "wrong", "the key in OPENAI_API_KEY is refused"),
        (401, "", "a key is needed; set OPENAI_API_KEY"),
        (404, KEY, "does not answer a plain question as 'x' (status 404)"),
        (302, KEY, "does not answer a plain question as 'x' (status 302)"),
    ],
)
def test_an_endpoint_that_does_not_answer_is_one_line(
    httpserver: HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: int,
    key: str,
    told: str,
) -> None:
    elsewhere = {"Location": httpserver.url_for("/elsewhere")}
    httpserver.expect_request("/v1/chat/completions").respond_with_data("{}", status, headers=elsewhere)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(SystemExit) as ended:
        run(main, ["probe", httpserver.url_for("/v1"), "--model", "x"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert [request.path for request, _ in httpserver.log] == ["/v1/chat/completions"], "the key goes nowhere else"


@pytest.mark.parametrize(
    ("url", "told"), [("here", "expected an address such as"), ("http://127.0.0.1:9/v1", "no answer")]
)
def test_an_address_that_is_none(url: str, told: str) -> None:
    with pytest.raises(VitalFactoryError, match=told):
        probe.probe(url, None)
