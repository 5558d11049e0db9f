"""Nights written as text: one letter an epoch, ``W``, ``1`` to ``4`` and ``R``; a dot is an epoch that is missing."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.scoring.conftest import STAGE_TERMS, make_card
from vitalfactory.card import Card
from vitalfactory.files import sha256, write_json, write_jsonl
from vitalfactory.predictions import Prediction, dataset_manifest, open_run, predictions_file

LABELS = ["W", "N1", "N2", "N3", "R"]
STAYS = 0.9


def stages_of(text: str) -> list[str]:
    return [letter if letter in "WR" else f"N{letter}" for letter in text if letter != "."]


def starts_of(text: str, step: float = 30.0) -> list[float]:
    return [place * step for place, letter in enumerate(text) if letter != "."]


def night_rows(subject: str, night: str, text: str, step: float = 30.0) -> list[dict[str, Any]]:
    """Make the dataset's rows of one night."""
    return [
        {
            "id": f"{subject}-{night}-{place:04d}",
            "group": subject,
            "instruction": "Which stage?",
            "input": f"epoch {place}",
            "output": label,
            "label": label,
            "night": night,
            "start": start,
        }
        for place, (label, start) in enumerate(zip(stages_of(text), starts_of(text, step), strict=True))
    ]


def said(rows: Sequence[dict[str, Any]], text: str) -> list[Prediction]:
    """Answer rows in free text, ``-`` for an answer that no label can be read from."""
    known = [{name: row[name] for name in ("id", "group", "label")} for row in rows]
    labels = [None if letter == "-" else stages_of(letter)[0] for letter in text]
    return [
        Prediction(**fields, probabilities=None, text="", parsed=label)
        for fields, label in zip(known, labels, strict=True)
    ]


def scored(rows: Sequence[dict[str, Any]], labels: Sequence[str], seed: int, skill: float) -> list[Prediction]:
    """Answer rows as well as a signal of ``skill`` standard deviations of its noise allows; 0 is guessing."""
    chance = random.Random(seed)
    found = []
    for row in rows:
        weights = {label: math.exp(skill * (chance.gauss(0, 1) + skill * (label == row["label"]))) for label in labels}
        told = {label: weight / sum(weights.values()) for label, weight in weights.items()}
        known = {name: row[name] for name in ("id", "group", "label")}
        found.append(Prediction(**known, probabilities=told, text=None, parsed=max(told, key=told.__getitem__)))
    return found


def drawn_night(seed: int, epochs: int) -> str:
    """Draw a night that begins and ends awake, with stages that last."""
    chance, letters, stage = random.Random(seed), "W123R", "W"
    text = ""
    for place in range(epochs):
        if place < 5 or place >= epochs - 5:
            stage = "W"
        elif chance.random() > STAYS:
            stage = chance.choice(letters)
        text += stage
    return text


def sleep_card(**changes: Any) -> Card:
    return make_card(STAGE_TERMS, None, **({"name": "sleep", "task": "eeg", "epoch_seconds": 30.0} | changes))


def write_dataset(folder: Path, card: Card, splits: dict[str, list[dict[str, Any]]]) -> Path:
    counts = {}
    for split, rows in splits.items():
        write_jsonl(folder / f"{split}.jsonl", rows)
        labels = {label: sum(row["label"] == label for row in rows) for label in card.labels}
        groups = len({row["group"] for row in rows})
        counts[split] = {
            "rows": len(rows),
            "groups": groups,
            "labels": labels,
            "sha256": sha256(folder / f"{split}.jsonl"),
        }
    write_json(folder / "card.json", card.model_dump() | {"splits": counts})
    return folder


def drawn_splits(epochs: int = 200, step: float = 30.0) -> dict[str, list[dict[str, Any]]]:
    """Make three subjects with two nights each in every split."""
    return {
        split: [
            row
            for subject in range(3)
            for night in range(2)
            for row in night_rows(
                f"{split}{subject}", str(night + 1), drawn_night(100 * at + 10 * subject + night, epochs), step
            )
        ]
        for at, split in enumerate(("train", "val", "test"))
    }


def write_run(run: Path, data: Path, card: Card, answers: dict[str, list[Prediction]]) -> Path:
    """Write a run with predictions of the given splits."""
    manifest = {"model": "tiny", "method": "gradient boosting", "recipe": None, "adapter": None}
    open_run(run, manifest | dataset_manifest(data, card), {"predictions": {"limit": None}}, data / "card.json")
    for split, rows in answers.items():
        text = "".join(row.line() for row in rows)
        predictions_file(run, split).write_text(text, encoding="utf-8")
    return run
