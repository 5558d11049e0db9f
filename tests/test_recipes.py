"""Every recipe runs as it is, on a tiny random model, with nothing else overridden but the machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from converters import ecg
from tests.tiny import make_qwen2
from vitalfactory.files import ROOT, read_json
from vitalfactory.recipes import read_recipe

RECIPES = sorted((ROOT / "train_configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    make_qwen2(root / "tiny")
    ecg.convert(synthetic=40, root=root, workers=1)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_recipe_trains(recipe: Path, place: Path) -> None:
    cpu = ["bf16=true", "use_cpu=true"] if read_recipe(recipe)["bf16"] else ["use_cpu=true"]
    out = place / "saves" / recipe.stem
    command = [str(Path(sys.executable).parent / "llamafactory-cli"), "train", str(recipe)]
    overrides = [f"model_name_or_path={place / 'tiny'}", "max_steps=2", f"output_dir={out}", *cpu]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *overrides], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert read_json(out / "trainer_state.json")["global_step"] == 2
    assert (out / "adapter_model.safetensors").is_file()
