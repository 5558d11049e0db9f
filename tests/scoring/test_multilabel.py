"""Figures of sets of findings against scikit-learn and by hand: thresholds, unread answers, parts, the constant."""

import json
import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scoring.xray_runs import FEW, NORMAL, findings_card, make_rows, predict, small_card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.metrics import check
from vitalfactory.scoring.multilabel import (
    AGES,
    FIGURES,
    SEARCHED,
    choose_thresholds,
    constant,
    decide,
    figures_of,
    gather,
    measure,
    reliability,
    search_threshold,
)

CARD = small_card()
PLACES = [0, 1, 3]
"""The columns of the findings."""


def image(
    name: str, gold: list[str], said: list[str] | None = None, scores: dict[str, float] | None = None, **more: Any
) -> Prediction:
    told = {"probabilities": scores, "text": None if scores else "x", "parsed": said}
    return Prediction(**{"id": name, "group": name, "label": gold, **told, **more})


def values(rows: list[Prediction], card: Any = CARD) -> dict[tuple[str, str], float]:
    found = figures_of(rows, card)(np.ones((1, len(rows))))
    return {key: float(column[0]) for key, column in found.items()}


def same(found: float, wanted: float) -> bool:
    return (math.isnan(found) and math.isnan(wanted)) or found == pytest.approx(wanted, abs=1e-12)


SETS = st.sets(st.sampled_from(FEW)).map(sorted)
SCORES = st.lists(st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.5, 0.7, 0.99, 1.0]), min_size=4, max_size=4)


@settings(max_examples=25)
@given(st.lists(st.tuples(SETS, SETS), min_size=1, max_size=25))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_decisions_are_judged_as_scikit_learn_judges_them(pairs: list[tuple[list[str], list[str]]]) -> None:
    found = values([image(str(place), *pair) for place, pair in enumerate(pairs)])
    gold, said = (np.array([[label in pair[side] for label in FEW] for pair in pairs]) for side in (0, 1))
    assert found["", "subset_accuracy"] == pytest.approx(sk.accuracy_score(gold, said))
    assert found["", "hamming_loss"] == pytest.approx(sk.hamming_loss(gold, said))
    for name, columns in (("", [0, 1, 2, 3]), ("_findings", PLACES)):
        true, answered = gold[:, columns], said[:, columns]
        wanted = sk.f1_score(true, answered, average="micro", zero_division=np.nan)
        assert same(found["", f"micro_f1{name}"], wanted)
        each = [sk.f1_score(*pair) for pair in zip(true.T, answered.T, strict=True) if np.any(pair)]
        assert same(found["", f"macro_f1{name}"], float(np.mean(each)) if each else math.nan)
    assert same(found["", "micro_precision"], sk.precision_score(gold, said, average="micro", zero_division=np.nan))
    assert same(found["", "micro_recall"], sk.recall_score(gold, said, average="micro", zero_division=np.nan))
    for place, label in enumerate(FEW):
        tn, fp, _, _ = sk.confusion_matrix(gold[:, place], said[:, place], labels=[False, True]).ravel()
        assert same(found[label, "specificity"], tn / (tn + fp) if tn + fp else math.nan)
        given = {"average": "binary", "zero_division": np.nan}
        for name, compute in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
            assert same(found[label, name], compute(gold[:, place], said[:, place], **given))


@settings(max_examples=40)
@given(st.lists(st.tuples(SETS, SCORES), min_size=2, max_size=30))
def test_probabilities_are_judged_as_scikit_learn_judges_them(pairs: list[tuple[list[str], list[float]]]) -> None:
    rows = [
        image(str(place), gold, [], dict(zip(FEW, scores, strict=True))) for place, (gold, scores) in enumerate(pairs)
    ]
    found = values(rows)
    gold = np.array([[label in pair[0] for label in FEW] for pair in pairs])
    scores = np.array([pair[1] for pair in pairs])
    mixed = [place for place in range(4) if 0 < gold[:, place].sum() < len(pairs)]
    there = [place for place in range(4) if gold[:, place].any()]
    auroc = {place: sk.roc_auc_score(gold[:, place], scores[:, place]) for place in mixed}
    auprc = {place: sk.average_precision_score(gold[:, place], scores[:, place]) for place in there}
    brier = [sk.brier_score_loss(gold[:, place], scores[:, place], pos_label=True) for place in range(4)]
    for place, label in enumerate(FEW):
        assert same(found[label, "auroc"], auroc.get(place, math.nan))
        assert same(found[label, "auprc"], auprc.get(place, math.nan))
        assert same(found[label, "brier"], brier[place])
    for name, each in (("auroc", auroc), ("auprc", auprc)):
        over = [value for place, value in each.items() if place in PLACES]
        assert same(found["", name], float(np.mean(over)) if over else math.nan)
    assert same(found["", "brier"], float(np.mean([brier[place] for place in PLACES])))


def test_calibration_error_by_hand() -> None:
    scores = dict.fromkeys(FEW, 0.9)
    rows = [image(str(place), ["mass"] if place else [NORMAL], [], scores) for place in range(4)]
    found = values(rows)
    assert found["mass", "ece"] == pytest.approx(0.9 - 0.75)
    assert found["effusion", "ece"] == pytest.approx(0.9)
    # All findings together: 3 of 12 came true.
    assert found["", "ece"] == pytest.approx(0.9 - 0.25)
    (bin_of_all,) = reliability(rows, CARD)
    assert (bin_of_all["rows"], bin_of_all["said"], bin_of_all["true"]) == (12, pytest.approx(0.9), 0.25)
    assert reliability([image("a", ["mass"], [])], CARD) == []


def test_an_unread_answer_is_wrong_and_leaves_no_denominator() -> None:
    rows, _, left_out = gather(
        [image("a", ["mass"], ["mass"]), image("b", ["effusion"]), image("c", [NORMAL], [NORMAL])], None, CARD, "here"
    )
    assert left_out == 0
    assert rows[1].unread == list(FEW)
    found = values(rows)
    assert found["", "parse_rate"] == pytest.approx(2 / 3)
    assert found["", "subset_accuracy"] == pytest.approx(2 / 3)
    assert found["", "hamming_loss"] == pytest.approx(1 / 3)
    assert found["", "micro_f1"] == pytest.approx(2 * 2 / (3 + 2))
    assert found["", "micro_precision"] == 1
    assert found["effusion", "recall"] == 0
    assert found["mass", "specificity"] == 0.5
    metrics, _ = measure(rows, None, CARD, {})
    assert metrics["per_class"]["mass"]["counts"] == {
        "tp": 1, "fn": 0, "fp": 0, "tn": 1, "unread_present": 0, "unread_absent": 1,
    }  # fmt: skip
    assert metrics["per_class"]["effusion"]["counts"]["unread_present"] == 1
    assert (metrics["thresholds"], metrics["thresholds_from"]) == (None, "none: free text")
    assert metrics["figures"]["auroc"]["value"] is None


@settings(max_examples=15)
@given(st.lists(st.tuples(SETS, st.booleans()), min_size=1, max_size=12))
def test_counts_add_up_to_the_images(answers: list[tuple[list[str], bool]]) -> None:
    told = [image(str(place), ["mass"], said if read else None) for place, (said, read) in enumerate(answers)]
    rows, _, _ = gather(told, None, CARD, "here")
    for label, figures in measure(rows, None, CARD, {})[0]["per_class"].items():
        assert sum(figures["counts"].values()) == len(rows)
        assert figures["support"] == sum(label in (row.label or ()) for row in rows)


def test_thresholds_come_from_val_and_each_label_has_its_own() -> None:
    def scored(name: str, gold: list[str], mass: float, effusion: float) -> Prediction:
        return image(name, gold, [], {"effusion": effusion, "mass": mass, NORMAL: 0.2, "nodule": 0.2})

    val = [scored("v1", ["mass"], 0.3, 0.1), scored("v2", ["effusion"], 0.1, 0.8), scored("v3", [NORMAL], 0.2, 0.7)]
    assert choose_thresholds(val, CARD) == {"effusion": 0.8, "mass": 0.3, NORMAL: 0.2, "nodule": 0.5}
    test = [scored("t1", ["mass"], 0.3, 0.79), scored("t2", ["mass"], 0.29, 0.8)]
    metrics, decided = measure(test, val, CARD, {})
    assert [row.parsed for row in decided] == [["mass", NORMAL], ["effusion", NORMAL]]
    assert metrics["thresholds_from"] == "val"
    assert metrics["per_class"]["mass"]["threshold"] == 0.3
    assert metrics["per_class"]["mass"]["recall"]["value"] == 0.5
    without, decided = measure(test, None, CARD, {})
    assert (without["thresholds_from"], without["searched_threshold"]) == ("none: 0.5", None)
    assert [row.parsed for row in decided] == [["effusion"], ["effusion"]]
    assert without["figures"]["micro_f1_at_search"]["value"] is None
    assert without["figures"]["micro_f1_at_half"]["value"] == without["figures"]["micro_f1"]["value"] == 0


@settings(max_examples=20)
@given(st.lists(st.tuples(SETS.filter(bool), SCORES), min_size=1, max_size=12))
def test_thresholds_have_the_best_f1_on_val(pairs: list[tuple[list[str], list[float]]]) -> None:
    val = [
        image(str(place), gold, [], dict(zip(FEW, scores, strict=True))) for place, (gold, scores) in enumerate(pairs)
    ]
    gold = np.array([[label in pair[0] for label in FEW] for pair in pairs])
    scores = np.array([pair[1] for pair in pairs])
    for place, (label, chosen) in enumerate(choose_thresholds(val, CARD).items()):
        if gold[:, place].any():
            f1 = {least: sk.f1_score(gold[:, place], scores[:, place] >= least) for least in set(scores[:, place])}
            assert f1[chosen] == max(f1.values()), label
    micro = {least: sk.f1_score(gold, scores >= least, average="micro", zero_division=0) for least in SEARCHED}
    assert micro[search_threshold(val, CARD)] == max(micro.values())


def test_the_search_goes_from_a_fifth_to_seven_tenths() -> None:
    assert (SEARCHED[0], SEARCHED[-1], len(SEARCHED)) == (0.2, 0.7, 11)


def test_questions_about_one_label_are_gathered_by_image() -> None:
    asked = small_card(verdicts={"present": "yes", "absent": "no"})
    source = {row["id"]: row for row in make_rows("test", True)}
    images, about, left_out = gather(predict("test", True)[:-1], source, asked, "here")
    whole, _, _ = gather(predict("test", False), {row["id"]: row for row in make_rows("test", False)}, CARD, "here")
    assert left_out == 1, "the last image was not asked about every label"
    assert len(images) == len(whole) - 1
    for row, other in zip(images, whole, strict=False):
        assert (row.id, row.group, row.label, row.probabilities) == (
            other.id,
            other.group,
            other.label,
            other.probabilities,
        )
    assert about[images[0].id]["view"] == "PA"


def test_texts_about_one_label_are_gathered_with_what_could_not_be_read() -> None:
    asked = small_card(verdicts={"present": "yes", "absent": "no"})
    source = {row["id"]: row for row in make_rows("test", True)[:4]}
    said: list[tuple[str, list[str] | None]] = [("Yes", ["effusion"]), ("hm", None), ("No", []), ("No", [])]
    rows = [image(name, source[name]["labels"], parsed) for name, (_, parsed) in zip(source, said, strict=True)]
    ((row,), _, _) = gather([row.model_copy(update={"group": "p"}) for row in rows], source, asked, "here")
    assert (row.parsed, row.unread, row.label) == (["effusion"], ["mass"], ["effusion"])
    assert row.text is not None
    found = values([row])
    assert (found["", "parse_rate"], found["", "hamming_loss"], found["", "subset_accuracy"]) == (0.75, 0.25, 0)


def test_which_image_a_question_is_about_stands_in_the_dataset_alone() -> None:
    asked = small_card(verdicts={"present": "yes", "absent": "no"})
    with pytest.raises(VitalFactoryError, match="here: a row is about one finding of an image"):
        gather(predict("test", True), None, asked, "here")


def test_probabilities_of_other_labels_are_an_error() -> None:
    rows = [image("a", ["mass"], [], {"mass": 0.5})]
    with pytest.raises(
        VitalFactoryError, match="here: row 'a': probabilities are of mass; expected effusion, mass, no f"
    ):
        gather(rows, None, CARD, "here")
    asked = small_card(verdicts={"present": "yes", "absent": "no"})
    source = {row["id"]: row for row in make_rows("test", True)}
    name = next(iter(source))
    with pytest.raises(VitalFactoryError, match=f"row '{name}': probabilities are of mass; expected effusion"):
        gather([image(name, [], [], {"mass": 0.5})], source, asked, "here")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (image("a", ["gout"], []), "label 'gout' is not one of the 4 names of the card"),
        (image("a", ["mass"], ["gout"]), "parsed 'gout' is not one"),
        (image("a", ["mass"], [], {"gout": 0.5}), "probabilities 'gout' is not one"),
        (image("a", ["mass"], [], {"mass": 1.5}), "probabilities 1.5 are not between 0 and 1"),
        (image("a", ["mass"], [], {"mass": math.nan}), "not between 0 and 1"),
        (image("a", ["mass"], label="mass"), "label 'mass' is no list of names"),
        (image("a", ["mass"], parsed="mass"), "parsed 'mass' is no list of names"),
    ],
)
def test_rows_that_cannot_be_judged_are_an_error(row: Prediction, message: str) -> None:
    with pytest.raises(VitalFactoryError, match=message):
        check([row], CARD, "findings.jsonl", "multilabel")


def test_parts_are_those_images_alone() -> None:
    rows, _, _ = gather(predict("test", False), None, CARD, "here")
    about = {row["id"]: row for row in make_rows("test", False)}
    metrics, decided = measure(rows, None, CARD, about)
    parts = metrics["parts"]
    assert list(parts) == ["view", "sex", "age"]
    assert list(parts["age"]) == [band for band in AGES if band in parts["age"]], "bands stand in their order"
    assert sum(part["rows"] for part in parts["age"].values()) == len(rows)
    own = [row for row in decided if about[row.id]["view"] == "AP"]
    assert parts["view"]["AP"]["rows"] == len(own)
    assert parts["view"]["AP"]["figures"]["auroc"]["value"] == pytest.approx(values(own)["", "auroc"])
    assert measure(rows, None, CARD, {})[0]["parts"] == {}


def test_the_constant_answer_stands_beside() -> None:
    rows, _, _ = gather(predict("test", False), None, CARD, "here")
    usual = constant(rows, CARD)
    assert usual is not None
    figures = {name: figure["value"] for name, figure in usual["figures"].items()}
    normal = sum(row.label == [NORMAL] for row in rows)
    assert usual["label"] == NORMAL
    assert (figures["auroc"], figures["micro_f1_findings"], figures["macro_f1_findings"]) == (0.5, 0, 0)
    assert figures["subset_accuracy"] == normal / len(rows)
    names = sum(len(row.label or ()) for row in rows)
    assert figures["micro_f1"] == pytest.approx(2 * normal / (names + len(rows)))
    prevalence = np.mean(
        [sum(label in (row.label or ()) for row in rows) / len(rows) for label in FEW if label != NORMAL]
    )
    assert figures["auprc"] == pytest.approx(prevalence)
    other = constant(rows, small_card(normal=None))
    assert other is None, "the card counts no training rows"


def test_intervals_are_over_patients_and_nothing_is_nan() -> None:
    rows, _, _ = gather(predict("test", False), None, CARD, "here")
    alone = [row.model_copy(update={"group": row.id}) for row in rows]
    together, apart = (measure(images, rows, CARD, {})[0] for images in (rows, alone))
    assert (together["groups"], apart["groups"]) == (len(rows) // 2, len(rows))
    for name in ("auroc", "micro_f1"):
        assert together["figures"][name]["value"] == apart["figures"][name]["value"]
        assert together["figures"][name] != apart["figures"][name]
    assert set(together["figures"]) == set(FIGURES)
    assert "NaN" not in json.dumps(together, allow_nan=False)


def test_deciding_moves_with_the_thresholds() -> None:
    row = image("a", ["mass"], [], dict(zip(FEW, (0.1, 0.5, 0.6, 0.9), strict=True)))
    assert decide([row], dict.fromkeys(FEW, 0.55))[0].parsed == [NORMAL, "nodule"]
    assert decide([row], {**dict.fromkeys(FEW, 0.55), "mass": 0.5})[0].parsed == ["mass", NORMAL, "nodule"]


def test_a_bootstrap_of_fifteen_labels_is_quick() -> None:
    """A thousand resamples of 2,000 images: some seconds at most."""
    import time

    card, rng = findings_card(), np.random.default_rng(1)
    names = [label for label in card.labels if label != NORMAL]
    rows = [
        image(
            str(place),
            [names[place % 14]] if place % 3 else [NORMAL],
            [],
            dict(zip(card.labels, rng.random(15).tolist(), strict=True)),
            group=str(place // 4),
        )
        for place in range(2000)
    ]
    start = time.process_time()
    metrics, _ = measure(rows, None, card, {})
    assert time.process_time() - start < 10
    assert metrics["figures"]["auroc"]["low"] < 0.5 < metrics["figures"]["auroc"]["high"]
