"""Speed and memory of training and scoring on a GPU, for docs/results.md: for whoever has a card.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --input data/raw/training2017 --folds data/raw/cv

makes a model of Qwen2.5-7B's shape with random weights (nothing is downloaded; 15 GB on disk), and trains it by the ECG
recipe in its variants for some steps each. With the Challenge's records and folds, the embedded model is also
tuned on all of them. A quarter of an hour on one H100.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.calls import call, rows_a_second
from benchmarks.publish import RESULTS, publish
from vitalfactory.dataset.cost import PUBLISHED, Shape
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import ROOT, read_json
from vitalfactory.scoring.intervals import tell

MODEL = "Qwen2.5-7B"
RECIPE = "train_configs/ecg_qwen7b_lora.yaml"
SMALL = "train_configs/ecg_smollm2_lora.yaml"
RECORDS, SCORED = 2000, 512
STEPS, WARM = 30, 10
"""Steps of a variant, and those before its clock starts."""
TERAFLOPS = {"H100": 989, "H200": 989, "A100": 312, "RTX 4090": 165, "L40S": 362, "L4": 121, "A10": 125, "RTX 3090": 71}
"""A card's peak in bfloat16 without sparsity, as its maker gives it."""
PACKED = ("packing=true", "neat_packing=true")
FOUR_BIT = ("quantization_bit=4", "quantization_method=bnb")
FLASH, LIGER = "flash_attn", "liger_kernel"


@dataclass(frozen=True)
class Variant:
    """The ECG recipe with changes.

    Attributes
    ----------
    name : str
    changes : tuple of str
        ``key=value``.
    package : str, optional
        What must be installed beside the pack's own packages.
    """

    name: str
    changes: tuple[str, ...]
    package: str | None = None


VARIANTS = (
    Variant("LoRA, bfloat16", ()),
    Variant("LoRA, bfloat16, packed", PACKED),
    Variant("LoRA, bfloat16, packed, FlashAttention 2", (*PACKED, "flash_attn=fa2"), FLASH),
    Variant("LoRA, bfloat16, packed, Liger kernels", (*PACKED, "enable_liger_kernel=true"), LIGER),
    Variant("QLoRA, 4 bit", FOUR_BIT),
    Variant("QLoRA, 4 bit, packed", (*FOUR_BIT, *PACKED)),
)

TRAIN = """
import json, sys, time
import torch
from llamafactory.train.tuner import run_exp
from transformers import TrainerCallback

class Clock(TrainerCallback):
    ticks = []
    def on_train_begin(self, args, state, control, train_dataloader, **kwargs):
        masks = train_dataloader.dataset["attention_mask"]
        self.tokens = sum(sum(place != 0 for place in mask) for mask in masks) / len(masks)
    def on_step_end(self, args, state, control, **kwargs):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ticks.append(time.perf_counter())

clock = Clock()
run_exp(json.loads(sys.argv[1]), callbacks=[clock])
peak = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
print("\\n" + json.dumps({"ticks": clock.ticks, "tokens": clock.tokens, "peak": peak}))
"""
"""LLaMA-Factory's own entry with a clock, in a process of its own, since memory is counted by process."""


def make_model(folder: Path, shape: Shape) -> Path:
    """Write a Qwen2 of a shape with random weights in bfloat16, and a tokenizer that knows its template's marks."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from vitalfactory.models.embedded import load_tokenizer

    tokenizer = load_tokenizer()
    config = Qwen2Config(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocabulary,
        max_position_embeddings=32768,
        tie_word_embeddings=shape.tied,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16",
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train(root: Path, changes: Sequence[str], steps: int = STEPS) -> dict[str, Any]:
    """Train the ECG recipe for some steps.

    Parameters
    ----------
    root : Path
        Holds ``model`` and the dataset.
    changes : sequence of str
    steps : int

    Returns
    -------
    dict
        ``ticks``, the time after each step; ``tokens`` of a sequence that are no padding, on average; ``sequences`` a
        step; ``peak``, bytes of the GPU.

    Raises
    ------
    VitalFactoryError
        Training failed.
    """
    import yaml

    recipe = yaml.safe_load((ROOT / RECIPE).read_text(encoding="utf-8"))
    own = [f"model_name_or_path={root / 'model'}", f"dataset_dir={root}", f"output_dir={root / 'saves'}"]
    own += [f"max_steps={steps}", "overwrite_output_dir=true", *changes]
    given = recipe | {key: yaml.safe_load(value) for key, value in (change.split("=", 1) for change in own)}
    for key in ("eval_dataset", "eval_strategy"):
        del given[key]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, json.dumps(given)], cwd=root, capture_output=True, text=True, encoding="utf-8"
    )
    if done.returncode != 0:
        raise VitalFactoryError(f"training with {' '.join(changes) or 'no change'}: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"sequences": given["per_device_train_batch_size"] * given["gradient_accumulation_steps"]}


def speed(found: dict[str, Any], warm: int = WARM) -> float:
    """Compute tokens a second after the first steps."""
    taken = found["ticks"][warm - 1 :]
    return float(found["tokens"] * found["sequences"] * (len(taken) - 1) / (taken[-1] - taken[0]))


def utilisation(rate: float, shape: Shape, card: str) -> float | None:
    """Compute the share of a card's peak that a model's multiplications take.

    A weight that is frozen is multiplied with forward and backward, four operations a token; what is computed again
    under gradient checkpointing does not count, nor do attention scores.

    Returns
    -------
    float or None
        None where the card's peak is not known.
    """
    peak = next((value for name, value in TERAFLOPS.items() if name in card), None)
    if peak is None:
        return None
    return rate * 4 * (shape.blocks + shape.vocabulary * shape.hidden) / (peak * 1e12)


def _variants(root: Path, card: str) -> list[str]:
    rows, shape = [], PUBLISHED[MODEL]
    tokens = None
    for variant in VARIANTS:
        if variant.package and find_spec(variant.package) is None:
            rows.append(f"| {variant.name} | not measured: {variant.package} is not installed | | | |")
            continue
        found = train(root, variant.changes)
        rate, memory = speed(found), found["peak"] / 1024**3
        tokens = tokens or found["tokens"]  # of a row: the first variant puts one into a sequence
        share = utilisation(rate, shape, card)
        told = "-" if share is None else f"{share:.2f}"
        rows.append(f"| {variant.name} | {rate:,.0f} | {rate / tokens:.1f} | {memory:.1f} GiB | {told} |")
        print(rows[-1], flush=True)
    return rows


def _scoring(root: Path) -> str:
    model = ("--recipe", RECIPE, "--model", str(root / "model"), "--adapter", "none", "--root", str(root))
    rows = ("--split", "train", "--limit", str(SCORED), "--batch-size", "64", "--out", str(root / "scored"))
    rate = rows_a_second(call("python", "eval/score.py", *model, *rows))
    return f"`eval/score.py`, {MODEL}'s shape in bfloat16, {SCORED} rows, 64 at a time: {rate:.1f} rows/s."


def _fine_tune(root: Path, records: Path, folds: Path) -> str:
    """Tune the embedded model on the Challenge's records and score the test fold."""
    split = ("--folds", str(folds), "--val-fold", "2", "--test-fold", "3", "--balance", "blend")
    call("python", "-m", "vitalfactory.models.embedded")
    call("python", "converters/ecg.py", "--input", str(records), *split, "--root", str(root), "--recipe", SMALL)
    adapter, out = str(root / "tuned"), str(root / "run")
    start = time.monotonic()
    changes = (f"dataset_dir={root}", f"output_dir={adapter}", "bf16=true")
    call("llamafactory-cli", "train", SMALL, *changes)
    minutes = (time.monotonic() - start) / 60
    call("python", "eval/score.py", "--recipe", SMALL, "--adapter", adapter, "--root", str(root), "--out", out)
    call("python", "eval/classify.py", out)
    figure = read_json(Path(out) / "metrics.json")["figures"]["auroc"]
    return f"SmolLM2-135M tuned on the records of folds 0 and 1: {minutes:.1f} minutes, AUROC {tell(figure)} on fold 3."


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    import torch

    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, metavar="DIR", help="the Challenge's records, to tune a small model on")
    parser.add_argument("--folds", type=Path, metavar="DIR", help="their folds")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    given = parser.parse_args(argv)
    if (given.input is None) != (given.folds is None):
        raise VitalFactoryError("--input and --folds go together: the records and their folds")
    if not torch.cuda.is_available():
        raise VitalFactoryError("no GPU here; on a processor, run python -m benchmarks.ecg_speed")
    card = torch.cuda.get_device_name()
    with tempfile.TemporaryDirectory(dir=ROOT / "results" if (ROOT / "results").is_dir() else None) as name:
        root = Path(name)
        make_model(root / "model", PUBLISHED[MODEL])
        call("python", "converters/ecg.py", "--synthetic", str(RECORDS), "--root", str(root), "--recipe", RECIPE)
        rows = _variants(root, card)
        told = [_scoring(root)]
        told += [_fine_tune(root, given.input, given.folds)] if given.input else []
    publish(RESULTS, "gpu", _section(card, rows, told))


def _section(card: str, rows: Sequence[str], told: Sequence[str]) -> str:
    head = ["| method | tokens/s | rows/s | memory | share of the card's peak |", "|---|---|---|---|---|"]
    packages = ("torch", "transformers", "llamafactory", "peft", "bitsandbytes")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return "\n".join([*head, *rows, "", *told, "", f"{card}; {versions}; {datetime.now(UTC):%Y-%m-%d}."])


if __name__ == "__main__":
    run(main)
