"""Tiny random models with the embedded model's tokenizer: what recipes and eval scripts run on in tests."""

from pathlib import Path
from typing import Any

from vitalfactory.models import embedded

VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.2,
    "bos_token_id": None,
}


def make_qwen2(folder: Path) -> Path:
    """Write a Qwen2 of some 3 million parameters in float32, most of them its vocabulary."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = embedded.load_tokenizer()
    config = Qwen2Config(**SHAPE, **_vocabulary(tokenizer), tie_word_embeddings=True)
    return _save(Qwen2ForCausalLM, config, tokenizer, folder)


LLAMA3_TOKENS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>")


def make_llama(folder: Path) -> Path:
    """Write a Llama, with the marks of Llama 3's turns in its vocabulary."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = embedded.load_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(LLAMA3_TOKENS)})
    config = LlamaConfig(**SHAPE, **_vocabulary(tokenizer), tie_word_embeddings=True)
    return _save(LlamaForCausalLM, config, tokenizer, folder)


def make_qwen3(folder: Path, *, head: bool = True) -> Path:
    """Write a Qwen3 with an output layer of its own, or as an embedding model is published: without one."""
    from safetensors.torch import load_file, save_file
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = embedded.load_tokenizer()
    config = Qwen3Config(**SHAPE, **_vocabulary(tokenizer), head_dim=16, tie_word_embeddings=False)
    _save(Qwen3ForCausalLM, config, tokenizer, folder)
    if not head:
        weights = load_file(folder / "model.safetensors")
        del weights["lm_head.weight"]
        save_file(
            {name.removeprefix("model."): value for name, value in weights.items()},
            folder / "model.safetensors",
            {"format": "pt"},
        )
    return folder


def make_qwen2_vl(folder: Path) -> Path:
    """Write a Qwen2-VL with its processor, which takes pictures as the published one does."""
    from transformers import (
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = embedded.load_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(VISION_TOKENS)})
    start, end, _, image, video = tokenizer.convert_tokens_to_ids(list(VISION_TOKENS))
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6}
    config = Qwen2VLConfig(
        text_config={**SHAPE, **_vocabulary(tokenizer), "rope_parameters": rope},
        vision_config={"depth": 2, "embed_dim": 32, "num_heads": 2, "hidden_size": SHAPE["hidden_size"]},
        vision_start_token_id=start,
        vision_end_token_id=end,
        image_token_id=image,
        video_token_id=video,
        tie_word_embeddings=False,
    )
    _save(Qwen2VLForConditionalGeneration, config, tokenizer, folder)
    sizes = {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 1280}
    Qwen2VLProcessor(
        Qwen2VLImageProcessor(**sizes), tokenizer, Qwen2VLVideoProcessor(**sizes), tokenizer.chat_template
    ).save_pretrained(folder)
    return folder


def _vocabulary(tokenizer: Any) -> dict[str, int]:
    return {
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _save(model: Any, config: Any, tokenizer: Any, folder: Path) -> Path:
    import torch

    torch.manual_seed(2026)
    model(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
