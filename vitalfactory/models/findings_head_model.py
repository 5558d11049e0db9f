"""Qwen2-VL with a head for findings: the network, and the checkpoint that is kept of it.

Source: the "logical chain" of an earlier project on ChestX-ray14. The last hidden states of a question about an image
are averaged over its tokens, and lead through one hidden layer to a logit for each finding. The weights of Qwen2-VL
are frozen; LoRA in its language model and the head learn. A checkpoint is a folder:

    adapter_model.safetensors    LoRA and head
    adapter_config.json          PEFT's
    findings_head.json           what it is: base model, labels, weights in the loss, dataset, hashes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import read_json, sha256
from vitalfactory.models.encoder import PICKLED
from vitalfactory.recipes import resolve

if TYPE_CHECKING:
    import torch

    from vitalfactory.models.findings_head import Recipe

MANIFEST = "findings_head.json"
WEIGHTS, ADAPTER = "adapter_model.safetensors", "adapter_config.json"
ARCHITECTURE = "qwen2_vl"
LEARNED = r".*language_model\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""The layers that get LoRA: those that LLaMA-Factory's ``lora_target: all`` finds, the vision tower left alone."""
FROZEN = ["head", "visual"]
"""What is not quantized."""
SHAPING = ("template", "image_max_pixels", "lora_rank", "lora_alpha", "head_width")
"""Keys of a recipe that must be in prediction what they were in training."""


class Manifest(BaseModel):
    """The content of ``findings_head.json``.

    Attributes
    ----------
    architecture : str
        The type of the base model.
    base_model : str
    labels : list of str
        In the order of the logits.
    pos_weight : dict of str to float
        Label to the weight of its presence in the loss.
    recipe : dict
        What it was trained with.
    dataset : str
    dataset_sha256 : dict of str to str
        Of the training and the validation rows.
    steps, best_step : int
    val_loss : float
        At the best step, whose weights are kept.
    adapter_sha256 : str
    versions : dict of str to str
    hardware, date : str
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: str
    base_model: str
    labels: list[str]
    pos_weight: dict[str, float]
    recipe: dict[str, Any]
    dataset: str
    dataset_sha256: dict[str, str]
    steps: int
    best_step: int
    val_loss: float
    adapter_sha256: str
    versions: dict[str, str]
    hardware: str
    date: str


def masked_mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average hidden states over real tokens.

    Parameters
    ----------
    hidden : Tensor, shape (rows, tokens, width)
    mask : Tensor of int, shape (rows, tokens)
        1 where a token is real.

    Returns
    -------
    Tensor of float32, shape (rows, width)
    """
    kept = mask[..., None].float()
    mean: torch.Tensor = (hidden.float() * kept).sum(1) / kept.sum(1)
    return mean


def make_model(recipe: Recipe, labels: int) -> Any:
    """Load the frozen base model and put LoRA and a new head on it; the same seed gives the same weights.

    Parameters
    ----------
    recipe : Recipe
    labels : int

    Returns
    -------
    PeftModel
        Maps ``input_ids``, ``attention_mask`` and what :meth:`vitalfactory.render.Renderer.pixels` gives to
        ``logits``, shape (rows, labels).

    Raises
    ------
    VitalFactoryError
        The base model is not at hand or of another architecture, or is to be quantized where there is no GPU.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    set_seed(recipe.seed)
    model = _base(recipe, labels)
    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=LEARNED,
        modules_to_save=["head"],
    )
    adapted = get_peft_model(model, config)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    return adapted


def _base(recipe: Recipe, labels: int) -> Any:
    import torch
    from transformers import AutoConfig, BitsAndBytesConfig

    name = recipe.model_name_or_path
    source = str(resolve(name)) if resolve(name).is_dir() else name
    arguments: dict[str, Any] = {"dtype": torch.bfloat16 if recipe.bf16 else torch.float32}
    if recipe.quantization_bit:
        if not torch.cuda.is_available():
            raise VitalFactoryError(f"quantization_bit: {recipe.quantization_bit}: needs a GPU, and there is none here")
        kind = {4: {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": arguments["dtype"]}}
        bits = kind.get(recipe.quantization_bit, {"load_in_8bit": True})
        arguments["quantization_config"] = BitsAndBytesConfig(**bits, llm_int8_skip_modules=FROZEN)
        arguments["device_map"] = {"": torch.cuda.current_device()}
    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise VitalFactoryError(f"{name}: no model that transformers can load ({reason}); download it first") from None
    if config.model_type != ARCHITECTURE:
        raise VitalFactoryError(f"{name}: a model of the type {config.model_type!r}; expected {ARCHITECTURE!r}")
    shape = (labels, recipe.head_width, recipe.head_dropout)
    return _network(*shape).from_pretrained(source, use_safetensors=True, **arguments)


def _network(labels: int, width: int, dropout: float) -> Any:
    """Make the network's class, which transformers loads as it does Qwen2-VL, the head in place of its words."""
    from torch import nn
    from transformers import Qwen2VLModel, Qwen2VLPreTrainedModel

    class Qwen2VLForFindings(Qwen2VLPreTrainedModel):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self._keys_to_ignore_on_load_missing = [r"^head\."]
            self._keys_to_ignore_on_load_unexpected = [r"^lm_head\."]
            self.model = Qwen2VLModel(config)
            inner = nn.Linear(config.text_config.hidden_size, width)
            self.head = nn.Sequential(inner, nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, labels))
            self.post_init()

        def forward(
            self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **images: torch.Tensor
        ) -> dict[str, torch.Tensor]:
            told = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **images)
            return {"logits": self.head(masked_mean(told.last_hidden_state, attention_mask)).float()}

    return Qwen2VLForFindings


def collate(rows: Sequence[Mapping[str, Any]], image_token: int) -> dict[str, torch.Tensor]:
    """Join rows into a batch.

    Parameters
    ----------
    rows : sequence of mapping
        ``prompt`` (token ids), ``pixels`` (as the renderer gives them) and, where it is known, ``truth``.
    image_token : int
        The id of the token that stands for a piece of an image.

    Returns
    -------
    dict of str to Tensor
        ``input_ids`` and ``attention_mask``, shape (rows, longest), what the model takes of the images, and ``labels``,
        shape (rows, labels).
    """
    import torch

    ids, mask = (torch.zeros(len(rows), max(len(row["prompt"]) for row in rows), dtype=torch.long) for _ in "im")
    for place, row in enumerate(rows):
        ids[place, : len(row["prompt"])] = torch.tensor(row["prompt"])
        mask[place, : len(row["prompt"])] = 1
    batch = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": (ids == image_token).int()}
    batch |= {name: torch.cat([row["pixels"][name] for row in rows]) for name in rows[0]["pixels"]}
    if "truth" in rows[0]:
        batch["labels"] = torch.tensor([row["truth"] for row in rows], dtype=torch.float32)
    return batch


def read_manifest(folder: Path) -> Manifest:
    """Read what a checkpoint is, and check that it is whole and holds no pickle.

    Raises
    ------
    VitalFactoryError
        There is none, it is pickled, a file is missing or has changed, or it is of another architecture.
    """
    missing = [name for name in (MANIFEST, ADAPTER, WEIGHTS) if not (folder / name).is_file()]
    pickled = [path for path in sorted(folder.glob("adapter_model.*")) if path.suffix in PICKLED]
    if WEIGHTS in missing and pickled:
        raise VitalFactoryError(f"{pickled[0]}: pickled, which can run code when it is read; expected {WEIGHTS}")
    if missing:
        again = "train one with python -m vitalfactory.models.findings_head train RECIPE, or give --adapter DIR"
        raise VitalFactoryError(f"{folder}: holds no head for findings (no {', '.join(missing)}); {again}")
    try:
        manifest = Manifest.model_validate(read_json(folder / MANIFEST))
    except ValidationError as error:
        first = error.errors()[0]
        raise VitalFactoryError(f"{folder / MANIFEST}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if manifest.architecture != ARCHITECTURE:
        raise VitalFactoryError(f"{folder}: a head for {manifest.architecture!r}; expected {ARCHITECTURE!r}")
    if sha256(folder / WEIGHTS) != manifest.adapter_sha256:
        raise VitalFactoryError(f"{folder / WEIGHTS}: not the file that {MANIFEST} describes; train the head again")
    return manifest


def read_model(folder: Path, recipe: Recipe, manifest: Manifest) -> Any:
    """Load a checkpoint's network for prediction.

    Parameters
    ----------
    folder : Path
    recipe : Recipe
        Names the base model.
    manifest : Manifest
        The checkpoint's.

    Returns
    -------
    PeftModel
        In evaluation mode.

    Raises
    ------
    VitalFactoryError
        The recipe is of another head, or the weights are not of this network.
    """
    import torch
    from peft import load_peft_weights, set_peft_model_state_dict
    from safetensors import SafetensorError

    _check_same(folder, recipe, manifest)
    model = make_model(recipe, len(manifest.labels))
    try:
        weights = load_peft_weights(str(folder), device="cpu")
        told = set_peft_model_state_dict(model, weights)
    except (SafetensorError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise VitalFactoryError(f"{folder / WEIGHTS}: not the weights of this head ({reason})") from None
    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if wrong := [*told.unexpected_keys, *sorted(learned & set(told.missing_keys))]:
        raise VitalFactoryError(f"{folder / WEIGHTS}: not the weights of this head ({wrong[0]})")
    return model.eval().to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def _check_same(folder: Path, recipe: Recipe, manifest: Manifest) -> None:
    other = [key for key in SHAPING if manifest.recipe.get(key) != getattr(recipe, key)]
    if Path(manifest.base_model).name != Path(recipe.model_name_or_path).name:
        other.insert(0, "model_name_or_path")
    if other:
        was = ", ".join(f"{key}={manifest.recipe.get(key)}" for key in other)
        raise VitalFactoryError(f"{folder}: trained with {was}, which the recipe has otherwise; give the same")
