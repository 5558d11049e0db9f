"""Figures of answers that are one label each (kind ``classify``), with 95 % intervals over groups.

An unparsed answer is a wrong answer, so it leaves no denominator:

- accuracy, recall, sensitivity, specificity and balanced accuracy divide by all gold rows; an unparsed
  answer is a miss there, for the positive label as for the others.
- F1 (of a label, macro, micro) counts it as a false negative of its gold label.
- Cohen's kappa and MCC see it as a column of its own, "unparsed", that agrees with no gold label.
- Precision, PPV and NPV are about the rows that were called so; an unparsed answer calls nothing and is in
  none of them, which is why the parse rate stands beside every figure.
- AUROC, AUPRC, Brier score and calibration error are about probabilities, which every row has or none. (The
  calibration error of a resample is biased upwards, and so is its interval.)

With probabilities and a positive label, a row is called positive where that label's probability reaches a
threshold: the one with the highest F1 on the validation rows, or 0.5 where there are none. Test rows never
choose it. A figure that is undefined (no such rows, one class only) is None, and null in JSON.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.card import Card, Kind
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import lock, write_text
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.intervals import (
    LEVEL,
    RESAMPLES,
    SEED,
    Figure,
    Floats,
    Ranking,
    Statistics,
    bin_of,
    bootstrap,
    calibration_error,
    ratio,
)

FIGURES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "f1": "F1",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "mean_f1_scored": "Mean F1 of the scored labels",
    "micro_f1": "Micro F1",
    "kappa": "Cohen's kappa",
    "mcc": "MCC",
    "brier": "Brier score",
    "ece": "Calibration error",
    "f1_at_half": "F1 at 0.5",
    "sensitivity_at_half": "Sensitivity at 0.5",
    "specificity_at_half": "Specificity at 0.5",
    "accuracy_at_half": "Accuracy at 0.5",
    "parse_rate": "Parse rate",
}
"""Every figure's name in metrics.json, and in tables for people."""

F1_OF = "f1:"
"""Before a label: the figure's name for the F1 of that label."""

BINS = 15
UNPARSED = "unparsed"
AT_HALF = ("f1", "sensitivity", "specificity", "accuracy")
SUM_TOLERANCE = 1e-3

FROM_VAL = "val"
FROM_HALF = "none: 0.5"
FROM_MOST_PROBABLE = "none: most probable label"
FROM_TEXT = "none: free text"

Ints = NDArray[np.int64]
Key = tuple[str, str]
"""A label, or '' for a figure of all, and the figure's name."""


def title_of(name: str, scored: Sequence[str] | None) -> str:
    """Name a figure for people, with the labels that it is about.

    Parameters
    ----------
    name : str
        A name of ``FIGURES``, or ``f1:`` and a label.
    scored : sequence of str or None
        The card's scored labels.
    """
    if name.startswith(F1_OF):
        return f"F1 of {name.removeprefix(F1_OF)}"
    if name == "mean_f1_scored" and scored:
        return f"Mean F1 of {', '.join(scored)}"
    return FIGURES[name]


def main_f1(card: Card) -> str:
    """Name the F1 that a task is judged by: the mean of its scored labels, the positive label's, or the macro F1."""
    if card.scored:
        return "mean_f1_scored"
    return "f1" if card.positive else "macro_f1"


def key_of(name: str) -> Key:
    """Find a figure among those of :func:`figures_of`: ``f1:N`` is that of a label."""
    return (name.removeprefix(F1_OF), "f1") if name.startswith(F1_OF) else ("", name)


def figure_in(measured: Mapping[str, Any], name: str) -> Figure | None:
    """Find a figure in what :func:`measure` or :func:`majority` gave; None where it is not there."""
    label, figure = key_of(name)
    figures = measured.get("per_class", {}).get(label, {}) if label else measured["figures"]
    found: Figure | None = figures.get(figure)
    return found


def check(rows: Sequence[Prediction], card: Card, where: str, kind: Kind = "classify") -> None:
    """Check that predictions can be judged against a card.

    Parameters
    ----------
    rows : sequence of Prediction
    card : Card
    where : str
        Named in errors.
    kind : {'classify', 'multilabel', 'diagnosis', 'qa'}
        The kind of answers that is expected.

    Raises
    ------
    VitalFactoryError
        The card is of another kind; there are no rows; a gold or parsed label is not the card's;
        probabilities are missing in some rows, not one for each label, not between 0 and 1, or do not add up
        to 1. Of diagnoses, the gold names are no list or not the card's; what is said may be any name. Of findings,
        names are no lists or not the card's. Of questions, the reference answer is no text.
    """
    if card.kind != kind:
        raise VitalFactoryError(f"{where}: its answers are of the kind {card.kind!r}; expected {kind!r}")
    if not rows:
        raise VitalFactoryError(f"{where}: holds no rows; run eval/score.py or eval/generate.py first")
    scored = sum(row.probabilities is not None for row in rows)
    if 0 < scored < len(rows):
        raise VitalFactoryError(
            f"{where}: {len(rows) - scored} of {len(rows)} rows have no probabilities; score all or none"
        )
    for row in rows:
        if fault := _FAULTS.get(kind, _fault_of_names)(row, card.labels):
            raise VitalFactoryError(f"{where}: row {row.id!r}: {fault}")


def _fault(row: Prediction, labels: Sequence[str]) -> str | None:
    if row.label not in labels:
        return f"label {row.label!r} is not one of {', '.join(labels)}"
    if row.parsed is not None and row.parsed not in labels:
        return f"parsed {row.parsed!r} is not one of {', '.join(labels)}"
    if row.probabilities is None:
        return None
    if set(row.probabilities) != set(labels):
        return f"probabilities are of {', '.join(row.probabilities)}; expected {', '.join(labels)}"
    values = row.probabilities.values()
    if not all(0 <= value <= 1 for value in values) or not math.isclose(sum(values), 1, abs_tol=SUM_TOLERANCE):
        return f"probabilities {', '.join(map(str, values))} are not between 0 and 1 with a sum of 1"
    return None


def _fault_of_names(row: Prediction, labels: Sequence[str]) -> str | None:
    if not isinstance(row.label, list) or not row.label:
        return f"label {row.label!r} is no list of names"
    if unknown := set(row.label) - set(labels):
        return f"label {min(unknown)!r} is not one of the {len(labels)} names of the card"
    return f"parsed {row.parsed!r} is no list of names" if isinstance(row.parsed, str) else None


def _fault_of_findings(row: Prediction, labels: Sequence[str]) -> str | None:
    for name, value in (("label", row.label), ("parsed", row.parsed), ("probabilities", row.probabilities)):
        if value is None and name != "label":
            continue
        if isinstance(value, str | None):
            return f"{name} {value!r} is no list of names"
        if unknown := set(value) - set(labels):
            return f"{name} {min(unknown)!r} is not one of the {len(labels)} names of the card"
    values = (row.probabilities or {}).values()
    if not all(0 <= value <= 1 for value in values):
        return f"probabilities {', '.join(map(str, values))} are not between 0 and 1"
    return None


def _fault_of_question(row: Prediction, _: Sequence[str]) -> str | None:
    return None if isinstance(row.label, str) else f"label {row.label!r} is no reference answer"


_FAULTS: Mapping[Kind, Callable[[Prediction, Sequence[str]], str | None]] = {
    "classify": _fault,
    "multilabel": _fault_of_findings,
    "qa": _fault_of_question,
}
"""Kind to what is wrong with a row, where that is not about lists of names."""


def probabilities_of(rows: Sequence[Prediction], labels: Sequence[str]) -> Floats | None:
    """Lay probabilities out, shape (rows, labels); None where rows have none."""
    table = [[row.probabilities[label] for label in labels] for row in rows if row.probabilities is not None]
    return np.asarray(table, dtype=np.float64) if table else None


def best_threshold(val: Sequence[Prediction], positive: str) -> float | None:
    """Choose the threshold that gives the positive label its highest F1.

    Parameters
    ----------
    val : sequence of Prediction
        Validation rows with probabilities.
    positive : str

    Returns
    -------
    float or None
        A probability that occurs among the rows, the highest of equally good ones; None where no row is
        positive.
    """
    scores = np.asarray([row.probabilities[positive] for row in val if row.probabilities is not None])
    gold = np.asarray([row.label == positive for row in val if row.probabilities is not None], dtype=np.bool_)
    return best_f1(scores, gold)


def best_f1(scores: Floats, gold: NDArray[np.bool_]) -> float | None:
    """Choose the threshold with the highest F1.

    Parameters
    ----------
    scores : array of float, shape (rows,)
    gold : array of bool, shape (rows,)

    Returns
    -------
    float or None
        A score that occurs, the highest of equally good ones; None where no row is positive.
    """
    if not gold.any():
        return None
    ranking = Ranking(scores, gold)
    positives, negatives = ranking.counts(np.ones((1, len(scores))))
    found = positives[0].cumsum()
    f1 = 2 * found / (gold.sum() + found + negatives[0].cumsum())
    return float(ranking.distinct[f1.argmax()])


def choose_threshold(
    test: Sequence[Prediction], val: Sequence[Prediction] | None, card: Card
) -> tuple[float | None, str]:
    """Say how probabilities become decisions.

    Parameters
    ----------
    test : sequence of Prediction
        Looked at only for whether there are probabilities.
    val : sequence of Prediction or None
    card : Card

    Returns
    -------
    threshold : float or None
        None takes the most probable label, or the parsed one where there are no probabilities.
    threshold_from : str
        ``val``, or ``none:`` and what is done instead.
    """
    if test[0].probabilities is None:
        return None, FROM_TEXT
    threshold = best_threshold(val, card.positive) if val and card.positive else None
    if threshold is not None:
        return threshold, FROM_VAL
    return (0.5, FROM_HALF) if card.positive and len(card.labels) == 2 else (None, FROM_MOST_PROBABLE)


def decide(rows: Sequence[Prediction], card: Card, threshold: float | None) -> list[str | None]:
    """Make the hard decision of each row.

    Parameters
    ----------
    rows : sequence of Prediction
    card : Card
    threshold : float or None
        See :func:`choose_threshold`.

    Returns
    -------
    list of str or None
        A label, or None for an unparsed answer.
    """
    return [_decide(row, card, threshold) for row in rows]


def _decide(row: Prediction, card: Card, threshold: float | None) -> str | None:
    probabilities = row.probabilities
    if probabilities is None:
        return row.parsed if isinstance(row.parsed, str) else None
    if threshold is None or card.positive is None:
        return max(card.labels, key=lambda label: probabilities[label])
    if probabilities[card.positive] >= threshold:
        return card.positive
    others = [label for label in card.labels if label != card.positive]
    return max(others, key=lambda label: probabilities[label])


def figures_of(rows: Sequence[Prediction], card: Card, threshold: float | None) -> Statistics[Key]:
    """Make the function that computes every figure from weights of the rows.

    Parameters
    ----------
    rows : sequence of Prediction
    card : Card
    threshold : float or None

    Returns
    -------
    callable
        Takes weights of shape (resamples, rows); returns arrays of shape (resamples,) by label and name,
        for :func:`vitalfactory.scoring.intervals.bootstrap`.
    """
    gold = np.asarray([card.labels.index(str(row.label)) for row in rows])
    decided = _numbered(decide(rows, card, threshold), card.labels)
    probabilities = probabilities_of(rows, card.labels)
    halved = None
    if probabilities is not None and card.positive and len(card.labels) == 2:
        halved = _numbered(decide(rows, card, 0.5), card.labels)
    ranked = None if probabilities is None else _Probabilities(probabilities, gold, card)

    def statistics(weights: Floats) -> dict[Key, Floats]:
        figures = _of_decisions(_confusion(weights, gold, decided, len(card.labels)), card)
        if halved is not None:
            at_half = _of_decisions(_confusion(weights, gold, halved, len(card.labels)), card)
            figures |= {("", f"{name}_at_half"): at_half["", name] for name in AT_HALF}
        return figures if ranked is None else figures | ranked.figures(weights)

    return statistics


def _numbered(decisions: Sequence[str | None], labels: Sequence[str]) -> Ints:
    """Turn labels into their places on the card; one more is unparsed."""
    return np.asarray([len(labels) if label is None else labels.index(label) for label in decisions])


def _confusion(weights: Floats, gold: Ints, decided: Ints, labels: int) -> Floats:
    """Count pairs of gold label and decision, shape (resamples, labels, labels + 1)."""
    cells = np.eye(labels * (labels + 1))[gold * (labels + 1) + decided]
    counts: Floats = (weights @ cells).reshape(-1, labels, labels + 1)
    return counts


def _of_decisions(counts: Floats, card: Card) -> dict[Key, Floats]:
    total, gold, called = counts.sum(axis=(1, 2)), counts.sum(axis=2), counts[:, :, :-1].sum(axis=1)
    hits = np.diagonal(counts, axis1=1, axis2=2)
    recall, precision, f1 = ratio(hits, gold), ratio(hits, called), ratio(2 * hits, gold + called)
    right = hits.sum(axis=1)
    chance = (gold * called).sum(axis=1)
    unparsed = counts[:, :, -1].sum(axis=1)
    spread = (total**2 - (gold**2).sum(axis=1)) * (total**2 - (called**2).sum(axis=1) - unparsed**2)
    figures = {
        "accuracy": ratio(right, total),
        "balanced_accuracy": mean_of_defined(recall),
        "macro_f1": mean_of_defined(f1),
        "micro_f1": ratio(2 * right, total + called.sum(axis=1)),
        "kappa": ratio(total * right - chance, total**2 - chance),
        "mcc": ratio(total * right - chance, np.sqrt(spread)),
        "parse_rate": ratio(total - unparsed, total),
    }
    named: dict[Key, Floats] = {("", name): values for name, values in figures.items()}
    for place, label in enumerate(card.labels):
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            named[label, name] = values[:, place]
    if card.scored:
        scored = [card.labels.index(label) for label in card.scored]
        named["", "mean_f1_scored"] = mean_of_defined(f1[:, scored])
    return named | _of_positive(counts, named, card)


def _of_positive(counts: Floats, named: Mapping[Key, Floats], card: Card) -> dict[Key, Floats]:
    if card.positive is None:
        return {}
    others = [place for place, label in enumerate(card.labels) if label != card.positive]
    negatives = counts[:, others].sum(axis=(1, 2))
    cleared = counts[:, others][:, :, others].sum(axis=(1, 2))
    return {
        ("", "f1"): named[card.positive, "f1"],
        ("", "sensitivity"): named[card.positive, "recall"],
        ("", "specificity"): ratio(cleared, negatives),
        ("", "ppv"): named[card.positive, "precision"],
        ("", "npv"): ratio(cleared, counts[:, :, others].sum(axis=(1, 2))),
    }


def mean_of_defined(values: Floats) -> Floats:
    """Average over labels, those without rows left out."""
    defined = np.isfinite(values)
    return ratio(np.where(defined, values, 0).sum(axis=1), defined.sum(axis=1).astype(np.float64))


class _Probabilities:
    """Figures of probabilities: the positive label's of two labels, else the average of one against the rest."""

    def __init__(self, probabilities: Floats, gold: Ints, card: Card) -> None:
        if card.positive and len(card.labels) == 2:
            place = card.labels.index(card.positive)
            true = gold == place
            self.rankings = [Ranking(probabilities[:, place], true)]
            self.said, self.true = probabilities[:, place], true.astype(np.float64)
            self.squared = (self.said - self.true) ** 2
        else:
            self.rankings = [Ranking(column, gold == place) for place, column in enumerate(probabilities.T)]
            self.said = probabilities.max(axis=1)
            self.true = (probabilities.argmax(axis=1) == gold).astype(np.float64)
            self.squared = ((probabilities - np.eye(len(card.labels))[gold]) ** 2).sum(axis=1)

    def figures(self, weights: Floats) -> dict[Key, Floats]:
        return {
            ("", "auroc"): np.mean([ranking.auroc(weights) for ranking in self.rankings], axis=0),
            ("", "auprc"): np.mean([ranking.average_precision(weights) for ranking in self.rankings], axis=0),
            ("", "brier"): ratio(weights @ self.squared, weights.sum(axis=1)),
            ("", "ece"): calibration_error(weights, self.said, self.true, BINS),
        }


def reliability(rows: Sequence[Prediction], card: Card) -> list[dict[str, float]]:
    """Compare what was said with what came true, bin by bin.

    Parameters
    ----------
    rows : sequence of Prediction
        With probabilities.
    card : Card

    Returns
    -------
    list of dict
        See :func:`binned`; of the positive label where two labels have one, else of the most probable label.
    """
    probabilities = probabilities_of(rows, card.labels)
    if probabilities is None:
        return []
    gold = np.asarray([card.labels.index(str(row.label)) for row in rows])
    both = _Probabilities(probabilities, gold, card)
    return binned(both.said, both.true)


def binned(said: Floats, true: Floats) -> list[dict[str, float]]:
    """Compare probabilities with what came true, in equal-width bins.

    Parameters
    ----------
    said, true : array of float, shape (rows,)

    Returns
    -------
    list of dict
        ``bin``, ``rows``, ``said`` (mean probability) and ``true`` (share) of each bin that holds rows.
    """
    places = bin_of(said, BINS)
    return [
        {
            "bin": int(place),
            "rows": int((places == place).sum()),
            "said": float(said[places == place].mean()),
            "true": float(true[places == place].mean()),
        }
        for place in np.unique(places)
    ]


def measure(test: Sequence[Prediction], val: Sequence[Prediction] | None, card: Card) -> dict[str, Any]:
    """Compute every figure of a run.

    Parameters
    ----------
    test : sequence of Prediction
        The rows to judge, checked by :func:`check`.
    val : sequence of Prediction or None
        The rows that the threshold is chosen on.
    card : Card

    Returns
    -------
    dict
        ``rows``, ``groups``, ``labels``, ``positive``, ``scored``, ``threshold``, ``threshold_from``, ``figures`` (each
        name of ``FIGURES`` but the parse rate), ``per_class``, ``confusion``, ``parse_rate``, ``intervals``.
        It holds no NaN.
    """
    threshold, threshold_from = choose_threshold(test, val, card)
    groups = [row.group for row in test]
    figures = bootstrap(figures_of(test, card, threshold), groups)
    undefined = Figure(value=None, low=None, high=None)
    counts = _confusion(
        np.ones((1, len(test))),
        _numbered([str(row.label) for row in test], card.labels),
        _numbered(decide(test, card, threshold), card.labels),
        len(card.labels),
    )[0].astype(int)
    return {
        "rows": len(test),
        "groups": len(set(groups)),
        "labels": card.labels,
        "positive": card.positive,
        "scored": card.scored,
        "threshold": threshold,
        "threshold_from": threshold_from,
        "figures": {name: figures.get(("", name), undefined) for name in FIGURES if name != "parse_rate"},
        "per_class": {
            label: {name: figures[label, name] for name in ("precision", "recall", "f1")} | {"support": int(row.sum())}
            for label, row in zip(card.labels, counts, strict=True)
        },
        "confusion": {"gold": card.labels, "answered": [*card.labels, UNPARSED], "counts": counts.tolist()},
        "parse_rate": figures["", "parse_rate"],
        "intervals": {"level": LEVEL / 100, "resamples": RESAMPLES, "seed": SEED, "over": "groups"},
    }


def majority(test: Sequence[Prediction], card: Card) -> dict[str, Any] | None:
    """Judge the answer that always names the most frequent label of the training rows.

    Parameters
    ----------
    test : sequence of Prediction
        The rows that a model is judged on.
    card : Card

    Returns
    -------
    dict or None
        ``label``, ``figures`` and ``per_class``; None where the card counts no training rows.
    """
    counts = card.splits["train"].labels if "train" in card.splits else {}
    if not any(counts.values()):
        return None
    label = max(card.labels, key=lambda name: counts.get(name, 0))
    certain = {name: float(name == label) for name in card.labels}
    rows = [row.model_copy(update={"probabilities": certain, "parsed": label}) for row in test]
    measured = measure(rows, None, card)
    return {"label": label, "figures": measured["figures"], "per_class": measured["per_class"]}


def record(path: Path, row: Mapping[str, Any]) -> None:
    """Put one run's row into a table of runs, in place of its old one.

    Parameters
    ----------
    path : Path
        A CSV file, made when missing. Its columns stay in their order; new ones are added at the end.
    row : mapping
        ``run`` names the run.
    """
    with lock(path.with_name(f".{path.name}.lock")):
        old: list[dict[str, str]] = []
        columns: list[str] = []
        if path.exists():
            with path.open(encoding="utf-8", newline="") as stream:
                reader = csv.DictReader(stream)
                columns, old = list(reader.fieldnames or []), list(reader)
        columns += [name for name in row if name not in columns]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        rows: list[Mapping[str, Any]] = [row if kept.get("run") == row["run"] else kept for kept in old]
        writer.writerows(rows if row in rows else [*rows, row])
        write_text(path, text.getvalue())
