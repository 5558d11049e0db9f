"""The textbook rule for atrial fibrillation, as a baseline without learning.

Atrial fibrillation is an irregular rhythm without P waves. The rule multiplies the share of irregular
beat-to-beat changes with the share of beats that no consistent P wave precedes:

    python -m vitalfactory.models.rhythm_rule --dataset ecg --out results/ecg_rule
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.models.baseline import Floats, parse_arguments, read_table, write_run

IRREGULAR = "irregular_share"
P_WAVES = "p_match_share"


def judge(folder: Path, out: Path) -> None:
    """Answer a dataset's validation and test rows by the rule.

    Parameters
    ----------
    folder : Path
        The dataset's folder; where its rows tell nothing of P waves, irregularity alone decides.
    out : Path
        The run's folder.

    Raises
    ------
    VitalFactoryError
        The dataset is not one of heart rhythm.
    """
    table = read_table(folder)
    if IRREGULAR not in table.names or table.card.positive is None:
        raise VitalFactoryError(
            f"{folder}: its rows carry no {IRREGULAR!r}; the rule needs a dataset of converters/ecg.py"
        )
    positive = table.card.labels.index(table.card.positive)

    def predict(features: Floats) -> Floats:
        numbers = dict(zip(table.names, features.T, strict=True))
        score = numbers[IRREGULAR] * (1 - numbers.get(P_WAVES, np.zeros(len(features))))
        columns = [score, 1 - score] if positive == 0 else [1 - score, score]
        return np.stack(columns, axis=1)

    write_run(out, table, "irregular rhythm without P waves", "rule", predict)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    judge(*parse_arguments(argv, "vitalfactory.models.rhythm_rule", "Irregular rhythm without P waves, by rule."))


if __name__ == "__main__":
    run(main)
