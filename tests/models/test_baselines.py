"""Boosting and the rhythm rule on made rows: they learn from train alone and keep the predictions' form."""

import json
from pathlib import Path

import numpy as np
import pytest

from converters import ecg
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json, read_jsonl, write_jsonl
from vitalfactory.models import boosted, rhythm_rule
from vitalfactory.predictions import read_predictions


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    ecg.convert(synthetic=150, split="60/20/20", root=root, workers=1)
    ecg.convert(synthetic=20, split="60/20/20", root=root, workers=1, representation="rr", name="ecg_rr")
    return root


def area(run: Path) -> float:
    from sklearn.metrics import roc_auc_score

    rows = read_predictions(run / "predictions.jsonl")
    scores = [row.probabilities["AF"] for row in rows if row.probabilities]
    return float(roc_auc_score([row.label == "AF" for row in rows], scores))


def test_both_tell_synthetic_fibrillation_apart(root: Path) -> None:
    boosted.main(["--dataset", "ecg", "--root", str(root), "--out", str(root / "boosted")])
    rhythm_rule.main(["--dataset", "ecg", "--root", str(root), "--out", str(root / "rule")])
    assert area(root / "boosted") > 0.9
    assert area(root / "rule") > 0.8
    assert read_json(root / "boosted" / "run.json")["method"] == "boosted"


def test_test_labels_do_not_reach_the_trees(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "ecg"
    folder.mkdir(parents=True)
    for name in ("card.json", "train.jsonl", "val.jsonl"):
        (folder / name).write_bytes((root / "data" / "ecg" / name).read_bytes())
    other = {"AF": "no AF", "no AF": "AF"}
    rows = list(read_jsonl(root / "data" / "ecg" / "test.jsonl"))
    write_jsonl(folder / "test.jsonl", [{**row, "label": other[row["label"]]} for row in rows])
    boosted.train(root / "data" / "ecg", tmp_path / "real")
    boosted.train(folder, tmp_path / "turned")
    real = [row.probabilities for row in read_predictions(tmp_path / "real" / "predictions.jsonl")]
    assert real == [row.probabilities for row in read_predictions(tmp_path / "turned" / "predictions.jsonl")]


def test_the_rule_multiplies_irregularity_with_missing_p_waves(root: Path, tmp_path: Path) -> None:
    rhythm_rule.judge(root / "data" / "ecg", tmp_path / "rule")
    rows = {row["id"]: row["features"] for row in read_jsonl(root / "data" / "ecg" / "test.jsonl")}
    for row in read_predictions(tmp_path / "rule" / "predictions.jsonl"):
        expected = rows[row.id]["irregular_share"] * (1 - rows[row.id]["p_match_share"])
        assert row.probabilities is not None
        assert row.probabilities["AF"] == pytest.approx(expected)
        assert row.parsed == ("AF" if expected > 0.5 else "no AF")


def test_the_rule_does_without_p_waves(root: Path, tmp_path: Path) -> None:
    rhythm_rule.judge(root / "data" / "ecg_rr", tmp_path / "rule")
    rows = read_predictions(tmp_path / "rule" / "predictions.jsonl")
    assert all(row.probabilities and np.isfinite(list(row.probabilities.values())).all() for row in rows)


def test_rows_without_features_are_refused(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "ecg"
    folder.mkdir(parents=True)
    (folder / "card.json").write_bytes((root / "data" / "ecg" / "card.json").read_bytes())
    rows = read_jsonl(root / "data" / "ecg" / "train.jsonl")
    write_jsonl(folder / "train.jsonl", [{k: v for k, v in row.items() if k != "features"} for row in rows])
    with pytest.raises(VitalFactoryError, match="carry no features"):
        boosted.train(folder, tmp_path / "run")


def test_the_rule_refuses_other_datasets(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "eeg"
    folder.mkdir(parents=True)
    (folder / "card.json").write_bytes((root / "data" / "ecg" / "card.json").read_bytes())
    row = next(read_jsonl(root / "data" / "ecg" / "train.jsonl"))
    (folder / "train.jsonl").write_text(json.dumps({**row, "features": {"delta": 1.0}}) + "\n", encoding="utf-8")
    with pytest.raises(VitalFactoryError, match="irregular_share"):
        rhythm_rule.judge(folder, tmp_path / "run")
