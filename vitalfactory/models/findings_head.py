"""Findings in chest X-rays from Qwen2-VL with a head of its own: a probability for each, instead of words.

A recipe in ``train_configs/head/`` says how; the network is described in ``findings_head_model.py``:

    python -m vitalfactory.models.findings_head train train_configs/head/cxr_qwen2vl7b_head.yaml
    python -m vitalfactory.models.findings_head predict RECIPE --out results/cxr_head

``train`` goes on where it stopped. ``predict`` writes a run that ``eval/multilabel.py`` judges.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vitalfactory.errors import VitalFactoryError, closest, run
from vitalfactory.files import read_json
from vitalfactory.models.baseline import Floats
from vitalfactory.models.findings import Findings, Rows, open_findings, write_run
from vitalfactory.predictions import shown
from vitalfactory.recipes import changed, read_recipe, resolve

if TYPE_CHECKING:
    from vitalfactory.render import Renderer

REGISTRY = "dataset_info.json"


class Recipe(BaseModel):
    """How a head is trained; keys that LLaMA-Factory has too mean what they mean there.

    Attributes
    ----------
    model_name_or_path : str
        A Qwen2-VL.
    image_max_pixels : int
    quantization_bit : {4, 8}, optional
        Of the frozen weights, by bitsandbytes; needs a GPU.
    lora_rank, lora_alpha, lora_dropout
    head_width, head_dropout
        Of the head's hidden layer.
    pos_weight : {'balanced', 'log', 'none'}
        The weight of a finding's presence in the loss, where n of the N training images have it: (N - n) / n,
        ln(1 + N / n), or 1.
    gradient_checkpointing : bool
    dataset_dir, dataset, template : str
        The folder of ``dataset_info.json``, the dataset without a split, and the template that it is rendered with.
    dataloader_num_workers : int
    output_dir : str
    logging_steps, save_steps : int
        Validates and saves every ``save_steps`` steps, by default at the end of every epoch.
    save_total_limit : int
        The best checkpoint is kept in any case.
    report_to : {'none', 'tensorboard', 'swanlab'}
    per_device_train_batch_size, per_device_eval_batch_size, gradient_accumulation_steps : int
    learning_rate, num_train_epochs, max_steps, lr_scheduler_type, warmup_ratio, seed
        As in transformers.
    patience : int
        Stops when the validation loss has not fallen for so many validations.
    bf16 : bool
    deepspeed : str, optional
        A file of DeepSpeed's settings; needs ``torchrun``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    model_name_or_path: str
    image_max_pixels: int = Field(default=122_500, ge=56 * 56)
    quantization_bit: Literal[4, 8] | None = None
    lora_rank: int = Field(default=12, ge=1)
    lora_alpha: int = Field(default=16, ge=1)
    lora_dropout: float = Field(default=0.05, ge=0, lt=1)
    head_width: int = Field(default=1024, ge=1)
    head_dropout: float = Field(default=0.1, ge=0, lt=1)
    pos_weight: Literal["balanced", "log", "none"] = "balanced"
    gradient_checkpointing: bool = True
    dataset_dir: str = "."
    dataset: str
    template: str = "qwen2_vl"
    dataloader_num_workers: int = Field(default=0, ge=0)
    output_dir: str
    logging_steps: int = Field(default=10, ge=1)
    save_steps: int | None = Field(default=None, ge=1)
    save_total_limit: int = Field(default=1, ge=1)
    report_to: Literal["none", "tensorboard", "swanlab"] = "none"
    per_device_train_batch_size: int = Field(default=4, ge=1)
    gradient_accumulation_steps: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=5e-5, gt=0)
    num_train_epochs: float = Field(default=6.0, gt=0)
    max_steps: int = Field(default=-1, ge=-1)
    lr_scheduler_type: str = "cosine"
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    patience: int = Field(default=2, ge=1)
    bf16: bool = True
    seed: int = Field(default=2026, ge=0)
    deepspeed: str | None = None
    per_device_eval_batch_size: int = Field(default=8, ge=1)

    @property
    def root(self) -> Path:
        """The folder of ``dataset_info.json`` and ``data/``."""
        return resolve(self.dataset_dir)

    @property
    def out(self) -> Path:
        """The checkpoint's folder."""
        return resolve(self.output_dir)


def read_head_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a head's recipe.

    Parameters
    ----------
    path : Path
    changes : sequence of str
        ``key=value``.

    Raises
    ------
    VitalFactoryError
        It cannot be read, or keys are unknown, missing or have values that make no sense: all of them are named.
    """
    told = changed(read_recipe(path), changes)
    try:
        return Recipe.model_validate(told)
    except ValidationError as error:
        raise VitalFactoryError(f"{path}: {'; '.join(map(_problem, error.errors()))}") from None


def _problem(error: Any) -> str:
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"no such key {key!r}{closest(key, sorted(Recipe.model_fields))}"
    if error["type"] == "missing":
        return f"the key {key!r} is missing"
    return f"{key}: {error['input']}: {error['msg']}"


class Seen:
    """A recipe's dataset as its model sees it: the tokens of each question, and the pixels of its image.

    Parameters
    ----------
    recipe : Recipe

    Raises
    ------
    VitalFactoryError
        The dataset is not registered or holds no findings, or the model's tokenizer or processor is not at hand.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.registry = read_json(recipe.root / REGISTRY)
        if f"{recipe.dataset}_train" not in self.registry:
            near = closest(recipe.dataset, sorted({name.rpartition("_")[0] for name in self.registry}))
            raise VitalFactoryError(f"dataset: {recipe.dataset}: not registered in {recipe.root / REGISTRY}{near}")
        self.findings: Findings = open_findings(recipe.root / "data" / recipe.dataset)
        self.renderer = self._renderer()

    def _renderer(self) -> Renderer:
        """Set up what renders the rows, those of every split alike."""
        from vitalfactory.render import Renderer, load_tokenizer

        name = self.recipe.model_name_or_path
        tokenizer = load_tokenizer(name)
        if tokenizer is None:
            raise VitalFactoryError(f"{name}: its tokenizer is not at hand; download the whole model first")
        told = {"media_dir": str(self.recipe.root), **self.recipe.model_dump(exclude_none=True)}
        return Renderer(told, tokenizer, self.registry, f"{self.recipe.dataset}_train")

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """Render a row without its answer."""
        return {"prompt": self.renderer.render(row).prompt, "pixels": self.renderer.pixels(row)}


def predict(recipe: Recipe, name: str, folder: Path, out: Path) -> None:
    """Answer a dataset's validation and test rows with a trained head.

    Parameters
    ----------
    recipe : Recipe
    name : str
        The recipe's, for the manifest.
    folder : Path
        The checkpoint.
    out : Path
        The run's folder.

    Raises
    ------
    VitalFactoryError
        The checkpoint is not there or of another head, the dataset has other labels, or the folder holds another run.
    """
    from vitalfactory.models.findings_head_model import read_manifest, read_model

    manifest = read_manifest(folder)
    seen = Seen(recipe)
    if seen.findings.card.labels != manifest.labels:
        raise VitalFactoryError(f"{folder}: trained on {', '.join(manifest.labels)}; {recipe.dataset} has other labels")
    model = read_model(folder, recipe, manifest)
    weights = np.log([manifest.pos_weight[label] for label in manifest.labels])
    answer = partial(_answer, model, seen, weights)
    settings = {"quantization_bit": recipe.quantization_bit, "bf16": recipe.bf16}
    known = {"model": recipe.model_name_or_path, "method": "findings head", "recipe": name, "adapter": shown(folder)}
    write_run(out, seen.findings, {**known, "adapter_sha256": manifest.adapter_sha256}, settings, answer)


def _answer(model: Any, seen: Seen, weights: Floats, rows: Rows) -> Iterator[Floats]:
    """Give each row's probabilities.

    Where presence weighs w in the loss, the best logit is that of the true probability plus ln(w): it is taken off.
    """
    import torch
    from tqdm import tqdm

    from vitalfactory.models.findings_head_model import collate

    size = seen.recipe.per_device_eval_batch_size
    for start in tqdm(range(0, len(rows), size), desc="answering", unit="batch", disable=None):
        batch = collate([seen.row(row) for row in rows[start : start + size]], model.config.image_token_id)
        with torch.inference_mode():
            logits = model(**{key: value.to(model.device) for key, value in batch.items()})["logits"]
        yield from 1 / (1 + np.exp(weights - logits.double().cpu().numpy()))


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    program = "python -m vitalfactory.models.findings_head"
    parser = argparse.ArgumentParser(prog=program, description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for command, told in (
        ("train", "train a head, or go on with one that was cut off"),
        ("predict", "answer a dataset's rows as a run, to be judged by eval/multilabel.py"),
    ):
        add = commands.add_parser(command, help=told, description=told).add_argument
        add("recipe", type=Path, metavar="RECIPE", help="such as train_configs/head/cxr_qwen2vl7b_head.yaml")
        add("changes", nargs="*", metavar="key=value", help="changes of the recipe")
        if command == "predict":
            add("--adapter", type=Path, metavar="DIR", help="the checkpoint (default: the recipe's output_dir)")
            add("--out", type=Path, required=True, metavar="DIR", help="the run's folder, such as results/cxr_head")
        add("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    recipe = read_head_recipe(arguments.recipe, arguments.changes)
    if arguments.command == "predict":
        predict(recipe, arguments.recipe.name, arguments.adapter or recipe.out, arguments.out)
        return

    from vitalfactory.models.findings_head_training import train

    made = train(recipe)
    print(f"{made.steps} steps, best {made.best_step}, validation loss {made.val_loss:.4f}; head: {recipe.out}")


if __name__ == "__main__":
    run(main)
