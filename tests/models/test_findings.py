"""Boosting and the small network on drawn chest X-rays: they learn from train alone and keep the predictions' form."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scoring.conftest import make_card
from vitalfactory.card import read_card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json, read_jsonl, write_json, write_jsonl
from vitalfactory.models import findings_boosted, findings_cnn
from vitalfactory.models.findings import open_findings, prediction_of
from vitalfactory.predictions import read_predictions

BASELINES = pytest.mark.parametrize("baseline", [findings_boosted, findings_cnn], ids=["boosted", "cnn"])


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learn less: the drawings are easy."""
    monkeypatch.setitem(findings_boosted.SETTINGS, "max_iter", 30)
    monkeypatch.setattr(findings_cnn, "EPOCHS", 6)


@BASELINES
def test_it_sees_what_is_drawn(baseline: ModuleType, chest: Path, tmp_path: Path) -> None:
    baseline.main(["--dataset", "cxr", "--root", str(chest), "--out", str(tmp_path / "run")])
    labels = read_card(chest / "data" / "cxr").labels
    known = {row["id"]: row for row in read_jsonl(chest / "data" / "cxr" / "test.jsonl")}
    rows = read_predictions(tmp_path / "run" / "predictions.jsonl")
    assert [row.id for row in rows] == list(known)
    for row in rows:
        assert (row.label, row.group, row.text) == (known[row.id]["labels"], known[row.id]["group"], None)
        assert row.probabilities is not None
        assert list(row.probabilities) == labels
        assert row.probabilities["hernia"] < 0.05  # which is never drawn
    truth = np.asarray([[label in (row.label or ()) for label in labels] for row in rows])
    told = np.asarray([list((row.probabilities or {}).values()) for row in rows])
    assert findings_cnn.Judge(truth, labels, "no finding")(told) > 0.7
    assert len(read_predictions(tmp_path / "run" / "predictions_val.jsonl")) > 10


@BASELINES
def test_the_same_again_and_test_labels_change_nothing(
    baseline: ModuleType, chest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings_cnn, "EPOCHS", 1)
    folder = tmp_path / "data" / "cxr"
    folder.mkdir(parents=True)
    (folder / "images").symlink_to(chest / "data" / "cxr" / "images")
    for name in ("card.json", "train.jsonl", "val.jsonl"):
        (folder / name).write_bytes((chest / "data" / "cxr" / name).read_bytes())
    rows = list(read_jsonl(chest / "data" / "cxr" / "test.jsonl"))
    write_jsonl(folder / "test.jsonl", [{**row, "labels": ["hernia"]} for row in rows])
    baseline.train(chest / "data" / "cxr", tmp_path / "real")
    baseline.train(folder, tmp_path / "turned")
    said = [
        [row.probabilities for row in read_predictions(tmp_path / run / "predictions.jsonl")]
        for run in ("real", "turned")
    ]
    assert said[0] == said[1]


def test_the_network_keeps_its_best_epoch(chest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings_cnn, "PATIENCE", 2)
    findings = open_findings(chest / "data" / "cxr")
    val = findings.rows("val")
    images = findings.pixels(val, findings_cnn.SIDE)
    judged = [0.5, 0.7, 0.6, 0.6, 0.9]
    seen = []

    def judge(probabilities: np.ndarray) -> float:
        seen.append(probabilities)
        return judged[len(seen) - 1]

    network = findings_cnn.build(len(findings.card.labels))
    best = findings_cnn.fit(network, images, findings.truth(val), images, judge)  # type: ignore[arg-type]
    assert best == (2, 0.7)
    assert len(seen) == 4
    assert np.array_equal(findings_cnn.predict(network, images), seen[1])


def test_the_judge_leaves_out_no_finding_and_what_is_not_mixed() -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(1)
    truth = random.random((40, 4)) < (0.2, 0.5, 0.5, 0.0)
    told = random.random((40, 4))
    areas = [roc_auc_score(truth[:, place], told[:, place]) for place in (0, 1)]
    expected = np.average(areas, weights=truth[:, :2].sum(axis=0))
    judge = findings_cnn.Judge(truth, ["mass", "edema", "no finding", "hernia"], "no finding")
    assert judge(told) == pytest.approx(expected)
    with pytest.raises(VitalFactoryError, match="no finding that some of its images have and others lack"):
        findings_cnn.Judge(truth[:, 2:], ["no finding", "hernia"], "no finding")


def test_an_image_is_moved() -> None:
    image = np.arange(findings_cnn.SIDE**2).reshape(findings_cnn.SIDE, -1) % 251
    moved = findings_cnn.move(image.astype(np.uint8), 2, -3)
    assert np.array_equal(moved[2:, :-3], image[:-2, 3:])
    assert np.array_equal(moved[0], moved[2])
    assert np.array_equal(moved[:, -1], moved[:, -4])


@given(st.integers(0, 2**32))
def test_shades_are_shares(seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    told = findings_boosted.shades(images)
    assert told.sum(axis=1) == pytest.approx(np.ones(3))
    width = 256 // findings_boosted.SHADES
    assert told[1, 5] == np.mean((images[1] >= 5 * width) & (images[1] < 6 * width))


@pytest.mark.parametrize(
    ("values", "named"),
    [((0.6, 0.5, 0.1), ["edema", "mass"]), ((0.2, 0.4, 0.3), ["mass"]), ((0.0, 0.0, 0.9), ["no finding"])],
)
def test_what_is_named(values: tuple[float, ...], named: list[str]) -> None:
    row = {"id": "1", "group": "g", "labels": ["mass"]}
    said = prediction_of(row, ["edema", "mass", "no finding"], np.asarray(values))
    assert said.parsed == named
    assert said.probabilities == dict(zip(["edema", "mass", "no finding"], values, strict=True))


def test_pixels_are_those_of_the_images(chest: Path) -> None:
    from PIL import Image

    findings = open_findings(chest / "data" / "cxr")
    rows = findings.rows("test")[:3]
    pixels = findings.pixels(rows, 64)
    assert np.array_equal(pixels[2], np.asarray(Image.open(chest / rows[2]["images"][0])))
    quarter = pixels[:, :2, :2].mean(axis=(1, 2))
    assert findings.pixels(rows, 32)[:, 0, 0] == pytest.approx(quarter, abs=1)


def spoilt(chest: Path, tmp_path: Path, rows: list[dict[str, object]]) -> Path:
    folder = tmp_path / "data" / "cxr"
    card = read_json(chest / "data" / "cxr" / "card.json")
    write_json(folder / "card.json", card)
    for split in ("train", "val", "test"):
        write_jsonl(folder / f"{split}.jsonl", rows)
    return folder


def test_other_datasets_are_refused(chest: Path, tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match="rows ask about one finding each; convert with --representation list"):
        open_findings(chest / "data" / "cxr_yesno")
    known = {"images": ["data/cxr/images/none.png"], "labels": ["mass"], "id": "1", "group": "1"}
    with pytest.raises(VitalFactoryError, match=r"train\.jsonl has no rows; give the converter another --split"):
        open_findings(spoilt(chest, tmp_path, []))
    with pytest.raises(VitalFactoryError, match="its rows have no images"):
        open_findings(spoilt(chest, tmp_path, [{**known, "images": []}]))
    with pytest.raises(VitalFactoryError, match=r"none\.png: broken image .* convert the dataset again"):
        findings_boosted.train(spoilt(chest, tmp_path, [known]), tmp_path / "run")
    ecg = make_card({"answers": {"AF": "AF", "no AF": "no AF"}, "synonyms": {}}, "AF")
    write_json(tmp_path / "ecg" / "card.json", ecg.model_dump())
    with pytest.raises(VitalFactoryError, match="kind 'classify'; expected 'multilabel'"):
        open_findings(tmp_path / "ecg")


def test_a_run_of_another_dataset_is_left_alone(chest: Path, tmp_path: Path) -> None:
    findings_boosted.train(chest / "data" / "cxr", tmp_path / "run")
    with pytest.raises(VitalFactoryError, match="holds a run with another dataset"):
        findings_boosted.train(chest / "data" / "cxr_few", tmp_path / "run")
