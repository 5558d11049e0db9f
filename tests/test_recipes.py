"""Every recipe runs as it is, on a tiny random model, with nothing else overridden but the machine and the steps."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from safetensors import safe_open

from converters import cxr, ecg
from tests.tiny import make_llama, make_qwen2, make_qwen2_vl, make_qwen3
from vitalfactory.dataset import registry
from vitalfactory.diagnosis import QUESTIONS, Diagnosis
from vitalfactory.files import ROOT, read_json, write_jsonl
from vitalfactory.processor import computes_bfloat16
from vitalfactory.recipes import read_recipe

ALL = sorted((ROOT / "train_configs").glob("*.yaml"))
RECIPES = [recipe for recipe in ALL if "deepspeed" not in read_recipe(recipe)]
"""Those that one process trains; tests/test_distributed.py has the others."""
TINY = {
    "qwen": make_qwen2,
    "smollm2": make_qwen2,
    "qwen2_vl": make_qwen2_vl,
    "llama3": make_llama,
    "alpaca": make_llama,
    "qwen3_nothink": partial(make_qwen3, head=False),  # as Qwen3-Embedding is published
}
"""Template to a model that takes it."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    for template, make in TINY.items():
        make(root / template)
    ecg.convert(synthetic=40, root=root, workers=1)
    cxr.convert(synthetic=40, root=root, workers=1)
    cxr.convert(synthetic=40, root=root, workers=1, name="cxr_weighted", repeat="log")
    for name in ("ecg_picture", "eeg_picture"):
        register(root, name, [picture_row(root, name, number) for number in range(8)])
    for name in ("eeg", "eeg_emotion"):
        register(root, name, [epoch_row(number) for number in range(40)])
    register(root, "clinical", [note_row(number) for number in range(40)])
    register(root, "medqa", [question_row(number) for number in range(40)])
    return root


def register(root: Path, name: str, rows: list[dict[str, object]]) -> None:
    registry.register(root, registry.entries(name, rows[0]))
    half, most = len(rows) // 2, 3 * len(rows) // 4
    for split, part in {"train": rows[:half], "val": rows[half:most], "test": rows[most:]}.items():
        write_jsonl(root / "data" / name / f"{split}.jsonl", part)


def epoch_row(number: int) -> dict[str, object]:
    """A row of sleep stages, in form: its digits say nothing."""
    told = f"Fpz-Cz delta {number:05d} theta 12345 alpha 54321 sigma 00000 beta 99999"
    asked = {"instruction": "Which sleep stage is this epoch: W, N1, N2, N3 or R?", "input": told}
    return {
        "id": f"e{number:02d}",
        "group": f"g{number:02d}",
        **asked,
        "output": ("W", "N1", "N2", "N3", "R")[number % 5],
    }


def note_row(number: int) -> dict[str, object]:
    """A row of diagnoses, in form."""
    asked = {"instruction": QUESTIONS["zh"][0], "input": f"主诉：咳嗽{number}天。查体：右下肺湿啰音。"}
    answer = Diagnosis(diseases=["肺炎"], reason="咳嗽，湿啰音").line()
    return {"id": f"n{number:02d}", "group": f"n{number:02d}", **asked, "output": answer}


def question_row(number: int) -> dict[str, object]:
    """A medical question with the fact that its answer stands on."""
    row = {"id": f"q{number:02d}", "group": f"病{number}", "instruction": f"病{number}的症状有哪些？", "input": ""}
    return {**row, "output": "发热、咳嗽。", "triples": [[f"病{number}", "症状", "发热"]], "form": "list-1"}


def picture_row(root: Path, name: str, number: int) -> dict[str, object]:
    """A row with a strip of 1400 x 500 points, more than the recipes' image_max_pixels."""
    image = f"data/{name}/images/p{number}.png"
    (root / image).parent.mkdir(parents=True, exist_ok=True)
    strip = Image.new("RGB", (1400, 500), "white")
    ImageDraw.Draw(strip).line([(0, 250), (60 * number, 100), (1400, 250)], "black", 3)
    strip.save(root / image)
    turns = {"user": "<image>Does this ECG show atrial fibrillation?", "assistant": ("AF", "no AF")[number % 2]}
    messages = [{"role": role, "content": content} for role, content in turns.items()]
    return {"id": f"p{number}", "group": f"p{number}", "messages": messages, "images": [image]}


CLI = """
import json, sys, traceback
from llamafactory.cli import main
failed = {}
for name, arguments in json.load(sys.stdin).items():
    sys.argv = ["llamafactory-cli", *arguments]
    try:
        main()
    except Exception:
        failed[name] = traceback.format_exc()
print("\\n" + json.dumps(failed))
"""
"""LLaMA-Factory's own command, several times in one process: importing it takes longer than two steps of training."""


@pytest.fixture(scope="module")
def failures(place: Path) -> dict[str, str]:
    """Train every recipe for two steps; recipe to the traceback of its error."""
    cpu = ["use_cpu=true", *(["bf16=false"] if not computes_bfloat16() else [])]
    commands = {}
    for recipe in RECIPES:
        model = place / read_recipe(recipe)["template"]
        files = [f"model_name_or_path={model}", f"output_dir={place / 'saves' / recipe.stem}"]
        steps = ["max_steps=2", "gradient_accumulation_steps=1"]
        commands[recipe.stem] = ["train", str(recipe), *files, *steps, *cpu]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    given = {"cwd": place, "env": environment, "input": json.dumps(commands)}
    done = subprocess.run([sys.executable, "-c", CLI], **given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    failed: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return failed


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_recipe_trains(recipe: Path, place: Path, failures: dict[str, str]) -> None:
    arguments = read_recipe(recipe)
    out = place / "saves" / recipe.stem
    assert recipe.stem not in failures, failures[recipe.stem]
    assert read_json(out / "trainer_state.json")["global_step"] == 2
    with safe_open(out / "adapter_model.safetensors", framework="numpy") as adapter:
        trained = list(adapter.keys())
    assert any("q_proj.lora_A" in name for name in trained)
    assert not any("visual" in name for name in trained)
    assert any("lm_head" in name for name in trained) == ("additional_target" in arguments)
