"""Figures equal scikit-learn's; unparsed answers are wrong; thresholds come from val alone."""

import csv
import json
import math
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tests.scoring.conftest import CINC_TERMS, ECG_TERMS, STAGE_TERMS, make_card
from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.predictions import Prediction
from vitalfactory.scoring import metrics
from vitalfactory.scoring.metrics import FIGURES, best_threshold, check, decide, majority, measure, record, reliability

ECG = make_card(ECG_TERMS["en"], "AF")
STAGES = make_card(STAGE_TERMS, None)
CINC = make_card(CINC_TERMS, None, scored=["N", "A", "O"])


def row(
    name: str, label: str, probability: float | None = None, parsed: str | None = None, **changes: Any
) -> Prediction:
    probabilities = None if probability is None else {"AF": probability, "no AF": 1 - probability}
    fields = {"id": name, "group": name, "label": label, "probabilities": probabilities, "text": None, "parsed": parsed}
    return Prediction.model_validate(fields | changes)


def told(labels: str, answers: str) -> list[Prediction]:
    """Make free-text rows: ``A`` is AF, ``n`` is no AF, ``-`` is unparsed."""
    names = {"A": "AF", "n": "no AF", "-": None}
    return [
        row(str(place), str(names[label]), parsed=names[answer])
        for place, (label, answer) in enumerate(zip(labels, answers, strict=True))
    ]


def value(found: dict[str, Any], name: str) -> float | None:
    figure: float | None = found["figures"][name]["value"]
    return figure


def same(mine: float | None, theirs: float) -> bool:
    """A figure is None where scikit-learn gives NaN, or 0 for want of anything to divide by."""
    return math.isnan(theirs) or theirs == 0 if mine is None else mine == pytest.approx(theirs, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=40))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_decisions_equal_sklearn_with_unparsed_as_one_more_answer(pairs: list[tuple[int, int]]) -> None:
    names = [*STAGES.labels, None]
    rows = [row(str(place), STAGES.labels[gold], parsed=names[said]) for place, (gold, said) in enumerate(pairs)]
    found = measure(rows, None, STAGES)
    gold = [str(one.label) for one in rows]
    said = [one.parsed or "unparsed" for one in rows]
    parsed_or_gold = sorted(set(gold) | set(said) - {"unparsed"})
    assert same(value(found, "accuracy"), sk.accuracy_score(gold, said))
    assert same(
        value(found, "balanced_accuracy"), sk.recall_score(gold, said, labels=sorted(set(gold)), average="macro")
    )
    assert same(value(found, "macro_f1"), sk.f1_score(gold, said, labels=parsed_or_gold, average="macro"))
    assert same(value(found, "micro_f1"), sk.f1_score(gold, said, labels=STAGES.labels, average="micro"))
    assert same(value(found, "kappa"), sk.cohen_kappa_score(gold, said))
    assert same(value(found, "mcc"), sk.matthews_corrcoef(gold, said))
    wanted = sk.precision_recall_fscore_support(gold, said, labels=STAGES.labels, zero_division=0)
    for place, label in enumerate(STAGES.labels):
        for name, theirs in zip(("precision", "recall", "f1"), wanted, strict=False):
            assert same(found["per_class"][label][name]["value"], theirs[place])
        assert found["per_class"][label]["support"] == wanted[3][place]


def test_binary_figures_equal_sklearn() -> None:
    chance = random.Random(3)
    gold = [chance.random() < 0.3 for _ in range(200)]
    scores = [round(min(max(chance.gauss(0.3 + 0.3 * one, 0.2), 0), 1), 2) for one in gold]
    rows = [row(str(n), "AF" if one else "no AF", p) for n, (one, p) in enumerate(zip(gold, scores, strict=True))]
    found = measure(rows, None, ECG)
    said = [score >= 0.5 for score in scores]
    wanted = {
        "auroc": sk.roc_auc_score(gold, scores),
        "auprc": sk.average_precision_score(gold, scores),
        "brier": sk.brier_score_loss(gold, scores),
        "f1": sk.f1_score(gold, said),
        "sensitivity": sk.recall_score(gold, said),
        "specificity": sk.recall_score(gold, said, pos_label=False),
        "ppv": sk.precision_score(gold, said),
        "npv": sk.precision_score(gold, said, pos_label=False),
        "accuracy": sk.accuracy_score(gold, said),
        "balanced_accuracy": sk.balanced_accuracy_score(gold, said),
        "mcc": sk.matthews_corrcoef(gold, said),
        "kappa": sk.cohen_kappa_score(gold, said),
    }
    for name, theirs in wanted.items():
        assert value(found, name) == pytest.approx(theirs, abs=1e-12), name
        figure = found["figures"][name]
        assert figure["low"] < figure["value"] < figure["high"]
    assert found["threshold"] == 0.5
    assert found["threshold_from"] == "none: 0.5"
    assert value(found, "f1_at_half") == value(found, "f1")
    assert set(found["figures"]) == set(FIGURES) - {"parse_rate"}


def test_five_stage_probabilities_equal_sklearn() -> None:
    chance = random.Random(4)
    rows, table, gold = [], [], []
    for place in range(100):
        label = STAGES.labels[place % 5]
        scores = [chance.random() + (name == label) for name in STAGES.labels]
        table.append([score / sum(scores) for score in scores])
        gold.append(label)
        rows.append(row(str(place), label, probabilities=dict(zip(STAGES.labels, table[-1], strict=True))))
    found = measure(rows, rows, STAGES)
    columns = sorted(range(5), key=lambda place: STAGES.labels[place])
    ordered = [[line[place] for place in columns] for line in table]
    flags = {label: [one == label for one in gold] for label in STAGES.labels}
    wanted = sk.roc_auc_score(gold, ordered, multi_class="ovr", average="macro")
    assert value(found, "auroc") == pytest.approx(wanted, abs=1e-12)
    precision = [
        sk.average_precision_score(flags[label], [line[n] for line in table]) for n, label in enumerate(STAGES.labels)
    ]
    assert value(found, "auprc") == pytest.approx(sum(precision) / 5, abs=1e-12)
    assert value(found, "brier") == pytest.approx(sk.brier_score_loss(gold, ordered, labels=sorted(STAGES.labels)))
    assert (found["threshold"], found["threshold_from"]) == (None, "none: most probable label")
    assert value(found, "sensitivity") is None
    assert value(found, "f1_at_half") is None
    assert sum(line["rows"] for line in reliability(rows, STAGES)) == 100


def test_unparsed_answers_are_wrong_and_stay_in_every_denominator() -> None:
    found = measure(told("AAAAnnnn", "AA--nn--"), None, ECG)
    assert value(found, "accuracy") == 0.5
    assert value(found, "sensitivity") == 0.5
    assert value(found, "specificity") == 0.5
    assert value(found, "f1") == pytest.approx(2 * 2 / (2 * 2 + 2))
    assert value(found, "ppv") == 1
    assert found["per_class"]["no AF"]["recall"]["value"] == 0.5
    assert found["parse_rate"]["value"] == 0.5
    assert found["confusion"]["answered"] == ["AF", "no AF", "unparsed"]
    assert found["confusion"]["counts"] == [[2, 0, 2], [0, 2, 2]]
    assert (found["threshold"], found["threshold_from"]) == (None, "none: free text")
    assert value(found, "auroc") is None


def test_an_unparsed_answer_is_never_better_than_a_wrong_one() -> None:
    unparsed, wrong = measure(told("AAnn", "A-n-"), None, ECG), measure(told("AAnn", "AnnA"), None, ECG)
    for name in ("accuracy", "sensitivity", "specificity", "balanced_accuracy"):
        assert value(unparsed, name) == value(wrong, name)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=40))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_the_mean_f1_is_over_the_scored_labels_alone(pairs: list[tuple[int, int]]) -> None:
    names = [*CINC.labels, None]
    rows = [row(str(place), CINC.labels[gold], parsed=names[said]) for place, (gold, said) in enumerate(pairs)]
    found = measure(rows, None, CINC)
    gold, said = [str(one.label) for one in rows], [one.parsed or "unparsed" for one in rows]
    occurring = [label for label in ("N", "A", "O") if label in gold or label in said]
    wanted = sk.f1_score(gold, said, labels=occurring, average="macro") if occurring else math.nan
    assert same(value(found, "mean_f1_scored"), wanted)
    assert found["scored"] == ["N", "A", "O"]


def test_no_mean_f1_where_the_card_scores_no_labels() -> None:
    found = measure(told("AAnn", "AAnA"), None, ECG)
    assert value(found, "mean_f1_scored") is None
    assert found["scored"] is None


def test_figures_are_named_for_people() -> None:
    assert metrics.title_of("mean_f1_scored", CINC.scored) == "Mean F1 of N, A, O"
    assert metrics.title_of("f1:~", None) == "F1 of ~"
    assert metrics.title_of("auroc", None) == "AUROC"
    assert [metrics.main_f1(card) for card in (CINC, ECG, STAGES)] == ["mean_f1_scored", "f1", "macro_f1"]


def test_one_class_alone_leaves_figures_undefined_and_json_without_nan() -> None:
    found = measure([row("a", "no AF", 0.2), row("b", "no AF", 0.4)], None, ECG)
    assert value(found, "auroc") is None
    assert value(found, "sensitivity") is None
    assert value(found, "mcc") is None
    assert value(found, "specificity") == 1
    assert "NaN" not in json.dumps(found, allow_nan=False)


VAL = [
    row("v1", "AF", 0.3),
    row("v2", "AF", 0.35),
    row("v3", "no AF", 0.2),
    row("v4", "no AF", 0.1),
    row("v5", "no AF", 0.32),
]


def test_threshold_has_the_best_f1_on_val() -> None:
    assert best_threshold(VAL, "AF") == 0.3
    candidates = {one.probabilities["AF"] for one in VAL if one.probabilities}
    gold = [one.label == "AF" for one in VAL]
    f1 = {t: sk.f1_score(gold, [one.probabilities["AF"] >= t for one in VAL if one.probabilities]) for t in candidates}
    assert max(f1.values()) == f1[0.3]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["AF", "no AF"]), min_size=5, max_size=5),
    st.lists(st.floats(0, 1), min_size=5, max_size=5),
)
def test_threshold_never_looks_at_test(labels: list[str], scores: list[float]) -> None:
    test = [row(str(n), label, score) for n, (label, score) in enumerate(zip(labels, scores, strict=True))]
    assert metrics.choose_threshold(test, VAL, ECG) == (0.3, "val")
    assert decide(test, ECG, 0.3) == ["AF" if score >= 0.3 else "no AF" for score in scores]


def test_threshold_moves_the_decisions_and_half_stays_beside_it() -> None:
    found = measure([row("a", "AF", 0.4), row("b", "no AF", 0.1), row("c", "AF", 0.9)], VAL, ECG)
    assert value(found, "sensitivity") == 1
    assert value(found, "sensitivity_at_half") == 0.5


def test_val_without_positives_chooses_no_threshold() -> None:
    test = [row("a", "AF", 0.5), row("b", "no AF", 0.1)]
    assert metrics.choose_threshold(test, VAL[2:], ECG) == (0.5, "none: 0.5")
    assert decide(test, ECG, 0.5) == ["AF", "no AF"]


def test_intervals_are_over_groups() -> None:
    rows = [row(str(n), "AF" if n % 4 else "no AF", (n * 7 % 10) / 10) for n in range(80)]
    grouped = [one.model_copy(update={"group": str(n // 20)}) for n, one in enumerate(rows)]
    alone, together = measure(rows, None, ECG), measure(grouped, None, ECG)
    assert (alone["groups"], together["groups"]) == (80, 4)
    assert value(alone, "accuracy") == value(together, "accuracy")
    assert alone["figures"]["accuracy"] != together["figures"]["accuracy"]


def test_majority_of_train_stands_beside(ecg_card: Card) -> None:
    train = ecg_card.splits["train"].model_copy(update={"rows": 10, "labels": {"AF": 3, "no AF": 7}})
    card = ecg_card.model_copy(update={"splits": {"train": train}})
    found = majority([row("a", "AF", 0.9), row("b", "no AF", 0.1), row("c", "no AF", 0.1)], card)
    assert found is not None
    assert found["label"] == "no AF"
    assert value(found, "auroc") == 0.5
    assert value(found, "accuracy") == pytest.approx(2 / 3)
    assert value(found, "balanced_accuracy") == 0.5
    assert value(found, "f1") == 0
    assert majority([row("a", "AF")], ecg_card) is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no rows"),
        ([row("a", "X")], "row 'a': label 'X' is not one of AF, no AF"),
        ([row("a", "AF", parsed="X")], "parsed 'X'"),
        ([row("a", "AF", 0.5), row("b", "AF")], "1 of 2 rows have no probabilities"),
        ([row("a", "AF", probabilities={"AF": 1.0})], "expected AF, no AF"),
        ([row("a", "AF", probabilities={"AF": 0.9, "no AF": 0.9})], "sum of 1"),
        ([row("a", "AF", math.nan)], "between 0 and 1"),
        ([row("a", "AF", 1.5)], "between 0 and 1"),
    ],
)
def test_predictions_that_cannot_be_judged_are_an_error(rows: list[Prediction], message: str) -> None:
    with pytest.raises(VitalFactoryError, match=message):
        check(rows, ECG, "predictions.jsonl")


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_table_of_runs_keeps_its_columns_and_one_line_a_run(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    record(path, {"run": "a", "f1": 1})
    record(path, {"run": "b", "f1": 2})
    record(path, {"run": "a", "f1": 3, "new": "x,y"})
    assert path.read_text(encoding="utf-8").splitlines()[0] == "run,f1,new"
    assert read_csv(path) == [{"run": "a", "f1": "3", "new": "x,y"}, {"run": "b", "f1": "2", "new": ""}]


def test_two_processes_at_once_both_keep_their_lines(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from vitalfactory.scoring.metrics import record\n"
        "for n in range(20): record(Path(sys.argv[1]), {'run': f'{sys.argv[2]}{n}', 'f1': n})"
    )
    path = tmp_path / "metrics.csv"
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda name: run([sys.executable, "-c", code, str(path), name]), "ab"))
    assert all(process.returncode == 0 for process in done)
    assert {line["run"] for line in read_csv(path)} == {f"{name}{n}" for name in "ab" for n in range(20)}
