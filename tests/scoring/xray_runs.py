"""Cards, datasets and runs of chest X-ray findings, made without any model."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converters.cxr import ANSWERS, SYNONYMS
from tests.scoring.conftest import make_card, write_predictions
from vitalfactory.card import Card
from vitalfactory.files import write_json, write_jsonl
from vitalfactory.predictions import Prediction, dataset_manifest, open_run, predictions_file

NORMAL = "no finding"
FEW = ("effusion", "mass", NORMAL, "nodule")
VERDICTS = {"present": "yes", "absent": "no"}
COUNT = 24


def findings_card(language: str = "en", **changes: Any) -> Card:
    terms = {"answers": ANSWERS[language], "synonyms": SYNONYMS[language]}
    known = {"kind": "multilabel", "task": "cxr", "name": "xrays", "representation": "list", "normal": NORMAL}
    return make_card(terms, None, language, **(known | changes))


def small_card(**changes: Any) -> Card:
    """Three findings and the label of a normal image."""
    answers = {label: label for label in FEW}
    return findings_card(**({"labels": list(FEW), "answers": answers, "synonyms": {}} | changes))


def make_rows(split: str, asked: bool) -> list[dict[str, Any]]:
    """Make rows of images, two of each patient: one a row, or one a row and label."""
    rows = []
    for place in range(COUNT):
        labels = (["effusion"], [NORMAL], ["effusion", "mass"], ["mass"], [NORMAL], ["nodule"])[place % 6]
        name = f"{split}{place:03d}"
        about = {"group": f"{split}-{place // 2}", "images": [f"data/xrays/images/{name}.png"]}
        about |= {"view": "AP" if place % 3 else "PA", "sex": "FM"[place % 2], "age": 5 + 4 * place}
        for finding in FEW if asked else (None,):
            own = [label for label in labels if finding in (None, label)]
            told = VERDICTS["present" if own else "absent"] if finding else ", ".join(labels)
            turns = [("user", f"<image>Does it show {finding}?" if finding else "<image>What?"), ("assistant", told)]
            row = {"id": f"{name}_{finding.replace(' ', '_')}" if finding else name, **about, "labels": own}
            row |= {"messages": [{"role": role, "content": content} for role, content in turns]}
            rows.append(row | ({"finding": finding} if finding else {}))
    return rows


def make_data(folder: Path, *, asked: bool = False, **changes: Any) -> Path:
    """Write a dataset with the images of its test rows."""
    from PIL import Image

    splits = {}
    for split in ("train", "val", "test"):
        rows = make_rows(split, asked)
        write_jsonl(folder / f"{split}.jsonl", rows)
        counts = {label: sum(label in row["labels"] for row in rows) for label in FEW}
        splits[split] = {"rows": len(rows), "groups": COUNT // 2, "labels": counts, "sha256": ""}
    (folder / "images").mkdir(exist_ok=True)
    for place in range(COUNT):
        Image.new("L", (300, 200), 10 * place).save(folder / "images" / f"test{place:03d}.png")
    about = {"verdicts": VERDICTS, "representation": "yesno"} if asked else {}
    write_json(folder / "card.json", small_card(splits=splits, **about, **changes).model_dump())
    return folder


def scores_of(rows: Sequence[dict[str, Any]], seed: int, skill: float) -> list[dict[str, float]]:
    """Give each label of each image a probability that is higher where it is there, whatever the rows ask about."""
    chance = random.Random(seed)
    return [
        {label: round(min(1, 0.7 * chance.random() + skill * (label in row["labels"])), 6) for label in FEW}
        for row in rows
    ]


def predict(split: str, asked: bool, seed: int = 1, skill: float = 0.3) -> list[Prediction]:
    """Answer with probabilities; those of a question about one label are those of its image."""
    of_image = dict(
        zip(
            (row["id"] for row in make_rows(split, False)), scores_of(make_rows(split, False), seed, skill), strict=True
        )
    )
    rows = []
    for row in make_rows(split, asked):
        scores = of_image[Path(row["images"][0]).stem]
        own = {row["finding"]: scores[row["finding"]]} if asked else scores
        said = [label for label, score in own.items() if score >= 0.5]
        known = {"id": row["id"], "group": row["group"], "label": row["labels"]}
        rows.append(Prediction(**known, probabilities=own, text=None, parsed=said))
    return rows


TEXTS = ("effusion", "No finding.", "effusion and <b>mass", "I cannot say <i>&", "nodule", "No nodule, possible mass")
"""What is answered to images, in turn: rightly, rightly, rightly, not readably, wrongly, without naming any."""
PARSED = (["effusion"], [NORMAL], ["effusion", "mass"], None, ["nodule"], [])


def write(split: str) -> list[Prediction]:
    """Answer in words."""
    return [
        Prediction(
            id=row["id"],
            group=row["group"],
            label=row["labels"],
            probabilities=None,
            text=TEXTS[place % 6],
            parsed=PARSED[place % 6],
            cut=False,
        )
        for place, row in enumerate(make_rows(split, False))
    ]


def make_run(
    folder: Path, data: Path, *, asked: bool = False, text: bool = False, seed: int = 1, skill: float = 0.3
) -> Path:
    """Write a run with probabilities of test and val, or with texts of test."""
    manifest = {"model": "tiny <model>", "method": "findings head", "recipe": None, "adapter": None}
    answered = "generations" if text else "predictions"
    open_run(folder, manifest | dataset_manifest(data, small_card()), {answered: {}}, data / "card.json")
    for split in ("test",) if text else ("test", "val"):
        rows = write(split) if text else predict(split, asked, seed, skill)
        write_predictions(predictions_file(folder, split, answered), rows)
    return folder
