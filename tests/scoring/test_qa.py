"""Figures of answers to questions: by hand, what training knew, the constant answer, and what reaches the disk."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.scoring.questions import TEST, answered, list_row, question_card, reverse_row, rows_of, yes_no_row
from vitalfactory.errors import VitalFactoryError
from vitalfactory.scoring.qa import (
    FIGURES,
    KNOWN,
    NEW_FACTS,
    UNSEEN,
    Answer,
    Training,
    constant,
    drawn,
    figures_of,
    join,
    measure,
    read_values,
    values_of,
    write_values,
)
from vitalfactory.scoring.qa_entities import vocabulary_of

ROWS = [list_row("Coritis"), list_row("Daremia"), reverse_row("Fenopathy"), yes_no_row("Coritis", "cough")]
VOCABULARY = vocabulary_of(ROWS)


def told(row: dict[str, Any], text: str | None = None, **scores: Any) -> Answer:
    return Answer(row["id"], row["group"], row, row["output"], text=text, **scores)


def values(*answers: Answer) -> dict[str, float]:
    found = figures_of(values_of(answers, "en", VOCABULARY))(np.ones((1, len(answers))))
    return {name: float(column[0]) for name, column in found.items()}


def test_references_are_right_in_every_figure() -> None:
    scores = {"logprob": -1.0, "tokens": 2, "cut": False}
    yes = [told(row, row["output"], yes=0.9, **scores) for row in (ROWS[3], yes_no_row("Daremia", "fever"))]
    no = told(yes_no_row("Daremia", "tremor"), "No", yes=0.2, **scores)
    found = values(*(told(row, row["output"], **scores) for row in ROWS[:3]), *yes, no)
    assert set(found) == set(FIGURES)
    assert found.pop("length") == found.pop("length_reference") > 0
    assert (found.pop("loss"), found.pop("perplexity")) == (0.5, pytest.approx(math.exp(0.5)))
    assert {found.pop(name) for name in ("repetition", "refusal", "cut")} == {0}
    assert found == pytest.approx(dict.fromkeys(found, 1.0))


def test_figures_by_hand() -> None:
    found = values(
        told(ROWS[0], "Cough, rash."),  # cough of cough and high fever, and rash
        told(ROWS[1], "high fever"),  # nothing of rash and fever
        told(ROWS[2], "Fenopathy. I cannot provide more."),
        told(ROWS[3], "No, it is not."),
    )
    assert found["entity_recall"] == pytest.approx(2 / 5)
    assert found["entity_precision"] == pytest.approx(2 / 4)
    assert found["entity_f1"] == pytest.approx(2 * 2 / (5 + 4))
    assert (found["exact_match"], found["refusal"], found["answered"]) == (0, 0.25, 1)
    assert (found["yes_no_read"], found["yes_no_text"]) == (1, 0)
    assert not {"loss", "yes_no_auroc", "cut"} & set(found)


def test_no_answer_is_wrong_in_every_figure() -> None:
    found = values(*(told(row, "") for row in ROWS))
    length = found.pop("length_reference")
    assert length > 0
    assert found == dict.fromkeys(found, 0.0)
    assert {"entity_f1", "exact_match", "bleu", "chrf", "rouge_l", "yes_no_text", "answered"} <= set(found)


def test_loss_is_a_token_and_not_a_row() -> None:
    found = values(told(ROWS[0], logprob=-9.0, tokens=9), told(ROWS[1], logprob=-3.0, tokens=1))
    assert found == {"loss": pytest.approx(1.2), "perplexity": pytest.approx(math.exp(1.2))}


@pytest.mark.parametrize(
    ("yes", "accuracy", "auroc"),
    [((0.9, 0.8, 0.1), 1.0, 1.0), ((0.4, 0.6, 0.5), 2 / 3, 0.5), ((0.1, 0.2, 0.9), 0.0, 0.0)],
)
def test_yes_and_no_by_likelihood(yes: tuple[float, ...], accuracy: float, auroc: float) -> None:
    rows = [yes_no_row("Coritis", "cough"), yes_no_row("Daremia", "fever"), yes_no_row("Daremia", "tremor")]
    found = values(*(told(row, yes=p) for row, p in zip(rows, yes, strict=True)))
    assert found == {"yes_no_accuracy": pytest.approx(accuracy), "yes_no_auroc": pytest.approx(auroc)}


def test_what_training_knew() -> None:
    training = Training(told(row) for row in rows_of(("Coritis", "Daremia")))
    assert training.knows(told(list_row("Coritis", 3))) == KNOWN
    assert training.knows(told(list_row("Fenopathy"))) == UNSEEN
    more = {**list_row("Coritis"), "triples": [["Coritis", "symptom", "cough"], ["Coritis", "drug", "coritol"]]}
    assert training.knows(told(more)) == NEW_FACTS
    assert training.knows(told({**ROWS[0], "triples": []})) is None


def test_the_constant_answer_is_the_most_frequent_of_its_kind() -> None:
    train = [list_row("Coritis"), list_row("Coritis", 2), list_row("Daremia"), yes_no_row("Daremia", "fever")]
    training = Training(told(row) for row in train)
    answers = [told(list_row("Coritis", 3), "?"), told(yes_no_row("Coritis", "tremor"), "?"), told(ROWS[2], "?")]
    usual = constant(answers, training, "en", VOCABULARY)
    assert usual is not None
    # No reverse question stands in train, so the most frequent answer of all is given to it.
    assert usual["answers"] == {"list": "cough, high fever.", "yesno": "Yes", "reverse": "cough, high fever."}
    assert usual["figures"]["exact_match"]["value"] == pytest.approx(1 / 3)
    assert usual["figures"]["yes_no_text"]["value"] == 0
    assert constant([told(ROWS[0])], training, "en", VOCABULARY) is None
    assert constant(answers, Training([]), "en", VOCABULARY) is None


def test_intervals_are_over_groups_and_one_group_has_none() -> None:
    answers = [told(row, row["output"] if row["group"] == "Daremia" else "") for row in TEST]
    columns = values_of(answers, "en", VOCABULARY)
    many = drawn(columns, [answer.group for answer in answers])["exact_match"]
    assert many["low"] is not None
    assert many["high"] is not None
    assert many["low"] < many["value"] < many["high"]
    one = drawn(columns, ["same"] * len(answers))["exact_match"]
    assert one == {"value": many["value"], "low": None, "high": None}
    assert drawn({}, []) == {}


def test_parts_are_told_apart_and_hold_no_nan() -> None:
    answers = [told(row, row["output"]) for row in TEST]
    training = Training(told(row) for row in rows_of(("Balosis", "Coritis")))
    measured = measure(answers, values_of(answers, "en", VOCABULARY), training)
    assert {name: part["rows"] for name, part in measured["kinds"].items()} == {"list": 3, "reverse": 2, "yesno": 4}
    assert {name: part["rows"] for name, part in measured["known"].items()} == {KNOWN: 1, UNSEEN: 8}
    assert measured["figures"]["loss"]["value"] is None
    assert "entity_f1" not in measured["kinds"]["yesno"]["figures"]


def test_a_runs_parts_are_joined_by_id() -> None:
    source = {row["id"]: row for row in TEST}
    texts = [answered(row, "x") for row in TEST[:2]]
    scored = [answered(TEST[1], None).model_copy(update={"logprob": -2.0, "tokens": 3})]
    decided = [answered(TEST[2], None).model_copy(update={"probabilities": {"Yes": 0.7, "No": 0.3}})]
    found = join(source, question_card(), texts, scored, decided)
    assert [(one.id, one.text, one.logprob, one.yes) for one in found] == [
        (TEST[0]["id"], "x", None, None),
        (TEST[1]["id"], "x", -2.0, None),
        (TEST[2]["id"], None, None, 0.7),
    ]
    assert join(source, question_card(), None, None, None) == []


def test_values_survive_the_disk(tmp_path: Path) -> None:
    answers = [told(ROWS[0], "Cough.", logprob=-1.5, tokens=4), told(ROWS[3])]
    columns = values_of(answers, "en", VOCABULARY)
    write_values(tmp_path / "values.jsonl", answers, columns)
    names = [answer.id for answer in reversed(answers)]
    again = read_values(tmp_path / "values.jsonl", names)
    assert set(again) == set(columns)
    for name, column in columns.items():
        np.testing.assert_array_equal(again[name], column[::-1])
    with pytest.raises(VitalFactoryError, match=r"of another run; run python eval/qa.py"):
        read_values(tmp_path / "values.jsonl", ["another"])
