"""The embedded model: its tokenizer, and that it still speaks after the conversion."""

import pytest

from vitalfactory.models import embedded

TEXT = "RR 81 79 104\n<|im_end|> 心房颤动"


def test_every_digit_is_a_token() -> None:
    tokenizer = embedded.load_tokenizer()
    assert [token for token in tokenizer.tokenize("RR 1047") if token.isdigit()] == ["1", "0", "4", "7"]
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT


def test_answers_end_with_im_end() -> None:
    tokenizer = embedded.load_tokenizer()
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.encode("<|im_end|>") == [tokenizer.eos_token_id]
    assert "<|im_start|>" in tokenizer.chat_template


@pytest.mark.slow
def test_the_checkpoint_is_made_once_and_answers() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = embedded.make_checkpoint()
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert embedded.make_checkpoint() == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32
    assert model.config.eos_token_id == tokenizer.eos_token_id
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        output = model.generate(**ids, max_new_tokens=20, do_sample=False)
    answer = tokenizer.decode(output[0, ids["input_ids"].shape[1] :])
    assert "Paris" in answer
    assert answer.endswith("<|im_end|>")
