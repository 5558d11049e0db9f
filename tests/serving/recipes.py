"""Recipes to be served, with a model and an adapter that hold nothing."""

import json
from pathlib import Path

import yaml

_HEADER = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
WHOLE = len(_HEADER).to_bytes(8, "little") + _HEADER + bytes(4)
"""A safetensors file of one number."""


def write_recipe(folder: Path) -> Path:
    """Write a recipe whose model and adapter are sound to the eye."""
    model, adapter = folder / "model", folder / "adapter"
    model.mkdir()
    adapter.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model)}))
    (adapter / "adapter_model.safetensors").write_bytes(WHOLE)
    file = folder / "ecg_tiny.yaml"
    recipe = {"model_name_or_path": str(model), "output_dir": str(adapter), "template": "smollm2", "stage": "sft"}
    file.write_text(yaml.safe_dump(recipe))
    return file
