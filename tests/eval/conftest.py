"""A tiny real model over a synthetic dataset: what the scripts that run a model are tested on."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from converters import ecg
from tests.tiny import make_qwen2
from vitalfactory.files import ROOT, write_text
from vitalfactory.recipes import read_recipe

RECIPE = ROOT / "train_configs" / "ecg_smollm2_lora.yaml"


@dataclass(frozen=True)
class Workplace:
    root: Path
    model: Path
    recipe: Path
    adapter: Path

    def arguments(self, out: str, *more: str) -> list[str]:
        return ["--recipe", str(self.recipe), "--root", str(self.root), "--out", str(self.root / out), *more]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Make a dataset, a model of random weights and an adapter, once for all tests of the folder."""
    root = tmp_path_factory.mktemp("root")
    model = make_qwen2(root / "tiny")
    recipe = root / "ecg_tiny_lora.yaml"
    adapter = _make_adapter(model, root / "adapter")
    changed = {**read_recipe(RECIPE), "model_name_or_path": str(model), "output_dir": str(adapter)}
    write_text(recipe, yaml.safe_dump(changed))
    ecg.convert(synthetic=24, split="50/25/25", root=root, recipe=recipe, workers=1)
    return Workplace(root, model, recipe, adapter)


def _make_adapter(model: Path, folder: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(7)
    config = LoraConfig(r=4, lora_alpha=32, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(folder)
    return folder
