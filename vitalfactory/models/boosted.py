"""Gradient boosting on the numbers that a dataset's rows carry: the classical baseline of every task.

It learns from the same training rows as the language model and answers the same validation and test
rows, in the same form, so that ``eval/classify.py`` judges both alike:

    python -m vitalfactory.models.boosted --dataset ecg --out results/ecg_boosted
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vitalfactory.errors import run
from vitalfactory.models.baseline import Floats, parse_arguments, read_table, write_run

SEED = 2026
SETTINGS = {
    "learning_rate": 0.05,
    "max_iter": 300,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 20,
    "l2_regularization": 1.0,
}


def train(folder: Path, out: Path) -> None:
    """Fit the trees on a dataset's training rows and answer its validation and test rows.

    Parameters
    ----------
    folder : Path
        The dataset's folder.
    out : Path
        The run's folder.

    Raises
    ------
    VitalFactoryError
        The rows carry no features, or the folder holds another run.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    table = read_table(folder)
    rows = table.rows("train")
    model = HistGradientBoostingClassifier(**SETTINGS, early_stopping=False, random_state=SEED)
    model.fit(table.features(rows), [row["label"] for row in rows])

    def predict(features: Floats) -> Floats:
        found = dict(zip(model.classes_, model.predict_proba(features).T, strict=True))
        never = np.zeros(len(features))
        return np.stack([found.get(label, never) for label in table.card.labels], axis=1)

    write_run(out, table, "HistGradientBoostingClassifier", "boosted", predict, SETTINGS)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    train(*parse_arguments(argv, "vitalfactory.models.boosted", "Gradient boosting on the rows' own numbers."))


if __name__ == "__main__":
    run(main)
