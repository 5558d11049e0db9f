"""A tiny random Qwen2 with the embedded model's tokenizer: what recipes and eval scripts run on in tests."""

from pathlib import Path

from vitalfactory.models import embedded


def make_qwen2(folder: Path) -> Path:
    """Write a Qwen2 of some 3 million parameters in float32, most of them its vocabulary."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(2026)
    tokenizer = embedded.load_tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
