"""The answer of the nearest training question: the classical baseline of medical questions.

It knows the same training rows as the language model and answers the same validation and test rows, so that
``eval/qa.py`` judges both alike:

    python -m vitalfactory.models.retrieval --dataset medqa --out results/medqa_retrieval

A question is told as its characters, pairs and triples of characters, weighed by TF-IDF, so that Chinese needs no
words; the nearest one has the highest cosine, the first of equally near ones. Nothing is learned, so no validation
rows choose anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vitalfactory.card import read_card
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import read_jsonl
from vitalfactory.models.baseline import parse_arguments, write_answers
from vitalfactory.models.tfidf import CHARACTERS
from vitalfactory.predictions import Prediction, asked_of, gold_of

CHUNK = 256
"""Questions looked up at a time."""

Rows = Sequence[dict[str, Any]]


class Index:
    """Training questions to be looked up.

    Parameters
    ----------
    rows : sequence of dict
        With answers; at least one.
    """

    def __init__(self, rows: Rows) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.answers = [str(gold_of(row, "qa")) for row in rows]
        self._vectorizer = TfidfVectorizer(**CHARACTERS, sublinear_tf=True, lowercase=True)
        self._table = self._vectorizer.fit_transform([asked_of(row) for row in rows]).T.tocsr()

    def nearest(self, rows: Rows) -> Iterator[str]:
        """Yield the answer of the nearest training question to each row."""
        for start in range(0, len(rows), CHUNK):
            told = self._vectorizer.transform([asked_of(row) for row in rows[start : start + CHUNK]])
            for place in (told @ self._table).toarray().argmax(axis=1):
                yield self.answers[place]


def answer(folder: Path, out: Path) -> None:
    """Answer a dataset's validation and test rows from its training rows.

    Parameters
    ----------
    folder : Path
        The dataset's folder.
    out : Path
        The run's folder.

    Raises
    ------
    VitalFactoryError
        The dataset is not one of questions, has no training rows, or the folder holds another run.
    """
    card = read_card(folder)
    if card.kind != "qa":
        raise VitalFactoryError(f"{folder}: its answers are of the kind {card.kind!r}; this baseline needs 'qa'")
    rows = {split: list(read_jsonl(folder / f"{split}.jsonl")) for split in card.splits}
    if not rows.get("train"):
        raise VitalFactoryError(f"{folder}: train.jsonl has no rows; this baseline answers from them")
    index = Index(rows["train"])
    first, last = CHARACTERS["ngram_range"]
    settings = {"characters": f"{first} to {last}", "questions": len(index.answers)}

    def look_up(todo: Rows) -> Iterator[Prediction]:
        for row, text in zip(todo, index.nearest(todo), strict=True):
            known = {"id": row["id"], "group": row["group"], "label": gold_of(row, "qa")}
            yield Prediction(**known, probabilities=None, text=text, parsed=text.strip() or None)

    model = {"model": "nearest training question by TF-IDF", "method": "retrieval"}
    write_answers(out, folder, card, model, settings, lambda split: rows.get(split, []), look_up, "generations")


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    answer(*parse_arguments(argv, "vitalfactory.models.retrieval", "The answer of the nearest training question."))


if __name__ == "__main__":
    run(main)
