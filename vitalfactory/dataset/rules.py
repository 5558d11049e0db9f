"""The preflight of a recipe: what LLaMA-Factory 0.9.5 refuses, and what it takes without a word and does otherwise.

LLaMA-Factory stops at the first argument that it refuses, most often after it has loaded the model; here all are
said at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from vitalfactory.dataset import checkpoint
from vitalfactory.errors import VitalFactoryError, closest
from vitalfactory.files import read_json
from vitalfactory.processor import computes_bfloat16
from vitalfactory.recipes import read_recipe, resolve

Recipe = Mapping[str, Any]

PROMPT_IN_THE_DATA = "empty"
"""The template of data that bring their whole prompt: it fits every model."""
ONLY_LORA = ("use_rslora", "use_dora", "pissa_init", "loraplus_lr_ratio", "create_new_adapter")
OWN_OPTIMISERS = ("use_galore", "use_apollo", "use_badam")
SERVERS = ("vllm", "sglang")
OF_THE_PROMPT = ("template", "default_system", "tool_format", "enable_thinking", "model_name_or_path")
"""What must be the same wherever an adapter is trained, judged or served."""
PROCESSES = "NPROC_PER_NODE"
CHECKPOINTS = "checkpoint-[0-9]*"
LAST_WRITTEN = "trainer_state.json"
"""The file of a checkpoint that is written when all others are."""
MARK = re.compile(r"<\|[^|<>]+\|>")
"""Of a template's turns, one token each."""


@dataclass(frozen=True)
class Rule:
    """Arguments that do not go together, and what to do about it."""

    broken: Callable[[Recipe], Any]
    says: str


def _zero3(recipe: Recipe) -> bool:
    return zero_stage(recipe) == 3


def _adapters(recipe: Recipe) -> list[str]:
    given = recipe["adapter_name_or_path"] or []
    return [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)


def _predicts(recipe: Recipe) -> bool:
    return bool(recipe["do_predict"] or recipe["predict_with_generate"])


def _evaluates(recipe: Recipe) -> bool:
    return bool(recipe["do_eval"] or _predicts(recipe) or recipe["eval_strategy"] != "no")


def _any(recipe: Recipe, names: Sequence[str]) -> bool:
    return any(recipe[name] for name in names)


QUANTIZED = (
    Rule(
        lambda r: r["finetuning_type"] not in ("lora", "oft"),
        "quantization_bit: a quantized model can only be tuned with finetuning_type: lora or oft",
    ),
    Rule(lambda r: r["pissa_init"], "pissa_init: a quantized model takes none; leave it out"),
    Rule(lambda r: r["resize_vocab"], "resize_vocab: the vocabulary of a quantized model cannot grow; leave it out"),
    Rule(
        lambda r: len(_adapters(r)) > 1, "adapter_name_or_path: a quantized model takes one adapter; merge them first"
    ),
    Rule(
        lambda r: r["create_new_adapter"] and _adapters(r),
        "create_new_adapter: a quantized model goes on with the adapter that it has; leave it out",
    ),
    Rule(
        lambda r: r["quantization_bit"] == 8 and r["quantization_method"] == "bnb" and _zero3(r),
        "quantization_bit: 8 does not go with ZeRO-3; take 4 bit, or ZeRO-2",
    ),
    Rule(lambda r: r["fp8"], "fp8: does not go with quantization_bit; drop one of them"),
    Rule(
        lambda r: r["do_train"] and r["quantization_device_map"] == "auto",
        "quantization_device_map: auto is for inference alone; leave it out",
    ),
    Rule(
        lambda r: r["export_dir"],
        "export_dir: an adapter cannot be merged into a quantized model; drop quantization_bit for the export",
    ),
)
PREDICTING = (
    Rule(
        lambda r: r["stage"] == "sft" and not r["predict_with_generate"],
        "do_predict: writes answers with predict_with_generate: true alone",
    ),
    Rule(
        lambda r: r["do_sample"],
        "do_sample: true is LLaMA-Factory's default, and answers then change from run to run; set do_sample: false",
    ),
    Rule(
        lambda r: r["do_train"],
        "do_predict: predict in a job of its own, with the adapter that this one trains; drop do_predict or do_train",
    ),
    Rule(_zero3, "do_predict: does not go with ZeRO-3; predict without deepspeed"),
    Rule(
        lambda r: r["compute_accuracy"],
        "compute_accuracy: does not go with predict_with_generate; drop one of them",
    ),
)
ALWAYS = (
    Rule(
        lambda r: r["val_size"],
        "val_size: draws rows at random, one patient on both sides (a leak); use eval_dataset",
    ),
    Rule(
        lambda r: _evaluates(r) and not r["eval_dataset"] and not r["val_size"],
        "eval_dataset: names nothing, and the recipe evaluates or predicts; name the registered val or test split",
    ),
    Rule(
        lambda r: r["packing"] and not r["neat_packing"],
        "packing: rows packed together read one another, patient after patient; set neat_packing: true",
    ),
    Rule(
        lambda r: r["bf16"] and r["use_cpu"] and not computes_bfloat16(),
        "bf16: is many times slower on this processor, which has no instructions for it; drop it",
    ),
    Rule(lambda r: r["bf16"] and r["fp16"], "bf16 and fp16: drop one of them"),
    Rule(lambda r: r["pure_bf16"] and r["use_cpu"], "pure_bf16: is refused on a processor; take bf16"),
    Rule(lambda r: r["pure_bf16"] and _zero3(r), "pure_bf16: does not go with ZeRO-3; take bf16"),
    Rule(
        lambda r: r["infer_backend"] in SERVERS and (r["do_train"] or _predicts(r)),
        "infer_backend: vllm and sglang serve alone; drop it to train or predict",
    ),
    Rule(
        lambda r: r["infer_backend"] == "vllm" and r["quantization_bit"],
        "infer_backend: vllm serves no model that is quantized as it is loaded; drop quantization_bit",
    ),
    Rule(
        lambda r: _adapters(r) and r["finetuning_type"] != "lora",
        "adapter_name_or_path: goes with finetuning_type: lora alone",
    ),
    Rule(
        lambda r: r["finetuning_type"] != "lora" and _any(r, ONLY_LORA),
        f"finetuning_type: {', '.join(ONLY_LORA)} are for lora alone",
    ),
    Rule(
        lambda r: r["finetuning_type"] == "lora" and _any(r, OWN_OPTIMISERS),
        f"finetuning_type: lora does not go with {', '.join(OWN_OPTIMISERS)}",
    ),
    Rule(
        lambda r: r["deepspeed"] and _any(r, ("use_galore", "use_apollo")),
        "deepspeed: does not go with use_galore or use_apollo",
    ),
    Rule(lambda r: r["pissa_init"] and _zero3(r), "pissa_init: does not go with ZeRO-3"),
    Rule(lambda r: r["use_unsloth"] and _zero3(r), "use_unsloth: does not go with ZeRO-3"),
    Rule(lambda r: r["streaming"] and r["max_steps"] == -1, "streaming: needs max_steps"),
    Rule(lambda r: r["streaming"] and r["max_samples"], "streaming: does not go with max_samples"),
    Rule(
        lambda r: r["interleave_probs"] and r["mix_strategy"] == "concat",
        "interleave_probs: needs mix_strategy: interleave_under or interleave_over",
    ),
    Rule(lambda r: r["mask_history"] and r["train_on_prompt"], "mask_history: does not go with train_on_prompt"),
    Rule(lambda r: r["do_train"] and not r["dataset"], "dataset: names nothing, and do_train is true"),
)


def find_problems(recipe: Recipe, name: str) -> list[str]:
    """Find all that is wrong with a recipe by itself.

    Parameters
    ----------
    recipe : mapping
        LLaMA-Factory's arguments.
    name : str
        How the recipe is called in messages.

    Returns
    -------
    list of str
    """
    defaults = _defaults()
    unknown = [key for key in recipe if key not in defaults]
    told = [f"LLaMA-Factory has no argument {key!r}{closest(str(key), sorted(defaults))}" for key in unknown]
    whole = {**defaults, **recipe}
    told += [rule.says for rule in _rules(whole) if rule.broken(whole)]
    told += template_problems(whole) + _file_problems(whole) + _launch_problems(whole)
    return [f"{name}: {problem}" for problem in told] + checkpoint.find_problems(recipe, name)


def _rules(recipe: Recipe) -> list[Rule]:
    rules = list(ALWAYS)
    rules += QUANTIZED if recipe["quantization_bit"] else ()
    rules += PREDICTING if _predicts(recipe) else ()
    return rules


@cache
def _defaults() -> dict[str, Any]:
    """Read every argument of LLaMA-Factory with its default; None where it has none."""
    from llamafactory import hparams

    groups = (
        hparams.ModelArguments,
        hparams.DataArguments,
        hparams.TrainingArguments,
        hparams.FinetuningArguments,
        hparams.GeneratingArguments,
    )
    given = [argument for group in groups for argument in fields(group) if argument.init]
    return {argument.name: None if argument.default is MISSING else argument.default for argument in given}


def template_problems(recipe: Recipe) -> list[str]:
    """Find what is wrong with a recipe's template: none, or another model's."""
    template, model = recipe["template"], str(recipe["model_name_or_path"])
    if template is None:
        return ["template: names nothing, and LLaMA-Factory then guesses one; name the model's"]
    published = published_template(model)
    if published is None:
        unknown = _unknown_marks(str(template), model)
        return [f"template: {template} writes {unknown[0]}, which is no token of {model}"] if unknown else []
    if template in (published, f"{published}_nothink", PROMPT_IN_THE_DATA):
        return []
    return [f"template: {template} is another model's; {model} was made with {published}"]


def _unknown_marks(template: str, model: str) -> list[str]:
    """Find marks of a template's turns that a model, where it is at hand, would read letter by letter."""
    from llamafactory.data.template import TEMPLATES

    from vitalfactory.render import load_tokenizer

    tokenizer = load_tokenizer(model)
    if tokenizer is None or template not in TEMPLATES:
        return []
    parts = (TEMPLATES[template].format_user, TEMPLATES[template].format_assistant, TEMPLATES[template].format_system)
    written = " ".join(slot for part in parts for slot in part.slots if isinstance(slot, str))
    return [mark for mark in dict.fromkeys(MARK.findall(written)) if mark not in tokenizer.get_vocab()]


def published_template(model: str) -> str | None:
    """Say which template a chat model was published with.

    Parameters
    ----------
    model : str
        A model on the hub, or a folder whose name is that of one.

    Returns
    -------
    str or None
        None where LLaMA-Factory does not know the model, or it is not a chat model.
    """
    from llamafactory.extras.constants import DEFAULT_TEMPLATE, SUPPORTED_MODELS

    for name, places in SUPPORTED_MODELS.items():
        if model in places.values() or Path(model).name in (name, *(Path(place).name for place in places.values())):
            return str(DEFAULT_TEMPLATE[name]) if name in DEFAULT_TEMPLATE else None
    return None


def _file_problems(recipe: Recipe) -> list[str]:
    problems = []
    for adapter in _adapters(recipe):
        folder = resolve(adapter)
        if not folder.is_dir():
            problems.append(f"adapter_name_or_path: {adapter}: no such folder; train it first")
        elif broken := checkpoint.adapter_problem(folder, str(recipe["model_name_or_path"])):
            problems.append(f"adapter_name_or_path: {adapter}: {broken}")
    deepspeed = recipe["deepspeed"]
    if isinstance(deepspeed, str) and not resolve(deepspeed).is_file():
        problems.append(f"deepspeed: {deepspeed}: no such file")
    return problems + _checkpoint_problems(recipe)


def _checkpoint_problems(recipe: Recipe) -> list[str]:
    """Find a last checkpoint that was cut off while it was written: a run would go on from it, and fail."""
    if not recipe["do_train"] or recipe["overwrite_output_dir"] or not recipe["output_dir"]:
        return []
    written = {int(path.name.rpartition("-")[2]): path for path in resolve(recipe["output_dir"]).glob(CHECKPOINTS)}
    last = written[max(written)] if written else None
    if last is None or (last / LAST_WRITTEN).is_file():
        return []
    return [f"output_dir: {last} has no {LAST_WRITTEN}: it was cut off while it was written; delete it and train again"]


def zero_stage(recipe: Recipe) -> int | None:
    """Read the ZeRO stage out of a recipe's DeepSpeed configuration; None without one that can be read."""
    given = recipe.get("deepspeed")
    try:
        config: Any = read_json(resolve(given)) if isinstance(given, str) else given
        return int(config["zero_optimization"]["stage"])
    except (VitalFactoryError, LookupError, TypeError, ValueError):
        return None


def _launch_problems(recipe: Recipe) -> list[str]:
    """Find more processes asked for by the environment than there are GPUs."""
    import torch

    wanted, there = launched(PROCESSES), torch.cuda.device_count()
    if recipe["use_cpu"] or there == 0 or wanted <= there:
        return []
    return [f"{PROCESSES}={wanted}: asks for {wanted} GPUs, and this machine has {there}"]


def launched(variable: str) -> int:
    """Read how many of something the environment asks for; 1 where it does not say."""
    given = os.environ.get(variable, "1")
    return int(given) if given.isdigit() and int(given) else 1


def find_mismatches(recipes: Mapping[Path, Recipe]) -> dict[Path, list[str]]:
    """Find recipes that use an adapter otherwise than the recipe that trains it.

    Parameters
    ----------
    recipes : mapping of Path to mapping
        The recipes to judge. The one that trains an adapter is looked for among them and in their folders.

    Returns
    -------
    dict of Path to list of str
        The problems of each recipe that has any.
    """
    using = {path: recipe for path, recipe in recipes.items() if recipe.get("adapter_name_or_path")}
    if not using:
        return {}
    beside = {path for using_path in using for path in using_path.parent.glob("*.yaml")}
    every = {path: recipes[path] if path in recipes else read_recipe(path) for path in {*recipes, *beside}}
    trained_by = {str(recipe["output_dir"]): path for path, recipe in every.items() if recipe.get("do_train")}
    found: dict[Path, list[str]] = {}
    for path, recipe in using.items():
        for adapter in _adapters(recipe):
            if adapter in trained_by and trained_by[adapter] != path:
                found.setdefault(path, []).extend(_differences(path, recipe, trained_by[adapter], every))
    return {path: problems for path, problems in found.items() if problems}


def _differences(path: Path, recipe: Recipe, trainer: Path, every: Mapping[Path, Recipe]) -> list[str]:
    trained = every[trainer]
    return [
        f"{path.name}: {key}: {recipe.get(key)}, and {trainer.name}, which trains the adapter, has {trained.get(key)}"
        for key in OF_THE_PROMPT
        if recipe.get(key) != trained.get(key)
    ]
