"""The batch files of OpenAI: requests to hand in, and the results that come back, often a day later at half the price.

{"custom_id": KEY, "method": "POST", "url": "/v1/chat/completions", "body": {"model": ..., "messages": [...], ...}}
{"id": ..., "custom_id": KEY, "response": {"status_code": 200, "body": {a chat completion}}, "error": null}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vitalfactory.endpoint.asking import CUT_OFF, WRONG_ANSWER, Answered, Question, answered, failed, read
from vitalfactory.endpoint.client import NOT_DONE, REJECTED, Bill, Failed, read_completion
from vitalfactory.endpoint.prices import estimate_tokens
from vitalfactory.endpoint.structured import Form, WrongAnswer
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import dumps, read_jsonl, replacing

URL = "/v1/chat/completions"
MOST_ROWS, MOST_BYTES = 50_000, 200_000_000
"""Of one batch file."""


def write_requests(
    path: Path, questions: Iterable[Question], model: str, parameters: Mapping[str, Any]
) -> list[tuple[Path, int]]:
    """Write questions as batch files.

    Parameters
    ----------
    path : Path
        The first file; where one is not enough, ``<stem>-2.jsonl`` and so on follow it.
    questions : iterable of Question
    model : str
    parameters : mapping
        What else each request holds, ``response_format`` among it.

    Returns
    -------
    list of tuple of Path and int
        The files and the number of their requests; no file where there are no questions.
    """
    written: list[tuple[Path, int]] = []
    lines = (_request(question, model, parameters) for question in questions)
    line = next(lines, None)
    while line is not None:
        file = path if not written else path.with_name(f"{path.stem}-{len(written) + 1}{path.suffix}")
        rows, size = 0, 0
        with replacing(file) as stream:
            while line is not None and rows < MOST_ROWS and size + len(line) <= MOST_BYTES:
                size += stream.write(line)
                rows += 1
                line = next(lines, None)
            if not rows:
                raise VitalFactoryError(
                    f"{path}: one question has over {MOST_BYTES:,} bytes, the most that a batch file holds"
                )
        written.append((file, rows))
    return written


def _request(question: Question, model: str, parameters: Mapping[str, Any]) -> bytes:
    body = {"model": model, "messages": question.messages, **parameters}
    request = {"custom_id": question.key, "method": "POST", "url": URL, "body": body}
    return dumps(request).encode("utf-8", "replace") + b"\n"


def read_results(path: Path, form: Form) -> Iterator[Answered]:
    """Read the results of a batch, or its errors.

    Parameters
    ----------
    path : Path
    form : Form
        What each answer must be; a wrong one has failed and can be asked again at the endpoint itself.

    Yields
    ------
    Answered
        Its key is the request's ``custom_id``.

    Raises
    ------
    VitalFactoryError
        The file is missing or holds something else.
    """
    for number, row in enumerate(read_jsonl(path), 1):
        key, response = row.get("custom_id"), row.get("response")
        if not isinstance(key, str) or not isinstance(response, dict | None):
            raise VitalFactoryError(f"{path}:{number}: not a result of a batch; expected custom_id and response")
        yield _settle(key, response, form)


def _settle(key: str, response: Mapping[str, Any] | None, form: Form) -> Answered:
    status = (response or {}).get("status_code")
    if response is None or not isinstance(status, int) or status == 429 or status >= 500:
        return failed(key, None, NOT_DONE, Bill())
    if status != 200:
        return failed(key, None, f"{REJECTED} (status {status})", Bill())
    try:
        completion = read_completion(response.get("body"))
    except ValueError:
        return failed(key, None, "unreadable response", Bill(calls=1))
    used = completion.completion_tokens
    bill = Bill(1, 0, completion.prompt_tokens or 0, estimate_tokens(completion.text) if used is None else used)
    try:
        return answered(key, completion, read(form, completion), bill)
    except WrongAnswer:
        return failed(key, completion, CUT_OFF if completion.cut else WRONG_ANSWER, bill)
    except Failed as fault:
        return failed(key, completion, fault.reason, bill)
