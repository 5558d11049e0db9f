"""The preflight of a checkpoint: an output layer that is there, of the right size, and no pickle."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from converters import check as script
from tests.tiny import make_qwen3
from vitalfactory.dataset import checkpoint
from vitalfactory.files import ROOT, read_json, write_json

CONFIG = {"model_type": "qwen3", "vocab_size": 6, "hidden_size": 4}
BODY = {"model.embed_tokens.weight": (6, 4), "model.norm.weight": (4,)}
FLAT = {"embed_tokens.weight": (6, 4), "norm.weight": (4,)}
HEAD = {"lm_head.weight": (6, 4)}


def write(folder: Path, shapes: Mapping[str, tuple[int, ...]] | None = None, **config: object) -> Path:
    """Write a configuration, and one file of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", {**CONFIG, **config})
    if shapes is not None:
        save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, folder / checkpoint.WEIGHTS)
    return folder


def write_shards(folder: Path, parts: Mapping[str, Mapping[str, tuple[int, ...]]], **config: object) -> Path:
    """Write a configuration, files of weights and their index."""
    write(folder, **config)
    for file, shapes in parts.items():
        save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, folder / file)
    index = {name: file for file, shapes in parts.items() for name in shapes}
    write_json(folder / checkpoint.INDEX, {"weight_map": index})
    return folder


def problems(model: Path | str, **recipe: object) -> list[str]:
    return checkpoint.find_problems({"model_name_or_path": str(model), **recipe}, "r.yaml")


SHARDS = {"a.safetensors": BODY, "b.safetensors": HEAD}
VISION = {"model_type": "qwen2_vl", "text_config": {"vocab_size": 6, "hidden_size": 4}}
SOUND: dict[str, Callable[[Path], Path]] = {
    "a head of its own": lambda folder: write(folder, {**BODY, **HEAD}),
    "tied": lambda folder: write(folder, BODY, tie_word_embeddings=True),
    "shards": lambda folder: write_shards(folder, SHARDS),
    "another name": lambda folder: write(folder, {**BODY, "output.weight": (6, 4)}),
    "of a vision model": lambda folder: write(folder, {**BODY, **HEAD}, **VISION),
    "beside pickled weights": lambda folder: with_file(write(folder, {**BODY, **HEAD}), "pytorch_model.bin"),
    "unknown to transformers": lambda folder: write(folder, BODY, model_type="unheard_of"),
    "no weights yet": write,
    "no configuration": lambda folder: without(write(folder, BODY), "config.json"),
    "a shard not there yet": lambda folder: without(write_shards(folder, SHARDS), "b.safetensors"),
}


def with_file(folder: Path, name: str, content: bytes = b"") -> Path:
    (folder / name).write_bytes(content)
    return folder


def without(folder: Path, name: str) -> Path:
    (folder / name).unlink()
    return folder


@pytest.mark.parametrize("case", SOUND)
def test_a_sound_checkpoint(tmp_path: Path, case: str) -> None:
    assert problems(SOUND[case](tmp_path / "model")) == []


LACKS = r"none of its 2 tensors is an output layer .*take .*Qwen/Qwen3-8B.* or train .* additional_target: lm_head"
FAULTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "an embedding model": (lambda folder: write(folder, FLAT), LACKS),
    "a vision model without": (lambda folder: write(folder, BODY, **VISION), LACKS),
    "said to be untied": (lambda folder: write(folder, BODY, tie_word_embeddings=False), LACKS),
    "shards without": (lambda folder: write_shards(folder, {"a.safetensors": BODY}), LACKS),
    "too many rows": (
        lambda folder: write(folder, {**BODY, "lm_head.weight": (7, 4)}),
        "lm_head.weight has 7 rows and config.json a vocab_size of 6",
    ),
    "too few rows in a shard": (
        lambda folder: write_shards(folder, {**SHARDS, "b.safetensors": {"lm_head.weight": (5, 4)}}),
        "lm_head.weight has 5 rows",
    ),
    "pickled": (lambda folder: with_file(write(folder), "pytorch_model.bin"), r"pickled \(pytorch_model.bin\)"),
    "pickled shards": (
        lambda folder: with_file(write(folder), "pytorch_model-00001-of-00002.bin"),
        "pickled .*convert them to safetensors",
    ),
    "no safetensors": (
        lambda folder: with_file(write(folder), checkpoint.WEIGHTS, b"version https://git-lfs.github.com/spec/v1\n"),
        "model.safetensors is no safetensors file .*; fetch the model again",
    ),
    "an empty file": (lambda folder: with_file(write(folder), checkpoint.WEIGHTS), "is no safetensors file"),
    "a broken index": (lambda folder: with_file(write(folder), checkpoint.INDEX, b"{"), "not valid JSON"),
    "an index of nothing": (lambda folder: with_file(write(folder), checkpoint.INDEX, b"{}"), "has no weight_map"),
    "an index that is wrong": (
        lambda folder: swap(write_shards(folder, SHARDS)),
        "looks for lm_head.weight in a.safetensors, which lacks it",
    ),
}


def swap(folder: Path) -> Path:
    index = read_json(folder / checkpoint.INDEX)["weight_map"]
    write_json(folder / checkpoint.INDEX, {"weight_map": {**index, "lm_head.weight": "../a.safetensors"}})
    return folder


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_found(tmp_path: Path, case: str) -> None:
    make, words = FAULTS[case]
    model = make(tmp_path / "model")
    (found,) = problems(model)
    assert found.startswith(f"r.yaml: {model}: ")
    assert re.search(words, found)
    assert "\n" not in found


@pytest.mark.parametrize(
    "recipe",
    [
        {"finetuning_type": "lora", "additional_target": "lm_head"},
        {"additional_target": "embed_tokens, lm_head"},
        {"additional_target": ["lm_head"]},
        {"finetuning_type": "full"},
    ],
)
def test_a_head_that_is_trained_may_be_missing(tmp_path: Path, recipe: dict[str, Any]) -> None:
    assert problems(write(tmp_path, FLAT), **recipe) == []
    assert problems(write(tmp_path, {**FLAT, "lm_head.weight": (7, 4)}), **recipe)


@pytest.mark.parametrize("model", ["nobody/none", "no such model", "/none", "None"])
def test_a_model_that_is_not_at_hand(model: str) -> None:
    assert problems(model) == []


def test_a_snapshot_in_the_hubs_cache(tmp_path: Path) -> None:
    repository = tmp_path / "models--some--embedding"
    write(repository / "snapshots" / "abc", FLAT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (found,) = problems("some/embedding", cache_dir=str(tmp_path))
    assert "some/embedding: none of its 2 tensors" in found
    assert problems("some/embedding", cache_dir=str(tmp_path), model_revision="other") == []


def test_a_published_embedding_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recipe for it is sound, and is refused without the line that trains its output layer."""
    model = make_qwen3(tmp_path / "model", head=False)
    write_json(tmp_path / "dataset_info.json", read_json(ROOT / "dataset_info.json"))
    recipe = tmp_path / "recipe.yaml"
    text = (ROOT / "train_configs" / "ecg_qwen3embedding8b_lora.yaml").read_text(encoding="utf-8")
    text = text.replace("model_name_or_path: Qwen/Qwen3-Embedding-8B", f"model_name_or_path: {json.dumps(str(model))}")
    arguments = ["--recipe", str(recipe), "--root", str(tmp_path), "--no-data"]
    recipe.write_text(text, encoding="utf-8")
    script.main(arguments)
    recipe.write_text(text.replace("additional_target: lm_head\n", ""), encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        script.main(arguments)
    assert "is an output layer (lm_head.weight)" in capsys.readouterr().out
