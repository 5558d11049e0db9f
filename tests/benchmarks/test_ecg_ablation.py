"""The ablation's plans keep to their folders, name encoders where a text needs them, and tell what is not measured."""

import shutil
from pathlib import Path

import pytest

from benchmarks import ecg_ablation, ecg_studies
from benchmarks.ecg_ablation import NETWORKS, network_plan, row_plan, rows, section
from benchmarks.publish import marks, published
from benchmarks.steps import Cost
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_json, write_json

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


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results and the record of an ablation in a folder of the test's own."""
    page = tmp_path / "docs" / "results.md"
    for name, path in (("FOLDER", tmp_path), ("RECORD", tmp_path / "record.json"), ("RESULTS", page)):
        monkeypatch.setattr(ecg_ablation, name, path)
    page.parent.mkdir()
    page.write_text("\n".join((*marks("ecg_ablation"), *marks("ecg_best"))), encoding="utf-8")
    return tmp_path


def write_run(folder: Path, value: float) -> None:
    figure = {"value": value, "low": 0.8, "high": 0.95}
    write_json(folder / "metrics_val.json", {"figures": {"auroc": {"value": 0.75, "low": 0.7, "high": 0.8}}})
    manifest = {"versions": {"torch": "2"}, "hardware": "two cores", "date": "2026-01-02"}
    manifest["dataset_sha256"] = {"test": "abc"}
    write_json(folder / "metrics.json", {"figures": {"auroc": figure, "f1": figure}, "manifest": manifest})


def test_the_page_shows_what_is_recorded() -> None:
    assert published(ROOT / "docs" / "results.md", "ecg_ablation") == section()


@pytest.mark.usefixtures("place")
def test_what_is_not_measured_is_said() -> None:
    lines = [line for line in section().splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(NETWORKS) + len(rows())
    assert all("not yet measured" in line for line in lines[2:])


def test_a_measured_row_is_recorded_and_published(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures stay when the results are gone."""
    monkeypatch.setattr(ecg_ablation, "run_steps", lambda *_: {"llamafactory-cli train x": Cost(900, 600)})
    monkeypatch.setattr(ecg_ablation, "precision", list)
    folder = place / "rr"
    write_run(folder / "rr", 0.9)
    write_run(folder / "boosted", 0.925)
    (folder / "logs").mkdir()
    (folder / "logs" / "02.log").write_text(
        'table\n{"tokens": {"median": 159, "longest": 201, "cutoff": 512}, "splits": {"train": {"rows": 7}}}\n'
    )
    write_run(place / "networks" / "mamba" / "mamba", 0.85)
    networks = {"main": {"records": 12, "epochs": 9, "best_epoch": 4}, "without_0": {"records": 6}}
    write_json(place / "networks" / "mamba" / "checkpoint" / "encoder.json", {"networks": networks})
    monkeypatch.setattr(ecg_ablation, "NETWORKS", {"mamba": NETWORKS["mamba"]})
    ecg_ablation.measure(["mamba alone", "rr"], INPUT, FOLDS)
    shutil.rmtree(folder)
    shown = published(place / "docs" / "results.md", "ecg_ablation")
    assert shown == section()
    figure = "0.900 [0.800, 0.950]"
    val = "0.750 [0.700, 0.800]"
    assert f"| rr | 1000 | {val} | {figure} | {figure} | 159, 201 of 512 | 10 | 0.925 [0.800, 0.950] | - |" in shown
    figure = "0.850 [0.800, 0.950]"
    assert f"| mamba alone | 12 | {val} | {figure} | {figure} | - | 10 | - | - |" in shown
    assert "mamba alone: best after epoch 4 of 9, at most 30; the minutes are of 2 networks" in shown
    assert shown.endswith("Versions: torch 2. Hardware: two cores, float32. Date: 2026-01-02.")


def test_the_best_text_is_held_against_its_parts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best, network, boosted = ecg_ablation._held_together()
    assert len({best.name, network.name, boosted.name}) == 3
    assert ecg_ablation.measure([], INPUT, FOLDS) is None
    assert "not reached" not in (place / "docs" / "results.md").read_text(encoding="utf-8")
    for folder, value in ((best, 0.9825), (network, 0.96), (boosted, 0.98)):
        write_run(folder, value)
    metrics = read_json(best / "metrics.json")
    metrics["figures"]["f1"]["value"] = 0.79
    write_json(best / "metrics.json", metrics)
    compared: list[tuple[list[Path], Path]] = []
    monkeypatch.setattr(ecg_ablation, "compare_table", lambda *given: compared.append(given) or "| table |")
    monkeypatch.setattr(ecg_ablation, "read_card", lambda _: None)
    monkeypatch.setattr(ecg_ablation, "measured_with", lambda *_: "Data: x.")
    ecg_ablation.measure([], INPUT, FOLDS)
    assert compared == [((best, network, boosted), best)]
    shown = published(place / "docs" / "results.md", "ecg_best")
    assert "Targets of rhythm+mscnn: AUROC 0.98 and F1 0.80." in shown
    assert "AUROC 0.983 [0.800, 0.950]: reached; F1 0.790 [0.800, 0.950]: not reached." in shown


def test_the_studies_say_what_they_were_measured_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "results.md"
    page.write_text("\n".join((*marks("ecg_wordings"), *marks("ecg_free_text"))), encoding="utf-8")
    for name, value in (("FOLDER", tmp_path), ("RESULTS", page)):
        monkeypatch.setattr(ecg_studies, name, value)
    monkeypatch.setattr(ecg_studies, "read_card", lambda _: None)
    monkeypatch.setattr(ecg_studies, "measured_with", lambda _, run: f"Measured by {run.name}.")
    (tmp_path / "wordings").mkdir()
    (tmp_path / "wordings" / "wordings.md").write_text("| flips |\n", encoding="utf-8")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / f"{len(ecg_studies.steps()):02d}.log").write_text("5 distinct answers\n", encoding="utf-8")
    ecg_studies.publish_studies()
    about = "The first 400 test rows. Command: `python -m benchmarks.ecg_studies`. Measured by after."
    assert published(page, "ecg_wordings") == f"| flips |\n\n{about}"
    assert published(page, "ecg_free_text") == f"```text\n5 distinct answers\n```\n\n{about}"


def test_an_unknown_row_is_refused() -> None:
    with pytest.raises(VitalFactoryError, match="--only rythm: no such row, did you mean 'rhythm'"):
        ecg_ablation.main(["--only", "rythm"])


def test_the_studies_need_a_trained_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ecg_studies, "TRAINED", tmp_path)
    with pytest.raises(VitalFactoryError, match=r"not measured yet; run python -m benchmarks"):
        ecg_studies.main([])
