"""generate.py by the kind of answer: what is read from a text, what counts as no answer, and what reaches the disk."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eval import generate
from tests.eval.conftest import Workplace
from vitalfactory.card import Card, read_card
from vitalfactory.diagnosis import Diagnosis
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json, read_jsonl
from vitalfactory.predictions import Prediction, keep_answers, read_predictions
from vitalfactory.scoring import generation
from vitalfactory.scoring.generation import SCHEMA_TOKENS, Backend, Written, kind_of, predict, schema_of

DIAGNOSIS = ("--dataset", "clinical", "--adapter", "none")


def says(texts: dict[str, str | None]) -> Backend:
    def backend(rows: Sequence[dict[str, Any]]) -> Iterator[Written]:
        for row in rows:
            yield Written(row["id"], texts[row["id"]], False, "lost")

    return backend


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ('{"diseases": ["Asthma", "type 2  Diabetes"], "reason": "wheeze"}', ["asthma", "type 2 diabetes"]),
        ('{"diseases": "Asthma, Gout", "reason": ""}', ["asthma", "gout"]),
        ('```json\n{"diseases": ["GOUT", "gout"], "reason": "toe', ["gout"]),
        ('{"diseases": ["\\u3002", "gout"], "reason": ""}', ["gout"]),
        ('{"diseases": ["\\u3002"], "reason": ""}', None),
        ("It could be anything.", None),
        ('{"diseases": ["gout \\ud800"], "reason": ""}', None),
        ("", None),
    ],
)
def test_diseases_are_read_in_their_normal_form(notes: Workplace, text: str, parsed: list[str] | None) -> None:
    card = read_card(notes.root / "data" / "clinical")
    rows = [{"id": "1", "group": "1", "labels": ["asthma"]}]
    (prediction,) = predict(card, says({"1": text}), rows, {})
    assert prediction.parsed == parsed
    assert prediction.label == ["asthma"]
    assert prediction.text == text


def test_half_a_character_can_be_written(notes: Workplace) -> None:
    card = read_card(notes.root / "data" / "clinical")
    rows = [{"id": "1", "group": "1", "labels": ["gout"]}]
    (prediction,) = predict(card, says({"1": '{"diseases": ["gout"], "reason": "\ud800"}'}), rows, {})
    assert prediction.parsed == ["gout"]
    assert prediction.line().encode("utf-8")


def test_a_row_without_an_answer_is_told_apart_from_an_empty_one(notes: Workplace) -> None:
    card = read_card(notes.root / "data" / "clinical")
    failures: dict[str, str] = {}
    rows = [{"id": name, "group": name, "labels": ["gout"]} for name in "ab"]
    (answered,) = predict(card, says({"a": None, "b": ""}), rows, failures)
    assert (answered.id, answered.text, answered.parsed) == ("b", "", None)
    assert failures == {"a": "lost"}


def test_a_diagnosis_has_its_own_longest_answer_and_gold_labels(
    notes: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = kind_of(read_card(notes.root / "data" / "clinical"))
    monkeypatch.setitem(generation.KINDS, "diagnosis", replace(card, longest=5))
    generate.main(notes.arguments("kinds", *DIAGNOSIS))
    assert read_json(notes.root / "kinds" / "run.json")["decoding"]["generations"]["max_new_tokens"] == 5
    rows = list(read_jsonl(notes.root / "data" / "clinical" / "test.jsonl"))
    answers = read_predictions(notes.root / "kinds" / "generations.jsonl")
    assert [(answer.id, answer.label) for answer in answers] == [(row["id"], row["labels"]) for row in rows]


def test_other_kinds_are_refused(notes: Workplace) -> None:
    card = read_card(notes.root / "data" / "clinical").model_copy(update={"kind": "other"})
    with pytest.raises(VitalFactoryError, match="of the kind 'other'; expected one of classify, diagnosis"):
        kind_of(card)


def test_a_prompt_that_the_model_cannot_take_leaves_the_others_answered(
    notes: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vitalfactory.scoring.model import Job

    original = Job.rows

    def rows(self: Job, split: str, limit: int | None) -> list[dict[str, Any]]:
        first, *others = original(self, split, limit)
        return [{**first, "input": "cough " * 1200}, *others]

    monkeypatch.setattr(Job, "rows", rows)
    more = (*DIAGNOSIS, "--max-new-tokens", "3")
    with pytest.raises(VitalFactoryError, match=r"1 rows got no answer \(prompt too long 1\); the others are kept"):
        generate.main(notes.arguments("toolong", *more))
    monkeypatch.undo()
    kept = read_predictions(notes.root / "toolong" / "generations.jsonl")
    total = len(list(read_jsonl(notes.root / "data" / "clinical" / "test.jsonl")))
    assert len(kept) == total - 1
    generate.main(notes.arguments("toolong", *more))
    assert f"1 of {total} rows answered now" in capsys.readouterr().out


def test_what_is_answered_already_needs_no_model(notes: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    from vitalfactory.scoring import model

    more = (*DIAGNOSIS, "--max-new-tokens", "2", "--limit", "1")
    generate.main(notes.arguments("whole", *more))
    before = (notes.root / "whole" / "generations.jsonl").read_bytes()
    monkeypatch.setattr(model, "load", lambda _: pytest.fail("the model is loaded for nothing"))
    generate.main(notes.arguments("whole", *more))
    assert (notes.root / "whole" / "generations.jsonl").read_bytes() == before


@pytest.mark.parametrize(("save_every", "synced"), [(1, [1, 2, 3]), (2, [2]), (0, [])])
def test_answers_are_put_safely_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_every: int, synced: list[int]
) -> None:
    path = tmp_path / "generations.jsonl"
    lines: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: lines.append(len(list(read_jsonl(path)))) or sync(handle))

    def answer(rows: Sequence[dict[str, Any]]) -> Iterator[Prediction]:
        for row in rows:
            yield Prediction(id=row["id"], group="", label=None, probabilities=None, text="", parsed=None)
            assert len(list(read_jsonl(path))) == int(row["id"]), "each answer can be read at once"

    assert keep_answers(path, [{"id": str(number)} for number in (1, 2, 3)], answer, save_every) == 3
    assert lines == [*synced, 3], "and all are on disk in the end"


def test_answers_to_rows_that_are_not_asked_now_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"

    def answer(rows: Sequence[dict[str, Any]]) -> Iterator[Prediction]:
        for row in reversed(rows):
            yield Prediction(id=row["id"], group="", label=None, probabilities=None, text="", parsed=None)

    assert keep_answers(path, [{"id": "a"}, {"id": "b"}], answer) == 2
    assert keep_answers(path, [{"id": "c"}, {"id": "b"}], answer) == 1
    assert [prediction.id for prediction in read_predictions(path)] == ["c", "b", "a"]


def test_the_schema_bounds_what_is_written(notes: Workplace) -> None:
    card = read_card(notes.root / "data" / "clinical")
    english = schema_of(card, 256)["properties"]
    chinese = schema_of(card.model_copy(update={"language": "zh"}), 256)["properties"]
    assert chinese["reason"]["maxLength"] < english["reason"]["maxLength"]
    characters = english["diseases"]["maxItems"] * english["diseases"]["items"]["maxLength"]
    assert characters + english["reason"]["maxLength"] <= 256 * SCHEMA_TOKENS
    assert "maxLength" not in str(Diagnosis.model_json_schema())


def test_labels_have_no_schema(place: Workplace) -> None:
    card: Card = read_card(place.root / "data" / "ecg")
    with pytest.raises(VitalFactoryError, match="of the kind 'classify' are not JSON"):
        schema_of(card, 16)
