"""eval/wordings.py on a tiny model: every wording, both orders, other languages; figures over the same resamples."""

import json
from pathlib import Path
from typing import Any

import pytest

from eval import score, wordings
from tests.eval.conftest import Workplace
from tests.scoring.conftest import ECG_TERMS, STAGE_TERMS, make_card
from vitalfactory.card import Wordings
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json, read_jsonl, write_json
from vitalfactory.predictions import Prediction, read_predictions

CARD = make_card(
    ECG_TERMS["en"],
    "AF",
    question=["Is it AF?", "Does it show AF?"],
    other_languages={"zh": {"question": ["有没有房颤？"], "answers": ECG_TERMS["zh"]["answers"]}},
)


def test_each_wording_stands_plain_and_with_its_answers_in_both_orders() -> None:
    found = {variant.name: variant for variant in wordings.variants_of(CARD, wordings.languages_of(CARD, None, None))}
    assert list(found) == [
        *("en1", "en2", "en1-forward", "en2-forward", "en1-reversed", "en2-reversed"),
        *("zh1", "zh1-forward", "zh1-reversed"),
    ]
    assert found["en2"].question == "Does it show AF?"
    assert found["en1-forward"].question == "Is it AF? Answer AF or no AF."
    assert found["en1-reversed"].question == "Is it AF? Answer no AF or AF."
    assert found["zh1-reversed"].question == "有没有房颤？请回答没有房颤或有房颤。"
    assert found["zh1-reversed"].answers == {"AF": "有房颤", "no AF": "没有房颤"}


def test_many_answers_are_listed() -> None:
    stages = make_card(STAGE_TERMS, None, question=["Which?"])
    found = {one.name: one.question for one in wordings.variants_of(stages, wordings.languages_of(stages, None, None))}
    assert found["en1-forward"] == "Which? Answer W, N1, N2, N3 or R."
    assert found["en1-reversed"] == "Which? Answer R, N3, N2, N1 or W."


def test_languages_are_chosen_and_added_to(tmp_path: Path) -> None:
    assert list(wordings.languages_of(CARD, None, ["en"])) == ["en"]
    file = tmp_path / "more.json"
    answers = {"AF": "oui", "no AF": "non"}
    write_json(file, {"zh": ["房颤吗？", "有没有房颤？"], "fr": {"questions": ["FA ?"], "answers": answers}})
    found = wordings.languages_of(CARD, file, None)
    assert list(found) == ["en", "zh", "fr"]
    assert found["zh"] == Wordings(question=["有没有房颤？", "房颤吗？"], answers=ECG_TERMS["zh"]["answers"])
    assert found["fr"].answers == answers
    assert wordings.variants_of(CARD, found)[-1].question == "FA ? Answer non or oui."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["x"], "expected {"),
        ({"fr": "x"}, "fr: expected {"),
        ({"fr": [1]}, "fr: expected {"),
        ({"fr": {"questions": ["x"], "answers": {"AF": "x"}}}, "expected an answer for each of AF, no AF"),
        ({"../x": ["x"]}, "expected a code such as en or zh"),
    ],
)
def test_a_wrong_file_of_questions_is_an_error(tmp_path: Path, content: Any, message: str) -> None:
    write_json(tmp_path / "q.json", content)
    with pytest.raises(VitalFactoryError, match=message):
        wordings.languages_of(CARD, tmp_path / "q.json", None)


def test_an_unknown_language_is_an_error() -> None:
    with pytest.raises(VitalFactoryError, match=r"--languages fr: .* has wordings in en, zh; .*--questions FILE"):
        wordings.languages_of(CARD, None, ["fr"])


def test_the_question_is_replaced_wherever_it_stands() -> None:
    alpaca = {"id": "a", "instruction": "Is it AF?", "input": "Rate 70"}
    assert wordings.reworded(alpaca, "New?", CARD.question) == ({**alpaca, "instruction": "New?"}, "Is it AF?")
    turns = [{"role": "user", "content": "<image>Is it AF?"}, {"role": "assistant", "content": "AF"}]
    row, own = wordings.reworded({"id": "b", "messages": turns}, "New?", CARD.question)
    assert [message["content"] for message in row["messages"]] == ["<image>New?", "AF"]
    assert own == "Is it AF?"
    assert turns[0]["content"] == "<image>Is it AF?"
    with pytest.raises(VitalFactoryError, match="row 'c': holds none of the card's wordings"):
        wordings.reworded({"id": "c", "instruction": "What?"}, "New?", CARD.question)


def answers(probabilities: list[float]) -> list[Prediction]:
    labels = ["AF", "no AF", "no AF", "AF"]
    return [
        Prediction(
            id=str(n), group=str(n), label=label, probabilities={"AF": p, "no AF": 1 - p}, text=None, parsed=None
        )
        for n, (label, p) in enumerate(zip(labels, probabilities, strict=True))
    ]


def test_flips_and_spreads_by_hand() -> None:
    variants = wordings.variants_of(CARD, {"en": Wordings(question=CARD.question)})[:2]
    told = {"en1": answers([0.9, 0.1, 0.2, 0.8]), "en2": answers([0.9, 0.6, 0.2, 0.3])}
    found = wordings.measure(told, variants, ["en1", "en1", "en2", "en2"], CARD, 0.5)
    value = {key: figure["value"] for key, figure in found.items()}
    assert value["en1", "auroc"] == 1
    assert value["en2", "auroc"] == 0.75
    assert value["all", "auroc_spread"] == value["en", "auroc_spread"] == 0.25
    assert value["en1", "f1"] == 1
    assert value["all", "f1_spread"] == pytest.approx(0.5)
    assert value["en1", "flip_rate"] == 0.25
    assert value["en2", "flip_rate"] == 0.25
    assert value["all", "not_unanimous"] == 0.5
    assert all(figure["low"] is not None and figure["low"] >= 0 for figure in found.values())


@pytest.fixture(scope="module")
def questions(place: Workplace) -> Path:
    file = place.root / "fr.json"
    write_json(file, {"fr": {"questions": ["Fibrillation ?"], "answers": {"AF": "oui", "no AF": "non"}}})
    return file


def test_a_study_is_made_resumed_and_written(
    place: Workplace, questions: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    score.main(place.arguments("run", "--adapter", "none"))
    given = ("--adapter", "none", "--questions", str(questions), "--against", str(place.root / "run"), "--json")
    arguments = place.arguments("study", *given, "--languages", "fr")
    wordings.main(arguments)
    out = capsys.readouterr().out.splitlines()
    told = read_json(place.root / "study" / "wordings.json")
    assert json.loads(out[-1]) == told
    assert told["threshold_from"] == "val"
    card = read_json(place.root / "data" / "ecg" / "card.json")
    assert len(told["variants"]) == 3 * (len(card["question"]) + 1)
    assert set(told["across"]) == {"all", "en", "en, answers listed", "fr", "fr, answers listed"}
    assert "| en1-reversed |" in (place.root / "study" / "wordings.md").read_text(encoding="utf-8")

    # Under its own wording a row has the probability that score.py gives it.
    rows = {row["id"]: row["instruction"] for row in read_jsonl(place.root / "data" / "ecg" / "test.jsonl")}
    plain = {v["question"]: v["name"] for v in told["variants"] if v["order"] == "plain"}
    for row in read_predictions(place.root / "run" / "predictions.jsonl"):
        again = read_predictions(place.root / "study" / plain[rows[row.id]] / "predictions.jsonl")
        (same,) = [one for one in again if one.id == row.id]
        assert row.probabilities is not None
        assert same.probabilities == pytest.approx(row.probabilities, abs=0.02)

    # Again without the model: every answer is there, and the figures are the same.
    monkeypatch.setattr("vitalfactory.scoring.model.load", lambda job: pytest.fail("loaded"))
    wordings.main(arguments)
    assert read_json(place.root / "study" / "wordings.json") == told


def test_another_wording_under_an_old_name_is_refused(place: Workplace, questions: Path) -> None:
    given = ("--adapter", "none", "--questions", str(questions), "--limit", "2", "--languages", "fr")
    wordings.main(place.arguments("other", *given))
    write_json(questions, {"fr": ["FA ?"]})
    with pytest.raises(VitalFactoryError, match="fr1: its predictions were made with other settings"):
        wordings.main(place.arguments("other", *given))


def test_a_threshold_of_another_model_is_refused(place: Workplace) -> None:
    score.main(place.arguments("adapted_run", "--limit", "2"))
    with pytest.raises(VitalFactoryError, match="a run with another adapter_sha256; its threshold is not ours"):
        wordings.main(place.arguments("x", "--adapter", "none", "--against", str(place.root / "adapted_run")))
    assert not (place.root / "x").exists()


def test_one_split_at_a_time(place: Workplace) -> None:
    with pytest.raises(VitalFactoryError, match="--split val test: expected one split"):
        wordings.main(place.arguments("x", "--split", "val", "test"))
