"""The plans for the real nights keep to their folders, and no subject is on two sides."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import eeg_sleep_edf
from benchmarks.eeg_sleep_edf import SUBJECTS, baseline_steps, model_steps, write_folds
from vitalfactory.errors import VitalFactoryError
from vitalfactory.folds import read_folds


def write_nights(folder: Path, subjects: int) -> Path:
    folder.mkdir()
    for subject in range(subjects):
        for night in (1, 2):
            np.savez(folder / f"{subject:02d}__{night}.npz", labels=[0])
    return folder


def test_subjects_are_split_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eeg_sleep_edf, "FOLDER", tmp_path / "results")
    folds = read_folds(write_folds(write_nights(tmp_path / "nights", sum(SUBJECTS))))
    by_fold = [sorted(name for name, fold in folds.items() if fold == place) for place in range(3)]
    assert tuple(map(len, by_fold)) == SUBJECTS
    assert [name for part in by_fold for name in part] == sorted(folds)


def test_another_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match="holds 3 subjects; expected 39"):
        write_folds(write_nights(tmp_path / "nights", 3))


@pytest.mark.parametrize(("steps", "folder"), [(baseline_steps, "all"), (model_steps, "few")])
def test_a_plan_keeps_to_its_folder(steps: eeg_sleep_edf.Plan, folder: str) -> None:
    lines = [step.line() for step in steps(Path("nights"), Path("folds")) if "models.embedded" not in step.line()]
    assert len(set(lines)) == len(lines)
    assert all(f"results/eeg_sleep_edf/{folder}" in line for line in lines)
    assert "--val-fold 1 --test-fold 2" in lines[0]
    assert ("--train-rows" in lines[0]) == (folder == "few")
    assert any("--transitions" in line for line in lines) == (folder == "few")
