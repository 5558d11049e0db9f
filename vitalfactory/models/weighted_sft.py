"""LLaMA-Factory's supervised fine-tuning with a weight on the words that name a finding.

The loss is the mean over the answers' tokens, where a token of a finding's name counts as often as the finding's weight
says: 2 for each of the fourteen, or ln(1 + N / n) for one that n of the N training images have. Everything else is the
recipe's, and LLaMA-Factory's:

    python -m vitalfactory.models.weighted_sft train_configs/cxr_qwen2vl7b_lora.yaml output_dir=saves/cxr_weighted_loss

The loss on the validation rows is weighed alike. On several GPUs start it with ``torchrun``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.card import read_card
from vitalfactory.errors import VitalFactoryError, closest, run
from vitalfactory.files import read_json, read_jsonl
from vitalfactory.recipes import changed, dataset_names, read_recipe, resolve
from vitalfactory.signals.cxr import weigh

if TYPE_CHECKING:
    import torch

REGISTRY = "dataset_info.json"
IGNORED = -100
"""The label of a token that is not learned."""
OWN_LOSS = ("enable_liger_kernel", "use_unsloth", "use_dft_loss", "use_eaft_loss", "use_asft_loss", "use_mca", "use_kt")
"""Arguments with which LLaMA-Factory computes another loss, or elsewhere."""


def spans(tokenizer: Any, ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Find which characters of a text each token stands for.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
    ids : sequence of int

    Yields
    ------
    start, end : int
        In the text that the tokens decode to. Tokens that share a character, as in Chinese, each have it.
    """
    before = ""
    for count in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:count], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        same = (place for place, pair in enumerate(zip(before, text, strict=False)) if pair[0] != pair[1])
        yield next(same, len(before)), len(text)
        before = text


class WeightedLoss:
    """The cross entropy of a language model, in which names have weights.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
    names : mapping of str to float
        Name, as answers have it, to the weight of its tokens; all others weigh 1.

    Attributes
    ----------
    used : int
        How often it was computed.
    """

    def __init__(self, tokenizer: Any, names: Mapping[str, float]) -> None:
        self.tokenizer = tokenizer
        self.names = names
        self.used = 0
        self._pattern = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))
        self._known: dict[tuple[int, ...], list[float]] = {}

    def weights(self, ids: Sequence[int]) -> list[float]:
        """Weigh the tokens of an answer."""
        key = tuple(ids)
        if key not in self._known:
            self._known[key] = self._weigh(key)
        return self._known[key]

    def _weigh(self, ids: Sequence[int]) -> list[float]:
        text = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        found = [(match.start(), match.end(), self.names[match[0]]) for match in self._pattern.finditer(text)]
        return [
            next((weight for first, last, weight in found if start < last and first < end), 1.0)
            for start, end in spans(self.tokenizer, ids)
        ]

    def __call__(
        self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any = None, **_: Any
    ) -> torch.Tensor:
        """Compute the loss of a batch.

        Parameters
        ----------
        logits : Tensor, shape (rows, tokens, words)
        labels : Tensor of int, shape (rows, tokens)
            -100 where a token is not learned.
        num_items_in_batch : int or Tensor, optional
            Learned tokens of all batches that one step is made of; by default those of this one.
        """
        from torch.nn.functional import cross_entropy

        self.used += 1
        targets = labels[:, 1:]
        learned = targets != IGNORED
        each = cross_entropy(logits[:, :-1][learned].float(), targets[learned], reduction="none")
        answers = [[token for token in row if token != IGNORED] for row in targets.tolist()]
        weights = each.new_tensor([weight for answer in answers for weight in self.weights(answer)])
        total: torch.Tensor = (each * weights).sum()
        return total / (learned.sum() if num_items_in_batch is None else num_items_in_batch)


def read_weights(recipe: Mapping[str, Any], method: str) -> dict[str, float]:
    """Weigh the names of the findings by a recipe's training rows.

    Parameters
    ----------
    recipe : mapping
        LLaMA-Factory's arguments.
    method : {'double', 'log'}

    Returns
    -------
    dict of str to float
        A finding's name in the answers to its weight.

    Raises
    ------
    VitalFactoryError
        The recipe does not train on one registered dataset of chest X-rays, or on one whose rows are repeated already.
    """
    names = dataset_names({"dataset": recipe.get("dataset")})
    if len(names) != 1:
        raise VitalFactoryError(f"dataset: {', '.join(names) or 'none'}: expected one, such as cxr_train")
    root = resolve(str(recipe.get("dataset_dir") or "."))
    registry = read_json(root / REGISTRY)
    if names[0] not in registry:
        near = closest(names[0], sorted(registry))
        raise VitalFactoryError(f"dataset: {names[0]}: not registered in {root / REGISTRY}{near}")
    file = root / registry[names[0]]["file_name"]
    card = read_card(file.parent)
    if card.kind != "multilabel" or card.verdicts is not None:
        raise VitalFactoryError(f"{file.parent}: its answers name no findings; convert chest X-rays as list or report")
    findings = {str(row["id"]): row["labels"] for row in read_jsonl(file)}
    if any("+" in name for name in findings):
        raise VitalFactoryError(f"{file}: has rows more than once, which weighs them twice; convert without --repeat")
    weights = weigh(findings, method)
    return {card.answers[label]: weights[label] for label in card.labels}


def train(recipe: dict[str, Any], method: str) -> None:
    """Train as ``llamafactory-cli train`` does, with the weighted loss.

    Parameters
    ----------
    recipe : dict
        LLaMA-Factory's arguments.
    method : {'double', 'log'}

    Raises
    ------
    VitalFactoryError
        The recipe trains something else, or with a loss of its own; or see :func:`read_weights`.
    """
    if recipe.get("stage") != "sft" or not recipe.get("do_train"):
        raise VitalFactoryError("stage, do_train: expected sft and true; only supervised fine-tuning is weighed")
    if own := [key for key in OWN_LOSS if recipe.get(key)]:
        raise VitalFactoryError(f"{', '.join(own)}: with it the loss is computed elsewhere; leave it out")
    if recipe.get("label_smoothing_factor"):
        raise VitalFactoryError("label_smoothing_factor: a smoothed loss is not weighed; leave it out")
    names = read_weights(recipe, method)
    for name, weight in names.items():
        print(f"  {name:<20} {weight:.2f}", flush=True)

    from llamafactory.train.tuner import run_exp

    arguments = {**recipe, "dataset_dir": str(resolve(str(recipe.get("dataset_dir") or ".")))}
    run_exp(arguments, [_callback(names)])


def _callback(names: Mapping[str, float]) -> Any:
    """Make a callback that gives the model its loss when training begins."""
    from transformers import TrainerCallback

    class Weighs(TrainerCallback):  # type: ignore[misc]
        loss: WeightedLoss

        def on_train_begin(self, *_: Any, model: Any, processing_class: Any, **__: Any) -> None:
            base = model.get_base_model() if hasattr(model, "get_base_model") else model
            self.loss = base.loss_function = WeightedLoss(processing_class, names)

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if not self.loss.used:
                raise VitalFactoryError("this model computes its loss by itself; it cannot be weighed")

    return Weighs()


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    program = "python -m vitalfactory.models.weighted_sft"
    parser = argparse.ArgumentParser(prog=program, description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("recipe", type=Path, metavar="RECIPE", help="such as train_configs/cxr_qwen2vl7b_lora.yaml")
    add("changes", nargs="*", metavar="key=value", help="changes of the recipe")
    add("--weights", choices=("double", "log"), default="log", help="2 for each finding, or ln(1 + N/n) (default: log)")
    add("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_intermixed_args(argv)
    train(changed(read_recipe(arguments.recipe), arguments.changes), arguments.weights)


if __name__ == "__main__":
    run(main)
