"""One request: addresses, statuses and their meaning, tries, time limits, and answers that are another question's."""

import asyncio
import json
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.endpoint.conftest import Serve
from tests.endpoint.fault_server import name_of
from vitalfactory.endpoint import client
from vitalfactory.endpoint.client import Bill, Client, Completion, Endpoint, Failed, Stop, read_completion
from vitalfactory.errors import VitalFactoryError

SECRET_TEXT = "patient 42 has a cough"
MESSAGES = [{"role": "user", "content": SECRET_TEXT}]


def completion(text: str = "yes", finish: str = "stop", **message: Any) -> dict[str, Any]:
    told = {"role": "assistant", "content": text, **message}
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    return {"id": "one", "choices": [{"index": 0, "finish_reason": finish, "message": told}], "usage": usage}


def complete(endpoint: Endpoint, bill: Bill | None = None) -> Completion:
    async def ask() -> Completion:
        async with Client(endpoint) as opened:
            return await opened.complete(MESSAGES, {"temperature": 0}, bill or Bill())

    return asyncio.run(ask())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait hardly at all between tries."""
    monkeypatch.setattr(client, "backoff", lambda attempt, asked=None: 0.0)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host/v1",
        "ftp://host/v1",
        "https:///v1",
        "http://host:port/v1",
        "http://[::1/v1",
        "https://user:pass@host/v1",
        "https://host/v1?key=s",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(VitalFactoryError, match="--base-url") as error:
        Endpoint(url, "m")
    assert "pass" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("concurrency", 0), ("requests_per_minute", 0), ("tokens_per_minute", 0), ("retries", -1), ("timeout", 0.0)],
)
def test_numbers_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(VitalFactoryError, match=f"--{name.replace('_', '-')} {value}"):
        Endpoint("http://host/v1", "m", **{name: value})  # type: ignore[arg-type]


def test_the_key_is_sent_and_stands_nowhere(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    expected = {"Authorization": "Bearer sk-very-secret"}
    httpserver.expect_request("/v1/chat/completions", headers=expected).respond_with_json(completion())
    endpoint = Endpoint(httpserver.url_for("/v1"), "m")
    assert complete(endpoint).text == "yes"
    assert "secret" not in repr(endpoint) + repr(vars(Client(endpoint)))


def test_what_is_sent(httpserver: HTTPServer) -> None:
    body = {"model": "m", "messages": MESSAGES, "temperature": 0}
    httpserver.expect_request("/v1/chat/completions", method="POST", json=body).respond_with_json(completion())
    bill = Bill()
    assert complete(Endpoint(httpserver.url_for("/v1/"), "m"), bill) == Completion("one", "yes", False, False, 7, 3)
    assert bill == Bill(1, 0, 7, 3)


STOPS = [
    (401, {"error": {"code": "invalid_api_key", "message": SECRET_TEXT}}, "set OPENAI_API_KEY"),
    (403, {"error": {"message": SECRET_TEXT}}, "set OPENAI_API_KEY"),
    (402, {}, "quota is spent"),
    (429, {"error": {"code": "insufficient_quota"}}, "quota is spent"),
    (404, {"error": {"code": "model_not_found", "message": SECRET_TEXT}}, "knows no model 'm'"),
    (307, {}, "another address"),
]
FAILS = [
    (400, {"error": {"code": "content_filter", "message": SECRET_TEXT}}, "content filter"),
    (403, {"error": {"code": 403, "message": "flagged by moderation"}}, "content filter"),
    (400, {"error": {"code": "context_length_exceeded"}}, "prompt too long"),
    (400, {"error": {"code": 400, "message": "exceeds the available context size"}}, "prompt too long"),
    (413, {}, "prompt too long"),
    (
        400,
        {"error": {"code": "unsupported_parameter", "message": SECRET_TEXT}},
        "request refused (status 400, unsupported",
    ),
    (422, {"detail": [{"msg": SECRET_TEXT}]}, "request refused (status 422)"),
    (500, {}, "server error"),
    (502, {}, "server error"),
    (429, {}, "rate limit"),
    (408, {}, "server error"),
]


@pytest.mark.parametrize(("status", "body", "told"), STOPS)
def test_what_ends_a_run(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, status: int, body: dict[str, Any], told: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    httpserver.expect_request("/v1/chat/completions").respond_with_json(body, status=status)
    with pytest.raises(Stop) as error:
        complete(Endpoint(httpserver.url_for("/v1"), "m"))
    assert told in str(error.value)
    assert SECRET_TEXT not in str(error.value)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("status", "body", "told"), FAILS)
def test_what_ends_one_question(httpserver: HTTPServer, status: int, body: dict[str, Any], told: str) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_json(body, status=status)
    with pytest.raises(Failed) as error:
        complete(Endpoint(httpserver.url_for("/v1"), "m", retries=2))
    assert error.value.reason.startswith(told)
    assert SECRET_TEXT not in str(error.value)
    again = status in (408, 429) or status >= 500
    assert len(httpserver.log) == (3 if again else 1)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("body", "calls", "reason"),
    [
        (b"<html>", 3, "unreadable response"),
        (b'{"choices": []}', 3, "unreadable response"),
        (b'{"choices": [{"message": {"content": 7}}]}', 3, "unreadable response"),
        (b'{"error": {"message": "overloaded"}}', 0, "server error"),
    ],
)
def test_an_answer_that_is_none_is_asked_for_again(
    httpserver: HTTPServer, body: bytes, calls: int, reason: str
) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_data(body)
    bill = Bill()
    with pytest.raises(Failed, match=reason):
        complete(Endpoint(httpserver.url_for("/v1"), "m", retries=2), bill)
    assert bill.calls == calls


def test_retry_after_is_honoured(httpserver: HTTPServer) -> None:
    from time import monotonic

    times: list[float] = []

    def answer(_: Request) -> Response:
        times.append(monotonic())
        if len(times) == 1:
            return Response(status=429, headers={"Retry-After": "1"})
        return Response(json.dumps(completion()))

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(answer)
    assert complete(Endpoint(httpserver.url_for("/v1"), "m")).text == "yes"
    assert times[1] - times[0] >= 1


def test_an_endpoint_that_wants_to_be_left_alone_for_an_hour_ends_the_run(httpserver: HTTPServer) -> None:
    refusal = Response(status=429, headers={"Retry-After": "3600"})
    httpserver.expect_request("/v1/chat/completions").respond_with_response(refusal)
    with pytest.raises(Stop, match="come back in 3600 s"):
        complete(Endpoint(httpserver.url_for("/v1"), "m"))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("fault", "reason"),
    [("hang", "timeout"), ("drip", "timeout"), ("drop", "connection lost"), ("half a body", "connection lost")],
)
def test_an_answer_that_does_not_come_whole_is_lost(serve: Serve, fault: str, reason: str) -> None:
    bill = Bill()
    with pytest.raises(Failed, match=reason):
        complete(Endpoint(serve(faults={fault: 1}).url, "m", timeout=0.3, retries=1), bill)
    assert bill == Bill(lost=2)


@pytest.mark.parametrize("late", [0.0, 0.03])
def test_an_answer_delivered_twice_is_never_another_questions(serve: Serve, late: float) -> None:
    server = serve(delay=0.01, faults={"twice": 0.2}, late=late)
    texts = [f"note {number}" for number in range(300)]

    async def ask() -> list[Completion]:
        async with Client(Endpoint(server.url, "m", timeout=5)) as opened:
            room = asyncio.Semaphore(8)

            async def one(text: str) -> Completion:
                async with room:
                    return await opened.complete([{"role": "user", "content": text}], {}, Bill())

            return await asyncio.gather(*map(one, texts))

    for text, answer in zip(texts, asyncio.run(ask()), strict=True):
        assert name_of(text) in answer.text


def test_an_endpoint_that_names_all_answers_alike_is_believed(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_json(completion())

    async def ask() -> list[str]:
        async with Client(Endpoint(httpserver.url_for("/v1"), "m", retries=0)) as opened:
            return [(await opened.complete(MESSAGES, {}, Bill())).text for _ in range(3)]

    assert asyncio.run(ask()) == ["yes"] * 3


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (completion("a", "length"), Completion("one", "a", True, False, 7, 3)),
        (completion("", "content_filter"), Completion("one", "", False, True, 7, 3)),
        (completion("", refusal="I cannot"), Completion("one", "", False, True, 7, 3)),
        ({"choices": [{"message": {"content": None}}]}, Completion(None, "", False, False, None, None)),
    ],
)
def test_completions_are_read(body: dict[str, Any], expected: Completion) -> None:
    assert read_completion(body) == expected


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1"])
def test_nobody_there_is_told_in_one_line(url: str) -> None:
    with pytest.raises(Stop, match=r"nobody answers there \(.+\); start the endpoint"):
        complete(Endpoint(url, "m"))


def test_a_proxy_of_the_environment_is_used_but_never_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert client._proxy("https://host.example/v1") == "http://proxy.example:3128"
    assert client._proxy("https://inside.example/v1") is None
    assert client._proxy("http://127.0.0.1:8000/v1") is None


def test_tokens_a_minute_are_kept_to_by_what_answers_really_took(httpserver: HTTPServer) -> None:
    """A thousand reserved tokens would make the second request wait for a minute; it took ten."""
    httpserver.expect_request("/v1/chat/completions").respond_with_json(completion())

    async def ask() -> float:
        async with Client(Endpoint(httpserver.url_for("/v1"), "m", tokens_per_minute=1000)) as opened:
            await opened.complete(MESSAGES, {"max_tokens": 1000}, Bill())
            return opened._tokens.reserve(asyncio.get_running_loop().time())

    assert asyncio.run(ask()) < 2
