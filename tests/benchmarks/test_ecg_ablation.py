"""The ablation's plans keep to their folders, name encoders where a text needs them, and tell what is not measured."""

from pathlib import Path

import pytest

from benchmarks import ecg_ablation, ecg_studies
from benchmarks.ecg_ablation import NETWORKS, network_plan, row_plan, rows, table
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import write_json

INPUT, FOLDS = Path("records"), Path("cv")


@pytest.mark.parametrize("name", list(rows()))
def test_a_row_keeps_to_its_folder(name: str) -> None:
    representation, subset = rows()[name]
    steps = row_plan("here", representation, INPUT, FOLDS, subset)
    lines = [step.line() for step in steps if "models.embedded" not in step.line()]
    assert len(set(lines)) == len(lines)
    assert all("results/ecg_ablation/here" in line for line in lines)
    convert, train = lines[0], lines[1]
    networks = [part for part in representation.split("+") if part in NETWORKS]
    assert ("--encoder" in convert) == bool(networks)
    assert all(f"networks/{network}/checkpoint" in convert for network in networks)
    assert (f"max_samples={subset}" in train) == (subset is not None)


def test_rows_lie_in_folders_of_their_own() -> None:
    assert len({ecg_ablation._folder(name) for name in rows()}) == len(rows())


@pytest.mark.parametrize("name", list(NETWORKS))
def test_no_network_sees_the_test_fold(name: str) -> None:
    train = next(step.line() for step in network_plan(name, INPUT, FOLDS) if " train " in step.line())
    assert "--val-fold 2 --test-fold 3" in train
    assert ("--no-out-of-fold" in train) == (name == "cnn")


def test_what_is_not_measured_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ecg_ablation, "FOLDER", tmp_path)
    lines = table().splitlines()
    assert len(lines) == 2 + len(NETWORKS) + len(rows())
    assert all("not yet measured" in line for line in lines[2:])


def test_a_measured_row_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ecg_ablation, "FOLDER", tmp_path)
    folder = tmp_path / "rr"
    figure = {"value": 0.9, "low": 0.8, "high": 0.95}
    write_json(folder / "run" / "metrics.json", {"figures": {"auroc": figure, "f1": figure}})
    write_json(folder / "plan.json", {"seconds": {"llamafactory-cli train x": 600.0}})
    (folder / "logs").mkdir()
    (folder / "logs" / "02.log").write_text('table\n{"tokens": {"median": 159}, "splits": {"train": {"rows": 7}}}\n')
    line = next(line for line in table().splitlines() if line.startswith("| rr |"))
    figures = "0.900 [0.800, 0.950]"
    assert line == f"| rr | 1000 | {figures} | {figures} | 159 | 10 | not yet measured | - |"


def test_an_unknown_row_is_refused() -> None:
    with pytest.raises(VitalFactoryError, match="--only rythm: no such row, did you mean 'rhythm'"):
        ecg_ablation.main(["--only", "rythm"])


def test_the_studies_need_a_trained_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ecg_studies, "TRAINED", tmp_path)
    with pytest.raises(VitalFactoryError, match=r"not measured yet; run python -m benchmarks"):
        ecg_studies.main([])
