"""Probabilities of a closed set of answers from an endpoint: each answer is forced; what is not told is an error."""

import json
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from vitalfactory.endpoint.asking import Answered, Question
from vitalfactory.endpoint.client import Endpoint, read_completion
from vitalfactory.endpoint.probabilities import Scored, _scored, score_answers
from vitalfactory.errors import VitalFactoryError

ANSWERS = {"AF": "AF", "no AF": "no AF"}
TOKENS = {"AF": [11], "no AF": [22, 33]}
LOGS = {"AF": [-1.0, -0.5], "no AF": [-0.25, -0.5, -0.25]}
Reply = Callable[[dict[str, Any]], Response | dict[str, Any]]


def completion(text: str, logs: list[float] | None, finish: str = "stop") -> dict[str, Any]:
    told = None if logs is None else {"content": [{"token": "?", "logprob": log} for log in logs]}
    return {"choices": [{"message": {"content": text}, "finish_reason": finish, "logprobs": told}]}


def forced(body: dict[str, Any]) -> dict[str, Any]:
    """Say what the grammar allows, as llama.cpp does."""
    said = {"root ::= <[11]>": "AF", "root ::= <[22]> <[33]>": "no AF"}[body["grammar"]]
    assert body["logit_bias"] == {"2": 100}, "or another token that ends answers would be taken"
    assert body["max_tokens"] == len(TOKENS[said]) + 1, "the token that ends the answer counts"
    return completion(said, LOGS[said])


def serve(server: HTTPServer, reply: Reply = forced, *, tokenizes: bool = True) -> Endpoint:
    def tokenize(request: Request) -> Response:
        body = json.loads(request.get_data())
        assert body["parse_special"] == (body["content"] == "<end>")
        tokens = {**TOKENS, "<end>": [2]}.get(body["content"])
        return Response(json.dumps({"tokens": tokens}), content_type="application/json")

    def complete(request: Request) -> Response:
        said = reply(json.loads(request.get_data()))
        return said if isinstance(said, Response) else Response(json.dumps(said), content_type="application/json")

    if tokenizes:
        server.expect_request("/props", method="GET").respond_with_json({"eos_token": "<end>"})
        server.expect_request("/tokenize", method="POST").respond_with_handler(tokenize)
    server.expect_request("/v1/chat/completions", method="POST").respond_with_handler(complete)
    return Endpoint(server.url_for("/v1"), "m", concurrency=4, retries=0)


def questions(count: int) -> list[Question]:
    return [Question(f"row\n{number}", [{"role": "user", "content": str(number)}]) for number in range(count)]


def test_the_shares_of_whole_answers(httpserver: HTTPServer) -> None:
    endpoint = serve(httpserver)
    found = sorted(score_answers(endpoint, questions(5), ANSWERS), key=lambda one: one.key)
    assert [one.key for one in found] == [f"row\n{number}" for number in range(5)]
    expected = math.exp(-1.5) / (math.exp(-1.5) + math.exp(-1.0))
    for one in found:
        assert one.probabilities == pytest.approx({"AF": expected, "no AF": 1 - expected})
        assert list(one.probabilities or {}) == list(ANSWERS)


@pytest.mark.parametrize(
    "reply",
    [
        lambda body: completion("It is AF.", LOGS["AF"]),
        lambda body: completion("AF", None),
        lambda body: completion("AF", []),
        lambda body: {**completion("AF", LOGS["AF"], "length")},
    ],
    ids=["passes over the grammar", "no log-probabilities", "none of them", "cut off"],
)
def test_an_endpoint_that_does_not_force_answers_is_told_with_what_to_do(httpserver: HTTPServer, reply: Reply) -> None:
    with pytest.raises(VitalFactoryError, match=r"start RECIPE --constrained, or leave --base-url out") as caught:
        list(score_answers(serve(httpserver, reply), questions(1), {"AF": "AF"}))
    assert "\n" not in str(caught.value)


def test_an_endpoint_that_tells_no_tokens_is_asked_nothing(httpserver: HTTPServer) -> None:
    asked: list[object] = []
    endpoint = serve(httpserver, lambda body: asked.append(body) or forced(body), tokenizes=False)
    with pytest.raises(VitalFactoryError, match="tells no log-probability"):
        list(score_answers(endpoint, questions(1), ANSWERS))
    assert not asked


def test_a_key_that_is_refused_and_nobody_there(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/tokenize").respond_with_json({"error": {"code": 401}}, status=401)
    with pytest.raises(VitalFactoryError, match="OPENAI_API_KEY"):
        list(score_answers(Endpoint(httpserver.url_for("/v1"), "m"), questions(1), ANSWERS))
    with pytest.raises(VitalFactoryError, match="nobody answers there"):
        list(score_answers(Endpoint("http://127.0.0.1:9/v1", "m"), questions(1), ANSWERS))


def test_a_question_that_is_refused_has_no_probabilities_and_the_others_have(httpserver: HTTPServer) -> None:
    def reply(body: dict[str, Any]) -> Response | dict[str, Any]:
        refused = body["messages"][0]["content"] == "1" and "22" in body["grammar"]
        return Response('{"error": {"code": "strange"}}', 422) if refused else forced(body)

    found = {one.key: one for one in score_answers(serve(httpserver, reply), questions(3), ANSWERS)}
    assert found["row\n1"] == Scored("row\n1", None, "request refused (status 422, strange)")
    assert all(found[key].probabilities for key in ("row\n0", "row\n2"))


@given(st.lists(st.floats(-800, 0), min_size=1, max_size=6))
def test_probabilities_add_up_and_keep_their_order(logs: list[float]) -> None:
    labels = [str(number) for number in range(len(logs))]
    each = [Answered("k", "answered", "", "", False, None, False, 1, 1, 1, logprob=log) for log in logs]
    probabilities = _scored("k", each, dict(zip(labels, labels, strict=True))).probabilities or {}
    assert sum(probabilities.values()) == pytest.approx(1)
    for one, other in pairwise(labels):
        higher = probabilities[one] >= probabilities[other]
        assert higher or logs[int(one)] < logs[int(other)]


@pytest.mark.parametrize(
    ("told", "logprob"),
    [
        ({"content": [{"logprob": -0.5}, {"logprob": -1}]}, -1.5),
        ({"content": []}, None),
        ({"content": None}, None),
        ({"content": [{"logprob": None}]}, None),
        ({"tokens": ["a"], "token_logprobs": [-0.1]}, None),
        ("yes", None),
        (None, None),
    ],
)
def test_the_log_probability_of_an_answer_is_read(told: object, logprob: float | None) -> None:
    body = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop", "logprobs": told}]}
    assert read_completion(body).logprob == logprob
