"""Training of the head for findings, by transformers' Trainer: resumed, and stopped on the validation rows."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import lock, read_json, sha256, write_json
from vitalfactory.models.findings_head import Recipe, Seen
from vitalfactory.models.findings_head_model import (
    ARCHITECTURE,
    MANIFEST,
    WEIGHTS,
    Manifest,
    collate,
    make_model,
    read_manifest,
)
from vitalfactory.processor import computes_bfloat16, hardware

if TYPE_CHECKING:
    import torch

VERSIONS = ("vitalfactory", "llamafactory", "torch", "transformers", "peft")
TRAINERS_OWN = {
    *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "learning_rate"),
    *("num_train_epochs", "max_steps", "lr_scheduler_type", "bf16", "seed", "deepspeed"),
    *("logging_steps", "save_total_limit", "dataloader_num_workers"),
}
"""Keys of a recipe that are transformers' own."""
CHANGES_NOTHING = {"output_dir", "logging_steps", "save_total_limit", "report_to", "dataloader_num_workers"}
"""Keys of a recipe with which the same head comes out."""


def positive_weights(truth: NDArray[np.bool_], method: str) -> NDArray[np.float64]:
    """Weigh the presence of each label in the loss by the training rows.

    Parameters
    ----------
    truth : ndarray of bool, shape (rows, labels)
    method : {'balanced', 'log', 'none'}
        (N - n) / n, ln(1 + N / n), or 1, where n of the N rows have the label.

    Returns
    -------
    ndarray, shape (labels,)
        1 for a label that no row or every row has.
    """
    rows, having = len(truth), truth.sum(axis=0)
    mixed = (having > 0) & (having < rows)
    some = np.where(mixed, having, 1)
    weights = {"balanced": (rows - some) / some, "log": np.log(1 + rows / some), "none": np.ones(len(having))}
    return np.where(mixed, weights[method], 1.0)


def weighted_loss(
    weights: torch.Tensor, outputs: dict[str, torch.Tensor], truth: torch.Tensor, num_items_in_batch: Any = None
) -> torch.Tensor:
    """Compute the binary cross entropy of a batch, the mean over its rows and labels.

    Parameters
    ----------
    weights : Tensor, shape (labels,)
        Of presence.
    outputs : dict
        ``logits``, shape (rows, labels).
    truth : Tensor of float, shape (rows, labels)
    num_items_in_batch : int or Tensor, optional
        Rows times labels of all batches that one step is made of; by default those of this one.
    """
    from torch.nn.functional import binary_cross_entropy_with_logits

    given = {"pos_weight": weights.to(truth.device), "reduction": "sum"}
    total: torch.Tensor = binary_cross_entropy_with_logits(outputs["logits"], truth, **given)
    return total / (truth.numel() if num_items_in_batch is None else num_items_in_batch)


class _Split:
    """A split's rows, each rendered when it is asked for."""

    def __init__(self, seen: Seen, split: str) -> None:
        self.seen, self.rows = seen, seen.findings.rows(split)
        self.truth = seen.findings.truth(self.rows).tolist()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return {**self.seen.row(self.rows[place]), "truth": self.truth[place]}


def train(recipe: Recipe) -> Manifest:
    """Train a head, or go on with one that was cut off.

    Parameters
    ----------
    recipe : Recipe

    Returns
    -------
    Manifest
        Also written into the recipe's ``output_dir``, beside the weights.

    Raises
    ------
    VitalFactoryError
        The dataset, the model or a package is not at hand, this machine cannot do what the recipe asks for, or
        ``output_dir`` holds another head or another run is at work there.
    """
    _check_machine(recipe)
    seen = Seen(recipe)
    recipe.out.mkdir(parents=True, exist_ok=True)
    with lock(recipe.out / ".lock", wait=False) if _is_first() else nullcontext():
        if _is_first():
            _check_same(recipe, seen)
        if (recipe.out / MANIFEST).is_file():
            return read_manifest(recipe.out)
        trainer, weights = _trainer(recipe, seen)
        trainer.train(resume_from_checkpoint=_last_checkpoint(recipe.out))
        _check_loss(trainer.state)
        trainer.save_model()
        trainer.save_state()
        trainer.accelerator.wait_for_everyone()
        manifest = _manifest(recipe, seen, weights, trainer.state)
        if trainer.is_world_process_zero():
            _draw_losses(recipe.out)
            write_json(recipe.out / MANIFEST, manifest.model_dump())
    return manifest


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _check_machine(recipe: Recipe) -> None:
    """Refuse what this machine cannot do, before anything is loaded."""
    import torch

    if recipe.report_to != "none" and importlib.util.find_spec(recipe.report_to) is None:
        raise VitalFactoryError(
            f"report_to: {recipe.report_to}: the package is not installed; pip install {recipe.report_to}, or give "
            "report_to=none"
        )
    if recipe.bf16 and not torch.cuda.is_available() and not computes_bfloat16():
        raise VitalFactoryError("bf16: there is no GPU, and this processor does not compute bfloat16; give bf16=false")


def _check_same(recipe: Recipe, seen: Seen) -> None:
    """Refuse to go on with a head of other rows or settings."""
    wanted = {**recipe.model_dump(exclude=CHANGES_NOTHING), **_hashes(seen)}
    path = recipe.out / "training.json"
    if path.exists():
        old = read_json(path)
        if other := [name for name in old if old[name] != wanted.get(name)]:
            raise VitalFactoryError(f"{recipe.out}: holds a head of other {', '.join(other)}; give another output_dir")
    write_json(path, wanted)


def _hashes(seen: Seen) -> dict[str, str]:
    return {split: sha256(seen.findings.folder / f"{split}.jsonl") for split in ("train", "val")}


def _last_checkpoint(folder: Path) -> str | None:
    from transformers.trainer_utils import get_last_checkpoint

    found: str | None = get_last_checkpoint(str(folder))
    return found


def _trainer(recipe: Recipe, seen: Seen) -> tuple[Any, NDArray[np.float64]]:
    """Set up transformers' Trainer; returns it and the weights of presence."""
    import torch
    from transformers import EarlyStoppingCallback, Trainer

    arguments = _arguments(recipe)  # before the model: DeepSpeed's ZeRO-3 spreads it while it is loaded
    learned, judged = _Split(seen, "train"), _Split(seen, "val")
    weights = positive_weights(np.asarray(learned.truth), recipe.pos_weight)
    model = make_trainable(recipe, len(seen.findings.card.labels))
    trainer = Trainer(
        model=model,
        args=arguments,
        data_collator=partial(collate, image_token=model.config.image_token_id),
        train_dataset=learned,
        eval_dataset=judged,
        compute_loss_func=partial(weighted_loss, torch.tensor(weights, dtype=torch.float32)),
        callbacks=[EarlyStoppingCallback(recipe.patience), *_trackers(recipe)],
    )
    return trainer, weights


def _trackers(recipe: Recipe) -> list[Any]:
    """Make SwanLab's own callback: that of transformers 5.5 does not work with the SwanLab of today."""
    if recipe.report_to != "swanlab":
        return []
    callback = importlib.import_module("swanlab.integration.transformers").SwanLabCallback
    mode = os.environ.get("SWANLAB_MODE", "offline")  # nothing leaves this machine unless a person says so
    told = {"project": "vitalfactory", "experiment_name": recipe.out.name, "log_dir": str(recipe.out / "swanlog")}
    return [callback(mode=mode, **told)]


def make_trainable(recipe: Recipe, labels: int) -> Any:
    """Make the model of a recipe as it is trained; see :func:`vitalfactory.models.findings_head_model.make_model`."""
    model = make_model(recipe, labels)
    if recipe.gradient_checkpointing:
        # With inputs that ask for a gradient: else none reaches the LoRA of a frozen model.
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def _arguments(recipe: Recipe) -> Any:
    import torch
    from transformers import TrainingArguments

    often = {"save_steps": recipe.save_steps, "eval_steps": recipe.save_steps} if recipe.save_steps else {}
    when = "steps" if recipe.save_steps else "epoch"
    gpu = torch.cuda.is_available()
    try:
        return TrainingArguments(
            output_dir=str(recipe.out),
            **recipe.model_dump(include=TRAINERS_OWN),
            **often,
            report_to="tensorboard" if recipe.report_to == "tensorboard" else "none",
            warmup_steps=recipe.warmup_ratio,
            save_strategy=when,
            eval_strategy=when,
            load_best_model_at_end=True,
            metric_for_best_model="eval_loss",
            greater_is_better=False,
            label_names=["labels"],
            remove_unused_columns=False,
            ddp_find_unused_parameters=False,
            use_cpu=not gpu,
            disable_tqdm=not sys.stderr.isatty(),
            dataloader_pin_memory=gpu,
        )
    except (ValueError, ImportError, OSError) as error:
        raise VitalFactoryError(f"transformers refuses the recipe: {error}") from None


def _check_loss(state: Any) -> None:
    if not math.isfinite(state.best_metric):
        raise VitalFactoryError("the validation loss was never a number; give a smaller learning_rate")


def _draw_losses(folder: Path) -> None:
    from llamafactory.extras.ploting import plot_loss

    plot_loss(str(folder), ["loss", "eval_loss"])


def _manifest(recipe: Recipe, seen: Seen, weights: NDArray[np.float64], state: Any) -> Manifest:
    labels: Sequence[str] = seen.findings.card.labels
    return Manifest(
        architecture=ARCHITECTURE,
        base_model=recipe.model_name_or_path,
        labels=list(labels),
        pos_weight=dict(zip(labels, weights.tolist(), strict=True)),
        recipe=recipe.model_dump(),
        dataset=seen.findings.card.name,
        dataset_sha256=_hashes(seen),
        steps=state.global_step,
        best_step=state.best_global_step,
        val_loss=state.best_metric,
        adapter_sha256=sha256(recipe.out / WEIGHTS),
        versions={name: version(name) for name in VERSIONS},
        hardware=hardware(),
        date=datetime.now(UTC).date().isoformat(),
    )
