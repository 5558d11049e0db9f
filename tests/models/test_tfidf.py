"""TF-IDF on made notes: it learns from train, chooses on val, and never looks at the labels of test."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.scoring.conftest import make_card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json, write_json, write_jsonl
from vitalfactory.models import tfidf
from vitalfactory.predictions import read_predictions

TERMS = {
    "en": {
        "asthma": ("wheezing", "tight chest", "worse at night"),
        "gout": ("swollen toe", "red joint", "high urate"),
        "flu": ("fever", "aching muscles", "chills"),
    },
    "zh": {
        "哮喘": ("喘息", "胸闷", "夜间加重"),
        "痛风": ("足趾肿痛", "关节发红", "尿酸升高"),
        "流感": ("发热", "肌肉酸痛", "寒战"),
    },
}


def make_rows(language: str, split: str, count: int) -> list[dict[str, Any]]:
    chance = random.Random(f"{split}{language}")
    rows = []
    for place in range(count):
        names = chance.sample(sorted(TERMS[language]), 1 + (place % 4 == 0))
        told = ". ".join(chance.choice(TERMS[language][name]) for name in names)
        row = {"id": f"{split}{place}", "group": f"{split}{place}", "instruction": "?", "input": told, "output": "{}"}
        rows.append(row | {"labels": sorted(names), "stated": False})
    return rows


def make_dataset(folder: Path, language: str = "en", val: int = 40, **changes: Any) -> Path:
    rows = {"train": make_rows(language, "train", 80), "val": make_rows(language, "val", val)}
    rows["test"] = make_rows(language, "test", 40)
    for split, given in rows.items():
        write_jsonl(folder / f"{split}.jsonl", given)
    splits = {name: {"rows": len(given), "groups": 1, "labels": {}, "sha256": ""} for name, given in rows.items()}
    names = sorted(TERMS[language])
    known = {"kind": "diagnosis", "labels": names, "splits": splits, **changes}
    write_json(folder / "card.json", make_card({"answers": {}, "synonyms": {}}, None, language, **known).model_dump())
    return folder


@pytest.mark.parametrize("language", ["en", "zh"])
def test_it_learns(language: str, tmp_path: Path) -> None:
    make_dataset(tmp_path / "data" / "made", language)
    tfidf.main(["--dataset", "made", "--root", str(tmp_path), "--out", str(tmp_path / "run")])
    rows = read_predictions(tmp_path / "run" / "predictions.jsonl")
    assert len(rows) == 40
    assert sum(row.parsed == row.label for row in rows) >= 30
    assert all(row.parsed and row.text is None and row.probabilities is None for row in rows)
    manifest = read_json(tmp_path / "run" / "run.json")
    chosen = manifest["decoding"]["predictions"]
    assert manifest["method"] == "tfidf"
    assert chosen["strength"] in tfidf.STRENGTHS
    assert 0 < chosen["threshold"] < 1
    assert chosen["val_micro_f1"] > 0.7
    assert (tmp_path / "run" / "predictions_val.jsonl").exists()


def test_test_labels_change_nothing(tmp_path: Path) -> None:
    for name in ("real", "turned"):
        make_dataset(tmp_path / name)
    rows = make_rows("en", "test", 40)
    write_jsonl(tmp_path / "turned" / "test.jsonl", [{**row, "labels": ["gout"]} for row in rows])
    said = []
    for name in ("real", "turned"):
        tfidf.train(tmp_path / name, tmp_path / f"run_{name}")
        said.append([row.parsed for row in read_predictions(tmp_path / f"run_{name}" / "predictions.jsonl")])
    assert said[0] == said[1]


def test_without_val_the_threshold_is_half(tmp_path: Path) -> None:
    tfidf.train(make_dataset(tmp_path / "data", val=0), tmp_path / "run")
    chosen = read_json(tmp_path / "run" / "run.json")["decoding"]["predictions"]
    assert (chosen["threshold"], chosen["val_micro_f1"]) == (tfidf.HALF, None)
    assert (tmp_path / "run" / "predictions_val.jsonl").read_text(encoding="utf-8") == ""


def test_a_disease_of_every_row_is_certain() -> None:
    rows = [{**row, "labels": [*row["labels"], "old age"]} for row in make_rows("en", "train", 30)]
    model = tfidf.fit(rows, "en", 1.0)
    assert (model.probabilities(rows)[:, model.names.index("old age")] == 1).all()


def test_the_threshold_is_the_one_with_the_highest_f1() -> None:
    probabilities = np.asarray([[0.9, 0.05], [0.6, 0.3], [0.2, 0.1]])
    truth = np.asarray([[True, False], [True, True], [True, False]])
    threshold, f1 = tfidf.best_threshold(probabilities, truth, missed=1)
    # At 0.3 the third row names its most probable disease, and only the missed one is not named.
    assert (threshold, f1) == (pytest.approx(0.3), pytest.approx(2 * 4 / (4 + 5)))


def test_one_disease_at_least_is_named() -> None:
    named = tfidf.decide(np.asarray([[0.2, 0.1], [0.7, 0.8]]), 0.5)
    assert named.tolist() == [[True, False], [True, True]]


def test_other_datasets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VitalFactoryError, match="kind 'multilabel'; this baseline needs 'diagnosis'"):
        tfidf.train(make_dataset(tmp_path / "data", kind="multilabel"), tmp_path / "run")
    folder = make_dataset(tmp_path / "single")
    rows = make_rows("en", "train", 5)
    write_jsonl(folder / "train.jsonl", [{**row, "labels": ["gout"]} for row in rows])
    with pytest.raises(VitalFactoryError, match="fewer than two diseases"):
        tfidf.train(folder, tmp_path / "run")
