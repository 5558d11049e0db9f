"""LLaMA-Factory's own command line over a recipe's model, in a process that ends with the one that started it.

    python -m vitalfactory.serving.stock api train_configs/X.yaml --adapter saves/X
    python -m vitalfactory.serving.stock export train_configs/X.yaml --adapter saves/X --out merged

It is ``llamafactory-cli api`` or ``export`` with the recipe's own arguments, and nothing of it is changed. Its API by
itself listens on every address, asks for no key, logs whole requests, and reads files and addresses that a request
names: what closes that stands in :func:`closed`, and is its environment.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitalfactory.dataset.rules import template_problems
from vitalfactory.errors import VitalFactoryError, run
from vitalfactory.files import read_json
from vitalfactory.inference import inference_arguments
from vitalfactory.recipes import read_recipe
from vitalfactory.serving.local import HOST, stay

NOWHERE = f"http://{HOST}:9"
"""A proxy that is none: nobody listens on the port of the discard protocol."""
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
LEFT_OUT = ("no_proxy", "WEB_CONCURRENCY", "FASTAPI_ROOT_PATH", "USE_V1")
"""What would open another way out, start more processes, or start another LLaMA-Factory."""
EXPORT = {"export_size": 5, "export_device": "cpu", "export_legacy_format": False}
FLOATS = ("float32", "float16", "bfloat16")
CONVERSATION = ("RR 812 790 ms.\n心房颤动?", "no AF", "And now?", "AF")
"""Made text; what a template writes of it is compared."""


def closed(key: str, port: int, name: str) -> dict[str, str]:
    """Return the environment in which LLaMA-Factory's API is closed.

    Parameters
    ----------
    key : str
        That every request must bring.
    port : int
    name : str
        Of the model, as the API tells it.

    Returns
    -------
    dict of str to str
        This process's environment; the API listens on the loopback address, logs no request, opens no local file, and
        finds no way to an address that a request names: a proxy stands before all of them, and it does not exist.
    """
    return {
        **offline(),
        **{variable: NOWHERE for lower in PROXIES for variable in (lower, lower.upper())},
        "API_HOST": HOST,
        "API_PORT": str(port),
        "API_KEY": key,
        "API_MODEL_NAME": name,
        "API_VERBOSE": "0",
        "ALLOW_LOCAL_FILES": "0",
    }


def offline() -> dict[str, str]:
    """Return this process's environment without what changes LLaMA-Factory, and without the network."""
    out = {variable for lower in LEFT_OUT for variable in (lower, lower.upper())}
    kept = {name: value for name, value in os.environ.items() if name not in out}
    return {**kept, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}


def flags(arguments: Mapping[str, Any]) -> list[str]:
    """Write arguments as LLaMA-Factory's command line takes them.

    Parameters
    ----------
    arguments : mapping
        Those without a value are left out.

    Returns
    -------
    list of str
        ``--name=value``.
    """
    return [f"--{name}={_word(value)}" for name, value in arguments.items() if value is not None]


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, bool | dict) else str(value)


def api_arguments(recipe: Mapping[str, Any], adapter: Path | None) -> dict[str, Any]:
    """Select what the API takes of a recipe; it answers greedily unless a request asks for ``do_sample``."""
    return {**inference_arguments(recipe, adapter), "do_sample": False}


def export_arguments(recipe: Mapping[str, Any], adapter: Path | None, out: Path) -> dict[str, Any]:
    """Select what the export takes of a recipe: in the numbers of the model's own checkpoint, and not quantized."""
    arguments = inference_arguments(recipe, adapter)
    kept = {name: value for name, value in arguments.items() if not name.startswith(("quantization_", "export_"))}
    return {**kept, **EXPORT, "export_dir": str(out), "infer_dtype": _stored(Path(arguments["model_name_or_path"]))}


def _stored(model: Path) -> str:
    """Name the numbers that a checkpoint is stored in."""
    config = read_json(model / "config.json") if (model / "config.json").is_file() else {}
    name = config.get("dtype") or config.get("torch_dtype")
    return name if name in FLOATS else "auto"


def _check_template(recipe: Mapping[str, Any]) -> None:
    if problems := template_problems({"template": None, **recipe}):
        raise VitalFactoryError(problems[0])


def _llamafactory(command: str, arguments: Mapping[str, Any]) -> None:
    """Run its command line in this process."""
    from llamafactory.cli import main as llamafactory_cli

    sys.argv = ["llamafactory-cli", command, *flags(arguments)]
    try:
        llamafactory_cli()
    except (ImportError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise VitalFactoryError(f"LLaMA-Factory refuses it: {error}") from None


def write_template(arguments: Mapping[str, Any]) -> None:
    """Let the exported tokenizer carry the recipe's template, where by itself it keeps the one that it came with.

    Parameters
    ----------
    arguments : mapping
        Of the export.

    Raises
    ------
    VitalFactoryError
        The two do not give the same tokens: LLaMA-Factory cuts the text at a template's parts, and writes thoughts.
    """
    from llamafactory.data.template import TEMPLATES, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_infer_args
    from transformers import AutoTokenizer

    TEMPLATES[arguments["template"]].replace_jinja_template = True
    tokenizer = AutoTokenizer.from_pretrained(arguments["model_name_or_path"], local_files_only=True)
    template = get_template_and_fix_tokenizer(tokenizer, get_infer_args(dict(arguments))[1])
    roles = ("user", "assistant", "user", "assistant")
    turns = [{"role": role, "content": text} for role, text in zip(roles, CONVERSATION, strict=True)]
    for system in (None, "Be brief."):
        trained, _ = template.encode_oneturn(tokenizer, turns, system)
        sent = [{"role": "system", "content": system}, *turns[:-1]] if system else turns[:-1]
        text = tokenizer.apply_chat_template(sent, tokenize=False, add_generation_prompt=True)
        if tokenizer.encode(text, add_special_tokens=False) != trained:
            raise VitalFactoryError(
                f"template: {arguments['template']} gives other tokens as a chat template than in training, so that "
                "another server would ask otherwise; serve without --constrained"
            )


def _end_with(parent: int) -> None:
    """End this process as soon as the one that started it is gone, however it ended."""

    def watch() -> None:
        stay(parent)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m vitalfactory.serving.stock", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("command", choices=("api", "export"), help="LLaMA-Factory's command")
    add("recipe", type=Path, help="the recipe that the model is trained with")
    add("--adapter", type=Path, metavar="DIR", help="the adapter (default: the model before training)")
    add("--out", type=Path, metavar="DIR", help="of export: the folder to write")
    add("--parent", type=int, metavar="PID", help="end when this process, which started the server, is gone")
    add("--debug", action="store_true", help="show the traceback of an error")
    given = parser.parse_args(argv)
    if given.parent is not None:
        _end_with(given.parent)
    recipe = read_recipe(given.recipe)
    _check_template(recipe)
    if given.command == "api":
        _llamafactory("api", api_arguments(recipe, given.adapter))
        return
    if given.out is None:
        raise VitalFactoryError("export needs --out")
    arguments = export_arguments(recipe, given.adapter, given.out)
    write_template(arguments)
    _llamafactory("export", arguments)


if __name__ == "__main__":
    run(main)
