"""The form of an answer, and whether an endpoint keeps to it."""

import json
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.endpoint.conftest import Serve
from tests.endpoint.test_client import completion
from vitalfactory.diagnosis import Diagnosis
from vitalfactory.endpoint.client import Bill, Endpoint, Stop
from vitalfactory.endpoint.structured import (
    MOST_DISEASES,
    Form,
    WrongAnswer,
    bare_schema,
    diagnosis_form,
    probe,
    response_format,
    text_form,
)

VALUE = {"diseases": ["肺炎"], "reason": 'He says "hot"'}


@pytest.mark.parametrize(
    ("text", "value", "repaired"),
    [
        (json.dumps(VALUE), VALUE, False),
        (f"<think>Perhaps {{}}?</think>\n{json.dumps(VALUE)}", VALUE, False),
        (f"```json\n{json.dumps(VALUE)}\n```", VALUE, True),
        ('{"diseases": "a, b", "reason": "x"', {"diseases": ["a", "b"], "reason": "x"}, True),
    ],
)
def test_a_diagnosis_is_read(text: str, value: Any, repaired: bool) -> None:
    checked = diagnosis_form().read(text)
    assert (checked.value, checked.repaired) == (value, repaired)


@pytest.mark.parametrize("text", ["", "I cannot say.", "{}", '{"diseases": [], "reason": "x"}', "<think>{"])
def test_a_wrong_answer_says_what_is_asked_for(text: str) -> None:
    with pytest.raises(WrongAnswer, match="not the JSON object asked for"):
        diagnosis_form().read(text)


def test_text_is_read_after_the_thoughts_and_is_never_empty() -> None:
    form = text_form()
    assert form.read("<think>hm</think> Yes. ").value == "Yes."
    for empty in ("", " \n", "<think>hm</think>"):
        with pytest.raises(WrongAnswer):
            form.read(empty)


def test_the_schema_holds_what_every_endpoint_takes() -> None:
    schema = diagnosis_form().schema
    assert schema is not None
    assert schema["required"] == ["diseases", "reason"]
    bounds = {"minItems": 1, "maxItems": MOST_DISEASES}
    assert schema["properties"]["diseases"] == {"type": "array", "items": {"type": "string"}, **bounds}
    assert bare_schema(Diagnosis.model_json_schema())["additionalProperties"] is False
    named = {"properties": {"title": {"title": "Title", "type": "string"}}, "anyOf": [{"title": "x"}]}
    assert bare_schema(named) == {"properties": {"title": {"type": "string"}}, "anyOf": [{}]}


def test_response_formats() -> None:
    form = Form("f", {"type": "object"}, text_form().read)
    held = {"type": "json_schema", "json_schema": {"name": "f", "schema": {"type": "object"}, "strict": True}}
    assert response_format(form, "json_schema") == {"response_format": held}
    assert response_format(form, "json_object") == {"response_format": {"type": "json_object"}}
    assert response_format(form, "plain") == {}
    assert response_format(text_form(), "json_schema") == {}


def endpoint(httpserver: HTTPServer, answer: Any) -> Endpoint:
    """Serve what a function makes of each request."""

    def handle(request: Request) -> Response:
        status, text = answer(json.loads(request.data).get("response_format", {}).get("type"))
        return Response(json.dumps(completion(text)), status=status)

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(handle)
    return Endpoint(httpserver.url_for("/v1"), "m", retries=0)


@pytest.mark.parametrize(
    ("answers", "mode"),
    [
        ({"json_schema": (200, '{"probe": "zq71", "ans')}, "json_schema"),
        ({"json_schema": (200, "hello"), "json_object": (200, '{"a": 1}')}, "json_object"),
        ({"json_schema": (400, ""), "json_object": (200, '{"a": 1}')}, "json_object"),
        ({"json_schema": (200, '{"answer": "hello"}'), "json_object": (400, "")}, "plain"),
        ({"json_schema": (200, "hello"), "json_object": (200, "hello")}, "plain"),
    ],
)
def test_the_strictest_mode_that_is_kept_to(
    httpserver: HTTPServer, answers: dict[str, tuple[int, str]], mode: str
) -> None:
    bill = Bill()
    assert (
        probe(endpoint(httpserver, lambda held: answers.get(held, (200, "hello"))), diagnosis_form(), {}, bill) == mode
    )
    assert bill.calls == sum(response.status_code == 200 for _, response in httpserver.log)


def test_one_strange_answer_does_not_decide(httpserver: HTTPServer) -> None:
    texts = iter(["hello", '{"probe": "zq71"}'])
    assert probe(endpoint(httpserver, lambda _: (200, next(texts))), diagnosis_form(), {}) == "json_schema"


def test_an_endpoint_that_takes_no_request_is_told_with_its_own_words(httpserver: HTTPServer) -> None:
    words = {"error": {"code": "unsupported_parameter", "message": "use max_completion_tokens"}}
    httpserver.expect_request("/v1/chat/completions").respond_with_json(words, status=400)
    with pytest.raises(Stop, match=r"takes no request: .*unsupported_parameter.* use max_completion_tokens"):
        probe(Endpoint(httpserver.url_for("/v1"), "m"), diagnosis_form(), {"max_tokens": 5})


@pytest.mark.parametrize(("structured", "mode"), [(True, "json_schema"), (False, "plain")])
def test_the_probe_holds_no_question(serve: Serve, structured: bool, mode: str) -> None:
    server = serve(structured=structured)
    assert probe(Endpoint(server.url, "m"), diagnosis_form(), {"temperature": 0}) == mode
