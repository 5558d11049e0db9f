"""Rows with pictures: scored and answered as the model's own processor would show them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from converters import ecg
from eval import generate, score
from tests.tiny import make_qwen2_vl
from vitalfactory.files import ROOT, read_jsonl, write_text
from vitalfactory.recipes import read_recipe

RECIPE = ROOT / "train_configs" / "ecg_qwen2vl7b_lora.yaml"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    make_qwen2_vl(root / "tiny")
    ecg.convert(
        synthetic=30,
        split="60/20/20",
        representation="picture",
        name="ecg_picture",
        recipe=RECIPE,
        root=root,
        workers=1,
    )
    exact = {**read_recipe(RECIPE), "bf16": False, "infer_dtype": "float32"}
    write_text(root / "recipe.yaml", yaml.safe_dump(exact))
    return root


def own_probabilities(place: Path, row: dict[str, Any]) -> dict[str, float]:
    """Score a row with transformers alone: the processor's own pixels and tokens, one answer after the other."""
    import torch
    from PIL import Image
    from transformers import AutoProcessor, Qwen2VLForConditionalGeneration

    processor = AutoProcessor.from_pretrained(place / "tiny")
    model = Qwen2VLForConditionalGeneration.from_pretrained(place / "tiny").eval()
    question = row["messages"][0]["content"].replace("<image>", "<|vision_start|><|image_pad|><|vision_end|>")
    prompt = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    )
    image = Image.open(place / row["images"][0]).convert("RGB")
    logs = {}
    for answer in ("AF", "no AF"):
        given = processor(text=[f"{prompt}{answer}<|im_end|>"], images=[image], return_tensors="pt")
        with torch.inference_mode():
            each = model(**given).logits[0].log_softmax(-1)
        ids = given["input_ids"][0]
        length = len(processor.tokenizer(f"{answer}<|im_end|>")["input_ids"])
        places = range(len(ids) - length, len(ids))
        logs[answer] = sum(float(each[place - 1, ids[place]]) for place in places)
    total = torch.tensor(list(logs.values())).softmax(0).tolist()
    return dict(zip(logs, total, strict=True))


def arguments(place: Path, out: Path) -> list[str]:
    flags = {
        "--recipe": place / "recipe.yaml",
        "--adapter": "none",
        "--model": place / "tiny",
        "--root": place,
        "--limit": 2,
    }
    return [str(part) for pair in {**flags, "--out": out}.items() for part in pair] + ["--split", "test"]


@pytest.mark.slow
def test_a_picture_is_scored_as_transformers_scores_it(place: Path) -> None:
    out = place / "run"
    score.main(arguments(place, out))
    rows = {row["id"]: row for row in read_jsonl(place / "data" / "ecg_picture" / "test.jsonl")}
    predictions = list(read_jsonl(out / "predictions.jsonl"))
    assert len(predictions) == 2
    for prediction in predictions:
        expected = own_probabilities(place, rows[prediction["id"]])
        assert prediction["probabilities"] == pytest.approx(expected, rel=1e-3)
    first, second = (prediction["probabilities"]["AF"] for prediction in predictions)
    assert first != second, "two pictures under one question must not be scored alike"


@pytest.mark.slow
def test_pictures_are_answered_in_free_text(place: Path) -> None:
    out = place / "texts"
    generate.main(arguments(place, out))
    answered = list(read_jsonl(out / "generations.jsonl"))
    assert [row["id"] for row in answered] == [
        row["id"] for row in read_jsonl(place / "data" / "ecg_picture" / "test.jsonl")
    ][:2]
    assert all(row["text"] for row in answered)
