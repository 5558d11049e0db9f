"""generate.py asking an endpoint: the prompt of training, resumed by id, and failures told apart from answers."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from eval import generate
from tests.eval.conftest import Workplace
from vitalfactory.endpoint.structured import PROBE_QUESTION
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import read_json, read_jsonl
from vitalfactory.predictions import read_predictions
from vitalfactory.render import Chat, Renderer
from vitalfactory.scoring.generation import SCHEMA_TOKENS, schema_of

PATH = "/v1/chat/completions"
SAID = '{"diseases": ["Gout"], "reason": "a hot swollen toe"}'
Reply = Callable[[str], Response | str]


def completion(text: str, finish: str = "stop") -> Response:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
    return Response(json.dumps({"choices": [choice], "usage": usage}), content_type="application/json")


def refusal(status: int, code: str) -> Response:
    return Response(json.dumps({"error": {"code": code, "message": code}}), status, content_type="application/json")


class Served:
    """An endpoint that says what a test wants, keeps to schemas, and notes what it was asked."""

    def __init__(self, server: HTTPServer, reply: Reply = lambda _: SAID, *, keeps: bool = True) -> None:
        self.asked: list[dict[str, Any]] = []
        self.reply, self.keeps = reply, keeps
        self.url = server.url_for("/v1")
        server.expect_request(PATH, method="POST").respond_with_handler(self.handle)

    def handle(self, request: Request) -> Response:
        body = json.loads(request.get_data())
        text = body["messages"][-1]["content"]
        if text == PROBE_QUESTION:
            held = self.keeps and "response_format" in body
            return completion(json.dumps({"probe": "zq71", "answer": json.loads(SAID)}) if held else "hello")
        self.asked.append(body)
        reply = self.reply(text)
        return completion(reply) if isinstance(reply, str) else reply


def arguments(notes: Workplace, served: Served, out: str, *more: str) -> list[str]:
    return notes.arguments(out, "--dataset", "clinical", "--base-url", served.url, "--served-model", "student", *more)


def rows_of(notes: Workplace) -> list[dict[str, Any]]:
    return list(read_jsonl(notes.root / "data" / "clinical" / "test.jsonl"))


def test_answers_of_an_endpoint_become_a_run(notes: Workplace, httpserver: HTTPServer) -> None:
    served = Served(httpserver)
    generate.main(arguments(notes, served, "asked"))
    answers = read_predictions(notes.root / "asked" / "generations.jsonl")
    assert [(answer.id, answer.label) for answer in answers] == [(row["id"], row["labels"]) for row in rows_of(notes)]
    assert all(answer.text == SAID and answer.parsed == ["gout"] and answer.cut is False for answer in answers)
    manifest = read_json(notes.root / "asked" / "run.json")
    assert (manifest["model"], manifest["endpoint"], manifest["adapter"]) == ("student", served.url, None)
    how = {"do_sample": False, "max_new_tokens": 256, "json_schema": False, "limit": None}
    assert manifest["decoding"]["generations"] == how
    for body in served.asked:
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("student", 0, 256)
        assert "response_format" not in body


def test_the_messages_are_the_prompt_of_training(notes: Workplace, httpserver: HTTPServer) -> None:
    from transformers import AutoTokenizer

    from vitalfactory.recipes import read_recipe

    served = Served(httpserver)
    generate.main(arguments(notes, served, "prompt"))
    tokenizer = AutoTokenizer.from_pretrained(notes.model)
    registry = read_json(notes.root / "dataset_info.json")
    renderer = Renderer(read_recipe(notes.recipe), tokenizer, registry, "clinical_test")
    asked = [body["messages"] for body in served.asked]
    trained = [renderer.render(row).prompt for row in rows_of(notes)]
    assert sorted(map(tokens(tokenizer), asked)) == sorted(trained)


def tokens(tokenizer: Any) -> Callable[[list[dict[str, str]]], list[int]]:
    """Write a chat by hand as SmolLM2 is trained on it."""

    def written(messages: list[dict[str, str]]) -> list[int]:
        turns = [f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages]
        ids: list[int] = tokenizer.encode("".join(turns) + "<|im_start|>assistant\n", add_special_tokens=False)
        return ids

    return written


def test_earlier_turns_and_a_system_message_of_the_row_are_sent(place: Workplace) -> None:
    from vitalfactory.dataset.registry import SHAREGPT

    turns = [("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    messages = [{"role": role, "content": text} for role, text in turns]
    chat = Chat({"template": "smollm2"}, {"x": {"file_name": "x.jsonl", **SHAREGPT}}, "x")
    assert chat.messages({"messages": messages}) == messages[:-1]
    own = Chat({"template": "smollm2", "default_system": "Mine."}, {"x": {"file_name": "x.jsonl", **SHAREGPT}}, "x")
    assert own.messages({"messages": messages[1:3]})[0] == {"role": "system", "content": "Mine."}
    with pytest.raises(VitalFactoryError, match="LLaMA-Factory has none of that name"):
        Chat({"template": "smol"}, {"x": {"file_name": "x.jsonl", **SHAREGPT}}, "x")


def test_a_run_that_was_cut_off_asks_for_the_rest_alone(notes: Workplace, httpserver: HTTPServer) -> None:
    served = Served(httpserver)
    generate.main(arguments(notes, served, "resumed"))
    path = notes.root / "resumed" / "generations.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:20])
    served.asked.clear()
    generate.main(arguments(notes, served, "resumed"))
    asked = sorted(body["messages"][-1]["content"].partition("\n")[2] for body in served.asked)
    assert asked == sorted(row["input"] for row in rows_of(notes)[1:])
    assert path.read_bytes() == whole
    for more in (("--served-model", "other"), ("--json-schema",), ("--max-new-tokens", "9")):
        with pytest.raises(VitalFactoryError, match="choose another --out"):
            generate.main(arguments(notes, served, "resumed", *more))


def test_a_schema_holds_the_endpoint(notes: Workplace, httpserver: HTTPServer) -> None:
    from vitalfactory.card import read_card

    served = Served(httpserver)
    generate.main(arguments(notes, served, "held", "--json-schema"))
    wanted = schema_of(read_card(notes.root / "data" / "clinical"), 256)
    for body in served.asked:
        assert body["response_format"]["json_schema"]["schema"] == wanted
        assert body["max_tokens"] == 256 * SCHEMA_TOKENS
    assert read_json(notes.root / "held" / "run.json")["decoding"]["generations"]["json_schema"] is True


def test_an_endpoint_that_passes_over_the_schema_is_refused(notes: Workplace, httpserver: HTTPServer) -> None:
    served = Served(httpserver, keeps=False)
    with pytest.raises(VitalFactoryError, match="does not keep to a JSON schema"):
        generate.main(arguments(notes, served, "loose", "--json-schema"))
    assert not served.asked


def test_what_is_withheld_is_wrong_and_what_is_refused_is_asked_again(
    notes: Workplace, httpserver: HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    withheld, refused, *_ = rows_of(notes)
    faults = {withheld["input"]: refusal(400, "content_filter"), refused["input"]: refusal(422, "strange")}
    served = Served(httpserver, lambda text: faults.get(text.partition("\n")[2], SAID))
    with pytest.raises(SystemExit) as stop:
        run(generate.main, arguments(notes, served, "faults", "--concurrency", "1"))
    assert stop.value.code == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert "1 rows got no answer (request refused (status 422, strange) 1)" in error[0]
    assert refused["input"] not in error[0]
    kept = {answer.id: answer for answer in read_predictions(notes.root / "faults" / "generations.jsonl")}
    assert kept.keys() == {row["id"] for row in rows_of(notes)} - {refused["id"]}
    assert (kept[withheld["id"]].text, kept[withheld["id"]].parsed) == ("", None)

    faults.clear()
    served.asked.clear()
    generate.main(arguments(notes, served, "faults", "--concurrency", "1"))
    assert len(served.asked) == 1
    assert len(read_predictions(notes.root / "faults" / "generations.jsonl")) == len(rows_of(notes))


def test_a_key_that_is_refused_on_the_way_keeps_what_is_done(
    notes: Workplace, httpserver: HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    served = Served(httpserver)
    served.reply = lambda _: SAID if len(served.asked) < 3 else refusal(401, "invalid_api_key")
    with pytest.raises(SystemExit) as stop:
        run(generate.main, arguments(notes, served, "key", "--concurrency", "1"))
    assert stop.value.code == 2
    assert "OPENAI_API_KEY" in capsys.readouterr().err
    assert len(read_predictions(notes.root / "key" / "generations.jsonl")) == 2


def test_a_schema_is_for_answers_that_are_json(place: Workplace) -> None:
    asked = ("--base-url", "http://127.0.0.1:9/v1", "--json-schema")
    with pytest.raises(VitalFactoryError, match="are not JSON"):
        generate.main(place.arguments("labels", "--dataset", "ecg", *asked))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--served-model", "x"), "--served-model needs --base-url"),
        (("--json-schema",), "--json-schema needs --base-url"),
        (("--probabilities",), "--probabilities needs --input"),
        (("--base-url", "http://127.0.0.1:9/v1", "--sample", "2"), "--sample does not go with --base-url"),
        (("--base-url", "http://127.0.0.1:9/v1", "--adapter", "none"), "--adapter does not go with --base-url"),
        (("--base-url", "here"), "expected an address such as"),
        (("--base-url", "http://127.0.0.1:9/v1"), "nobody answers there"),
        (("--save-every", "0"), "--save-every 0: expected at least 1"),
        (("--max-new-tokens", "0"), "--max-new-tokens 0: expected at least 1"),
    ],
)
def test_flags_that_cannot_be_followed_are_an_error(notes: Workplace, more: tuple[str, ...], message: str) -> None:
    with pytest.raises(VitalFactoryError, match=message):
        generate.main(notes.arguments("never", "--dataset", "clinical", *more))
