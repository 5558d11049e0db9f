"""Figures of answers that are sets of findings (kind ``multilabel``), with 95 % intervals over groups.

A row is an image. Its findings come from free text, from the probability of each finding, or from a question about each
finding alone, whose rows are gathered by image. The label of a normal image ("no finding") is a label like the others,
and no finding: means over *findings* leave it out.

With probabilities, a label is said to be there from its own threshold on: the one with the highest F1 of that label on
the validation rows, or 0.5 where no validation row has it. Beside that stand 0.5 for all labels, and the first
project's search: the one threshold among 0.20, 0.25, ... 0.70 with the highest micro F1 on the validation rows. Test
rows choose nothing.

An answer that cannot be read is wrong and leaves no denominator: it says of no label that it is there, so that each of
its gold labels is missed, and is right of no label, so that it counts as wrong for specificity, the same set and the
Hamming loss. (Precision is about what was said, and it says nothing.)

F1 of a label that neither stands in the rows nor is said is undefined, and so is the AUROC of one that all rows or none
have; macro figures and means are over the others. A figure that is undefined is None, and null in JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.card import Card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.predictions import Prediction
from vitalfactory.scoring.intervals import (
    LEVEL,
    RESAMPLES,
    SEED,
    Figure,
    Floats,
    Ranking,
    Statistics,
    bootstrap,
    calibration_gaps,
    ratio,
)
from vitalfactory.scoring.metrics import (
    BINS,
    FROM_HALF,
    FROM_TEXT,
    FROM_VAL,
    best_f1,
    binned,
    mean_of_defined,
    probabilities_of,
)

FIGURES = {
    "auroc": "Mean AUROC of the findings",
    "auprc": "Mean AUPRC of the findings",
    "micro_f1": "Micro F1",
    "macro_f1": "Macro F1",
    "micro_f1_findings": "Micro F1 of the findings",
    "macro_f1_findings": "Macro F1 of the findings",
    "micro_precision": "Micro precision",
    "micro_recall": "Micro recall",
    "subset_accuracy": "Same set of labels",
    "hamming_loss": "Hamming loss",
    "brier": "Brier score of the findings",
    "ece": "Calibration error of the findings",
    "micro_f1_at_half": "Micro F1 at 0.5",
    "macro_f1_at_half": "Macro F1 at 0.5",
    "micro_f1_at_search": "Micro F1 at the searched threshold",
    "macro_f1_at_search": "Macro F1 at the searched threshold",
    "parse_rate": "Parse rate",
}
"""Every figure's name in metrics.json, and in tables for people."""

OF_DECISIONS = (
    "micro_f1",
    "macro_f1",
    "micro_f1_findings",
    "macro_f1_findings",
    "micro_precision",
    "micro_recall",
    "subset_accuracy",
    "hamming_loss",
    "parse_rate",
)
"""Figures of what was said, whatever it was said by."""

ELSEWHERE = ("micro_f1", "macro_f1")
"""Figures that stand beside at other thresholds."""

OF_LABEL = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "f1": "F1",
    "precision": "Precision",
    "recall": "Sensitivity",
    "specificity": "Specificity",
    "brier": "Brier score",
    "ece": "Calibration error",
}
"""The figures of each label."""

OF_PART = ("auroc", "micro_f1", "micro_f1_findings", "macro_f1_findings", "subset_accuracy")
"""What is told of a part of the images."""

AGES = {"under 18": (0, 17), "18 to 39": (18, 39), "40 to 59": (40, 59), "60 to 79": (60, 79), "80 and over": (80, 200)}
"""Bands of years, both ends within."""

HALF = 0.5
SEARCHED = tuple(step / 100 for step in range(20, 71, 5))
"""Thresholds of the first project's search."""

Bools = NDArray[np.bool_]
Key = tuple[str, str]
"""A label, or '' for a figure of all, and the figure's name."""
Rows = Mapping[str, Mapping[str, Any]]


def gather(
    rows: Sequence[Prediction], source: Rows | None, card: Card, where: str
) -> tuple[list[Prediction], dict[str, Mapping[str, Any]], int]:
    """Bring a run's answers to one row an image.

    Parameters
    ----------
    rows : sequence of Prediction
        Checked by :func:`vitalfactory.scoring.metrics.check`.
    source : mapping or None
        The dataset's rows by id.
    card : Card
    where : str
        Named in errors.

    Returns
    -------
    images : list of Prediction
        ``parsed`` is a list of labels; ``unread`` names those that nothing could be read about.
    about : dict of str to mapping
        By the image's id: a row of the dataset; empty where that is not at hand.
    left_out : int
        Images that were not asked about every label.

    Raises
    ------
    VitalFactoryError
        Each row asks about one label, and the dataset, which says of which image, is not at hand.
    """
    if card.verdicts is None:
        _check_scored(rows, dict.fromkeys((row.id for row in rows), card.labels), where)
        images = [_listed(row, card) for row in rows]
        return images, {row.id: source[row.id] for row in rows} if source else {}, 0
    if source is None:
        raise VitalFactoryError(
            f"{where}: a row is about one finding of an image, and which image that is stands in the dataset's rows, "
            "which are not those of the run; bring them back, or make the run again"
        )
    _check_scored(rows, {row.id: [source[row.id]["finding"]] for row in rows}, where)
    asked: dict[str, list[Prediction]] = {}
    about: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        name = PurePosixPath(source[row.id]["images"][0]).stem
        asked.setdefault(name, []).append(row)
        about.setdefault(name, source[row.id])
    whole = {name for name, own in asked.items() if {source[row.id]["finding"] for row in own} == set(card.labels)}
    images = [_gathered(name, own, source, card) for name, own in asked.items() if name in whole]
    return images, {name: row for name, row in about.items() if name in whole}, len(asked) - len(whole)


def _check_scored(rows: Sequence[Prediction], labels: Mapping[str, Sequence[str]], where: str) -> None:
    for row in rows:
        if row.probabilities is not None and set(row.probabilities) != set(labels[row.id]):
            raise VitalFactoryError(
                f"{where}: row {row.id!r}: probabilities are of {', '.join(row.probabilities)}; expected "
                f"{', '.join(labels[row.id])}"
            )


def _listed(row: Prediction, card: Card) -> Prediction:
    """Say of an answer that could not be read that it names nothing, and that no label could be read."""
    return row if row.parsed is not None else row.model_copy(update={"parsed": [], "unread": card.labels})


def _gathered(name: str, rows: Sequence[Prediction], source: Rows, card: Card) -> Prediction:
    """Join the answers to the questions about one image, in the order of the card's labels."""
    by_label = {source[row.id]["finding"]: row for row in rows}
    ordered = [by_label[label] for label in card.labels]
    scored = all(row.probabilities is not None for row in ordered)
    unread = [label for label in card.labels if by_label[label].parsed is None]
    return Prediction(
        id=name,
        group=rows[0].group,
        label=[label for row in ordered for label in _names(row.label)],
        probabilities={label: _own(by_label[label], label) for label in card.labels} if scored else None,
        text=None if scored else "\n".join(f"{label}: {by_label[label].text}" for label in card.labels),
        parsed=[label for row in ordered for label in _names(row.parsed)],
        unread=unread or None,
    )


def _names(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else value or []


def _own(row: Prediction, label: str) -> float:
    assert row.probabilities is not None
    return row.probabilities[label]


def indicators(sets: Sequence[str | list[str] | None], labels: Sequence[str]) -> Bools:
    """Lay sets of labels out, shape (rows, labels)."""
    table = [[label in names for label in labels] for names in map(_names, sets)]
    return np.asarray(table, dtype=np.bool_).reshape(len(sets), len(labels))


def decide(rows: Sequence[Prediction], thresholds: Mapping[str, float]) -> list[Prediction]:
    """Say of each label that it is there where its probability reaches its threshold.

    Parameters
    ----------
    rows : sequence of Prediction
        With probabilities.
    thresholds : mapping of str to float

    Returns
    -------
    list of Prediction
    """
    return [
        row.model_copy(
            update={
                "parsed": [label for label, least in thresholds.items() if (row.probabilities or {})[label] >= least]
            }
        )
        for row in rows
    ]


def choose_thresholds(val: Sequence[Prediction], card: Card) -> dict[str, float]:
    """Choose for each label the threshold with its highest F1.

    Parameters
    ----------
    val : sequence of Prediction
        Validation rows with probabilities.
    card : Card

    Returns
    -------
    dict of str to float
        Probabilities that occur among the rows, the highest of equally good ones; 0.5 for a label that no row has.
    """
    scores, gold = _scores(val, card), indicators([row.label for row in val], card.labels)
    best = (best_f1(scores[:, place], gold[:, place]) for place in range(len(card.labels)))
    return {label: HALF if found is None else found for label, found in zip(card.labels, best, strict=True)}


def search_threshold(val: Sequence[Prediction], card: Card) -> float:
    """Choose the one threshold of :data:`SEARCHED` with the highest micro F1, the lowest of equally good ones."""
    scores, gold = _scores(val, card), indicators([row.label for row in val], card.labels)

    def micro_f1(least: float) -> float:
        said = scores >= least
        return 2 * float((said & gold).sum()) / float(said.sum() + gold.sum())

    return max(SEARCHED, key=micro_f1)


def _scores(rows: Sequence[Prediction], card: Card) -> Floats:
    scores = probabilities_of(rows, card.labels)
    assert scores is not None
    return scores


def figures_of(rows: Sequence[Prediction], card: Card) -> Statistics[Key]:
    """Make the function that computes every figure from weights of the rows.

    Parameters
    ----------
    rows : sequence of Prediction
        Images, whose ``parsed`` is what was decided.
    card : Card

    Returns
    -------
    callable
        For :func:`vitalfactory.scoring.intervals.bootstrap`.
    """
    decisions = _Decisions(rows, card)
    scores = probabilities_of(rows, card.labels)
    ranked = None if scores is None else _Probabilities(scores, decisions.gold, card)

    def statistics(weights: Floats) -> dict[Key, Floats]:
        figures = decisions.figures(weights)
        return figures if ranked is None else figures | ranked.figures(weights)

    return statistics


def findings_of(card: Card) -> list[int]:
    """Return the places of the labels that are findings: all but that of a normal image."""
    return [place for place, label in enumerate(card.labels) if label != card.normal]


class _Decisions:
    """Figures of what was said of each label."""

    def __init__(self, rows: Sequence[Prediction], card: Card) -> None:
        self.card = card
        self.gold = indicators([row.label for row in rows], card.labels)
        self.said = indicators([row.parsed for row in rows], card.labels)
        self.read = ~indicators([row.unread for row in rows], card.labels)
        right = (self.gold == self.said) & self.read
        self._parts = (self.gold & self.said, self.gold, self.said, right & ~self.gold)
        self._stacked = np.concatenate(self._parts, axis=1).astype(np.float64)
        each = (right.all(axis=1), 1 - right.mean(axis=1), self.read.mean(axis=1))
        self._each = np.stack(each, axis=1).astype(np.float64)
        self._by_text = any(row.text is not None for row in rows)

    def figures(self, weights: Floats) -> dict[Key, Floats]:
        hits, gold, said, cleared = np.split(weights @ self._stacked, 4, axis=1)
        total = weights.sum(axis=1)
        f1 = ratio(2 * hits, gold + said)
        findings = findings_of(self.card)
        subset, hamming, read = (ratio(column, total) for column in (weights @ self._each).T)
        of_all = {
            "micro_f1": _micro(hits, gold, said),
            "macro_f1": mean_of_defined(f1),
            "micro_f1_findings": _micro(hits[:, findings], gold[:, findings], said[:, findings]),
            "macro_f1_findings": mean_of_defined(f1[:, findings]),
            "micro_precision": ratio(hits.sum(axis=1), said.sum(axis=1)),
            "micro_recall": ratio(hits.sum(axis=1), gold.sum(axis=1)),
            "subset_accuracy": subset,
            "hamming_loss": hamming,
            **({"parse_rate": read} if self._by_text else {}),
        }
        named: dict[Key, Floats] = {("", name): values for name, values in of_all.items()}
        each = {"f1": f1, "precision": ratio(hits, said), "recall": ratio(hits, gold)}
        each["specificity"] = ratio(cleared, total[:, None] - gold)
        for name, columns in each.items():
            named |= {(label, name): columns[:, place] for place, label in enumerate(self.card.labels)}
        return named

    def counts(self, place: int) -> dict[str, int]:
        """Count how a label was answered; what could not be read stands apart."""
        gold, said, read = self.gold[:, place], self.said[:, place], self.read[:, place]
        cells = {
            "tp": gold & said,
            "fn": gold & ~said & read,
            "fp": ~gold & said,
            "tn": ~gold & ~said & read,
            "unread_present": gold & ~read,
            "unread_absent": ~gold & ~read,
        }
        return {name: int(cell.sum()) for name, cell in cells.items()}


def _micro(hits: Floats, gold: Floats, said: Floats) -> Floats:
    return ratio(2 * hits.sum(axis=1), gold.sum(axis=1) + said.sum(axis=1))


class _Probabilities:
    """Figures of the probability of each label."""

    def __init__(self, scores: Floats, gold: Bools, card: Card) -> None:
        self.labels, self.findings = card.labels, findings_of(card)
        columns = list(zip(scores.T, gold.T, strict=True))
        self._rankings = [Ranking(said, true) for said, true in columns]
        self._squared = (scores - gold) ** 2
        gaps = [calibration_gaps(said, true.astype(np.float64), BINS) for said, true in columns]
        self._gaps = np.concatenate(gaps, axis=1)
        self._pooled = np.sum([gaps[place] for place in self.findings], axis=0)

    def figures(self, weights: Floats) -> dict[Key, Floats]:
        both = [ranking.areas(weights) for ranking in self._rankings]
        auroc, auprc = (np.stack(columns, axis=1) for columns in zip(*both, strict=True))
        brier = ratio(weights @ self._squared, weights.sum(axis=1)[:, None])
        total = weights.sum(axis=1)
        ece = ratio(np.abs(weights @ self._gaps).reshape(-1, len(self.labels), BINS).sum(axis=2), total[:, None])
        pooled = ratio(np.abs(weights @ self._pooled).sum(axis=1), total * len(self.findings))
        named: dict[Key, Floats] = {
            ("", "auroc"): mean_of_defined(auroc[:, self.findings]),
            ("", "auprc"): mean_of_defined(auprc[:, self.findings]),
            ("", "brier"): brier[:, self.findings].mean(axis=1),
            ("", "ece"): pooled,
        }
        for place, label in enumerate(self.labels):
            named |= {(label, "auroc"): auroc[:, place], (label, "auprc"): auprc[:, place]}
            named[label, "brier"] = brier[:, place]
            named[label, "ece"] = ece[:, place]
        return named


def reliability(rows: Sequence[Prediction], card: Card) -> list[dict[str, float]]:
    """Compare the findings' probabilities with what came true, all findings together.

    Returns
    -------
    list of dict
        See :func:`vitalfactory.scoring.metrics.binned`; empty where rows have no probabilities.
    """
    scores = probabilities_of(rows, card.labels)
    if scores is None:
        return []
    gold = indicators([row.label for row in rows], card.labels)
    findings = findings_of(card)
    return binned(scores[:, findings].ravel(), gold[:, findings].astype(np.float64).ravel())


def measure(
    test: Sequence[Prediction], val: Sequence[Prediction] | None, card: Card, about: Rows
) -> tuple[dict[str, Any], list[Prediction]]:
    """Compute every figure of a run.

    Parameters
    ----------
    test : sequence of Prediction
        The images to judge, of :func:`gather`.
    val : sequence of Prediction or None
        The images that thresholds are chosen on.
    card : Card
    about : mapping
        What is known of the images, by id.

    Returns
    -------
    metrics : dict
        ``rows``, ``groups``, ``labels``, ``normal``, ``thresholds`` (of each label; None for free text),
        ``thresholds_from``, ``searched_threshold``, ``figures``, ``per_class`` (with ``support``, ``threshold`` and the
        counts of :data:`OF_LABEL`'s decisions), ``parts`` (by view, sex and age), ``intervals``. It holds no NaN.
    decided : list of Prediction
        The images with what was decided as ``parsed``.
    """
    scored = test[0].probabilities is not None
    thresholds = (choose_thresholds(val, card) if val else dict.fromkeys(card.labels, HALF)) if scored else None
    searched = search_threshold(val, card) if scored and val else None
    decided = list(test) if thresholds is None else decide(test, thresholds)
    groups = [row.group for row in test]
    figures = bootstrap(figures_of(decided, card), groups)
    for suffix, least in (("at_half", HALF if scored else None), ("at_search", searched)):
        if least is not None:
            other = _Decisions(decide(test, dict.fromkeys(card.labels, least)), card)
            found = bootstrap(other.figures, groups)
            figures |= {("", f"{name}_{suffix}"): found["", name] for name in ELSEWHERE}
    return {
        **_shape(decided),
        "labels": card.labels,
        "normal": card.normal,
        "thresholds": thresholds,
        "thresholds_from": (FROM_VAL if val else FROM_HALF) if scored else FROM_TEXT,
        "searched_threshold": searched,
        "figures": _named(figures),
        "per_class": _per_class(decided, figures, card, thresholds),
        "parts": _parts(decided, card, about),
        "intervals": {"level": LEVEL / 100, "resamples": RESAMPLES, "seed": SEED, "over": "groups"},
    }, decided


def _shape(rows: Sequence[Prediction]) -> dict[str, int]:
    return {"rows": len(rows), "groups": len({row.group for row in rows})}


def _named(figures: Mapping[Key, Figure]) -> dict[str, Figure]:
    undefined = Figure(value=None, low=None, high=None)
    return {name: figures.get(("", name), undefined) for name in FIGURES}


def _per_class(
    rows: Sequence[Prediction],
    figures: Mapping[Key, Figure],
    card: Card,
    thresholds: Mapping[str, float] | None,
) -> dict[str, Any]:
    decisions = _Decisions(rows, card)
    undefined = Figure(value=None, low=None, high=None)
    return {
        label: {
            **{name: figures.get((label, name), undefined) for name in OF_LABEL},
            "support": int(decisions.gold[:, place].sum()),
            "threshold": thresholds[label] if thresholds else None,
            "counts": decisions.counts(place),
        }
        for place, label in enumerate(card.labels)
    }


def _parts(rows: Sequence[Prediction], card: Card, about: Rows) -> dict[str, dict[str, Any]]:
    """Judge the images of each view, sex and age, where more than one is known."""
    found: dict[str, dict[str, Any]] = {}
    for name, part_of in (("view", _as_told("view")), ("sex", _as_told("sex")), ("age", _age_band)):
        parts: dict[str, list[Prediction]] = {}
        for row in rows:
            if (part := part_of(about.get(row.id, {}))) is not None:
                parts.setdefault(part, []).append(row)
        if len(parts) > 1:
            found[name] = dict(_judged_parts(parts, card))
    return found


def _judged_parts(parts: Mapping[str, list[Prediction]], card: Card) -> Iterator[tuple[str, dict[str, Any]]]:
    order = list(AGES)
    for name in sorted(parts, key=lambda name: (order.index(name) if name in order else 0, name)):
        own = parts[name]
        figures = bootstrap(figures_of(own, card), [row.group for row in own])
        yield name, {**_shape(own), "figures": {key: _named(figures)[key] for key in OF_PART}}


def _as_told(column: str) -> Any:
    return lambda row: row.get(column)


def _age_band(row: Mapping[str, Any]) -> str | None:
    age = row.get("age")
    return next((band for band, (low, high) in AGES.items() if low <= age <= high), None) if age is not None else None


def constant(test: Sequence[Prediction], card: Card) -> dict[str, Any] | None:
    """Judge the answer that calls every image normal, or names the most frequent label of the training rows.

    Returns
    -------
    dict or None
        ``label``, ``figures`` and ``per_class``; None where the card has no label of a normal image and counts no
        training rows.
    """
    counts = card.splits["train"].labels if "train" in card.splits else {}
    if card.normal is None and not any(counts.values()):
        return None
    label = card.normal or max(card.labels, key=lambda name: counts.get(name, 0))
    certain = {name: float(name == label) for name in card.labels}
    told = {"probabilities": certain, "parsed": [label], "unread": None, "text": None}
    rows = [row.model_copy(update=told) for row in test]
    figures = bootstrap(figures_of(rows, card), [row.group for row in rows])
    return {"label": label, "figures": _named(figures), "per_class": _per_class(rows, figures, card, None)}
