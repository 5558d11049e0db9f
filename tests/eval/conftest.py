"""A tiny real model over a synthetic dataset: what the scripts that run a model are tested on."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from converters import clinical, ecg
from tests.tiny import make_qwen2
from vitalfactory.files import ROOT, write_jsonl, write_text
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


NOTES = (("Asthma", "wheeze after running"), ("Gout", "a hot swollen toe"), ("Anaemia", "haemoglobin 7.1 g/dL"))
LONGEST_NOTE = 300


@pytest.fixture(scope="session")
def notes(place: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Make a dataset of notes, named clinical, for the same model."""
    root = tmp_path_factory.mktemp("notes")
    rows = [
        {"id": number, "note": f"Seen on day {number}: {finding}.", "diseases": name, "reason": finding}
        for number in range(12)
        for name, finding in [NOTES[number % 3]]
    ]
    write_jsonl(root / "labelled.jsonl", rows)
    options = {"split": "50/25/25", "root": root, "recipe": place.recipe, "workers": 1}
    clinical.convert(labels=root / "labelled.jsonl", longest_note=LONGEST_NOTE, **options)
    return replace(place, root=root)


def _make_adapter(model: Path, folder: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(7)
    config = LoraConfig(r=4, lora_alpha=32, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(folder)
    return folder
