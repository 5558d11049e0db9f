"""What the GPU benchmark computes, tried with a tiny shape on whatever there is."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import gpu
from converters import ecg
from vitalfactory.dataset.cost import PUBLISHED, shape_of
from vitalfactory.errors import VitalFactoryError

SHAPE = replace(PUBLISHED["SmolLM2-135M"], hidden=64, intermediate=128, layers=2, heads=4, kv_heads=2, head=16)


@pytest.mark.slow
def test_a_variant_is_trained_and_timed(tmp_path: Path) -> None:
    model = gpu.make_model(tmp_path / "model", SHAPE)
    assert shape_of({"model_name_or_path": str(model)}) == SHAPE
    ecg.convert(synthetic=60, root=tmp_path, workers=1)
    small = ("use_cpu=true", "bf16=false", "per_device_train_batch_size=2", "gradient_accumulation_steps=1")
    found = gpu.train(tmp_path, (*small, *gpu.PACKED), steps=3)
    assert len(found["ticks"]) == 3
    assert 256 < found["tokens"] <= 512  # several rows of some 120 tokens in each sequence
    assert gpu.speed(found, warm=1) > 0
    with pytest.raises(VitalFactoryError, match="training with packing=true stage=none"):
        gpu.train(tmp_path, ("packing=true", "stage=none"), steps=1)


def test_speed_leaves_the_first_steps_out() -> None:
    assert gpu.speed({"ticks": [0.0, 9.0, 10.0, 13.0], "tokens": 50, "sequences": 4}, warm=2) == 100


def test_utilisation_counts_four_operations_a_weight() -> None:
    weights = 7_615_616_512 - 152064 * 3584  # of Qwen2.5-7B as published, the table of its words left out
    found = gpu.utilisation(10_000, PUBLISHED["Qwen2.5-7B"], "NVIDIA H100 80GB HBM3")
    assert found == pytest.approx(10_000 * 4 * weights / 989e12, rel=1e-3)  # norms and biases are left out
    assert gpu.utilisation(10_000, PUBLISHED["Qwen2.5-7B"], "Quadro") is None


@pytest.mark.parametrize(
    ("arguments", "told"), [(["--folds", "cv"], "--input and --folds go together"), ([], "no GPU here")]
)
def test_what_cannot_be_measured_is_said(monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(VitalFactoryError, match=told):
        gpu.main(arguments)
