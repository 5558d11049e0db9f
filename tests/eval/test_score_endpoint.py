"""score.py asking an endpoint: the messages of training, resumed by id, and failures told apart from answers."""

import json
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from eval import score
from tests.eval.conftest import Workplace
from vitalfactory.card import read_card
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import read_json, read_jsonl
from vitalfactory.predictions import read_predictions

LOGS = {"AF": -0.5, "no AF": -1.5}
P_AF = 1 / (1 + 2.718281828459045 ** (-1.5 + 0.5))


class Served:
    """A server of llama.cpp, as far as it is asked: a token for each answer, which a grammar then forces."""

    def __init__(self, server: HTTPServer, answers: dict[str, str]) -> None:
        self.answers = list(answers.values())
        self.asked: list[dict[str, Any]] = []
        self.refused: set[str] = set()
        self.url = server.url_for("/v1")
        server.expect_request("/props", method="GET").respond_with_json({"eos_token": "<end>"})
        server.expect_request("/tokenize", method="POST").respond_with_handler(self.tokenize)
        server.expect_request("/v1/chat/completions", method="POST").respond_with_handler(self.complete)

    def tokenize(self, request: Request) -> Response:
        token = [*self.answers, "<end>"].index(json.loads(request.get_data())["content"])
        return Response(json.dumps({"tokens": [token]}), content_type="application/json")

    def complete(self, request: Request) -> Response:
        body = json.loads(request.get_data())
        text = body["messages"][-1]["content"]
        if any(refused in text for refused in self.refused):
            return Response('{"error": {"code": "strange"}}', 422)
        self.asked.append(body)
        said = self.answers[int(body["grammar"].split("<[")[1].split("]>")[0])]
        told = {"content": [{"token": said, "logprob": LOGS[said]}]}
        choice = {"message": {"content": said}, "finish_reason": "stop", "logprobs": told}
        return Response(json.dumps({"choices": [choice]}), content_type="application/json")


@pytest.fixture
def served(place: Workplace, httpserver: HTTPServer) -> Served:
    return Served(httpserver, read_card(place.root / "data" / "ecg").answers)


def arguments(place: Workplace, served: Served, out: str, *more: str) -> list[str]:
    return place.arguments(out, "--base-url", served.url, "--served-model", "student", "--split", "test", *more)


def rows_of(place: Workplace) -> list[dict[str, Any]]:
    return list(read_jsonl(place.root / "data" / "ecg" / "test.jsonl"))


def test_probabilities_of_an_endpoint_become_a_run(place: Workplace, served: Served) -> None:
    score.main(arguments(place, served, "score_asked"))
    found = read_predictions(place.root / "score_asked" / "predictions.jsonl")
    assert [(one.id, one.label) for one in found] == [(row["id"], row["label"]) for row in rows_of(place)]
    for one in found:
        assert one.probabilities == pytest.approx({"AF": P_AF, "no AF": 1 - P_AF})
        assert (one.parsed, one.text) == ("AF", None)
    manifest = read_json(place.root / "score_asked" / "run.json")
    assert (manifest["model"], manifest["endpoint"], manifest["adapter"]) == ("student", served.url, None)
    first = rows_of(place)[0]
    assert f"{first['instruction']}\n{first['input']}" in [body["messages"][-1]["content"] for body in served.asked]
    assert {body["messages"][0]["role"] for body in served.asked} == {"system"}


def test_rows_without_an_answer_are_asked_again(
    place: Workplace, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.refused = {rows_of(place)[0]["input"]}
    with pytest.raises(SystemExit) as stop:
        run(score.main, arguments(place, served, "score_faults"))
    assert stop.value.code == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "rows got no answer (request refused (status 422, strange)" in error
    kept = len(read_predictions(place.root / "score_faults" / "predictions.jsonl"))
    assert kept < len(rows_of(place))
    served.refused = set()
    served.asked.clear()
    score.main(arguments(place, served, "score_faults"))
    assert len(served.asked) == len(LOGS) * (len(rows_of(place)) - kept)
    assert len(read_predictions(place.root / "score_faults" / "predictions.jsonl")) == len(rows_of(place))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--served-model", "x"), "--served-model needs --base-url"),
        (("--concurrency", "2"), "--concurrency needs --base-url"),
        (("--base-url", "http://127.0.0.1:9/v1", "--adapter", "none"), "--adapter does not go with --base-url"),
        (("--base-url", "http://127.0.0.1:9/v1", "--model", "x"), "--model does not go with --base-url"),
        (("--base-url", "http://127.0.0.1:9/v1", "--choices", "x"), "--choices does not go with --base-url"),
        (("--base-url", "here"), "expected an address such as"),
        (("--base-url", "http://127.0.0.1:9/v1", "--concurrency", "0"), "--concurrency 0: expected at least 1"),
        (("--base-url", "http://127.0.0.1:9/v1"), "nobody answers there"),
    ],
)
def test_flags_that_cannot_be_followed_are_an_error(place: Workplace, more: tuple[str, ...], message: str) -> None:
    with pytest.raises(VitalFactoryError, match=message):
        score.main(place.arguments("score_never", *more))
