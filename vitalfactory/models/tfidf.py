"""TF-IDF and one logistic regression a disease: the classical baseline of diagnoses from notes.

It learns from the same training rows as the language model and answers the same validation and test rows, so that
``eval/diagnosis.py`` judges both alike:

    python -m vitalfactory.models.tfidf --dataset clinical --out results/clinical_tfidf

English is told as words and pairs of words, Chinese as characters, pairs and triples of characters. The strength of
the regression and the probability from which a disease is named are those with the highest micro F1 on the
validation rows. At least one disease is always named. It gives no reason, so its answers have no text.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.card import read_card
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import read_jsonl
from vitalfactory.models.baseline import Floats, parse_arguments, write_answers
from vitalfactory.predictions import Prediction

SEED = 2026
WORDS = {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"}
CHARACTERS: dict[str, Any] = {"analyzer": "char", "ngram_range": (1, 3)}
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
"""Inverse regularisation strengths that are tried."""
HALF = 0.5
"""The threshold where no validation rows choose one."""

Rows = Sequence[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Model:
    """What was learned.

    Attributes
    ----------
    vectorizer, classifier : object
        Of scikit-learn.
    names : list of str
        The diseases, in the order of the classifier's columns.
    """

    vectorizer: Any
    classifier: Any
    names: list[str]

    def probabilities(self, rows: Rows) -> Floats:
        """Return the probability of each disease, shape (rows, diseases)."""
        if not rows:
            return np.empty((0, len(self.names)))
        told: Floats = self.classifier.predict_proba(self.vectorizer.transform([row["input"] for row in rows]))
        return told

    def truth(self, rows: Rows) -> NDArray[np.bool_]:
        """Lay the rows' diseases out, shape (rows, diseases); diseases that were not learned are left out."""
        return np.asarray([[name in row["labels"] for name in self.names] for row in rows], dtype=np.bool_)


def fit(rows: Rows, language: str, strength: float) -> Model:
    """Learn from training rows.

    Parameters
    ----------
    rows : sequence of dict
        With ``input`` and ``labels``.
    language : str
        ``zh`` is told as characters.
    strength : float
        The inverse of the regularisation's.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    names = sorted({name for row in rows for name in row["labels"]})
    vectorizer = TfidfVectorizer(**(CHARACTERS if language == "zh" else WORDS), sublinear_tf=True, lowercase=True)
    told = vectorizer.fit_transform([row["input"] for row in rows])
    model = Model(vectorizer, OneVsRestClassifier(LogisticRegression(C=strength, max_iter=1000)), names)
    with warnings.catch_warnings():
        # A disease of every training row is learned as certain, which is all that can be learned of it.
        warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
        model.classifier.fit(told, model.truth(rows).astype(int))
    return model


def best_threshold(probabilities: Floats, truth: NDArray[np.bool_], missed: int) -> tuple[float, float]:
    """Choose the probability from which a disease is named.

    Parameters
    ----------
    probabilities, truth : array, shape (rows, diseases)
    missed : int
        True diseases that no column stands for.

    Returns
    -------
    threshold, f1 : float
        With the highest micro F1, at least one disease being named in each row; the highest of equally good ones.
    """
    total = truth.sum() + missed
    judged = []
    for threshold in np.unique(probabilities.round(3)):
        named = decide(probabilities, threshold)
        judged.append((2 * (named & truth).sum() / (named.sum() + total), float(threshold)))
    f1, threshold = max(judged)
    return threshold, float(f1)


def decide(probabilities: Floats, threshold: float) -> NDArray[np.bool_]:
    """Name the diseases that reach a threshold, or the most probable one, shape (rows, diseases)."""
    named = probabilities >= threshold
    named[np.arange(len(named)), probabilities.argmax(axis=1)] = True
    return named


def choose(train: Rows, val: Rows, language: str) -> tuple[Model, dict[str, Any]]:
    """Learn with each strength and keep the one that is best on validation rows.

    Returns
    -------
    Model
    dict
        ``strength``, ``threshold``, and ``val_micro_f1``, which is None where there are no validation rows.
    """
    if not val:
        return fit(train, language, STRENGTHS[1]), {"strength": STRENGTHS[1], "threshold": HALF, "val_micro_f1": None}
    found = []
    for strength in STRENGTHS:
        model = fit(train, language, strength)
        truth = model.truth(val)
        missed = sum(len(row["labels"]) for row in val) - int(truth.sum())
        threshold, f1 = best_threshold(model.probabilities(val), truth, missed)
        found.append((model, {"strength": strength, "threshold": threshold, "val_micro_f1": round(f1, 6)}))
    return max(found, key=lambda pair: float(pair[1]["val_micro_f1"]))


def train(folder: Path, out: Path) -> None:
    """Learn from a dataset's training rows and answer its validation and test rows.

    Parameters
    ----------
    folder : Path
        The dataset's folder.
    out : Path
        The run's folder.

    Raises
    ------
    VitalFactoryError
        The answers are no diagnoses, the training rows name fewer than two diseases, or the folder holds another run.
    """
    card = read_card(folder)
    if card.kind != "diagnosis":
        raise VitalFactoryError(f"{folder}: its answers are of the kind {card.kind!r}; this baseline needs 'diagnosis'")
    rows = {split: list(read_jsonl(folder / f"{split}.jsonl")) for split in card.splits}
    if len({name for row in rows.get("train", ()) for name in row["labels"]}) < 2:
        raise VitalFactoryError(
            f"{folder}: the rows of train.jsonl name fewer than two diseases; there is nothing to learn"
        )
    model, chosen = choose(rows["train"], rows.get("val", []), card.language)
    settings = {**chosen, "features": len(model.vectorizer.vocabulary_)}

    def answer(todo: Rows) -> Iterator[Prediction]:
        named = decide(model.probabilities(todo), chosen["threshold"]) if todo else ()
        for row, columns in zip(todo, named, strict=True):
            said = [model.names[place] for place in np.flatnonzero(columns)]
            known = {"id": row["id"], "group": row["group"], "label": row["labels"]}
            yield Prediction(**known, probabilities=None, text=None, parsed=said)

    about = {"model": "TF-IDF, LogisticRegression one against the rest", "method": "tfidf"}
    write_answers(out, folder, card, about, settings, lambda split: rows.get(split, []), answer)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    train(*parse_arguments(argv, "vitalfactory.models.tfidf", "TF-IDF and logistic regressions on notes."))


if __name__ == "__main__":
    run(main)
