"""The nearest training question: it finds its own, ties go to the first, and Chinese needs no words."""

from pathlib import Path

import pytest

from tests.scoring.questions import TRAINED, list_row, make_data, rows_of
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json, read_jsonl, write_json, write_jsonl
from vitalfactory.models import retrieval
from vitalfactory.predictions import read_predictions


def test_a_training_question_finds_its_own_answer() -> None:
    rows = rows_of(TRAINED)
    assert list(retrieval.Index(rows).nearest(rows)) == [row["output"] for row in rows]


def test_the_first_of_equally_near_questions_answers() -> None:
    rows = [list_row("Balosis"), {**list_row("Balosis"), "output": "another"}]
    assert list(retrieval.Index(rows).nearest(rows[1:])) == [rows[0]["output"]]


def test_chinese_and_conversations() -> None:
    asked = ("哮喘的症状有哪些？", "痛风的病因是什么？")
    rows = [{"instruction": text, "input": "", "output": str(place)} for place, text in enumerate(asked)]
    assert list(retrieval.Index(rows).nearest([{"instruction": "请问痛风有什么病因", "input": ""}])) == ["1"]
    talks = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": str(place)}]}
        for place, text in enumerate(asked)
    ]
    assert list(retrieval.Index(talks).nearest(talks)) == ["0", "1"]


def test_a_run_is_written(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data" / "medqa")
    retrieval.main(["--dataset", "medqa", "--root", str(tmp_path), "--out", str(tmp_path / "run")])
    said = read_predictions(tmp_path / "run" / "generations.jsonl")
    rows = list(read_jsonl(data / "test.jsonl"))
    assert [(one.id, one.label) for one in said] == [(row["id"], row["output"]) for row in rows]
    assert said[0].text == list_row("Balosis")["output"], "a known fact in a new form"
    manifest = read_json(tmp_path / "run" / "run.json")
    assert manifest["method"] == "retrieval"
    assert manifest["decoding"]["generations"] == {"characters": "1 to 3", "questions": 8}


def test_other_datasets_are_refused(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    write_jsonl(data / "train.jsonl", [])
    with pytest.raises(VitalFactoryError, match=r"train.jsonl has no rows"):
        retrieval.answer(data, tmp_path / "run")
    write_json(data / "card.json", read_json(data / "card.json") | {"kind": "diagnosis"})
    with pytest.raises(VitalFactoryError, match="of the kind 'diagnosis'; this baseline needs 'qa'"):
        retrieval.answer(data, tmp_path / "run")
