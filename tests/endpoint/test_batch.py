"""The batch file form of OpenAI, written and read."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.endpoint.test_client import completion
from vitalfactory.endpoint import batch
from vitalfactory.endpoint.asking import Question
from vitalfactory.endpoint.structured import diagnosis_form
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_jsonl, write_jsonl

GOOD = '{"diseases": ["a"], "reason": "b"}'


def questions(count: int) -> list[Question]:
    return [Question(f"k{number}", [{"role": "user", "content": f"咳嗽 {number}"}]) for number in range(count)]


def test_requests_have_the_form_of_the_documentation(tmp_path: Path) -> None:
    files = batch.write_requests(tmp_path / "r.jsonl", questions(2), "m", {"temperature": 0})
    assert files == [(tmp_path / "r.jsonl", 2)]
    body = {"model": "m", "messages": [{"role": "user", "content": "咳嗽 0"}], "temperature": 0}
    first = {"custom_id": "k0", "method": "POST", "url": "/v1/chat/completions", "body": body}
    assert next(read_jsonl(tmp_path / "r.jsonl")) == first


def test_no_file_holds_more_than_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MOST_ROWS", 3)
    files = batch.write_requests(tmp_path / "r.jsonl", questions(7), "m", {})
    assert [(file.name, rows) for file, rows in files] == [("r.jsonl", 3), ("r-2.jsonl", 3), ("r-3.jsonl", 1)]
    assert [row["custom_id"] for file, _ in files for row in read_jsonl(file)] == [f"k{number}" for number in range(7)]
    monkeypatch.setattr(batch, "MOST_BYTES", 50)
    with pytest.raises(VitalFactoryError, match="one question has over 50 bytes"):
        batch.write_requests(tmp_path / "s.jsonl", questions(1), "m", {})
    assert not list(tmp_path.glob(".*"))


def test_no_questions_make_no_file(tmp_path: Path) -> None:
    assert batch.write_requests(tmp_path / "r.jsonl", [], "m", {}) == []
    assert not list(tmp_path.iterdir())


def result(status: int, body: Any) -> dict[str, Any]:
    return {"id": "x", "custom_id": "k", "response": {"status_code": status, "body": body}, "error": None}


@pytest.mark.parametrize(
    ("row", "state", "reason", "calls"),
    [
        (result(200, completion(GOOD)), "answered", None, 1),
        (result(200, completion("I would say flu")), "failed", "wrong answer", 1),
        (result(200, completion('{"diseases": ["a"], "rea', "length")), "failed", "cut off", 1),
        (result(200, completion("", "content_filter")), "failed", "content filter", 1),
        (result(200, {}), "failed", "unreadable response", 1),
        (result(400, {"error": {"message": "patient 42"}}), "failed", "request refused (status 400)", 0),
        (result(500, {}), "failed", "not done in the batch", 0),
        (
            {"custom_id": "k", "response": None, "error": {"code": "batch_expired"}},
            "failed",
            "not done in the batch",
            0,
        ),
    ],
)
def test_results_are_read(tmp_path: Path, row: dict[str, Any], state: str, reason: str | None, calls: int) -> None:
    write_jsonl(tmp_path / "results.jsonl", [row])
    (one,) = batch.read_results(tmp_path / "results.jsonl", diagnosis_form())
    assert (one.key, one.state, one.reason, one.calls) == ("k", state, reason, calls)
    assert (one.prompt_tokens, one.completion_tokens) == (
        (7, 3) if calls and reason != "unreadable response" else (0, 0)
    )


def test_another_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text(json.dumps({"id": 1}) + "\n")
    with pytest.raises(VitalFactoryError, match=r"results.jsonl:1: not a result of a batch"):
        list(batch.read_results(tmp_path / "results.jsonl", diagnosis_form()))
