"""What a training run of a recipe takes: rows and tokens of a step and an epoch, and the memory of a GPU, estimated.

The memory is counted from the model's shape: weights as they are stored, LoRA with its gradients and Adam's two
moments in float32, what gradient checkpointing keeps of every layer and recomputes of one, and the logits in float32,
which for a large vocabulary outweigh the rest. It is an estimate, not a measurement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitalfactory.dataset.checkpoint import find_model
from vitalfactory.dataset.rules import PROCESSES, launched, zero_stage
from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json

GPUS = {
    16: "T4, V100",
    24: "RTX 3090, RTX 4090, A10, L4",
    40: "A100 40 GB",
    48: "A6000, L40S",
    80: "A100 80 GB, H100",
    141: "H200",
}
"""Memory in GiB to cards that have it."""
USABLE = 0.92
"""Of a card's memory: the rest goes to CUDA's own context and to fragmentation."""
GIB = 1024**3
BYTES_OF_WEIGHT = {4: 0.56, 8: 1.06}
"""Of a quantized weight, with its block's scale."""
NODES = "NNODES"
TRAINED = 16
"""Bytes of a trained weight in float32: itself, its gradient, and Adam's two moments."""
LOGITS = 10
"""Bytes of a logit: in bfloat16, in float32, and its gradient in float32."""


@dataclass(frozen=True)
class Shape:
    """A decoder's size.

    Attributes
    ----------
    hidden, intermediate, layers, heads, kv_heads, head, vocabulary : int
        ``head`` is the width of one head.
    tied : bool
        Whether the output layer is the embedding.
    vision : int
        Weights of a vision tower.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    tied: bool = False
    vision: int = 0

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """Name the linear layers of one block, with their inputs and outputs."""
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def blocks(self) -> int:
        """Count the weights of all blocks."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linear.values())

    @property
    def embeddings(self) -> int:
        """Count the weights of the embedding and the output layer."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)


PUBLISHED = {
    "Qwen2.5-7B": Shape(3584, 18944, 28, 28, 4, 128, 152064),
    "Qwen2.5-Math-7B": Shape(3584, 18944, 28, 28, 4, 128, 152064),
    "Qwen2-VL-7B": Shape(3584, 18944, 28, 28, 4, 128, 152064, vision=675_000_000),
    "Qwen3-Embedding-8B": Shape(4096, 12288, 36, 32, 8, 128, 151665),
    "llama-7b": Shape(4096, 11008, 32, 32, 32, 128, 32000),
    "Llama-3.2-1B": Shape(2048, 8192, 16, 32, 8, 64, 128256, tied=True),
    "SmolLM2-135M": Shape(576, 1536, 30, 9, 3, 64, 49152, tied=True),
}
"""The models of the recipes, from the config.json published with each; without ``-Instruct``."""


@dataclass(frozen=True)
class Cost:
    """What a training run takes.

    Attributes
    ----------
    rows_a_step : int
        Over all processes, after gradient accumulation.
    steps_an_epoch, tokens_an_epoch : int or None
        None where the dataset is not at hand.
    gibibytes : dict of str to float or None
        Of one GPU, by part; None where the model's shape is not known.
    """

    rows_a_step: int
    steps_an_epoch: int | None
    tokens_an_epoch: int | None
    gibibytes: dict[str, float] | None

    def as_json(self) -> dict[str, Any]:
        """Lay the figures out for ``--json``."""
        return asdict(self)

    def describe(self) -> list[str]:
        """Say the figures in lines."""
        told = f"{self.rows_a_step} rows a step"
        if self.steps_an_epoch is not None:
            told += f", {self.steps_an_epoch} steps and {self.tokens_an_epoch:,} tokens an epoch"
        return [told] if self.gibibytes is None else [told, _memory(self.gibibytes)]


def _memory(gibibytes: Mapping[str, float]) -> str:
    total = sum(gibibytes.values())
    parts = ", ".join(f"{name} {value:.1f}" for name, value in gibibytes.items())
    fitting = [size for size in GPUS if total <= USABLE * size]
    cards = f"fits {fitting[0]} GB ({GPUS[fitting[0]]}) and more" if fitting else "fits no single card"
    return f"some {total:.1f} GiB a GPU, estimated ({parts}): {cards}"


def estimate(recipe: Mapping[str, Any], rows: int | None, tokens: int | None, longest: int | None) -> Cost:
    """Estimate what a recipe's training takes.

    Parameters
    ----------
    recipe : mapping
        LLaMA-Factory's arguments.
    rows, tokens : int or None
        Of the training split; None where it is not at hand.
    longest : int or None
        Tokens of the longest row; ``cutoff_len`` by default.

    Returns
    -------
    Cost
    """
    processes = launched(PROCESSES) * launched(NODES)
    batch = int(recipe.get("per_device_train_batch_size", 8))
    accumulated = int(recipe.get("gradient_accumulation_steps", 1))
    step = batch * accumulated * processes
    limit = recipe.get("max_samples")
    taken = rows if rows is None or not limit else min(rows, int(limit))
    epoch = None if tokens is None or not rows or taken is None else round(tokens * taken / rows)
    shape = shape_of(recipe)
    length = min(longest or math.inf, int(recipe.get("cutoff_len", 2048)))
    memory = _gibibytes(recipe, shape, batch * int(length), processes) if shape else None
    return Cost(step, None if taken is None else math.ceil(taken / step), epoch, memory)


def shape_of(recipe: Mapping[str, Any]) -> Shape | None:
    """Find the shape of a recipe's model: from its config.json where it is at hand, else from its published name."""
    published = PUBLISHED.get(str(recipe.get("model_name_or_path")).rpartition("/")[2].removesuffix("-Instruct"))
    folder = find_model(recipe)
    try:
        return _from_config(folder) if folder else published
    except (VitalFactoryError, LookupError, TypeError):
        return published


def _from_config(folder: Path) -> Shape:
    config: dict[str, Any] = read_json(folder / "config.json")
    text = config.get("text_config") or config
    heads = text["num_attention_heads"]
    return Shape(
        hidden=text["hidden_size"],
        intermediate=text["intermediate_size"],
        layers=text["num_hidden_layers"],
        heads=heads,
        kv_heads=text.get("num_key_value_heads") or heads,
        head=text.get("head_dim") or text["hidden_size"] // heads,
        vocabulary=text["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        vision=_vision(folder) if "vision_config" in config else 0,
    )


def _vision(folder: Path) -> int:
    """Count the weights of a vision tower and its projector, without a place in memory."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
    return sum(weight.numel() for name, weight in model.named_parameters() if ".visual." in f".{name}")


def _gibibytes(recipe: Mapping[str, Any], shape: Shape, tokens: int, processes: int) -> dict[str, float]:
    """Estimate one GPU's memory by part, for a batch of so many tokens."""
    stage = zero_stage(recipe)
    stored = 2 if recipe.get("bf16") or recipe.get("fp16") or recipe.get("pure_bf16") else 4
    each = BYTES_OF_WEIGHT.get(int(recipe.get("quantization_bit") or 0), stored)
    weights = shape.blocks * each + (shape.embeddings + shape.vision) * stored
    tuned = _tuned(recipe, shape) * TRAINED
    kept = shape.layers * tokens * shape.hidden * stored
    recomputed = tokens * stored * (6 * shape.hidden + 4 * shape.intermediate)
    if recipe.get("disable_gradient_checkpointing"):
        kept, recomputed = shape.layers * recomputed, 0
    parts = {
        "weights": weights / (processes if stage == 3 else 1),
        "tuned weights and optimiser": tuned / (processes if stage else 1),
        "activations": kept + recomputed,
        "logits": tokens * shape.vocabulary * (LOGITS if stored == 2 else 8),
    }
    return {name: value / GIB for name, value in parts.items()}


def _tuned(recipe: Mapping[str, Any], shape: Shape) -> int:
    """Count the weights that are trained."""
    if recipe.get("finetuning_type", "lora") != "lora":
        return shape.blocks + shape.embeddings
    given = recipe.get("lora_target", "all")
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)
    chosen = [size for name, size in shape.linear.items() if "all" in names or name in names]
    whole = shape.vocabulary * shape.hidden if "lm_head" in str(recipe.get("additional_target")) else 0
    return shape.layers * int(recipe.get("lora_rank", 8)) * sum(map(sum, chosen)) + whole
