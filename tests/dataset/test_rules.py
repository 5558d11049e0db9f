"""Every combination of arguments that LLaMA-Factory refuses, or takes and does otherwise, is said before a run."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import make_llama
from vitalfactory.dataset import rules
from vitalfactory.files import ROOT, write_json, write_text
from vitalfactory.recipes import read_recipe

SOUND: dict[str, Any] = {
    "model_name_or_path": "Qwen/Qwen2.5-7B-Instruct",
    "template": "qwen",
    "stage": "sft",
    "finetuning_type": "lora",
    "do_train": True,
    "dataset": "ecg_train",
    "eval_dataset": "ecg_val",
    "output_dir": "saves/x",
}
FOUR_BIT = {"quantization_bit": 4}
PREDICTION = {"do_train": False, "do_predict": True, "predict_with_generate": True, "do_sample": False}
ZERO3 = {"deepspeed": {"zero_optimization": {"stage": 3}}}
ADAPTERS = {"adapter_name_or_path": "saves/a,saves/b"}
_HEADER = '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
WHOLE = f"{chr(len(_HEADER))}{chr(0) * 7}{_HEADER}{chr(0) * 4}"
"""A safetensors file of one number."""
MODEL = "Qwen2.5-7B-Instruct"
SNAPSHOT = f"/cache/models--Qwen--{MODEL}/snapshots/0123abc"


def _trained_on(model: str) -> str:
    return json.dumps({"base_model_name_or_path": model})


def problems(**changes: object) -> list[str]:
    return rules.find_problems({**SOUND, **changes}, "r.yaml")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lora_rnk": 8}, "no argument 'lora_rnk', did you mean 'lora_rank'"),
        ({**FOUR_BIT, "finetuning_type": "full"}, "can only be tuned with finetuning_type: lora"),
        ({**FOUR_BIT, "pissa_init": True}, "pissa_init: a quantized model takes none"),
        ({**FOUR_BIT, "resize_vocab": True}, "resize_vocab: "),
        ({**FOUR_BIT, **ADAPTERS}, "merge them first"),
        ({**FOUR_BIT, **ADAPTERS, "create_new_adapter": True}, "goes on with the adapter that it has"),
        ({"quantization_bit": 8, **ZERO3}, "quantization_bit: 8 does not go with ZeRO-3"),
        ({**FOUR_BIT, "fp8": True}, "fp8: does not go with quantization_bit"),
        ({**FOUR_BIT, "quantization_device_map": "auto"}, "quantization_device_map: auto"),
        ({**FOUR_BIT, "export_dir": "out"}, "an adapter cannot be merged into a quantized model"),
        ({**PREDICTION, "predict_with_generate": False}, "predict_with_generate: true alone"),
        ({**PREDICTION, "do_sample": True}, "set do_sample: false"),
        ({"do_train": False, "do_predict": True, "predict_with_generate": True}, "set do_sample: false"),
        ({**PREDICTION, "do_train": True}, "predict in a job of its own"),
        ({**PREDICTION, **ZERO3}, "predict without deepspeed"),
        ({**PREDICTION, "compute_accuracy": True}, "compute_accuracy: does not go with predict_with_generate"),
        ({"val_size": 0.1}, "val_size: draws rows at random"),
        ({"eval_dataset": None, "eval_strategy": "epoch"}, "eval_dataset: names nothing"),
        ({"packing": True}, "set neat_packing: true"),
        ({"bf16": True, "fp16": True}, "bf16 and fp16: drop one"),
        ({"pure_bf16": True, "use_cpu": True}, "pure_bf16: is refused on a processor"),
        ({"pure_bf16": True, **ZERO3}, "pure_bf16: does not go with ZeRO-3"),
        ({"infer_backend": "vllm"}, "vllm and sglang serve alone"),
        ({"infer_backend": "vllm", "do_train": False, **FOUR_BIT}, "drop quantization_bit"),
        ({**ADAPTERS, "finetuning_type": "full"}, "goes with finetuning_type: lora alone"),
        ({"finetuning_type": "full", "use_dora": True}, "are for lora alone"),
        ({"use_galore": True}, "finetuning_type: lora does not go with"),
        ({"finetuning_type": "full", "use_apollo": True, **ZERO3}, "deepspeed: does not go with use_galore"),
        ({"pissa_init": True, **ZERO3}, "pissa_init: does not go with ZeRO-3"),
        ({"use_unsloth": True, **ZERO3}, "use_unsloth: does not go with ZeRO-3"),
        ({"streaming": True}, "streaming: needs max_steps"),
        ({"streaming": True, "max_steps": 3, "max_samples": 5}, "streaming: does not go with max_samples"),
        ({"interleave_probs": "0.5,0.5"}, "interleave_probs: needs mix_strategy"),
        ({"mask_history": True, "train_on_prompt": True}, "mask_history: does not go with train_on_prompt"),
        ({"dataset": None}, "dataset: names nothing"),
        ({"template": None}, "template: names nothing"),
        ({"template": "llama3"}, "llama3 is another model's; Qwen/Qwen2.5-7B-Instruct was made with qwen"),
        ({"model_name_or_path": "/models/Qwen2-VL-7B-Instruct"}, "was made with qwen2_vl"),
        ({"deepspeed": "ds/none.json"}, "deepspeed: ds/none.json: no such file"),
        ({"adapter_name_or_path": "saves/none"}, "saves/none: no such folder; train it first"),
    ],
)
def test_each_is_found(changes: dict[str, object], told: str) -> None:
    found = problems(**changes)
    assert any(told in problem for problem in found), found
    assert all(problem.startswith("r.yaml: ") for problem in found)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        FOUR_BIT,
        {"quantization_bit": 4, **ZERO3},
        PREDICTION,
        {"packing": True, "neat_packing": True},
        {"template": "empty"},
        {"model_name_or_path": "Qwen/Qwen2.5-7B", "template": "alpaca"},
        {"finetuning_type": "full", "use_galore": True},
    ],
)
def test_a_sound_recipe_has_no_problem(changes: dict[str, object]) -> None:
    assert problems(**changes) == []


def test_all_are_said_at_once() -> None:
    assert len(problems(lora_rnk=8, val_size=0.1, template="llama3", packing=True)) == 4


def test_marks_that_a_model_does_not_know_are_found(tmp_path: Path) -> None:
    model = str(make_llama(tmp_path / "tuned"))
    assert problems(model_name_or_path=model, template="llama3") == []
    assert "template: phi writes <|user|>, which is no token" in problems(model_name_or_path=model, template="phi")[0]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "not an adapter"),
        ({"adapter_config.json": "{"}, "not an adapter"),
        ({"adapter_config.json": "{}"}, "has no weights; expected adapter_model.safetensors"),
        ({"adapter_config.json": "{}", "adapter_model.safetensors": ""}, "is no safetensors file"),
        ({"adapter_config.json": "{}", "adapter_model.safetensors": WHOLE}, None),
        ({"adapter_config.json": "{}", "adapter_model.safetensors": WHOLE[:-1]}, "is no safetensors file"),
        ({"adapter_config.json": _trained_on("Qwen/Qwen2.5-7B"), "adapter_model.safetensors": WHOLE}, "was trained on"),
        ({"adapter_config.json": _trained_on(f"/other/{MODEL}"), "adapter_model.safetensors": WHOLE}, None),
        ({"adapter_config.json": _trained_on(SNAPSHOT), "adapter_model.safetensors": WHOLE}, None),
    ],
)
def test_a_broken_adapter_is_found(tmp_path: Path, files: dict[str, str], told: str | None) -> None:
    for name, text in files.items():
        write_text(tmp_path / name, text)
    found = problems(adapter_name_or_path=str(tmp_path))
    assert any(told in problem for problem in found) if told else found == []


@pytest.mark.parametrize(
    ("there", "wanted", "found"), [(1, "2", True), (2, "2", False), (0, "2", False), (1, "", False)]
)
def test_more_processes_than_gpus_are_found(
    monkeypatch: pytest.MonkeyPatch, there: int, wanted: str, found: bool
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: there)
    monkeypatch.setenv(rules.PROCESSES, wanted)
    told = [problem for problem in problems() if "asks for 2 GPUs, and this machine has 1" in problem]
    assert bool(told) == found
    assert problems(use_cpu=True) == []


def test_a_checkpoint_that_was_cut_off_is_found(tmp_path: Path) -> None:
    for number, file in ((9, "optimizer.pt"), (10, "trainer_state.json")):
        write_text(tmp_path / f"checkpoint-{number}" / file, "{}")
    assert problems(output_dir=str(tmp_path)) == []
    (tmp_path / "checkpoint-11").mkdir()
    assert "checkpoint-11 has no trainer_state.json" in problems(output_dir=str(tmp_path))[0]
    assert problems(output_dir=str(tmp_path), overwrite_output_dir=True) == []


def test_an_adapter_is_used_as_it_was_trained(tmp_path: Path) -> None:
    trainer, user = tmp_path / "train.yaml", tmp_path / "predict.yaml"
    write_text(trainer, json.dumps(SOUND))
    using = {**SOUND, "do_train": False, "adapter_name_or_path": "saves/x", "output_dir": "saves/y"}
    assert rules.find_mismatches({user: using}) == {}
    found = rules.find_mismatches({user: {**using, "template": "alpaca", "default_system": "Be brief."}})
    assert found[user] == [
        "predict.yaml: template: alpaca, and train.yaml, which trains the adapter, has qwen",
        "predict.yaml: default_system: Be brief., and train.yaml, which trains the adapter, has None",
    ]


@pytest.mark.parametrize("stage", [2, 3])
def test_the_stage_stands_in_the_file_that_a_recipe_names(tmp_path: Path, stage: int) -> None:
    write_json(tmp_path / "ds.json", {"zero_optimization": {"stage": stage}})
    assert rules.zero_stage({"deepspeed": str(tmp_path / "ds.json")}) == stage
    assert rules.zero_stage({}) is None
    assert rules.zero_stage({"deepspeed": str(tmp_path / "none.json")}) is None


@pytest.mark.parametrize("path", sorted((ROOT / "train_configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_pack_is_sound(path: Path) -> None:
    assert rules.find_problems(read_recipe(path), path.name) == []
