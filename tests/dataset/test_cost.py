"""What a run takes: steps and tokens counted, weights as many as the models have."""

from pathlib import Path

import pytest

from tests.tiny import make_llama, make_qwen2, make_qwen2_vl, make_qwen3
from vitalfactory.dataset import cost
from vitalfactory.files import ROOT
from vitalfactory.recipes import read_recipe

QWEN = {"model_name_or_path": "Qwen/Qwen2.5-7B-Instruct", "bf16": True, "cutoff_len": 512, "lora_rank": 16}


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen2.5-7B", 7.62),
        ("Qwen2-VL-7B", 8.29),
        ("Qwen3-Embedding-8B", 8.19),
        ("llama-7b", 6.74),
        ("Llama-3.2-1B", 1.24),
        ("SmolLM2-135M", 0.1345),
    ],
)
def test_published_models_have_their_published_number_of_weights(name: str, billions: float) -> None:
    shape = cost.PUBLISHED[name]
    assert (shape.blocks + shape.embeddings + shape.vision) / 1e9 == pytest.approx(billions, rel=0.01)


@pytest.mark.parametrize("make", [make_qwen2, make_qwen3, make_llama])
def test_a_model_at_hand_is_counted_from_its_configuration(tmp_path: Path, make: object) -> None:
    from transformers import AutoModelForCausalLM

    make(tmp_path)  # type: ignore[operator]
    matrices = [
        weight.numel()
        for name, weight in AutoModelForCausalLM.from_pretrained(tmp_path).named_parameters()
        if weight.dim() == 2
    ]
    shape = cost.shape_of({"model_name_or_path": str(tmp_path)})
    assert shape is not None
    assert shape.blocks + shape.embeddings == sum(matrices)


def test_a_vision_tower_is_counted(tmp_path: Path) -> None:
    from transformers import Qwen2VLForConditionalGeneration

    whole = Qwen2VLForConditionalGeneration.from_pretrained(make_qwen2_vl(tmp_path))
    shape = cost.shape_of({"model_name_or_path": str(tmp_path)})
    assert shape is not None
    assert shape.vision == sum(weight.numel() for weight in whole.model.visual.parameters())


def test_lora_is_counted_as_peft_makes_it(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    make_qwen2(tmp_path)
    recipe = {"model_name_or_path": str(tmp_path), "lora_rank": 4, "cutoff_len": 8}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tmp_path), LoraConfig(r=4, target_modules="all-linear"))
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    memory = cost.estimate(recipe, None, None, None).gibibytes
    assert memory is not None
    assert memory["tuned weights and optimiser"] * cost.GIB == pytest.approx(16 * trained)


@pytest.mark.parametrize(
    ("changes", "rows", "steps", "tokens"),
    [
        ({}, 8, 125, 100_000),
        ({"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}, 16, 63, 100_000),
        ({"max_samples": 100}, 8, 13, 10_000),
        ({"max_samples": 5000}, 8, 125, 100_000),
    ],
)
def test_steps_and_tokens_of_an_epoch(changes: dict[str, object], rows: int, steps: int, tokens: int) -> None:
    found = cost.estimate({**QWEN, **changes}, 1000, 100_000, 200)
    assert (found.rows_a_step, found.steps_an_epoch, found.tokens_an_epoch) == (rows, steps, tokens)


def test_processes_share_the_rows_and_what_their_zero_stage_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = cost.estimate(QWEN, 1000, 100_000, 200)
    monkeypatch.setenv("NPROC_PER_NODE", "4")
    shared = cost.estimate({**QWEN, "deepspeed": {"zero_optimization": {"stage": 3}}}, 1000, 100_000, 200)
    assert (shared.rows_a_step, shared.steps_an_epoch) == (32, 32)
    assert alone.gibibytes is not None
    assert shared.gibibytes is not None
    for part, factor in {"weights": 4, "tuned weights and optimiser": 4, "activations": 1, "logits": 1}.items():
        assert alone.gibibytes[part] == pytest.approx(factor * shared.gibibytes[part])


def test_fewer_bits_shorter_rows_and_checkpointing_take_less() -> None:
    def total(**changes: object) -> float:
        memory = cost.estimate({**QWEN, **changes}, None, None, None).gibibytes
        assert memory is not None
        return sum(memory.values())

    assert total(quantization_bit=4) < total(quantization_bit=8) < total() < total(bf16=False)
    assert total(cutoff_len=256) < total() < total(disable_gradient_checkpointing=True)
    assert 14.2 < total() < 24


def test_the_longest_row_counts_where_it_is_shorter_than_the_cutoff() -> None:
    assert cost.estimate(QWEN, 1, 1, 100) == cost.estimate({**QWEN, "cutoff_len": 100}, 1, 1, 512)


def test_an_unknown_model_has_no_estimate() -> None:
    found = cost.estimate({"model_name_or_path": "someone/unknown"}, None, None, None)
    assert found.gibibytes is None
    assert found.describe() == ["8 rows a step"]


def test_the_cards_that_fit_are_named() -> None:
    lines = cost.estimate({**QWEN, "per_device_train_batch_size": 4}, 1000, 100_000, 200).describe()
    assert lines[0] == "4 rows a step, 250 steps and 100,000 tokens an epoch"
    assert lines[1].endswith("fits 24 GB (RTX 3090, RTX 4090, A10, L4) and more")
    assert (
        cost.estimate({**QWEN, "finetuning_type": "full", "bf16": False}, 1, 1, 1)
        .describe()[1]
        .endswith("fits no single card")
    )


@pytest.mark.parametrize("path", sorted((ROOT / "train_configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_pack_has_an_estimate(path: Path) -> None:
    assert cost.estimate(read_recipe(path), None, None, None).gibibytes
