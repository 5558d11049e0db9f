"""Gradient boosting on small chest X-rays: the classical baseline of their findings.

One model for each finding learns from the principal components of an image of 32 x 32 pixels, and from how often it
has which shade. It learns from the same training rows as the language model and answers the same validation and test
rows, so that ``eval/multilabel.py`` judges both alike:

    python -m vitalfactory.models.findings_boosted --dataset cxr --out results/cxr_boosted
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.errors import run
from vitalfactory.models.baseline import Floats, parse_arguments
from vitalfactory.models.boosted import SEED, SETTINGS
from vitalfactory.models.findings import Rows, open_findings, write_run

SIDE, COMPONENTS, SHADES = 32, 64, 32


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
        The rows are no chest X-rays with their findings, or the folder holds another run.
    """
    from sklearn.decomposition import PCA

    findings = open_findings(folder)
    rows = findings.rows("train")
    images = findings.pixels(rows, SIDE)
    components = PCA(min(COMPONENTS, len(rows)), svd_solver="full").fit(_flat(images))

    def features(images: NDArray[np.uint8]) -> Floats:
        return np.hstack([components.transform(_flat(images)), shades(images)])

    columns, truth = features(images), findings.truth(rows)
    models = [_fit(columns, present) for present in truth.T]

    def predict(rows: Rows) -> Floats:
        told = features(findings.pixels(rows, SIDE))
        return np.stack([_probability(model, told) for model in models], axis=1)

    settings = {"side": SIDE, "components": components.n_components_, "shades": SHADES, **SETTINGS}
    model = {"model": "HistGradientBoostingClassifier, one a finding", "method": "boosted"}
    write_run(out, findings, model, settings, predict)


def _flat(images: NDArray[np.uint8]) -> Floats:
    return images.reshape(len(images), -1).astype(np.float64)


def shades(images: NDArray[np.uint8]) -> Floats:
    """Compute the share of pixels of each shade of grey, shape (images, SHADES)."""
    shares = np.empty((len(images), SHADES))
    for place, image in enumerate(images):
        shares[place] = np.bincount(image.ravel() // (256 // SHADES), minlength=SHADES) / image.size
    return shares


def _fit(columns: Floats, present: NDArray[np.bool_]) -> Any:
    """Fit one finding's trees; its share where all training rows have it, or none."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    if present.all() or not present.any():
        return float(present.mean())
    return HistGradientBoostingClassifier(**SETTINGS, early_stopping=False, random_state=SEED).fit(columns, present)


def _probability(model: Any, told: Floats) -> Floats:
    if isinstance(model, float):
        return np.full(len(told), model)
    probability: Floats = model.predict_proba(told)[:, 1]
    return probability


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    train(*parse_arguments(argv, "vitalfactory.models.findings_boosted", "Gradient boosting on small chest X-rays."))


if __name__ == "__main__":
    run(main)
