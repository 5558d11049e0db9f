"""Figures of nights: known by hand, equal to scikit-learn's night by night, over subjects, without NaN."""

import json
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tests.scoring.conftest import STAGE_TERMS, make_card
from tests.scoring.nights import LABELS, drawn_night, night_rows, said, scored, sleep_card, stages_of, starts_of
from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.staging import (
    Night,
    is_staging,
    measure_nights,
    nights_of,
    sleep_figures,
    summary,
    titles_of,
    transitions,
)

CARD = sleep_card()
SIX = make_card({"answers": {label: label for label in [*LABELS, "N4"]}, "synonyms": {}}, None, epoch_seconds=30.0)


def measured(nights: list[tuple[str, str, str, str]], card: Card = CARD, step: float = 30.0) -> dict[str, Any]:
    """Judge nights given as subject, night, gold and predicted stages."""
    rows: list[dict[str, Any]] = []
    answers: list[Prediction] = []
    for subject, night, gold, predicted in nights:
        own = night_rows(subject, night, gold, step)
        rows += own
        answers += said(own, predicted)
    return measure_nights(answers, {row["id"]: row for row in rows}, card)


BY_HAND: dict[str, tuple[str, float, dict[str, float | None]]] = {
    "a short night": (
        "WWWW1122332RRW2WW",
        30.0,
        {
            "total_sleep_time": 5.0,
            "sleep_efficiency": 100 * 10 / 17,
            "sleep_latency": 2.0,
            "rem_latency": 3.5,
            "wake_after_sleep_onset": 1.5,
            "awakenings": 2,
            "share_N1": 20.0,
            "share_N2": 40.0,
            "share_N3": 20.0,
            "share_R": 20.0,
        },
    ),
    "asleep at once, to the end": (
        "2222",
        30.0,
        {
            "total_sleep_time": 2.0,
            "sleep_efficiency": 100.0,
            "sleep_latency": 0.0,
            "rem_latency": None,
            "wake_after_sleep_onset": 0.0,
            "awakenings": 0,
            "share_N1": 0.0,
            "share_N2": 100.0,
            "share_N3": 0.0,
            "share_R": 0.0,
        },
    ),
    "never asleep": (
        "WWW",
        30.0,
        {
            "total_sleep_time": 0.0,
            "sleep_efficiency": 0.0,
            "sleep_latency": None,
            "rem_latency": None,
            "wake_after_sleep_onset": None,
            "awakenings": None,
            "share_N1": None,
            "share_N2": None,
            "share_N3": None,
            "share_R": None,
        },
    ),
    "REM first, in steps of 15 s": (
        "WRR1WW1W",
        15.0,
        {
            "total_sleep_time": 1.0,
            "sleep_efficiency": 50.0,
            "sleep_latency": 0.25,
            "rem_latency": 0.0,
            "wake_after_sleep_onset": 0.75,
            "awakenings": 2,
            "share_N1": 50.0,
            "share_R": 50.0,
        },
    ),
    "time in gaps counts for latencies only": (
        "W...1..RW..W2",
        30.0,
        {
            "total_sleep_time": 1.5,
            "sleep_efficiency": 50.0,
            "sleep_latency": 2.0,
            "rem_latency": 1.5,
            "wake_after_sleep_onset": 1.0,
            "awakenings": 1,
        },
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_sleep_figures_by_hand(name: str) -> None:
    text, step, wanted = BY_HAND[name]
    found = sleep_figures(stages_of(text), np.asarray(starts_of(text, step)), step, LABELS)
    assert list(found) == list(titles_of(LABELS))
    assert {figure: found[figure] for figure in wanted} == pytest.approx(wanted)


def test_an_undecided_epoch_is_neither_sleep_nor_wake() -> None:
    stages = [None if letter == "-" else stages_of(letter)[0] for letter in "-W-2-W-W2"]
    found = sleep_figures(stages, np.arange(9) * 30.0, 30.0, LABELS)
    assert found["total_sleep_time"] == 1.0
    assert found["sleep_efficiency"] == pytest.approx(100 * 2 / 9)
    assert found["sleep_latency"] == 1.5
    assert found["wake_after_sleep_onset"] == 1.0
    assert found["awakenings"] == 1
    assert found["share_N2"] == 100


def test_six_classes_keep_stage_4_apart() -> None:
    found = sleep_figures(stages_of("W2344R"), np.arange(6) * 30.0, 30.0, SIX.labels)
    assert (found["share_N3"], found["share_N4"]) == (20, 40)
    assert is_staging(SIX)
    night = measured([("a", "1", "W2344R", "W2334R")], SIX)
    assert np.asarray(night["transitions"]["gold"]).shape == (6, 6)
    assert night["sleep"]["share_N4"]["bias"]["value"] == pytest.approx(-20)


@pytest.mark.parametrize(
    ("card", "wanted"),
    [
        (CARD, True),
        (make_card(STAGE_TERMS, None), False),
        (make_card({"answers": {"apnoea": "yes", "none": "no"}, "synonyms": {}}, None, epoch_seconds=30.0), False),
        (make_card({"answers": {"W": "W", "N2": "N2"}, "synonyms": {}}, None, epoch_seconds=30.0), False),
        (sleep_card(kind="qa"), False),
    ],
)
def test_stages_of_nights_are_known_by_the_card(card: Card, wanted: bool) -> None:
    assert is_staging(card) is wanted


def test_nights_are_put_in_order_and_copies_count_once() -> None:
    rows = [*night_rows("b", "1", "W12"), *night_rows("a", "2", "W.2"), *night_rows("a", "1", "R")]
    copies = [row | {"id": f"{row['id']}+1"} for row in rows[:2]]
    nights = nights_of([*copies, *rows[::-1]])
    assert [(night.subject, night.name) for night in nights] == [("a", "1"), ("a", "2"), ("b", "1")]
    assert nights[1].start.tolist() == [0, 60]
    assert nights[2].start.tolist() == [0, 30, 60]
    assert nights[2].places.tolist() == [0, 1, 5]


def test_gaps_break_a_night_into_chains() -> None:
    night = nights_of(night_rows("a", "1", "W12..3R.W", step=7.5))[0]
    assert night.breaks(7.5).tolist() == [3, 5]
    assert [chain.tolist() for chain in night.chains(7.5)] == [[0, 1, 2], [3, 4], [5]]
    rounded = Night("a", "1", np.arange(3), np.asarray([0, 29.99, 60.0]))
    assert rounded.breaks(30).tolist() == []


def test_an_overlap_is_a_break_too() -> None:
    night = Night("a", "1", np.arange(3), np.asarray([0.0, 30.0, 45.0]))
    assert night.breaks(30).tolist() == [2]


def test_transitions_leave_out_gaps_and_undecided_epochs() -> None:
    stages = ["W", "W", "N1", "N2", None, "N2", "R"]
    counts = transitions(stages, np.asarray([3]), LABELS)
    wanted = np.zeros((5, 5), dtype=int)
    wanted[0, 0] = wanted[0, 1] = wanted[2, 4] = 1
    assert counts.tolist() == wanted.tolist()


def test_transitions_of_nights_are_added_up() -> None:
    found = measured([("a", "1", "WW12", "WW-2"), ("a", "2", "W.12", "WW2")])
    gold, predicted = np.asarray(found["transitions"]["gold"]), np.asarray(found["transitions"]["predicted"])
    assert found["transitions"]["labels"] == LABELS
    assert (gold[0, 0], gold[0, 1], gold[1, 2], gold.sum()) == (1, 1, 2, 4)
    assert (predicted[0, 0], predicted[0, 2], predicted.sum()) == (2 - 1, 1, 2)
    assert (found["gaps"], found["undecided"], found["epochs"]) == (1, 1, 7)


stages_drawn = st.text("W123R", min_size=2, max_size=30)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(stages_drawn, st.randoms(use_true_random=False)), min_size=1, max_size=3))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_each_night_equals_sklearn(drawn: list[tuple[str, Any]]) -> None:
    nights = [
        ("a", str(place), gold, "".join(chance.choice("W123R-" + 4 * letter) for letter in gold))
        for place, (gold, chance) in enumerate(drawn)
    ]
    found = measured(nights)
    json.dumps(found, allow_nan=False)
    for night, (_, name, gold, predicted) in zip(found["nights"], nights, strict=True):
        true, answered = stages_of(gold), [letter if letter == "-" else stages_of(letter)[0] for letter in predicted]
        labels = sorted(set(true) | set(answered) - {"-"})
        assert night["night"] == name
        assert night["accuracy"] == pytest.approx(sk.accuracy_score(true, answered))
        assert night["macro_f1"] == pytest.approx(sk.f1_score(true, answered, labels=labels, average="macro"))
        kappa = sk.cohen_kappa_score(true, answered)
        assert np.isnan(kappa) if night["kappa"] is None else night["kappa"] == pytest.approx(kappa)
        assert night["undecided"] == predicted.count("-")


def test_means_are_over_nights_and_intervals_over_subjects() -> None:
    nights = [("a", "1", "WW", "WW"), ("a", "2", "W2W2", "WWWW"), ("b", "1", "W222", "W222"), ("c", "1", "22", "WW")]
    found = measured(nights)
    accuracy = found["figures"]["accuracy"]
    assert accuracy["value"] == pytest.approx((1 + 0.5 + 1 + 0) / 4)
    # All draws of three subjects: c alone gives the lowest mean, b alone the highest.
    assert (accuracy["low"], accuracy["high"]) == (0, 1)
    assert found["undefined"] == {"accuracy": 0, "kappa": 1, "macro_f1": 0}
    assert found["figures"]["kappa"]["value"] == pytest.approx((0 + 1 + 0) / 3)
    assert (found["subjects"], found["intervals"]["over"]) == (3, "subjects")


def test_agreement_by_hand() -> None:
    nights = [
        ("a", "1", "WW22222222", "W222222222"),  # half a minute more sleep
        ("a", "2", "WW22222222", "WWW2222222"),  # half a minute less
        ("b", "1", "W111111111", "WW11111WWW"),  # two minutes less
        ("c", "1", "WWWWWWWWWW", "WWWWWWWW11"),  # a minute more; no gold latency
        ("d", "1", "W222222222", "WWWWWWWWWW"),  # four and a half less; no predicted latency
    ]
    found = measured(nights)["sleep"]
    time = found["total_sleep_time"]
    differences = [0.5, -0.5, -2.0, 1.0, -4.5]
    bias, spread = statistics.mean(differences), 1.96 * statistics.stdev(differences)
    assert (time["nights"], time["undefined"]) == (5, {"gold": 0, "predicted": 0})
    assert time["gold"]["value"] == pytest.approx((4 + 4 + 4.5 + 0 + 4.5) / 5)
    assert time["predicted"]["value"] == pytest.approx(time["gold"]["value"] + bias)
    assert time["bias"]["value"] == pytest.approx(bias)
    assert time["lower_limit"]["value"] == pytest.approx(bias - spread)
    assert time["upper_limit"]["value"] == pytest.approx(bias + spread)
    assert time["mean_absolute_error"]["value"] == pytest.approx(8.5 / 5)
    assert time["bias"]["low"] < bias < time["bias"]["high"]
    latency = found["sleep_latency"]
    assert (latency["nights"], latency["undefined"]) == (3, {"gold": 1, "predicted": 1})
    assert latency["bias"]["value"] == pytest.approx((-0.5 + 0.5 + 0.5) / 3)
    rem = found["rem_latency"]
    assert (rem["nights"], rem["undefined"]) == (0, {"gold": 5, "predicted": 5})
    assert rem["bias"] == {"value": None, "low": None, "high": None}


def test_a_single_night_has_no_intervals_and_no_limits() -> None:
    found = measured([("a", "1", "WW1122RRW", "WW1222RRR")])
    assert found["figures"]["accuracy"] == {"value": pytest.approx(7 / 9), "low": None, "high": None}
    time = found["sleep"]["total_sleep_time"]
    assert time["bias"] == {"value": 0.5, "low": None, "high": None}
    assert time["lower_limit"]["value"] is None
    json.dumps(found, allow_nan=False)


def test_two_nights_of_one_subject_have_limits_without_intervals() -> None:
    found = measured([("a", "1", "WW22", "W222"), ("a", "2", "WW22", "WW22")])["sleep"]["total_sleep_time"]
    assert found["upper_limit"] == {"value": pytest.approx(0.25 + 1.96 * statistics.stdev([0.5, 0])), **NO_INTERVAL}


NO_INTERVAL = {"low": None, "high": None}


@pytest.mark.parametrize(("gold", "predicted"), [("WWW", "WWW"), ("222", "222"), ("WWW", "---"), ("2", "-")])
def test_nights_of_one_stage(gold: str, predicted: str) -> None:
    found = measured([("a", "1", gold, predicted), ("b", "1", gold, predicted)])
    json.dumps(found, allow_nan=False)
    assert found["nights"][0]["accuracy"] == float(gold == predicted)
    assert found["undefined"]["kappa"] == (2 if gold == predicted else 0)
    if predicted == "-":
        assert found["nights"][0]["predicted"]["total_sleep_time"] == 0


def test_probabilities_are_decided_as_everywhere() -> None:
    rows = night_rows("a", "1", drawn_night(1, 100))
    answers = scored(rows, LABELS, seed=1, skill=2)
    found = measure_nights(answers, {row["id"]: row for row in rows}, CARD)
    right = sum(row.parsed == row.label for row in answers) / len(answers)
    assert found["nights"][0]["accuracy"] == pytest.approx(right)
    assert (found["undecided"], found["epoch_seconds"]) == (0, 30.0)


def test_the_order_of_rows_changes_nothing() -> None:
    rows = [row for name in "abc" for row in night_rows(name, "1", drawn_night(ord(name), 60))]
    answers, source = scored(rows, LABELS, seed=2, skill=2), {row["id"]: row for row in rows}
    assert measure_nights(answers, source, CARD) == measure_nights(answers[::-1], source, CARD)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"night": 1}, r"row 'a-1-0002': night 1 and start 60.0; expected a text and seconds"),
        ({"start": None}, r"night '1' and start None"),
        ({"start": float("nan")}, r"start nan"),
        ({"start": 30.0}, r"rows 'a-1-0001' and 'a-1-0002' are one epoch of night '1', with the labels 'N1' and 'N2'"),
    ],
)
def test_rows_that_are_no_epochs_are_an_error(changes: dict[str, Any], message: str) -> None:
    rows = night_rows("a", "1", "W12")
    rows[2] |= changes
    with pytest.raises(VitalFactoryError, match=message):
        nights_of(rows)


def test_a_card_without_epochs_is_an_error() -> None:
    with pytest.raises(VitalFactoryError, match="has no epoch_seconds"):
        measured([("a", "1", "W", "W")], make_card(STAGE_TERMS, None))


def test_the_summary_tells_what_there_is() -> None:
    first, *lines = summary(measured([("a", "1", "WW22", "W222"), ("b", "1", "WW22", "WW22")]))
    assert first.startswith("2 nights of 2 subjects, mean of a night: accuracy 0.875 [0.750, 1.000]")
    assert lines[0] == "total sleep time (min): bias +0.2 [+0.0, +0.5], mean absolute error 0.2 [0.0, 0.5], 2 nights"
    awake = summary(measured([("a", "1", "WW", "WW")]))
    assert [line.partition(":")[0] for line in awake[1:]] == ["total sleep time (min)", "sleep efficiency (%)"]
