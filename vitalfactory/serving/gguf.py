"""A LoRA adapter as LLaMA-Factory saves it (PEFT), written as the GGUF that llama.cpp serves on top of its model.

    python -m vitalfactory.serving.gguf --adapter saves/clinical_smollm2_lora --out adapter.gguf

The model itself must be the GGUF of the checkpoint that was tuned, or the one that the checkpoint was made of. It takes
models of llama's architecture alone: in their GGUF the rows of the query and key weights stand in another order, rows
that are rotated together next to each other, where Hugging Face has them half a head apart.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import read_json
from vitalfactory.inference import ADAPTER, ADAPTER_WEIGHTS
from vitalfactory.recipes import resolve

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ARCHITECTURE = "llama"
TENSOR = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+_proj)\.lora_([AB])\.weight")
NAMES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}
"""A projection to its name in a GGUF."""
REFUSED = (
    "use_dora",
    "use_qalora",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "lora_bias",
    "fan_in_fan_out",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
    "arrow_config",
)
"""What an adapter_config.json may switch on that a LoRA in a GGUF cannot say."""
PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")
"""Ways to start a LoRA that leave the model's own weights as they are; PiSSA and its like change them."""


def adapter_to_gguf(adapter: Path, out: Path, base: Path | None = None) -> Path:
    """Write a LoRA adapter as GGUF.

    Parameters
    ----------
    adapter : Path
        Folder with ``adapter_config.json`` and ``adapter_model.safetensors``.
    out : Path
        File to write.
    base : Path, optional
        Hugging Face checkpoint that was tuned, of which ``config.json`` is read; by default the one that the adapter
        names.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    VitalFactoryError
        A file is missing, the model's architecture is another than llama, or the adapter has what cannot be converted.
    """
    config = _adapter_config(adapter)
    model = _model_config(base or resolve(str(config["base_model_name_or_path"])))
    tensors = _tensors(adapter / ADAPTER_WEIGHTS, model)
    rank = config["r"]
    # llama.cpp divides by the rank; a rank-stabilised LoRA is scaled by its root.
    alpha = config["lora_alpha"] * (math.sqrt(rank) if config.get("use_rslora") else 1)
    _write(out, tensors, float(alpha))
    return out


def _adapter_config(adapter: Path) -> dict[str, Any]:
    path = adapter / ADAPTER
    config: dict[str, Any] = read_json(path)
    if config.get("peft_type") != "LORA":
        raise VitalFactoryError(f"{path}: peft_type is {config.get('peft_type')!r}; only a LORA can be converted")
    used = [name for name in REFUSED if config.get(name)]
    if config.get("init_lora_weights", True) not in PLAIN_STARTS:
        used.append(f"init_lora_weights={config['init_lora_weights']}")
    if used:
        raise VitalFactoryError(
            f"{path}: {', '.join(used)} cannot be converted to GGUF; train a plain LoRA, or merge the adapter "
            "(llamafactory-cli export) and convert the whole model"
        )
    return config


def _model_config(base: Path) -> dict[str, Any]:
    config: dict[str, Any] = read_json(base / "config.json")
    if config.get("model_type") != ARCHITECTURE:
        raise VitalFactoryError(
            f"{base / 'config.json'}: model_type is {config.get('model_type')!r}; only adapters of {ARCHITECTURE} "
            "models can be converted to GGUF"
        )
    return config


def _tensors(path: Path, model: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Read an adapter's weights, named and ordered as in a GGUF; shapes (rank, in) and (out, rank)."""
    from safetensors.torch import load_file  # torch, because NumPy has no bfloat16

    if not path.is_file():
        raise VitalFactoryError(f"{path}: no such file; expected an adapter saved as safetensors")
    tensors = {}
    for name, weights in sorted(load_file(path).items()):
        found = TENSOR.fullmatch(name)
        if found is None or found[2] not in NAMES:
            raise VitalFactoryError(f"{path}: {name} cannot be converted to GGUF; expected LoRA of {', '.join(NAMES)}")
        layer, projection, side = found.groups()
        values = weights.float().numpy()
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(projection)
        if heads and side == "B":
            values = interleave(values, model[heads])
        tensors[f"blk.{layer}.{NAMES[projection]}.weight.lora_{side.lower()}"] = values
    return tensors


def interleave(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Bring a head's rows from Hugging Face's order into GGUF's: row i of the second half after row i of the first.

    Parameters
    ----------
    rows : array of shape (heads * width, columns)
    heads : int

    Returns
    -------
    array of the same shape
    """
    return rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _write(out: Path, tensors: Mapping[str, NDArray[np.float32]], alpha: float) -> None:
    from gguf import GGUFType, GGUFWriter, Keys

    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    writer = GGUFWriter(partial, ARCHITECTURE)
    writer.add_type(GGUFType.ADAPTER)
    writer.add_string(Keys.Adapter.TYPE, "lora")
    writer.add_float32(Keys.Adapter.LORA_ALPHA, alpha)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(out)


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m vitalfactory.serving.gguf", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--adapter", type=Path, required=True, metavar="DIR", help="adapter as LLaMA-Factory saves it")
    add("--out", type=Path, required=True, metavar="FILE", help="GGUF to write")
    add("--base", type=Path, metavar="DIR", help="checkpoint that was tuned (default: the one that the adapter names)")
    add("--debug", action="store_true", help="show the traceback of an error")
    given = parser.parse_args(argv)
    print(f"adapter: {adapter_to_gguf(given.adapter, given.out, given.base)}")


if __name__ == "__main__":
    run(main)
