"""A recipe's model once it is trained: where its adapter is, and what LLaMA-Factory is given to load it.

Scoring, generating and serving load it alike, so that they say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from vitalfactory.errors import VitalFactoryError
from vitalfactory.processor import computes_bfloat16
from vitalfactory.recipes import resolve

ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The files of an adapter as PEFT saves it."""
DROPPED = {"dataset", "eval_dataset", "val_size", "adapter_name_or_path"}
"""Arguments of a recipe that loading its model has no use for."""


def find_adapter(given: str | None, recipe: Mapping[str, Any]) -> Path | None:
    """Find the adapter that a recipe trains.

    Parameters
    ----------
    given : str or None
        Another folder than the recipe's ``output_dir``, or ``none`` for the model before training.
    recipe : mapping
        LLaMA-Factory's arguments.

    Raises
    ------
    VitalFactoryError
        The folder holds none.
    """
    if given == "none":
        return None
    folder = Path(given) if given else resolve(str(recipe.get("output_dir")))
    if not (folder / ADAPTER).is_file():
        raise VitalFactoryError(f"{folder}: holds no adapter ({ADAPTER}); train first, or give --adapter DIR or none")
    return folder


def inference_arguments(recipe: Mapping[str, Any], adapter: Path | None) -> dict[str, Any]:
    """Select what LLaMA-Factory's inference takes of a recipe, the model on disk and its numbers named.

    Parameters
    ----------
    recipe : mapping
        LLaMA-Factory's arguments.
    adapter : Path or None
        None is the model before training.
    """
    from llamafactory.hparams import DataArguments, FinetuningArguments, GeneratingArguments, ModelArguments

    classes = (ModelArguments, DataArguments, FinetuningArguments, GeneratingArguments)
    known = {field.name for cls in classes for field in fields(cls)}
    arguments = {key: value for key, value in recipe.items() if key in known - DROPPED}
    local = resolve(arguments["model_name_or_path"])
    if local.is_dir():
        arguments["model_name_or_path"] = str(local)
    if adapter is not None:
        arguments["adapter_name_or_path"] = str(adapter)
    arguments.setdefault("infer_dtype", _infer_dtype(recipe))
    return arguments


def _infer_dtype(recipe: Mapping[str, Any]) -> str:
    """Choose the numbers to compute with: the recipe's on a card, on a processor those that it computes fast."""
    import torch

    if not torch.cuda.is_available():
        return "bfloat16" if computes_bfloat16() else "float32"
    return "bfloat16" if recipe.get("bf16") else "auto"
