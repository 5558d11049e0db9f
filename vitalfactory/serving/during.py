"""Serve a model on this machine while one command runs, which is told the endpoint's address.

    python -m vitalfactory.serving.during -- python converters/teacher.py --base-url {url} ...
    python -m vitalfactory.serving.during --adapter saves/X -- python eval/generate.py --base-url {url} ...

``{url}`` stands for the address. The model is the embedded one unless ``--model`` names another GGUF; an adapter is
taken as LLaMA-Factory saves it, or as GGUF. The server ends with the command, whose exit code is passed on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vitalfactory.errors import VitalFactoryError, run

URL = "{url}"


def run_during(command: Sequence[str], model: Path | None, adapter: Path | None, port: int = 0) -> int:
    """Run a command beside a server.

    Parameters
    ----------
    command : sequence of str
        ``python`` is that of this environment.
    model : Path or None
        GGUF; the embedded model by default.
    adapter : Path or None
        Folder of an adapter, or GGUF.
    port : int
        0 takes a free one.

    Returns
    -------
    int
        The command's exit code.

    Raises
    ------
    VitalFactoryError
        The server does not come up, or the adapter cannot be converted.
    """
    from vitalfactory.models.embedded import gguf_file
    from vitalfactory.serving.gguf import adapter_to_gguf
    from vitalfactory.serving.local import serve

    with tempfile.TemporaryDirectory() as folder:
        if adapter is not None and adapter.is_dir():
            adapter = adapter_to_gguf(adapter, Path(folder) / "adapter.gguf")
        with serve(model or gguf_file(), adapter=adapter, port=port) as url:
            words = [word.replace(URL, url) for word in command]
            return subprocess.run([sys.executable if words[0] == "python" else words[0], *words[1:]]).returncode


def main(argv: Sequence[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vitalfactory.serving.during",
        description=__doc__.split("\n")[0],
        usage="%(prog)s [--model FILE] [--adapter PATH] [--port N] -- COMMAND",
    )
    add = parser.add_argument
    add("--model", type=Path, metavar="FILE", help="GGUF file (default: the embedded model)")
    add("--adapter", type=Path, metavar="PATH", help="the adapter's folder, or its GGUF")
    add("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1 (default: a free one)")
    add("--debug", action="store_true", help="show the traceback of an error")
    place = list(argv).index("--") if "--" in argv else len(argv)
    arguments, command = parser.parse_args(argv[:place]), argv[place + 1 :]
    if not command:
        raise VitalFactoryError(
            "no command; give it after --, such as -- python converters/teacher.py --base-url {url}"
        )
    code = run_during(command, arguments.model, arguments.adapter, arguments.port)
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    run(main)
