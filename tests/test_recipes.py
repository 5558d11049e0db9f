"""Every recipe runs as it is, on a tiny random model, with nothing else overridden but the machine."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from safetensors import safe_open

from converters import ecg
from tests.tiny import make_qwen2, make_qwen2_vl, make_qwen3
from vitalfactory.dataset import registry
from vitalfactory.files import ROOT, read_json, write_jsonl
from vitalfactory.processor import computes_bfloat16
from vitalfactory.recipes import read_recipe

RECIPES = sorted((ROOT / "train_configs").glob("*.yaml"))
TINY = {
    "qwen": make_qwen2,
    "smollm2": make_qwen2,
    "qwen2_vl": make_qwen2_vl,
    "qwen3_nothink": partial(make_qwen3, head=False),  # as Qwen3-Embedding is published
}
"""Template to a model that takes it."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    for template, make in TINY.items():
        make(root / template)
    ecg.convert(synthetic=40, root=root, workers=1)
    make_pictures(root)
    return root


def make_pictures(root: Path) -> None:
    """Register rows with a strip of 1400 x 500 points each, more than the recipe's image_max_pixels."""
    rows = [picture_row(root, number) for number in range(8)]
    registry.register(root, registry.entries("ecg_picture", rows[0]))
    for split, part in {"train": rows[:4], "val": rows[4:6], "test": rows[6:]}.items():
        write_jsonl(root / "data" / "ecg_picture" / f"{split}.jsonl", part)


def picture_row(root: Path, number: int) -> dict[str, object]:
    image = f"data/ecg_picture/images/p{number}.png"
    (root / image).parent.mkdir(parents=True, exist_ok=True)
    strip = Image.new("RGB", (1400, 500), "white")
    ImageDraw.Draw(strip).line([(0, 250), (60 * number, 100), (1400, 250)], "black", 3)
    strip.save(root / image)
    turns = {"user": "<image>Does this ECG show atrial fibrillation?", "assistant": ("AF", "no AF")[number % 2]}
    messages = [{"role": role, "content": content} for role, content in turns.items()]
    return {"id": f"p{number}", "group": f"p{number}", "messages": messages, "images": [image]}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_recipe_trains(recipe: Path, place: Path) -> None:
    arguments = read_recipe(recipe)
    cpu = ["use_cpu=true", *(["bf16=false"] if not computes_bfloat16() else [])]
    out = place / "saves" / recipe.stem
    command = [str(Path(sys.executable).parent / "llamafactory-cli"), "train", str(recipe)]
    model = place / arguments["template"]
    overrides = [f"model_name_or_path={model}", "max_steps=2", f"output_dir={out}", *cpu]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *overrides], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert read_json(out / "trainer_state.json")["global_step"] == 2
    with safe_open(out / "adapter_model.safetensors", framework="numpy") as adapter:
        trained = list(adapter.keys())
    assert any("q_proj.lora_A" in name for name in trained)
    assert not any("visual" in name for name in trained)
    assert any("lm_head" in name for name in trained) == ("additional_target" in arguments)
