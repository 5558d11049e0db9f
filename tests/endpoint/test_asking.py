"""Many questions: lazily taken, bounded, asked again where the answer is wrong, ended where nothing more will come."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.endpoint.conftest import Serve
from tests.endpoint.fault_server import FAULTS, name_of
from tests.endpoint.test_client import completion
from vitalfactory.endpoint import client
from vitalfactory.endpoint.asking import Answered, Question, ask
from vitalfactory.endpoint.client import Endpoint, Stop
from vitalfactory.endpoint.structured import diagnosis_form, text_form

GOOD = '{"diseases": ["a"], "reason": "b"}'


def questions(count: int) -> list[Question]:
    return [Question(str(number), [{"role": "user", "content": f"note {number}"}]) for number in range(count)]


def serve_texts(httpserver: HTTPServer, answer: Any) -> Endpoint:
    """Answer each request with what a function makes of its messages."""

    def handle(request: Request) -> Response:
        return Response(json.dumps(answer(json.loads(request.data)["messages"])))

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(handle)
    return Endpoint(httpserver.url_for("/v1"), "m", concurrency=2)


def test_every_question_gets_its_own_answer(serve: Serve) -> None:
    asked = questions(200)
    answers = {one.key: one for one in ask(Endpoint(serve().url, "m"), asked, diagnosis_form(), {})}
    assert len(answers) == 200
    for question in asked:
        one = answers[question.key]
        assert name_of(question.messages[0]["content"]) in one.value["reason"]
        assert (one.state, one.repaired, one.reason, one.cut, one.calls) == ("answered", False, None, False, 1)


def test_questions_are_taken_only_when_there_is_room(serve: Serve) -> None:
    taken, done = 0, 0

    def lazily() -> Iterator[Question]:
        nonlocal taken
        for question in questions(100):
            taken += 1
            assert taken - done <= 5
            yield question

    for _ in ask(Endpoint(serve().url, "m", concurrency=5), lazily(), diagnosis_form(), {}, mode="plain"):
        done += 1
    assert (taken, done) == (100, 100)


def test_nothing_is_asked_where_there_are_no_questions() -> None:
    assert list(ask(Endpoint("http://127.0.0.1:9/v1", "m"), [], diagnosis_form(), {})) == []


def test_the_thread_ends_when_the_caller_has_enough(serve: Serve) -> None:
    answers = ask(Endpoint(serve(delay=0.01).url, "m", concurrency=3), questions(1000), diagnosis_form(), {})
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "ask"]


def test_an_error_of_the_questions_reaches_the_caller(serve: Serve) -> None:
    def broken() -> Iterator[Question]:
        yield from questions(2)
        raise KeyError("line 3")

    with pytest.raises(KeyError, match="line 3"):
        list(ask(Endpoint(serve().url, "m"), broken(), diagnosis_form(), {}))
    assert not [thread for thread in threading.enumerate() if thread.name == "ask"]


def test_an_error_of_the_form_reaches_the_caller(serve: Serve) -> None:
    def broken(_: str) -> Any:
        raise ZeroDivisionError

    form = diagnosis_form()
    object.__setattr__(form, "read", broken)
    with pytest.raises(ZeroDivisionError):
        list(ask(Endpoint(serve().url, "m"), questions(3), form, {}, mode="plain"))


def test_a_wrong_answer_is_asked_again_with_what_is_wrong(httpserver: HTTPServer) -> None:
    seen: list[Any] = []

    def answer(messages: Any) -> Any:
        seen.append(messages)
        return completion(GOOD if len(messages) > 1 else "I would say flu")

    (one,) = ask(serve_texts(httpserver, answer), questions(1), diagnosis_form(), {}, mode="plain")
    assert (one.state, one.value, one.calls) == ("answered", {"diseases": ["a"], "reason": "b"}, 2)
    assert (one.prompt_tokens, one.completion_tokens) == (14, 6)
    assert [message["role"] for message in seen[1]] == ["user", "assistant", "user"]
    assert seen[1][1]["content"] == "I would say flu"
    assert "not the JSON object asked for" in seen[1][2]["content"]


@pytest.mark.parametrize(
    ("finish", "text", "reason"),
    [
        ("stop", "I would say flu", "wrong answer"),
        ("length", '{"diseases": ["a"], "reason": "it is beca', "cut off"),
        ("length", "I would", "cut off"),
    ],
)
def test_an_answer_that_stays_wrong_has_failed_with_its_text(
    httpserver: HTTPServer, finish: str, text: str, reason: str
) -> None:
    endpoint = serve_texts(httpserver, lambda _: completion(text, finish))
    (one,) = ask(endpoint, questions(1), diagnosis_form(), {}, mode="plain", tries=2)
    assert one == Answered("0", "failed", text, None, False, reason, finish == "length", 2, 14, 6)


def test_free_text_that_was_cut_is_an_answer(httpserver: HTTPServer) -> None:
    endpoint = serve_texts(httpserver, lambda _: completion("I would", "length"))
    (one,) = ask(endpoint, questions(1), text_form(), {})
    assert (one.state, one.value, one.cut) == ("answered", "I would", True)


def test_a_filter_is_not_asked_twice(httpserver: HTTPServer) -> None:
    endpoint = serve_texts(httpserver, lambda _: completion("", "content_filter"))
    (one,) = ask(endpoint, questions(1), diagnosis_form(), {}, mode="plain")
    assert (one.state, one.reason, one.calls) == ("failed", "content filter", 1)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"vanish_after": 50}, "knows no model 'm'"),
        ({"refuse_after": 50}, "OPENAI_API_KEY"),
    ],
)
def test_a_model_that_vanishes_or_a_key_that_is_refused_stops_at_once(
    serve: Serve, settings: dict[str, int], told: str
) -> None:
    server, got = serve(**settings), []
    answers = ask(Endpoint(server.url, "m", concurrency=8), questions(5000), diagnosis_form(), {}, mode="plain")
    with pytest.raises(Stop, match=told):
        got.extend(answers)
    assert len(got) == 50 == server.stats()["paid"]
    assert server.stats()["asked"] <= 50 + 2 * 8


def test_an_endpoint_that_goes_down_ends_the_run(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "backoff", lambda attempt, asked=None: 0.0)
    server = serve(delay=0.01)
    answers = ask(Endpoint(server.url, "m", concurrency=4), questions(5000), diagnosis_form(), {}, mode="plain")
    assert [next(answers).state for _ in range(100)] == ["answered"] * 100
    server.stop()
    with pytest.raises(Stop, match=r"left \d+ questions in a row unanswered \(connection lost\)"):
        list(answers)


def test_an_endpoint_that_refuses_every_question_ends_the_run(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_json({"error": {"code": "bad"}}, status=400)
    with pytest.raises(Stop, match=r"left \d+ questions in a row unanswered \(request refused \(status 400, bad\)\)"):
        list(ask(Endpoint(httpserver.url_for("/v1"), "m", concurrency=2), questions(100), text_form(), {}))


def test_a_fifth_of_all_requests_fails_and_every_question_ends(serve: Serve) -> None:
    """Without hanging ones: see the teacher's test."""
    faults = [fault for fault in FAULTS if fault not in ("hang", "drip")]
    server = serve(delay=0.01, faults={fault: 0.2 / len(faults) for fault in faults})
    got = list(
        ask(Endpoint(server.url, "m", concurrency=64), questions(1000), diagnosis_form(), {}, mode="json_schema")
    )
    stats = server.stats()
    assert set(stats["faults"]) == {*faults, "none"}
    assert sorted(int(one.key) for one in got) == list(range(1000))
    assert {one.reason for one in got if one.state == "failed"} == {"content filter"}
    for one in got:
        assert one.state == "failed" or name_of(f"note {one.key}") in one.value["reason"]
    assert max(stats["good"].values()) == 1, "nothing is asked again once it is answered"
    assert sum(one.calls for one in got) == stats["paid"]
