"""A dataset and runs over it, made without any model; scripts of eval/ as modules."""

import importlib.util
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vitalfactory.card import Card
from vitalfactory.files import write_json, write_jsonl
from vitalfactory.predictions import Prediction, dataset_manifest, open_run, predictions_file

ROOT = Path(__file__).resolve().parents[2]
MakeRun = Callable[..., Path]

ECG_TERMS: dict[str, dict[str, Any]] = {
    "en": {
        "answers": {"AF": "AF", "no AF": "no AF"},
        "synonyms": {
            "AF": ["atrial fibrillation", "AFib", "A-fib", "auricular fibrillation", "yes"],
            "no AF": ["no atrial fibrillation", "sinus rhythm", "no"],
        },
    },
    "zh": {
        "answers": {"AF": "有房颤", "no AF": "没有房颤"},
        "synonyms": {
            "AF": ["房颤", "心房颤动", "心房纤颤", "有心房颤动", "是"],
            "no AF": ["无房颤", "没有心房颤动", "未见房颤", "窦性心律", "否", "没有"],
        },
    },
}
STAGE_TERMS: dict[str, Any] = {
    "answers": {label: label for label in ("W", "N1", "N2", "N3", "R")},
    "synonyms": {
        "W": ["wake", "awake"],
        "N1": ["stage 1"],
        "N2": ["stage 2"],
        "N3": ["deep sleep", "slow wave sleep"],
        "R": ["REM", "REM sleep"],
    },
}

CINC_TERMS: dict[str, Any] = {
    "answers": {"N": "normal rhythm", "A": "AF", "O": "other rhythm", "~": "noise"},
    "synonyms": {
        "N": ["normal sinus rhythm", "sinus rhythm"],
        "A": ["atrial fibrillation"],
        "O": ["another rhythm"],
        "~": ["noisy", "too noisy"],
    },
}


def make_card(terms: dict[str, Any], positive: str | None, language: str = "en", **changes: Any) -> Card:
    labels = list(terms["answers"])
    split = {"rows": 0, "groups": 0, "labels": dict.fromkeys(labels, 0), "sha256": ""}
    fields: dict[str, Any] = {
        "name": "made",
        "task": "ecg",
        "kind": "classify",
        "question": ["Which is it?"],
        "labels": labels,
        "positive": positive,
        **terms,
        "language": language,
        "representation": "rhythm",
        "splits": {"train": split, "val": split, "test": split},
        "excluded": {},
        "source": {"name": "made up", "version": "1", "licence": "none", "synthetic": True},
        "model_written": None,
        "command": "",
        "seed": 2026,
        "versions": {},
    }
    return Card.model_validate(fields | changes)


@pytest.fixture(scope="session")
def ecg_card() -> Card:
    return make_card(ECG_TERMS["en"], "AF")


@pytest.fixture(scope="session")
def chinese_card() -> Card:
    return make_card(ECG_TERMS["zh"], "AF", "zh")


@pytest.fixture(scope="session")
def stage_card() -> Card:
    return make_card(STAGE_TERMS, None)


@pytest.fixture(scope="session")
def cinc_card() -> Card:
    return make_card(CINC_TERMS, None, scored=["N", "A", "O"])


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """Load a script of eval/, which is no package."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "eval" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # Dataclasses look their module up there.
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    return load


def make_rows(card: Card, split: str, count: int) -> list[dict[str, Any]]:
    """Make rows, two of each group, the first label in a quarter of them or each label in turn."""
    many = len(card.labels) > 2
    rows = []
    for place in range(count):
        label = card.labels[place % len(card.labels)] if many else card.labels[place % 4 > 0]
        row = {"id": f"{split}{place:03d}", "group": f"{split}-{place // 2}", "instruction": card.question[0]}
        rows.append(row | {"input": f"Rate {60 + place} <b>&", "output": card.answers[label], "label": label})
    return rows


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[[Card], Path]:
    """Write a dataset of 40 rows a split with drawings of its test rows."""

    def make(card: Card) -> Path:
        folder = tmp_path / "data" / card.name
        splits = {}
        for split in ("train", "val", "test"):
            rows = make_rows(card, split, 40)
            write_jsonl(folder / f"{split}.jsonl", rows)
            counts = {label: sum(row["label"] == label for row in rows) for label in card.labels}
            splits[split] = {"rows": 40, "groups": 20, "labels": counts, "sha256": split}
        write_json(folder / "card.json", card.model_dump() | {"splits": splits})
        wave = [round(200 * random.Random(place).random()) for place in range(300)]
        preview = {"fs": 100.0, "unit": "mV", "scale": 0.005, "trace": wave}
        write_jsonl(folder / "previews.jsonl", [{"id": f"test{place:03d}", **preview} for place in range(40)])
        return folder

    return make


def predict(card: Card, rows: list[dict[str, Any]], seed: int, skill: float) -> list[Prediction]:
    """Give each row probabilities that are right more often than not."""
    chance = random.Random(seed)
    predictions = []
    for row in rows:
        scores = [chance.random() + skill * (label == row["label"]) for label in card.labels]
        probabilities = {label: score / sum(scores) for label, score in zip(card.labels, scores, strict=True)}
        best = max(card.labels, key=lambda label: probabilities[label])
        known = {"id": row["id"], "group": row["group"], "label": row["label"]}
        predictions.append(Prediction(**known, probabilities=probabilities, text=None, parsed=best))
    return predictions


def write_predictions(path: Path, rows: list[Prediction]) -> None:
    path.write_text("".join(row.line() for row in rows), encoding="utf-8")


@pytest.fixture
def make_run(tmp_path: Path, make_dataset: Callable[[Card], Path], ecg_card: Card) -> MakeRun:
    """Write a run over a made dataset: predictions of test and val, and generations of test."""

    def make(name: str = "one", card: Card = ecg_card, seed: int = 1, skill: float = 0.6, text: bool = True) -> Path:
        folder = tmp_path / "data" / card.name
        if not folder.exists():
            make_dataset(card)
        run = tmp_path / "results" / name
        manifest = {"model": "tiny <model>", "method": "language model", "recipe": None, "adapter": None}
        decoding = {"predictions": {"limit": None}, "generations": {"limit": None}}
        open_run(run, manifest | dataset_manifest(folder, card), decoding, folder / "card.json")
        for split in ("test", "val"):
            predictions = predict(card, make_rows(card, split, 40), seed, skill)
            write_predictions(predictions_file(run, split), predictions)
            if split == "test" and text:
                told = [row.model_copy(update={"probabilities": None, "text": "<x>"}) for row in predictions]
                told[0] = told[0].model_copy(update={"parsed": None})
                write_predictions(predictions_file(run, split, "generations"), told)
        return run

    return make
