"""Chest X-rays from the converter to the page, by a tiny random Qwen2-VL: free text, and yes against no."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from converters import cxr
from eval import generate, multilabel, score
from tests.tiny import make_qwen2_vl
from vitalfactory.card import read_card
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import ROOT, read_json, read_jsonl, write_jsonl, write_text
from vitalfactory.predictions import read_predictions
from vitalfactory.recipes import read_recipe
from vitalfactory.scoring.generation import schema_of
from vitalfactory.signals.cxr import FINDINGS

pytestmark = pytest.mark.slow
RECIPE = ROOT / "train_configs" / "cxr_qwen2vl7b_lora.yaml"


@dataclass(frozen=True)
class Xrays:
    root: Path

    def data(self, name: str) -> Path:
        return self.root / "data" / name

    def arguments(self, dataset: str, out: str, *more: str) -> list[str]:
        given = {"--recipe": "recipe.yaml", "--model": "tiny", "--root": "", "--out": out}
        flags = [str(part) for flag, path in given.items() for part in (flag, self.root / path)]
        return [*flags, "--dataset", dataset, "--adapter", "none", *more]


@pytest.fixture(scope="module")
def xrays(tmp_path_factory: pytest.TempPathFactory) -> Xrays:
    """Draw one set of chest X-rays, told as lists and as questions about each finding."""
    root = tmp_path_factory.mktemp("xrays")
    make_qwen2_vl(root / "tiny")
    shared: dict[str, Any] = {"synthetic": 16, "split": "50/25/25", "size": 56, "root": root, "workers": 1}
    cxr.convert(**shared)
    cxr.convert(**shared, representation="yesno", name="cxr_yesno")
    exact = {**read_recipe(RECIPE), "bf16": False, "infer_dtype": "float32", "image_max_pixels": 3136}
    write_text(root / "recipe.yaml", yaml.safe_dump(exact))
    return Xrays(root)


def test_lists_have_no_probabilities_and_no_schema(xrays: Xrays) -> None:
    with pytest.raises(VitalFactoryError, match="convert with --representation yesno"):
        score.main(xrays.arguments("cxr", "nothing"))
    assert not (xrays.root / "nothing").exists()
    with pytest.raises(VitalFactoryError, match="of the kind 'multilabel' are not JSON"):
        schema_of(read_card(xrays.data("cxr")), 64)


def test_lists_are_answered_in_words_and_judged(xrays: Xrays) -> None:
    generate.main(xrays.arguments("cxr", "list", "--max-new-tokens", "8"))
    rows = list(read_jsonl(xrays.data("cxr") / "test.jsonl"))
    answers = read_predictions(xrays.root / "list" / "generations.jsonl")
    assert [(answer.id, answer.label) for answer in answers] == [(row["id"], row["labels"]) for row in rows]
    assert all(answer.text for answer in answers)
    metrics = multilabel.judge(xrays.root / "list")
    assert (metrics["rows"], metrics["answered"], metrics["labels"]) == (len(rows), "generations", list(FINDINGS))
    assert metrics["normal"] == metrics["majority"]["label"] == "no finding"
    assert "<img src=" in (xrays.root / "list" / "report.html").read_text(encoding="utf-8")


def test_yes_against_no_is_scored_for_every_finding_and_judged(xrays: Xrays) -> None:
    score.main(xrays.arguments("cxr_yesno", "yesno"))
    rows = list(read_jsonl(xrays.data("cxr_yesno") / "test.jsonl"))
    scored = read_predictions(xrays.root / "yesno" / "predictions.jsonl")
    assert [row.id for row in scored] == [row["id"] for row in rows]
    for row, prediction in zip(rows, scored, strict=True):
        assert prediction.probabilities is not None
        ((finding, present),) = prediction.probabilities.items()
        assert finding == row["finding"]
        assert 0 < present < 1
        assert prediction.label == row["labels"]
        assert prediction.parsed == ([finding] if present >= 0.5 else [])
    assert len({tuple((row.probabilities or {}).values()) for row in scored}) > len(FINDINGS)
    metrics = multilabel.judge(xrays.root / "yesno")
    assert metrics["rows"] == len(rows) / len(FINDINGS)
    assert metrics["thresholds_from"] == "val"
    assert metrics["figures"]["auroc"]["value"] is not None
    images = read_predictions(xrays.root / "yesno" / "findings.jsonl")
    assert [row.id for row in images] == [row["id"] for row in read_jsonl(xrays.data("cxr") / "test.jsonl")]


def test_rows_of_a_users_own_get_their_findings(xrays: Xrays) -> None:
    rows = [
        {"id": row["id"], "messages": row["messages"][:1], "images": row["images"], "finding": row["finding"]}
        for row in list(read_jsonl(xrays.data("cxr_yesno") / "test.jsonl"))[:2]
    ]
    for dataset, given in (("cxr", rows[:1]), ("cxr_yesno", [*rows, {**rows[0], "finding": "gout"}])):
        write_jsonl(xrays.root / "input.jsonl", given)
        out = f"{dataset}.jsonl"
        more = ("--input", str(xrays.root / "input.jsonl"), "--max-new-tokens", "4")
        generate.main(xrays.arguments(dataset, out, *more))
        answered = list(read_jsonl(xrays.root / out))
        assert [row["id"] for row in answered] == [row["id"] for row in given]
        assert all("findings" in row for row in answered)
    assert answered[-1]["failure"] == "no finding of the card is asked about"
    assert read_json(xrays.root / "cxr_yesno.run.json")["dataset"] == "cxr_yesno"
