"""Figures of diagnoses against scikit-learn and by hand: unreadable answers, synonyms, stated diagnoses, majority."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scoring.conftest import make_card
from vitalfactory.card import Card
from vitalfactory.diagnosis import Diagnosis, Synonyms
from vitalfactory.errors import VitalFactoryError
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.diagnosis import FIGURES, OF_SETS, Answer, figures_of, measure, read_answers, values_of
from vitalfactory.scoring.metrics import check

FINDINGS = {
    "asthma": "wheezing at night",
    "gout": "a swollen great toe",
    "pneumonia": "crackles and fever of 39.2",
    "type 2 diabetes": "glucose of 14.2 mmol/L",
}
NAMES = sorted(FINDINGS)


def diagnosis_card(**changes: Any) -> Card:
    counts = {"asthma": 4, "gout": 9, "pneumonia": 5, "type 2 diabetes": 2}
    split = {"rows": 0, "groups": 0, "labels": counts, "sha256": ""}
    known = {
        "kind": "diagnosis",
        "task": "clinical",
        "labels": NAMES,
        "splits": dict.fromkeys(("train", "test"), split),
    }
    return make_card({"answers": {}, "synonyms": {}}, None, **(known | changes))


def make_notes(split: str, count: int, stated: bool | None = None) -> list[dict[str, Any]]:
    """Make rows, two of each group, one disease or two; every fourth states its diagnosis, or all or none do."""
    rows = []
    for place in range(count):
        names = [NAMES[place % 4], NAMES[(place + 1) % 4]][: 1 + (place % 3 == 0)]
        gold = Diagnosis(diseases=[name.title() for name in names], reason=reason_of(names))
        tells = place % 4 == 3 if stated is None else stated
        told = f"Case {split} {place} <b>&: {'. '.join(FINDINGS[name] for name in names)}."
        row = {"id": f"{split}{place:03d}", "group": f"{split}-{place // 2}", "instruction": "Which?", "input": told}
        rows.append(row | {"output": gold.line(), "labels": sorted(names), "stated": tells})
    return rows


def reason_of(names: Iterable[str]) -> str:
    return "; ".join(f"{name}: {FINDINGS[name]}" for name in names)


def say(row: dict[str, Any], text: str | None, parsed: list[str] | None = None) -> Prediction:
    known = {"id": row["id"], "group": row["group"], "label": row["labels"]}
    return Prediction(**known, probabilities=None, text=text, parsed=parsed)


def answers_to(rows: Sequence[dict[str, Any]], texts: Sequence[str], synonyms: Synonyms | None = None) -> list[Answer]:
    said = [say(row, text) for row, text in zip(rows, texts, strict=True)]
    return read_answers(said, {row["id"]: row for row in rows}, synonyms or Synonyms())


def values(answers: list[Answer]) -> dict[str, float]:
    found = figures_of(answers, values_of(answers, "en"))(np.ones((1, len(answers))))
    return {name: float(column[0]) for (disease, name), column in found.items() if not disease}


def pair(gold: Iterable[str], said: Iterable[str], place: int = 0) -> Answer:
    return Answer(f"n{place}", f"g{place}", frozenset(gold), frozenset(said))


def test_the_gold_answer_is_right_in_every_figure() -> None:
    rows = make_notes("test", 12)
    found = values(answers_to(rows, [row["output"] for row in rows]))
    assert set(found) == set(FIGURES)
    assert found.pop("diseases_said") == found.pop("diseases_true") == pytest.approx(16 / 12)
    assert found == pytest.approx(dict.fromkeys(found, 1.0))


def test_an_unreadable_answer_is_wrong_in_every_figure() -> None:
    rows = make_notes("test", 12)
    right = answers_to(rows, [row["output"] for row in rows])
    half = answers_to(rows, [row["output"] if place % 2 else "I cannot say." for place, row in enumerate(rows)])
    shares = [name for name in FIGURES if name not in ("micro_precision", "diseases_true", "evidence_gold")]
    assert all(values(half)[name] < values(right)[name] - 0.2 for name in shares if not name.startswith("macro_p"))
    assert values(half)["json_valid"] == values(half)["parse_rate"] == values(half)["set_match"] == 0.5
    assert values(half)["rouge_1"] == pytest.approx(0.5)
    assert values(half)["evidence"] == 0.5
    assert values(half)["micro_precision"] == 1


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from("abcd"), min_size=1), st.sets(st.sampled_from("abcdxy"))),
        min_size=1,
        max_size=30,
    )
)
def test_figures_are_those_of_scikit_learn(pairs: list[tuple[set[str], set[str]]]) -> None:
    from sklearn.metrics import precision_recall_fscore_support
    from sklearn.preprocessing import MultiLabelBinarizer

    answers = [pair(gold, said, place) for place, (gold, said) in enumerate(pairs)]
    found = values(answers)
    binarizer = MultiLabelBinarizer(classes=list("abcdxy"))
    gold, said = (binarizer.fit_transform(sets) for sets in zip(*pairs, strict=True))
    true = sorted({"abcdxy".index(name) for sets, _ in pairs for name in sets})
    for average, columns in (("micro", range(6)), ("macro", true)):
        expected = precision_recall_fscore_support(gold, said, labels=list(columns), average=average, zero_division=0.0)
        for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            if not (average == "micro" and name == "precision" and not said.any()):
                assert found[f"{average}_{name}"] == pytest.approx(value)


def test_weights_are_repeated_rows() -> None:
    answers = [pair("a", "a"), pair("ab", "b"), pair("c", "xa"), pair("d", "")]
    times = np.asarray([[2.0, 0.0, 1.0, 3.0]])
    repeated = [answer for answer, count in zip(answers, times[0], strict=True) for _ in range(int(count))]
    weighted = figures_of(answers, values_of(answers, "en"))(times)
    for name, value in values(repeated).items():
        assert float(weighted["", name][0]) == pytest.approx(value, nan_ok=True)


def test_names_are_compared_in_normal_form_and_through_synonyms() -> None:
    rows = make_notes("test", 2)
    said = [Diagnosis(diseases=["ＡＳＴＨＭＡ", " podagra "], reason="").line(), rows[1]["output"]]
    plain, known = (values(answers_to(rows, said, table)) for table in (Synonyms(), Synonyms({"podagra": "gout"})))
    assert (plain["set_match"], known["set_match"]) == (0.5, 1)
    assert plain["micro_f1"] == pytest.approx(2 * 2 / 6)
    assert known["micro_f1"] == 1
    assert plain["exact_match"] == known["exact_match"] == 0.5


def test_two_names_of_one_disease_count_once() -> None:
    rows = make_notes("test", 2)[1:]
    synonyms = Synonyms({"podagra": "gout"})
    found = values(answers_to(rows, ['{"diseases": "podagra, gout", "reason": "toe"}'], synonyms))
    assert (found["diseases_said"], found["micro_precision"]) == (1, 1)


@pytest.mark.parametrize(
    ("text", "valid", "readable"),
    [
        ('{"diseases": ["gout"], "reason": "toe"}', 1, 1),
        ('{"diseases": "gout", "reason": "toe"}', 1, 1),
        ('```json\n{"diseases": ["gout"], "reason": "toe"}\n```', 0, 1),
        ('{"diseases": ["gout"], "reason": "to', 0, 1),
        ("Diagnosis: gout", 0, 1),
        ('{"diseases": [], "reason": "toe"}', 0, 0),
        ("", 0, 0),
    ],
)
def test_validity_before_and_after_repair(text: str, valid: float, readable: float) -> None:
    found = values(answers_to(make_notes("test", 2)[1:], [text]))
    assert (found["json_valid"], found["parse_rate"], found["set_match"]) == (valid, readable, readable)


def test_a_run_without_texts_has_figures_of_sets_alone() -> None:
    rows = make_notes("test", 8)
    said = [say(row, None, row["labels"]) for row in rows]
    measured = measure(read_answers(said, {row["id"]: row for row in rows}, Synonyms()), diagnosis_card(), Synonyms())
    known = {name for name, figure in measured["figures"].items() if figure["value"] is not None}
    assert known == {*OF_SETS, "evidence_gold"}
    assert measured["read"] == {"valid": 0, "repaired": 0, "unreadable": 0}


def test_texts_put_together_from_fields_have_no_validity() -> None:
    rows = make_notes("test", 4)
    said = [say(row, row["output"]) for row in rows]
    found = values(read_answers(said, {row["id"]: row for row in rows}, Synonyms(), fields=True))
    assert np.isnan(found["json_valid"])
    assert found["parse_rate"] == 1


def test_notes_that_state_their_diagnosis_stand_apart() -> None:
    rows = make_notes("test", 40)
    texts = [row["output"] if row["stated"] else '{"diseases": ["gout"], "reason": ""}' for row in rows]
    measured = measure(answers_to(rows, texts), diagnosis_card(), Synonyms())
    assert measured["rows"] == 30
    assert measured["judged"] == "the 30 notes that do not state their diagnosis (10 others stand apart)"
    assert measured["apart"]["notes that state it"]["figures"]["micro_f1"]["value"] == 1
    assert measured["apart"]["all notes"]["rows"] == 40
    assert measured["figures"]["micro_f1"]["value"] < 0.5
    low, high = (measured["figures"]["micro_f1"][end] for end in ("low", "high"))
    assert low < measured["figures"]["micro_f1"]["value"] < high


@pytest.mark.parametrize(
    ("stated", "said"),
    [(True, "all 8 notes; every one states its diagnosis"), (False, "all 8 notes; none states its diagnosis")],
)
def test_notes_of_one_sort_are_judged_together(stated: bool, said: str) -> None:
    rows = make_notes("test", 8, stated)
    measured = measure(answers_to(rows, [row["output"] for row in rows]), diagnosis_card(), Synonyms())
    assert (measured["judged"], measured["apart"], measured["rows"]) == (said, {}, 8)


def test_without_the_dataset_sets_are_judged_all_the_same() -> None:
    rows = make_notes("test", 8)
    answers = read_answers([say(row, row["output"]) for row in rows], None, Synonyms())
    measured = measure(answers, diagnosis_card(), Synonyms())
    assert measured["judged"].endswith("not known")
    assert measured["figures"]["micro_f1"]["value"] == measured["figures"]["json_valid"]["value"] == 1
    assert measured["figures"]["evidence"]["value"] is measured["figures"]["exact_match"]["value"] is None


def test_the_majority_is_the_most_frequent_disease_of_train() -> None:
    rows = make_notes("test", 8, stated=False)
    answers = answers_to(rows, [row["output"] for row in rows])
    usual = measure(answers, diagnosis_card(), Synonyms())["majority"]
    assert usual["label"] == "gout"
    assert usual["figures"]["micro_precision"]["value"] == sum("gout" in row["labels"] for row in rows) / 8
    merged = Synonyms({"asthma": "lung disease", "pneumonia": "lung disease"})
    assert measure(answers, diagnosis_card(), merged)["majority"]["label"] == "gout"
    merged = Synonyms({"asthma": "lung disease", "pneumonia": "lung disease", "type 2 diabetes": "lung disease"})
    assert measure(answers, diagnosis_card(), merged)["majority"]["label"] == "lung disease"
    split = {"rows": 0, "groups": 0, "labels": {}, "sha256": ""}
    assert measure(answers, diagnosis_card(splits={"train": split, "test": split}), Synonyms())["majority"] is None


def test_each_disease_stands_with_its_support() -> None:
    answers = [pair("a", "a", 0), pair("ab", "b", 1), pair("a", "x", 2)]
    each = measure(answers, diagnosis_card(), Synonyms())["per_class"]
    assert list(each) == ["a", "b"]
    assert (each["a"]["recall"]["value"], each["a"]["support"]) == (pytest.approx(1 / 3), 3)
    assert each["b"]["f1"]["value"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "gout"}, "label 'gout' is no list of names"),
        ({"label": []}, "is no list of names"),
        ({"label": ["gout", "scurvy"]}, "label 'scurvy' is not one of the 4 names of the card"),
        ({"parsed": "gout"}, "parsed 'gout' is no list of names"),
    ],
)
def test_bad_rows_are_told(changes: dict[str, Any], message: str) -> None:
    row = Prediction(**({**say(make_notes("test", 1)[0], "x").model_dump(), **changes}))
    with pytest.raises(VitalFactoryError, match=message):
        check([row], diagnosis_card(), "file", "diagnosis")


def test_what_is_said_may_be_any_name() -> None:
    check([say(make_notes("test", 1)[0], None, ["scurvy"])], diagnosis_card(), "file", "diagnosis")
    with pytest.raises(VitalFactoryError, match="of the kind 'diagnosis'; expected 'classify'"):
        check([], diagnosis_card(), "file")
