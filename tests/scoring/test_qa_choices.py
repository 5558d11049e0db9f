"""Questions of multiple choice: files as they come, what is scored, and the accuracy."""

import json
from pathlib import Path
from typing import Any

import pytest

from vitalfactory.errors import VitalFactoryError
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.qa_choices import Choice, accuracy, read_choices

OPTIONS = {"A": "insulin", "B": "aspirin", "C": "iron"}
CMB = {"exam_type": "医师考试", "question": "Which lowers glucose?", "option": OPTIONS, "answer": "A"}


@pytest.mark.parametrize(
    ("row", "right"),
    [
        (CMB, "A"),
        ({**CMB, "option": {**OPTIONS, "D": "", "E": None}}, "A"),
        ({"Question": "Which?", "Options": [{"key": k, "value": v} for k, v in OPTIONS.items()], "Answer": "C"}, "C"),
        ({"question": "Which?", "options": list(OPTIONS.values()), "answer": ["B", "A"]}, "AB"),
        ({"Question": "Which?", "Options": "A insulin\nB. aspirin\n(C) iron", "Answer": "b、c"}, "BC"),
        ({**CMB, "answer": "C, A"}, "AC"),
    ],
)
def test_a_question_is_read_in_every_form(tmp_path: Path, row: dict[str, Any], right: str) -> None:
    path = tmp_path / "exam.json"
    for text in (json.dumps([row]), json.dumps(row) + "\n"):
        path.write_text(text, encoding="utf-8")
        (choice,), excluded = read_choices(path)
        assert (choice.options, choice.right, choice.id, excluded) == (OPTIONS, right, "1", {})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"question": " "}, "no question"),
        ({"option": {"A": "insulin"}}, "fewer than two options"),
        ({"option": None}, "fewer than two options"),
        ({"option": {"A": "insulin", "C": "iron"}}, "options are not lettered A, B and so on, up to H"),
        ({"option": ["x"] * 9}, "options are not lettered A, B and so on, up to H"),
        ({"answer": ""}, "no answer"),
        ({"answer": "E"}, "an answer that is none of the options"),
    ],
)
def test_what_is_no_question_is_counted(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    path = tmp_path / "exam.json"
    path.write_text(json.dumps([CMB, {**CMB, **change}, CMB]), encoding="utf-8")
    choices, excluded = read_choices(path)
    assert [choice.id for choice in choices] == ["1", "3"]
    assert excluded == {reason: 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "no question of multiple choice .it is empty."),
        ('[{"question": "?"}]', r"no question of multiple choice \(fewer than two options 1\)"),
        ("[1]", "item 1 is int; expected a JSON object"),
        ("question,answer\n", "not valid JSON"),
        (None, "no such file"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "exam.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(VitalFactoryError, match=message):
        read_choices(path)


def test_several_right_options_are_scored_as_sets() -> None:
    assert Choice("1", "?", OPTIONS, "B").candidates == ["A", "B", "C"]
    assert Choice("1", "?", OPTIONS, "BC").candidates == ["AB", "AC", "BC", "ABC"]


def test_the_prompt_shows_all_options_and_not_the_answer() -> None:
    prompt = Choice("1", "Which?", OPTIONS, "B").prompt("en")
    assert prompt == "Which?\nA. insulin\nB. aspirin\nC. iron\nAnswer with the letter of the right option alone."
    assert "多个正确选项" in Choice("1", "?", OPTIONS, "AB").prompt("zh")


def test_accuracy_stands_beside_chance() -> None:
    def row(name: str, label: str, parsed: str, candidates: str) -> Prediction:
        shares = {letter: 1 / len(candidates) for letter in candidates}
        return Prediction(id=name, group=name, label=label, probabilities=shares, text=None, parsed=parsed)

    found = accuracy([row("1", "A", "A", "AB"), row("2", "B", "A", "ABCD"), row("3", "AB", "AB", "WXYZ")])
    assert (found["rows"], found["several"]) == (3, 1)
    assert found["accuracy"]["value"] == pytest.approx(2 / 3)
    assert found["accuracy"]["low"] <= 2 / 3 <= found["accuracy"]["high"]
    assert found["chance"] == pytest.approx((1 / 2 + 1 / 4 + 1 / 4) / 3)
