"""A LoRA adapter in a GGUF: served, it says what Hugging Face's model says with it."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving.conftest import post
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.models import embedded
from vitalfactory.serving import gguf
from vitalfactory.serving.gguf import adapter_to_gguf, interleave
from vitalfactory.serving.local import serve

PROMPTS = (
    "The capital of France is",
    "<|im_start|>user\nFever, cough and crackles. Which disease?<|im_end|>\n<|im_start|>assistant\n",
    "def f(x):\n    return",
    "患者发热咳嗽三天",
    '{"diseases": ["',
)
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "base", "use_dora": False}
LAYER = "base_model.model.model.layers.0."


def write_adapter(folder: Path, tensors: dict[str, tuple[int, int]] | None = None, **config: object) -> Path:
    """Write an adapter of a llama with two query heads and one key head, each four wide."""
    from safetensors.numpy import save_file

    shapes = tensors or {
        f"{LAYER}self_attn.q_proj.lora_A.weight": (2, 8),
        f"{LAYER}self_attn.q_proj.lora_B.weight": (8, 2),
    }
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}))
    values = {name: np.arange(math.prod(shape), dtype=np.float32).reshape(shape) for name, shape in shapes.items()}
    save_file(values, folder / "adapter_model.safetensors")
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    config = {"model_type": "llama", "num_attention_heads": 2, "num_key_value_heads": 1}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def read(file: Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    from gguf import GGUFReader

    reader = GGUFReader(file)
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    return fields, {tensor.name: np.array(tensor.data) for tensor in reader.tensors}


def test_the_halves_of_each_head_are_interleaved() -> None:
    rows = np.arange(8, dtype=np.float32)[:, None]
    assert interleave(rows, 1)[:, 0].tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    assert interleave(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_what_the_file_holds(tmp_path: Path, base: Path) -> None:
    shapes = {
        f"{LAYER}self_attn.q_proj.lora_A.weight": (2, 8),
        f"{LAYER}self_attn.q_proj.lora_B.weight": (8, 2),
        f"{LAYER}self_attn.k_proj.lora_A.weight": (2, 8),
        f"{LAYER}self_attn.k_proj.lora_B.weight": (4, 2),
        f"{LAYER}mlp.down_proj.lora_A.weight": (2, 16),
        f"{LAYER}mlp.down_proj.lora_B.weight": (8, 2),
    }
    out = adapter_to_gguf(write_adapter(tmp_path / "adapter", shapes), tmp_path / "new" / "adapter.gguf", base)
    fields, tensors = read(out)
    assert fields == {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 4.0,
    }
    assert {name: values.shape for name, values in tensors.items()} == {
        "blk.0.attn_q.weight.lora_a": (2, 8),
        "blk.0.attn_q.weight.lora_b": (8, 2),
        "blk.0.attn_k.weight.lora_a": (2, 8),
        "blk.0.attn_k.weight.lora_b": (4, 2),
        "blk.0.ffn_down.weight.lora_a": (2, 16),
        "blk.0.ffn_down.weight.lora_b": (8, 2),
    }
    assert tensors["blk.0.attn_q.weight.lora_b"][:, 0].tolist() == [0, 4, 2, 6, 8, 12, 10, 14]
    assert tensors["blk.0.attn_k.weight.lora_b"][:, 0].tolist() == [0, 4, 2, 6]
    assert tensors["blk.0.ffn_down.weight.lora_b"][:, 0].tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert [path.name for path in out.parent.iterdir()] == ["adapter.gguf"]


def test_a_rank_stabilised_adapter_is_scaled_by_the_root_of_its_rank(tmp_path: Path, base: Path) -> None:
    out = adapter_to_gguf(write_adapter(tmp_path / "adapter", use_rslora=True), tmp_path / "adapter.gguf", base)
    assert read(out)[0]["adapter.lora.alpha"] / CONFIG["r"] == pytest.approx(4 / math.sqrt(2))


def test_the_base_is_found_from_the_repository(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "resolve", lambda path: tmp_path / path)
    adapter = write_adapter(tmp_path / "adapter")
    run(gguf.main, ["--adapter", str(adapter), "--out", str(tmp_path / "adapter.gguf")])
    assert (tmp_path / "adapter.gguf").is_file()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA'"),
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["embed_tokens"], "rank_pattern": {"q_proj": 4}}, "modules_to_save, rank_pattern"),
        ({"init_lora_weights": "pissa_niter_16"}, "init_lora_weights=pissa_niter_16"),
    ],
)
def test_other_adapters_are_refused(tmp_path: Path, base: Path, config: dict[str, object], expected: str) -> None:
    adapter = write_adapter(tmp_path / "adapter", **config)
    with pytest.raises(VitalFactoryError, match=expected):
        adapter_to_gguf(adapter, tmp_path / "adapter.gguf", base)


@pytest.mark.parametrize(
    "name",
    [
        f"{LAYER}self_attn.q_proj.lora_magnitude_vector.weight",
        f"{LAYER}self_attn.qkv_proj.lora_A.weight",
        "base_model.model.lm_head.lora_A.weight",
        "base_model.model.model.embed_tokens.weight",
    ],
)
def test_other_tensors_are_refused_by_their_name(tmp_path: Path, base: Path, name: str) -> None:
    adapter = write_adapter(tmp_path / "adapter", {name: (2, 2)})
    with pytest.raises(VitalFactoryError, match=name.replace(".", r"\.")):
        adapter_to_gguf(adapter, tmp_path / "adapter.gguf", base)


def test_other_architectures_are_refused_by_their_name(tmp_path: Path, base: Path) -> None:
    (base / "config.json").write_text('{"model_type": "qwen2"}')
    with pytest.raises(VitalFactoryError, match="'qwen2'; only adapters of llama"):
        adapter_to_gguf(write_adapter(tmp_path / "adapter"), tmp_path / "adapter.gguf", base)


def test_missing_files_are_named(tmp_path: Path, base: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    with pytest.raises(VitalFactoryError, match=r"none/adapter_config.json: no such file"):
        adapter_to_gguf(tmp_path / "none", tmp_path / "adapter.gguf", base)
    with pytest.raises(VitalFactoryError, match=r"none/config.json: no such file"):
        adapter_to_gguf(adapter, tmp_path / "adapter.gguf", tmp_path / "none")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(VitalFactoryError, match="expected an adapter saved as safetensors"):
        adapter_to_gguf(adapter, tmp_path / "adapter.gguf", base)


def test_an_adapter_of_another_model_is_refused_by_the_server(tmp_path: Path, base: Path) -> None:
    file = adapter_to_gguf(write_adapter(tmp_path / "adapter"), tmp_path / "adapter.gguf", base)
    with pytest.raises(VitalFactoryError, match="wrong base model"), serve(embedded.gguf_file(), adapter=file):
        pass


Logs = list[np.ndarray[Any, Any]]


def of_hugging_face(model: Any, prompts: list[list[int]]) -> Logs:
    """Log-probability of every token after each prompt."""
    import torch

    with torch.inference_mode():
        return [model(torch.tensor([ids])).logits[0, -1].log_softmax(-1).numpy() for ids in prompts]


def of_server(url: str, prompts: list[list[int]]) -> Logs:
    found = []
    for ids in prompts:
        body = {"prompt": ids, "max_tokens": 1, "temperature": 0, "logprobs": 49152}
        tokens = post(f"{url}/completions", body)[1]["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        by_id = {token["id"]: token["logprob"] for token in tokens}
        found.append(np.array([by_id[place] for place in range(49152)]))
    return found


def divergence(truth: Logs, other: Logs) -> float:
    """Kullback-Leibler divergence, mean over the prompts."""
    return float(np.mean([(np.exp(p) * (p - q)).sum() for p, q in zip(truth, other, strict=True)]))


@pytest.mark.slow
def test_the_served_adapter_says_what_hugging_face_says_with_it(tmp_path: Path, endpoint: str) -> None:
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    base = embedded.make_checkpoint()
    tokenizer = embedded.load_tokenizer()
    prompts = [tokenizer.encode(prompt) for prompt in PROMPTS]
    model = AutoModelForCausalLM.from_pretrained(base)
    plain = of_hugging_face(model, prompts)
    torch.manual_seed(2026)
    tuned = peft.get_peft_model(model, peft.LoraConfig(r=8, lora_alpha=16, target_modules=list(gguf.NAMES)))
    for name, weights in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.1)
    expected = of_hugging_face(tuned.eval(), prompts)
    tuned.save_pretrained(tmp_path / "adapter")
    file = adapter_to_gguf(tmp_path / "adapter", tmp_path / "adapter.gguf", base)
    with serve(embedded.gguf_file(), adapter=file, context=256) as url:
        served = divergence(expected, of_server(url, prompts))
    assert served < 0.02
    assert divergence(plain, of_server(endpoint, prompts)) < 0.02, "the model alone, in 4 bits and in 32"
    assert divergence(expected, plain) > 5 * served, "an adapter that changes nothing proves nothing"
