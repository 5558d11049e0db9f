"""Serve a recipe's model on this machine, export it, or find out what an endpoint honours.

python -m vitalfactory.serving start train_configs/ecg_smollm2_lora.yaml
python -m vitalfactory.serving start train_configs/ecg_smollm2_lora.yaml --constrained
python -m vitalfactory.serving export train_configs/ecg_smollm2_lora.yaml --out exports/ecg_smollm2
python -m vitalfactory.serving probe http://127.0.0.1:8000/v1
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vitalfactory.errors import run

PORT = 8000


def _start(given: argparse.Namespace) -> None:
    from vitalfactory.serving.plan import read_plan
    from vitalfactory.serving.start import start

    start(read_plan(given.recipe, given.adapter), given.port, as_gguf=given.constrained)


def _export(given: argparse.Namespace) -> None:
    from vitalfactory.serving.export import GGUF, MERGED, export
    from vitalfactory.serving.plan import read_plan

    out = export(read_plan(given.recipe, given.adapter), given.out)
    print(f"merged model: {out / MERGED}\nGGUF: {out / GGUF}")


def _probe(given: argparse.Namespace) -> None:
    from vitalfactory.serving.probe import probe

    found = probe(given.url, given.model)
    print(found.table())
    if given.json:
        print(found.line())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vitalfactory.serving", description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    start = commands.add_parser("start", help="serve a recipe's model on 127.0.0.1 until Ctrl-C")
    start.add_argument("--port", type=int, default=PORT, metavar="N", help="0 takes a free one (default: %(default)s)")
    start.add_argument(
        "--constrained",
        action="store_true",
        help="serve it as GGUF: JSON schema and log-probabilities, on the processor",
    )
    start.set_defaults(command=_start)
    export = commands.add_parser("export", help="write the merged model and its GGUF")
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    export.set_defaults(command=_export)
    for one in (start, export):
        one.add_argument("recipe", type=Path, metavar="RECIPE", help="the recipe that the model is trained with")
        one.add_argument(
            "--adapter", metavar="DIR", help="or 'none' for the model before training (default: the recipe's)"
        )
    probe = commands.add_parser("probe", help="find out what an endpoint honours")
    probe.add_argument("url", metavar="URL", help="such as http://127.0.0.1:8000/v1; its key is OPENAI_API_KEY's")
    probe.add_argument("--model", metavar="NAME", help="the endpoint's name of the model (default: the first it lists)")
    probe.add_argument("--json", action="store_true", help="print the same as JSON on the last line")
    probe.set_defaults(command=_probe)
    for one in (start, export, probe):
        one.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    given = _parser().parse_args(argv)
    given.command(given)


if __name__ == "__main__":
    run(main)
