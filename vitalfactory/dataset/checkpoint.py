"""The preflight of a model's checkpoint and of its adapter: whether what it is asked to answer with is in it.

Only headers and the index are read, never a weight. A model that is not on this machine is not judged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json
from vitalfactory.inference import ADAPTER, ADAPTER_WEIGHTS
from vitalfactory.recipes import resolve

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output|output_layer)\.weight$")
"""The output layer, as Qwen, LLaMA and most call it, GPT-NeoX, InternLM, and ChatGLM."""
_SNAPSHOT = re.compile(r"models--(?:.+?--)?([^/]+)/snapshots/")


def find_problems(recipe: Mapping[str, Any], name: str) -> list[str]:
    """Look at the checkpoint of a recipe's model.

    Parameters
    ----------
    recipe : mapping
        LLaMA-Factory's arguments.
    name : str
        How the recipe is called in messages.

    Returns
    -------
    list of str
        Pickled weights, an output layer that is missing and not trained either, or one that does not
        have the vocabulary's size. Nothing where the model is not at hand.
    """
    folder = find_model(recipe)
    if folder is None:
        return []
    try:
        found = _pickled(folder) or _head_problem(folder, recipe)
    except VitalFactoryError as error:
        found = str(error)
    return [f"{name}: {recipe['model_name_or_path']}: {found}"] if found else []


def find_model(recipe: Mapping[str, Any]) -> Path | None:
    """Find a recipe's model: its folder, or its snapshot in the hub's cache, without the network.

    Returns
    -------
    Path or None
        None where it is not on this machine.
    """
    model = str(recipe.get("model_name_or_path"))
    if (local := resolve(model)).is_dir():
        return local
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    revision, cache = recipe.get("model_revision"), recipe.get("cache_dir")
    try:
        return Path(snapshot_download(model, revision=revision, cache_dir=cache, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def adapter_problem(folder: Path, model: str) -> str | None:
    """Look at an adapter that is to stand on a model.

    Parameters
    ----------
    folder : Path
    model : str
        ``model_name_or_path`` of the recipe.

    Returns
    -------
    str or None
        What is wrong: no adapter, no weights or pickled ones, weights that are cut off, or another model's.
    """
    try:
        config = read_json(folder / ADAPTER)
    except VitalFactoryError as error:
        return f"not an adapter: {error}"
    weights = folder / ADAPTER_WEIGHTS
    if not weights.is_file():
        return f"has no weights; expected {ADAPTER_WEIGHTS}"
    try:
        _open(weights, "copy the adapter again, or train it")
    except VitalFactoryError as error:
        return str(error)
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if base and _published(str(base)) != _published(model):
        return f"was trained on {base}, and the recipe's model is {model}"
    return None


def _published(model: str) -> str:
    """Take a model's name out of a path or a hub name; the hub's cache has it above the snapshot."""
    cached = _SNAPSHOT.search(model)
    return cached[1] if cached else Path(model).name


def _pickled(folder: Path) -> str | None:
    """Say that pickled weights are all there is; where there are others, those are loaded."""
    pickled = sorted(file.name for file in folder.glob("pytorch_model*.bin*"))
    if not pickled or (folder / WEIGHTS).exists() or (folder / INDEX).exists():
        return None
    return f"its weights are pickled ({pickled[0]}), which can run code when read; convert them to safetensors first"


def _head_problem(folder: Path, recipe: Mapping[str, Any]) -> str | None:
    """Judge the output layer against the configuration."""
    config, files = _config(folder), _tensors(folder)
    if config is None or not files or config.tie_word_embeddings:
        return None
    head = next((key for key in files if HEAD.search(key)), None)
    if head is None:
        return None if _trains_head(recipe) else _missing(len(files))
    vocabulary = config.get_text_config().vocab_size
    rows = _rows(folder / files[head], head)
    if rows in (None, vocabulary):
        return None
    return f"{head} has {rows:,} rows and config.json a vocab_size of {vocabulary:,}; take the two from one checkpoint"


def _missing(count: int) -> str:
    return (
        f"none of its {count} tensors is an output layer (lm_head.weight), and tie_word_embeddings is false: a random "
        "one would be drawn at every load, in scoring another than in training, as for a model published to make "
        "embeddings; take the model with an output layer that it was made from (Qwen/Qwen3-8B for "
        "Qwen/Qwen3-Embedding-8B), or train one with the adapter by additional_target: lm_head"
    )


def _trains_head(recipe: Mapping[str, Any]) -> bool:
    """Whether an output layer drawn at random is trained, and so kept."""
    extra = recipe.get("additional_target") or []
    names = [part.strip() for part in extra.split(",")] if isinstance(extra, str) else extra
    return recipe.get("finetuning_type") == "full" or "lm_head" in names


def _config(folder: Path) -> Any | None:
    """Read the configuration with the defaults of its architecture; None where transformers does not know it."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError):
        return None


def _tensors(folder: Path) -> dict[str, str]:
    """List the names of all tensors, each with its file, as transformers looks for them."""
    if (folder / WEIGHTS).exists():
        with _open(folder / WEIGHTS) as weights:
            return dict.fromkeys(weights.keys(), WEIGHTS)
    if not (folder / INDEX).exists():
        return {}
    index = read_json(folder / INDEX)
    files = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(files, dict):
        raise VitalFactoryError(f"{INDEX} has no weight_map; fetch the model again")
    return {str(key): Path(str(file)).name for key, file in files.items()}


def _rows(file: Path, key: str) -> int | None:
    """Read from a file's header how many rows a tensor has; None where the file is not at hand yet."""
    if not file.exists():
        return None
    with _open(file) as weights:
        if key not in weights.keys():  # noqa: SIM118  (safetensors' own object, no mapping)
            raise VitalFactoryError(f"{INDEX} looks for {key} in {file.name}, which lacks it; fetch the model again")
        return int(weights.get_slice(key).get_shape()[0])


def _open(file: Path, mend: str = "fetch the model again") -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(file, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise VitalFactoryError(f"{file.name} is no safetensors file ({error}); {mend}") from None
