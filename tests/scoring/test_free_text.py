"""eval/free_text.py: what runs say side by side, from files alone."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.scoring.conftest import MakeRun, make_rows, write_predictions
from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json
from vitalfactory.predictions import Answered, Prediction, predictions_file


@pytest.fixture
def free_text(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("free_text")


def say(run: Path, card: Card, texts: list[str], answered: Answered = "generations", cut: bool | None = False) -> None:
    """Answer the test rows with texts, over and over; of samples, two a row."""
    rows = make_rows(card, "test", 40)
    if answered == "samples":
        rows = [row | {"id": f"{row['id']}#{place}"} for row in rows for place in (1, 2)]
    told = []
    for place, row in enumerate(rows):
        known = {name: row[name] for name in ("id", "group", "label")}
        text = texts[place % len(texts)]
        told.append(Prediction(**known, probabilities=None, text=text, parsed=None, cut=cut))
    write_predictions(predictions_file(run, "test", answered), told)


def values(found: dict[str, dict[str, dict[str, float | None]]]) -> dict[str, float | None]:
    return {name: figure["value"] for name, figure in found["figures"].items()}


def test_answers_are_counted_and_sorted_into_three_kinds(
    free_text: ModuleType, make_run: MakeRun, ecg_card: Card
) -> None:
    run = make_run()
    say(run, ecg_card, ["AF", " AF\n", "possible AF", "I like trains"])
    found = free_text.study(run)
    assert found == read_json(run / "free_text.json")
    assert (found["rows"], found["groups"], found["distinct"]) == (40, 20, 3)
    assert found["most_frequent"][0] == {"text": "AF", "count": 20, "share": 0.5}
    shares = values(found)
    assert (shares["parse_rate"], shares["unclear_rate"], shares["off_topic_rate"]) == (0.5, 0.25, 0.25)
    assert shares["cut_rate"] == 0
    assert shares["samples_agree"] is None
    figure = found["figures"]["off_topic_rate"]
    assert figure["low"] <= figure["value"] <= figure["high"]


def test_text_is_held_against_the_most_probable_answer(
    free_text: ModuleType, make_run: MakeRun, ecg_card: Card
) -> None:
    run = make_run()
    say(run, ecg_card, ["no AF"])
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    share = sum(row["parsed"] == "no AF" for row in rows) / 40
    assert values(free_text.study(run))["agrees_with_most_probable"] == share
    (run / "predictions.jsonl").unlink()
    assert values(free_text.study(run))["agrees_with_most_probable"] is None


def test_samples_of_a_row_are_held_against_one_another(
    free_text: ModuleType, make_run: MakeRun, ecg_card: Card
) -> None:
    run = make_run()
    say(run, ecg_card, ["AF"])
    say(run, ecg_card, ["AF", "Yes", "hm", "hm"], "samples")
    shares = values(free_text.study(run))
    assert shares["samples_parse_rate"] == 0.5
    assert shares["samples_agree"] == 0.5, "two answers without a label agree on nothing"
    assert shares["samples_same_text"] == 0.5


def test_older_answers_do_not_say_whether_they_were_cut(
    free_text: ModuleType, make_run: MakeRun, ecg_card: Card
) -> None:
    run = make_run()
    say(run, ecg_card, ["AF"], cut=None)
    assert '"cut"' not in (run / "generations.jsonl").read_text(encoding="utf-8")
    shares = values(free_text.study(run))
    assert (shares["cut_rate"], shares["parse_rate"]) == (None, 1)


def test_cut_answers_are_read_as_such(free_text: ModuleType, make_run: MakeRun, ecg_card: Card) -> None:
    run = make_run()
    say(run, ecg_card, ["It is AF. The rhythm", "It is AF"], cut=True)
    shares = values(free_text.study(run))
    assert (shares["cut_rate"], shares["parse_rate"]) == (1, 0.5)


def test_runs_stand_side_by_side(
    free_text: ModuleType, make_run: MakeRun, ecg_card: Card, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [make_run("before"), make_run("after")]
    say(runs[0], ecg_card, [f"{place} " + "long " * 30 for place in range(20)])
    say(runs[1], ecg_card, ["AF", ""])
    free_text.main([*map(str, runs), "--json"])
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["before", "after"]
    assert lines[2].split() == ["Distinct", "answers", "20", "2"]
    assert "   50.0%  (nothing)" in lines
    assert all(len(line) < 100 for line in lines)
    assert free_text.SYNTHETIC in lines
    assert [found["run"] for found in json.loads(last)] == ["before", "after"]
    assert len(json.loads(last)[0]["most_frequent"]) == 10
    assert not any(line.startswith("Samples") for line in lines)


def test_another_split_has_a_file_of_its_own(free_text: ModuleType, make_run: MakeRun) -> None:
    run = make_run()
    (run / "generations.jsonl").rename(run / "generations_val.jsonl")
    free_text.study(run, "val")
    assert (run / "free_text_val.json").is_file()
    with pytest.raises(VitalFactoryError, match=r"no answers in free text to test; run eval/generate.py first"):
        free_text.main([str(run)])
